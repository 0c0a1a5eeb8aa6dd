"""`mens schema`: the contracts themselves, for people, programs and editors."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from syrupy.assertion import SnapshotAssertion

from mens.contracts.kinds import KINDS, Kind, named
from mens.contracts.positions import decode
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

Mens = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
TAGGED = [kind for kind in KINDS if kind.by == "schema"]


def test_list(mens: Mens, snapshot: SnapshotAssertion) -> None:
    done = mens("schema", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == snapshot


def test_list_as_json(mens: Mens) -> None:
    done = mens("schema", "list", "--json")
    assert json.loads(done.stdout) == [str(kind) for kind in KINDS]


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for item in node for reference in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [reference for item in node.values() for reference in _references(item)]


def test_show(mens: Mens) -> None:
    shown = mens("schema", "show", "adapter-meta/v3")
    schema = json.loads(shown.stdout)
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == "AdapterMetaV3"
    assert {reference.rpartition("/")[0] for reference in _references(schema)} == {"#/$defs"}
    for name in ("adapter-meta", "mens/adapter-meta/v3"):
        assert mens("schema", "show", name).stdout == shown.stdout
    assert json.loads(mens("schema", "show", "adapter-meta/v2").stdout)["title"] == "AdapterMetaV2"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_schema_is_self_contained(kind: Kind) -> None:
    from mens.contracts import door

    schema = door.schema_of(kind)
    Draft202012Validator.check_schema(schema)
    references = _references(schema)
    assert {reference.rpartition("/")[2] for reference in references} <= set(schema.get("$defs", {}))
    assert all(reference.startswith("#/$defs/") for reference in references)


def test_show_what_nobody_knows(mens: Mens) -> None:
    done = mens("schema", "show", "adapter-met")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(
        "'adapter-met' is not a kind of document. Did you mean 'adapter-meta'?   [MENS-U002]\nKinds: training-preset"
    )


@pytest.fixture(scope="module")
def editor(mens: Mens) -> Draft7Validator:
    """The schema for editors, as an editor would read it."""
    schema = json.loads(mens("schema", "editor").stdout)
    Draft7Validator.check_schema(schema)
    assert "$defs" not in json.dumps(schema)
    return Draft7Validator(schema)


@pytest.mark.parametrize("kind", TAGGED, ids=str)
def test_the_editor_schema_agrees_with_the_kinds(kind: Kind, editor: Draft7Validator) -> None:
    for verdict in ("valid", "invalid"):
        judged = 0
        for path in sorted((FIXTURES / f"{kind.name}.v{kind.version}" / verdict).iterdir()):
            text = decode(path.read_bytes())
            value: Any = parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]
            if verdict == "invalid" and value.get("schema") != f"mens/{kind}":
                continue  # an editor goes by the tag, and this one has another
            assert editor.is_valid(value) == (verdict == "valid"), path.name
            judged += 1
        assert judged >= 5


def test_there_is_a_help_for_every_command(mens: Mens) -> None:
    for arguments in (["schema"], ["schema", "show"], ["migrate"], ["families"], ["families", "show"], ["completion"]):
        done = mens(*arguments, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith(f"Usage: mens {arguments[0]}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(mens: Mens, shell: str) -> None:
    done = mens("completion", shell)
    assert done.returncode == 0
    assert "_MENS_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("mens va", "plain,validate"),
        ("mens schema show training-p", "plain,training-preset/v1"),
        ("mens validate --kind gate", "plain,gate-receipt/v1"),
    ],
)
def test_what_is_completed(mens: Mens, words: str, offered: str) -> None:
    last = str(len(words.split()) - 1)
    done = mens(_MENS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=last)
    assert offered in done.stdout.splitlines()


def test_every_kind_has_a_newest_version() -> None:
    assert {str(named(kind.name)) for kind in KINDS} >= {"adapter-meta/v3", "serving-handoff/v2"}
