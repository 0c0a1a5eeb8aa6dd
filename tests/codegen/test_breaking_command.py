"""`python -m mens.codegen.breaking` as a person and a CI job meet it: a process over a folder of schemas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
KINDS = ("common.v1", "kind-registry.v1", "schema-waivers.v1", "serving-handoff.v1", "serving-handoff.v2", "lane.v1")
REGISTRY = """\
schema: mens/kind-registry/v1
kinds:
"""
ENTRY = "  - {{kind: {0}, version: {1}, stability: {2}, owner: mens, summary: A kind., recognise: {{by: schema}}}}\n"
WAIVER = """\
schema: mens/schema-waivers/v1
waivers:
  - kind: serving-handoff
    version: 1
    rule: MAX_LENGTH_LOWERED
    pointer: /notes
    reason: Nobody ever wrote notes that long.
    approved_on: 2026-11-21
"""
REMEDY = "A released version is frozen: make the change in a new version, or give its reason in schemas/waivers.yaml.\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository's schemas: three stable kinds, one draft, nothing released."""
    (tmp_path / "schemas/kinds").mkdir(parents=True)
    shutil.copy(REPO / "schemas/meta.schema.json", tmp_path / "schemas")
    for kind in KINDS:
        shutil.copy(REPO / f"schemas/kinds/{kind}.schema.json", tmp_path / "schemas/kinds")
    entries = [("serving-handoff", 1, "stable"), ("serving-handoff", 2, "draft"), ("lane", 1, "stable")]
    text = REGISTRY + "".join(ENTRY.format(*entry) for entry in entries)
    (tmp_path / "schemas/registry.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def run(root: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "mens.codegen.breaking", "--root", str(root), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "generated")])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    return done.returncode, done.stdout, done.stderr


def edit(root: Path, kind: str, change: Callable[[Any], Any]) -> None:
    path = root / f"schemas/kinds/{kind}.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    change(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


def released(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "schemas/released").iterdir())}


def shorten_notes(schema: Any) -> None:
    schema["properties"]["notes"]["maxLength"] = 9


def test_nothing_released_is_nothing_broken(root: Path) -> None:
    assert run(root) == (0, "0 released kinds compared: 0 breaking, 0 waived, 0 compatible; 0 stale waivers.\n", "")


def test_freezing_copies_the_stable_kinds_whole(root: Path) -> None:
    assert run(root, "--freeze") == (
        0,
        "0 released kinds compared: 0 breaking, 0 waived, 0 compatible; 0 stale waivers.\n"
        "froze schemas/released/serving-handoff.v1.schema.json\n"
        "froze schemas/released/lane.v1.schema.json\n",
        "",
    )
    frozen = released(root)
    assert list(frozen) == ["lane.v1.schema.json", "serving-handoff.v1.schema.json"]
    assert b"common.v1" not in b"".join(frozen.values())
    assert run(root, "--freeze") == (
        0,
        "2 released kinds compared: 0 breaking, 0 waived, 0 compatible; 0 stale waivers.\n"
        "Nothing has changed since the last release.\n",
        "",
    )
    assert released(root) == frozen


def test_each_change_is_a_line_with_its_place_and_rule(root: Path) -> None:
    run(root, "--freeze")
    edit(root, "serving-handoff.v1", shorten_notes)
    edit(root, "serving-handoff.v1", lambda schema: schema["properties"]["base_model"].update(maxLength=5000))
    edit(root, "serving-handoff.v2", shorten_notes)
    assert run(root) == (
        1,
        "serving-handoff/v1:/base_model: maxLength raised from 1024 to 5000   [LIMIT_WIDENED, compatible]\n"
        "serving-handoff/v1:/notes: maxLength lowered from 2000 to 9   [MAX_LENGTH_LOWERED]\n"
        "2 released kinds compared: 1 breaking, 0 waived, 1 compatible; 0 stale waivers.\n" + REMEDY,
        "",
    )
    code, out, _ = run(root, "--format", "github")
    assert code == 1
    assert out.splitlines()[:2] == [
        "::notice file=schemas/kinds/serving-handoff.v1.schema.json,title=LIMIT_WIDENED::"
        "serving-handoff/v1:/base_model: maxLength raised from 1024 to 5000",
        "::error file=schemas/kinds/serving-handoff.v1.schema.json,title=MAX_LENGTH_LOWERED::"
        "serving-handoff/v1:/notes: maxLength lowered from 2000 to 9",
    ]


def test_a_shared_definition_breaks_every_kind_that_borrows_it(root: Path) -> None:
    run(root, "--freeze")
    waivers = root / "schemas/kinds/schema-waivers.v1.schema.json"
    (root / "schemas/registry.yaml").write_text(REGISTRY + ENTRY.format("schema-waivers", 1, "stable"), "utf-8")
    assert b"common.v1.schema.json#/$defs/Date" in waivers.read_bytes()
    assert run(root, "--freeze")[0] == 0
    edit(root, "common.v1", lambda schema: schema["$defs"]["Date"].update(maxLength=20, pattern=r"^[0-9]+(?!\n)$"))
    code, out, err = run(root)
    assert (code, err) == (1, "")
    assert "schema-waivers/v1:/waivers/*/approved_on: the pattern changed from" in out
    assert out.splitlines()[-2] == "3 released kinds compared: 1 breaking, 0 waived, 1 compatible; 0 stale waivers."


