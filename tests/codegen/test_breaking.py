"""A released schema may change only so that old documents stay valid and mean the same: one pair per way to change.

jsonschema judges the document of each pair beside the comparison.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mens.codegen.breaking.compare import Change, compare
from mens.codegen.breaking.rules import BRANCH_RULES, FOLDER_RULES, PLACE_RULES, RULE_IDS
from mens.contracts.strict_json import parse_json

REPO = Path(__file__).parents[2]
PAIRS = sorted(path.parent for path in (REPO / "tests/fixtures/breaking").glob("*/previous.schema.json"))
PURPOSES = {rule.id: rule.purpose for rules in (PLACE_RULES, BRANCH_RULES, FOLDER_RULES) for rule in rules}
COMPATIBLE = {rule.id for rules in (PLACE_RULES, BRANCH_RULES) for rule in rules if not rule.breaking}
SURFACE = {
    "NUMBER_CLASS_CHANGED": "16 is read as 16.0",
    "DEFAULT_CHANGED": "absent means something else",
    "TITLE_CHANGED": "the generated class has another name",
    "CONST_CHANGED": "the document is recognised otherwise",
    "PROPERTY_REMOVED": "the attribute is gone, whether or not the object is open",
    "UNKNOWN_CHANGE": "nobody can tell",
}
"""Rules that may speak although every old document stays valid."""


def read(path: Path) -> Any:
    return parse_json(path.read_text(encoding="utf-8"))


def accepts(schema: Any, document: Any) -> bool:
    return Draft202012Validator(schema).is_valid(document)


# Labelled pairs, one folder each.


def test_every_rule_has_a_purpose_and_a_pair() -> None:
    assert len(RULE_IDS) == len(set(RULE_IDS)) == 28
    for rule, purpose in PURPOSES.items():
        assert re.fullmatch(r"[A-Z][^.]+\.", purpose), rule
    shown = {folder.name.partition("--")[0] for folder in PAIRS}
    assert shown == set(RULE_IDS) - {"KIND_REMOVED"} | {"NO_CHANGE"}
    assert len(PAIRS) == 73


@pytest.mark.parametrize("folder", PAIRS, ids=lambda folder: folder.name)
def test_a_pair_shows_its_rule_and_nothing_else(folder: Path) -> None:
    previous, current, document = (
        read(folder / f"{n}.json") for n in ("previous.schema", "current.schema", "document")
    )
    rule = folder.name.partition("--")[0]
    changes = compare(previous, current)
    assert {change.rule for change in changes} == ({rule} if rule != "NO_CHANGE" else set())
    assert all(change.breaking == (rule not in COMPATIBLE) for change in changes)
    assert accepts(previous, document)
    if rule in COMPATIBLE or rule == "NO_CHANGE":
        assert accepts(current, document)
    elif rule not in SURFACE:
        assert not accepts(current, document)


def pair(name: str) -> list[Change]:
    folder = REPO / "tests/fixtures/breaking" / name
    return compare(read(folder / "previous.schema.json"), read(folder / "current.schema.json"))


def test_a_change_says_where_in_a_document_and_what() -> None:
    assert pair("MAXIMUM_LOWERED--in_a_branch") == [
        Change("MAXIMUM_LOWERED", "/field/*/(drop)/count", "maximum lowered from 100 to 10", True)
    ]
    assert pair("MAX_LENGTH_LOWERED--map_key") == [
        Change("MAX_LENGTH_LOWERED", "/field/(key)", "maxLength lowered from 20 to 2", True)
    ]
    assert pair("MAXIMUM_LOWERED--recursive") == [
        Change("MAXIMUM_LOWERED", "/field/size", "maximum lowered from 9 to 8", True)
    ]
    assert pair("DEFAULT_CHANGED--false_is_not_zero") == [
        Change("DEFAULT_CHANGED", "/field", "the default changed from 0 to false", True)
    ]


def test_a_renamed_property_is_a_removed_and_a_new_one() -> None:
    field = {"type": "string"}
    before = {"type": "object", "properties": {"rank": field}, "required": ["rank"], "additionalProperties": False}
    after = {"type": "object", "properties": {"r": field}, "required": ["r"], "additionalProperties": False}
    assert compare(before, after) == [
        Change("PROPERTY_REMOVED", "/rank", "the property is gone (new here: 'r')", True),
        Change("PROPERTY_NOW_REQUIRED", "/r", "the property is new and required", True),
    ]


@pytest.mark.parametrize("reference", ["other.schema.json#/$defs/Name", "#/$defs/Missing", "#/$defs/Itself"])
def test_a_reference_that_cannot_be_followed_is_never_compatible(reference: str) -> None:
    before = {"properties": {"a": {"$ref": reference}}, "$defs": {"Itself": {"$ref": "#/$defs/Itself"}}}
    after = before | {"description": "A better word."}
    assert [(change.rule, change.pointer) for change in compare(before, after)] == [("UNKNOWN_CHANGE", "/a")]
