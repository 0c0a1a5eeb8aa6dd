"""`mens migrate`: prints or replaces, and leaves alone what it cannot bring further."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mens.contracts import load

Mens = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
V2 = sorted((FIXTURES / "adapter-meta.v2" / "valid").iterdir())
HANDOFFS = sorted((FIXTURES / "serving-handoff.v1" / "valid").iterdir())


@pytest.mark.parametrize("path", [*V2, *HANDOFFS], ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_every_older_document_is_brought_up_to_date(mens: Mens, path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    printed = mens("migrate", path)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert path.read_bytes() == before, "without --write the input is left alone"
    copy = tmp_path / f"copy{path.suffix}"
    copy.write_bytes(before)
    written = mens("migrate", copy, "--write")
    assert (written.returncode, written.stdout) == (0, "")
    assert copy.read_text("utf-8") == printed.stdout
    document = load(copy)
    assert document.kind.version == load(path).kind.version + 1
    assert written.stderr == f"{copy}: {load(path).kind} -> {document.kind}\n"
    again = mens("migrate", copy)
    assert (again.returncode, again.stdout) == (0, printed.stdout)
    assert again.stderr == f"{copy} is {document.kind} already.\n"


def test_how_many() -> None:
    assert (len(V2), len(HANDOFFS)) == (5, 5)


def test_where_it_came_from(mens: Mens) -> None:
    [path] = [path for path in V2 if path.stem == "lm_head_only"]
    migrated = json.loads(mens("migrate", path).stdout)
    assert migrated["migrated_from"] == {
        "format": "vox_mens_qlora_lora_only_v2",
        "version": 2,
        "embed_key": "model.embed_tokens.weight",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert "provenance" not in migrated
    assert "base_model" not in migrated


@pytest.mark.parametrize("to", ["v3", "3", "adapter-meta/v3"])
def test_a_version_is_named(mens: Mens, to: str) -> None:
    assert json.loads(mens("migrate", V2[0], "--to", to).stdout)["version"] == 3


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        ("v9", 3, "adapter-meta v2 -> v9: no migration leads from v3 to v4   [MENS-M001]"),
        ("v1", 3, "adapter-meta v2 -> v1: no migration goes back to an older version   [MENS-M001]"),
        ("three", 2, "--to 'three' is not a version of adapter-meta; write it as v3   [MENS-M003]"),
        ("v0", 2, "--to 'v0' is not a version of adapter-meta; write it as v3   [MENS-M003]"),
        ("plan/v1", 2, "--to 'plan/v1' is not a version of adapter-meta; write it as v3   [MENS-M003]"),
    ],
)
def test_a_version_that_is_not_there(mens: Mens, to: str, code: int, said: str) -> None:
    done = mens("migrate", V2[0], "--to", to)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[0] == said


def test_a_document_that_does_not_hold(mens: Mens, tmp_path: Path) -> None:
    broken = tmp_path / "meta.json"
    broken.write_text(V2[0].read_text("utf-8").replace('"rank":', '"rnk":'))
    before = broken.read_bytes()
    done = mens("migrate", broken, "--write")
    assert done.returncode == 1
    assert done.stderr == (
        f"{broken}:1:1: the required field 'rank' is missing from mens/adapter-meta/v2   [MENS-V002]\n"
        f"{broken}:7:3: 'rnk' is not a field of mens/adapter-meta/v2. Did you mean 'rank'?   [MENS-V003]\n"
    )
    assert broken.read_bytes() == before


def test_nothing_to_migrate(mens: Mens, tmp_path: Path) -> None:
    stray = tmp_path / "stray.json"
    stray.write_text("{}")
    assert mens("migrate", stray).returncode == 3
    assert mens("migrate", tmp_path / "missing.json").returncode == 2
    assert mens("migrate", tmp_path).returncode == 4
    assert mens("migrate").returncode == 2
    preset = FIXTURES / "training-preset.v1" / "valid" / "minimal.yaml"
    done = mens("migrate", preset, "--write")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{preset} is training-preset/v1 already.\n")