def test_a_waiver_allows_one_place_and_is_spent_by_a_release(root: Path) -> None:
    run(root, "--freeze")
    edit(root, "serving-handoff.v1", shorten_notes)
    (root / "schemas/waivers.yaml").write_text(WAIVER, encoding="utf-8")
    line = "serving-handoff/v1:/notes: maxLength lowered from 2000 to 9   [MAX_LENGTH_LOWERED, waived]\n"
    counts = "2 released kinds compared: 0 breaking, 1 waived, 0 compatible; 0 stale waivers.\n"
    assert run(root) == (0, line + counts, "")
    assert run(root, "--freeze") == (
        0,
        line
        + counts
        + "updated schemas/released/serving-handoff.v1.schema.json\n"
        + "schemas/waivers.yaml: the waiver for serving-handoff/v1:/notes is spent; remove it\n",
        "",
    )
    assert run(root) == (
        1,
        "schemas/waivers.yaml: the waiver serving-handoff/v1:/notes MAX_LENGTH_LOWERED allows nothing that happens; "
        "remove it   [STALE_WAIVER]\n"
        "2 released kinds compared: 0 breaking, 0 waived, 0 compatible; 1 stale waivers.\n",
        "",
    )


def test_a_waiver_for_another_place_or_rule_allows_nothing(root: Path) -> None:
    run(root, "--freeze")
    edit(root, "serving-handoff.v1", shorten_notes)
    for other in (WAIVER.replace("/notes", "/base_model"), WAIVER.replace("MAX_LENGTH_", "MAXIMUM_")):
        (root / "schemas/waivers.yaml").write_text(other, encoding="utf-8")
        code, out, _ = run(root)
        assert code == 1
        assert "1 breaking, 0 waived, 0 compatible; 1 stale waivers." in out


def test_nothing_is_frozen_while_something_breaks(root: Path) -> None:
    run(root, "--freeze")
    before = released(root)
    edit(root, "serving-handoff.v1", shorten_notes)
    edit(root, "lane.v1", lambda schema: schema.update(description="Another word on lanes."))
    code, out, _ = run(root, "--freeze")
    assert code == 1
    assert out.endswith(REMEDY + "Nothing was written.\n")
    assert released(root) == before


def test_a_removed_kind_breaks_until_it_is_waived_and_then_goes(root: Path) -> None:
    run(root, "--freeze")
    (root / "schemas/kinds/lane.v1.schema.json").unlink()
    (root / "schemas/registry.yaml").write_text(REGISTRY + ENTRY.format("serving-handoff", 1, "stable"), "utf-8")
    code, out, _ = run(root)
    assert code == 1
    assert out.splitlines()[0] == "lane/v1: the kind was released and its schema is gone   [KIND_REMOVED]"
    waiver = WAIVER.replace("serving-handoff", "lane").replace("MAX_LENGTH_LOWERED", "KIND_REMOVED")
    (root / "schemas/waivers.yaml").write_text(waiver.replace("/notes", '""'), encoding="utf-8")
    code, out, _ = run(root, "--freeze")
    assert code == 0
    assert "removed schemas/released/lane.v1.schema.json\n" in out
    assert list(released(root)) == ["serving-handoff.v1.schema.json"]


def test_what_an_interrupted_release_left_behind_goes_with_the_next(root: Path) -> None:
    (root / "schemas/released").mkdir()
    (root / "schemas/released/.lane.v1.schema.json.4242.mens-tmp").write_text("{", encoding="utf-8")
    assert run(root, "--freeze")[0] == 0
    assert list(released(root)) == ["lane.v1.schema.json", "serving-handoff.v1.schema.json"]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("waivers.yaml", WAIVER.replace("approved_on", "approved"), "schemas/waivers.yaml:3:5: "),
        ("waivers.yaml", WAIVER.replace("/notes", "&a /notes"), "schemas/waivers.yaml:6:14: anchors are not allowed"),
        ("waivers.yaml", WAIVER.replace("version: 1", "version: 0"), "schemas/waivers.yaml:4:14: 0 is less than"),
        ("released/lane.v1.schema.json", "{", "schemas/released/lane.v1.schema.json:1:2: "),
        (
            "released/lane.v1.schema.json",
            "[]",
            "schemas/released/lane.v1.schema.json: not a mapping of fields   [MENS-G001]",
        ),
        ("released/Lane.json", "{}", "Lane.json: a schema file is named <kind>.v<N>.schema.json   [MENS-G001]"),
        ("kinds/lane.v1.schema.json", "{", "schemas/kinds/lane.v1.schema.json:1:2: "),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_compared(root: Path, file: str, text: str, said: str) -> None:
    (root / "schemas/released").mkdir()
    (root / "schemas" / file).write_text(text, encoding="utf-8")
    code, out, err = run(root, "--freeze")
    assert (code, out) == (1, "")
    assert said in err
    assert "Traceback" not in err


def test_a_stable_kind_needs_a_schema_and_a_folder_needs_kinds(root: Path, tmp_path: Path) -> None:
    (root / "schemas/registry.yaml").write_text(REGISTRY + ENTRY.format("lane", 2, "stable"), encoding="utf-8")
    code, _, err = run(root, "--freeze")
    assert (code, err) == (
        1,
        "schemas/registry.yaml: stable, and without a schema: lane.v2.schema.json   [MENS-G002]\n",
    )
    (tmp_path / "empty").mkdir()
    code, _, err = run(tmp_path / "empty")
    assert code == 2
    assert err.endswith("empty: there is no schemas/kinds here   [MENS-P004]\n")
