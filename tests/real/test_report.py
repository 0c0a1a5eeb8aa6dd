"""The session for real checkpoints, run on sparse files: what holds, what is seen to fail, what is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoint.made import published, tiny
from tests.cli.test_inspect_command import with_sinks
from tests.real.report import LATER, index_in_short

Session = Callable[..., tuple[int, str, dict[str, Any]]]


@pytest.fixture
def session(child_environment: dict[str, str], root: Path, tmp_path: Path) -> Session:
    """Run what `nox -s real -- DIR` runs; its exit code, what it printed, and the document."""

    def run(folder: Path | str) -> tuple[int, str, dict[str, Any]]:
        out = tmp_path / "report.json"
        done = subprocess.run(
            [sys.executable, "-m", "tests.real.report", str(folder), "--out", str(out)],
            cwd=root, env=child_environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, done.stdout, json.loads(out.read_text(encoding="utf-8"))

    return run


def test_everything_holds_for_a_published_configuration(session: Session, tmp_path: Path) -> None:
    folder = published(tmp_path / "secret", "Qwen/Qwen3.5-27B", files={"generation_config.json": {}})
    code, printed, document = session(folder)
    assert code == 0, printed
    assert len(document["checks"]) == 9
    assert set(document["checks"].values()) == {"holds"}
    assert document["not_run_yet"] == LATER
    assert document["inspect"]["document"]["family"] == "qwen3_5"
    assert document["plan"]["document"]["fits"] is True
    assert sum(entry["num_tensors"] for entry in document["tensors"]) == 1199
    assert len(document["tensors"]) < 80
    assert "secret" not in json.dumps(document), "the document says nothing of this machine"
    assert set(document["digests"]) >= {"config.json", "generation_config.json"}


def test_what_does_not_hold_is_said_and_ends_in_one(session: Session, tmp_path: Path) -> None:
    code, printed, document = session(with_sinks(tmp_path / "c"))
    assert code == 1
    failing = {name for name, verdict in document["checks"].items() if verdict != "holds"}
    assert failing == {
        "every tensor is as the family says",
        "a release records this configuration",
        "a plan can be made",
        "inspect and plan agree on the parameters",
    }
    assert "match no rule" in document["checks"]["every tensor is as the family says"]
    assert printed.count("FAILS") == 4
    assert document["inspect"]["document"]["coverage"]["unknown"]


def test_a_relative_path_and_a_damaged_file(session: Session, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "c", "llama")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    code, _, document = session(os.path.relpath(folder))
    assert code == 1
    assert document["inspect"]["exit_code"] == 4
    assert document["inspect"]["document"] is None
    assert document["inspect"]["said"].startswith("DIR/model.safetensors: ")
    assert document["tensors"] == []


def test_the_index_in_short() -> None:
    tensors = {
        "model.layers.0.a": {"dtype": "BF16", "shape": [2]},
        "model.layers.1.a": {"dtype": "BF16", "shape": [2]},
        "model.layers.2.a": {"dtype": "F32", "shape": [2]},
    }
    assert index_in_short(tensors) == [
        {"name": "model.layers.*.a", "dtype": "BF16", "shape": [2], "num_tensors": 2},
        {"name": "model.layers.*.a", "dtype": "F32", "shape": [2], "num_tensors": 1},
    ]
