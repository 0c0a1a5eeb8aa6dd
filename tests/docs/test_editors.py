"""The schema for editors judges documents as the schemas under schemas/kinds do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from mens.contracts import door
from mens.contracts.kinds import KINDS, Kind
from mens.contracts.positions import decode
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml
from tests.docs.examples import ROOT, play, sections

FIXTURES = ROOT / "tests" / "fixtures" / "kinds"
EDITOR: dict[str, Any] = json.loads(door.editor_schema_text())


def _tag(kind: Kind) -> str | None:
    """What the `schema` line of a kind's documents says; None for kinds without such a line."""
    tag: str | None = door.schema_of(kind)["properties"].get("schema", {}).get("const")
    return tag


TAGGED = [kind for kind in KINDS if _tag(kind)]
DOCUMENTS = [
    (kind, path) for kind in TAGGED for path in sorted((FIXTURES / f"{kind.name}.v{kind.version}").glob("*valid/*"))
]
PAGE = (ROOT / "docs" / "editors.md").read_text(encoding="utf-8")


def _value(path: Path) -> Any:
    text = decode(path.read_bytes())
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]


def test_schema_is_draft_07_and_uses_nothing_newer() -> None:
    Draft7Validator.check_schema(EDITOR)
    text = json.dumps(EDITOR)
    for newer in ('"$defs"', '"discriminator"', '"unevaluatedProperties"', '"prefixItems"', "2020-12"):
        assert newer not in text


def test_every_tagged_kind_is_in_it() -> None:
    tags = {choice["if"]["properties"]["schema"]["const"] for choice in EDITOR["allOf"]}
    assert tags == {_tag(kind) for kind in TAGGED}
    assert len(tags) >= 18


def test_it_judges_every_fixture_as_the_kind_s_own_schema_does() -> None:
    editor = Draft7Validator(EDITOR)
    verdicts = []
    for kind, path in DOCUMENTS:
        value = _value(path)
        if not isinstance(value, dict) or value.get("schema") != _tag(kind):
            continue  # a document of a wrong tag is no document of the kind: an editor leaves it alone
        verdicts.append(door.validator_of(kind).is_valid(value))
        assert editor.is_valid(value) == verdicts[-1], path.relative_to(FIXTURES)
    assert verdicts.count(True) >= 90
    assert verdicts.count(False) >= 200


def test_a_document_of_no_kind_is_left_alone() -> None:
    editor = Draft7Validator(EDITOR)
    assert editor.is_valid({"name": "something-else"})
    assert not editor.is_valid({"schema": "mens/lane/v1"})


@pytest.mark.parametrize(("heading", "section"), [pair for pair in sections(PAGE, "##") if "```console" in pair[1]])
def test_examples_print_what_the_page_says(heading: str, section: str, tmp_path: Path) -> None:
    assert play(section, tmp_path).text == section
