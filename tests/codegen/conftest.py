"""What the tests of the generator share: the repository, a copy of it to spoil, and the command as it is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mens.codegen.schemas import Schemas, read_schemas

ROOT = Path(__file__).parents[2]
Generate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository itself, never written to."""
    return ROOT


@pytest.fixture(scope="session")
def kinds() -> Schemas:
    """The schemas of the repository."""
    return read_schemas(ROOT / "schemas" / "kinds")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A root with the repository's schemas and templates and nothing generated yet."""
    for folder in ("schemas", "templates"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


@pytest.fixture
def generate() -> Generate:
    """The generator's command as a process of its own."""

    def run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "generated")])
        command = [sys.executable, "-m", "mens.codegen", "--root", str(root), *arguments]
        variables = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **environment}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=variables)

    return run
