"""Paths in documents stay inside the artifact's folder, wherever in the document they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mens.codegen.schemas import path_fields
from mens.contracts import door
from mens.contracts.codes import CODES
from mens.contracts.kinds import KINDS, Kind, named
from mens.contracts.paths import fault, path_problems

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
HOSTILE = {
    "..": "leaves the artifact's folder with `..`",
    "../weights.safetensors": "leaves the artifact's folder with `..`",
    "a/../../b": "leaves the artifact's folder with `..`",
    "a/..": "leaves the artifact's folder with `..`",
    "/etc/passwd": "is absolute; paths are relative to the artifact's folder",
    "//server/share": "is absolute; paths are relative to the artifact's folder",
    "\\\\server\\share": "is absolute; paths are relative to the artifact's folder",
    "C:\\weights": "is absolute; paths are relative to the artifact's folder",
    "c:weights": "is absolute; paths are relative to the artifact's folder",
    "~": "begins with `~`, which some programs expand",
    "~root/x": "begins with `~`, which some programs expand",
    "a\\..\\b": "contains a backslash; paths use forward slashes",
    "a\0b": "contains a control character",
    "a\nb": "contains a control character",
    "a\x7f": "contains a control character",
    "a//b": "has an empty or `.` step",
    "./a": "has an empty or `.` step",
    "a/.": "has an empty or `.` step",
    "a/": "has an empty or `.` step",
    "": "has an empty or `.` step",
    "a/" + "x" * 256: "has a name of more than 255 bytes",
    "é" * 128: "has a name of more than 255 bytes",
}
HARMLESS = [
    "a",
    "a/b/c.safetensors",
    "...",
    "..a",
    "a..",
    "a/...",
    ".hidden",
    "x" * 255,
    "é" * 127,
    "a~",
    "a:b/c d",
    "ab:c",
]


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_a_hostile_path_is_refused(text: str) -> None:
    assert fault(text) == HOSTILE[text]


@pytest.mark.parametrize("text", [text for text in HARMLESS if text != "a:b/c d"], ids=repr)
def test_a_harmless_path_is_not(text: str) -> None:
    assert fault(text) == ""


def test_a_drive_letter_is_one_letter() -> None:
    assert fault("a:b/c d") == HOSTILE["/etc/passwd"]


@given(st.text(st.sampled_from("ab./\\~:\0\n é"), max_size=12))
def test_what_is_accepted_stays_inside(text: str) -> None:
    root = Path("/artifact")
    if not fault(text):
        inside = Path(str(root / text))
        assert ".." not in inside.parts
        assert inside.is_relative_to(root)
        assert inside != root
        assert str(inside) == f"{root}/{text}"


def _references(node: Any) -> int:
    """How often a schema file refers to a path inside the artifact."""
    if isinstance(node, list):
        return sum(map(_references, node))
    if not isinstance(node, dict):
        return 0
    return str(node.get("$ref", "")).endswith("/RelativePath") + sum(map(_references, node.values()))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_path_of_every_kind_is_watched(kind: Kind) -> None:
    schema = door.schema_of(kind)
    assert sorted(kind.paths) == path_fields(schema)
    assert bool(kind.paths) == bool(_references(schema))


def test_how_many_paths_are_watched() -> None:
    watched = {str(kind): len(kind.paths) for kind in KINDS if kind.paths}
    assert len(watched) == 10
    assert sum(watched.values()) == 34


@pytest.mark.parametrize("text", [text for text in HOSTILE if text], ids=repr)
def test_a_manifest_with_a_hostile_path(text: str) -> None:
    path = FIXTURES / "adapter-meta.v3" / "valid" / "trained_by_mens.json"
    meta = json.loads(path.read_text("utf-8"))
    meta["weights"]["file"] = text
    meta["tokenizer"]["files"][1]["path"] = text
    model, problems = door.check(meta, named("adapter-meta/v3"))
    assert model is not None
    assert [(problem.code, problem.pointer) for problem in problems] == [
        ("MENS-P001", "/tokenizer/files/1/path"),
        ("MENS-P001", "/weights/file"),
    ]
    assert all(problem.message.endswith(HOSTILE[text]) for problem in problems)
    assert CODES["MENS-P001"].exit_code == 4


def test_paths_are_found_in_lists_and_maps() -> None:
    value = {"a": [{"b": "../x"}, {"b": "x"}, {"c": 1}], "m": {"k/1": "/x", "~": "x"}, "n": None}
    found = path_problems(value, ("/a/*/b", "/m/*", "/n", "/absent/*/path"))
    assert [problem.pointer for problem in found] == ["/a/0/b", "/m/k~11"]
