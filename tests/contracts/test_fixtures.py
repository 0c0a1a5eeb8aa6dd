"""Every kind has documents that hold and, for every keyword that its schema asserts, one that does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic import TypeAdapter
from pydantic import ValidationError as Refusal

from mens.contracts import door
from mens.contracts.kinds import KINDS, Kind, kind_of_file
from mens.contracts.positions import decode
from mens.contracts.source import Source, read
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
NUM_KINDS, NUM_VALID, NUM_INVALID = 26, 148, 370
ASSERTIONS = frozenset({
    "type", "required", "propertyNames", "enum", "const", "minimum", "maximum", "minLength", "maxLength", "pattern",
    "minItems", "maxItems", "oneOf", "anyOf",
})  # fmt: skip
APPLIED = ("propertyNames", "additionalProperties")
"""Keywords that hand a key or a value on to a schema: what they refuse is reported below them."""
PROVEN_ELSEWHERE = {("findings/v1", "maxItems")}
"""A fixture of ten million entries helps nobody: test_findings_bound proves that one in memory."""

IDS = [str(kind) for kind in KINDS]


def _folder(kind: Kind, which: str) -> list[Path]:
    return sorted((FIXTURES / f"{kind.name}.v{kind.version}" / which).glob("*"))


VALID = [(kind, path) for kind in KINDS for path in _folder(kind, "valid")]
INVALID = [(kind, path) for kind in KINDS for path in _folder(kind, "invalid")]


def _id(value: Any) -> str:
    return value.name if isinstance(value, Path) else str(value)


def _value(path: Path) -> Any:
    text = decode(path.read_bytes())
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]


def _keywords(schema: dict[str, Any]) -> set[str]:
    """The assertion keywords that a self-contained schema reaches from its root."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        found |= ASSERTIONS & node.keys()
        if node.get("additionalProperties", True) is not True:
            found.add("additionalProperties")
        reference = node.get("$ref", "").rpartition("/")[2]
        if reference and reference not in seen:
            seen.add(reference)
            waiting.append(schema["$defs"][reference])
        waiting += [*node.get("properties", {}).values(), *node.get("oneOf", []), *node.get("anyOf", [])]
        waiting += [node.get(key) for key in ("items", "additionalProperties", "propertyNames")]
    return found


def _errors(errors: Any) -> Iterator[ValidationError]:
    for error in errors:
        yield error
        yield from _errors(error.context)


def _says(error: ValidationError, keyword: str) -> bool:
    return error.validator == keyword or (keyword in APPLIED and keyword in error.absolute_schema_path)


def test_everything_is_there() -> None:
    assert (len(KINDS), len(VALID), len(INVALID)) == (NUM_KINDS, NUM_VALID, NUM_INVALID)
    assert {path.name for path in FIXTURES.iterdir()} == {f"{kind.name}.v{kind.version}" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_each_kind_has_five_that_hold_and_one_per_keyword_that_does_not(kind: Kind) -> None:
    named = {path.stem.partition("--")[0] for path in _folder(kind, "invalid")}
    exempt = {keyword for name, keyword in PROVEN_ELSEWHERE if name == str(kind)}
    assert len(_folder(kind, "valid")) >= 5
    assert named == _keywords(door.schema_of(kind)) - exempt


@pytest.mark.parametrize(("kind", "path"), VALID, ids=_id)
def test_a_valid_document_is_accepted_and_knows_its_kind(kind: Kind, path: Path, tmp_path: Path) -> None:
    value = _value(path)
    assert list(door.validator_of(kind).iter_errors(value)) == []
    if kind.by == "lines":
        rows = tmp_path / kind.files[0].replace("*", "rows")
        rows.write_text(json.dumps(value) + "\n")
        with rows.open("rb") as lines:
            found = kind_of_file(rows.name)
            assert found == kind
            [examined] = door.rows(str(rows), lines, found)
    elif kind.by == "name":
        placed = tmp_path / kind.files[0]
        placed.write_text(json.dumps(value))
        examined = door.examine(read(placed))
    else:
        examined = door.examine(read(path))
    assert examined.findings == []
    assert examined.kind == kind
    assert examined.document is not None
    assert type(examined.document.model) is door.model_of(kind)
    assert examined.document.value == value


@pytest.mark.parametrize(("kind", "path"), INVALID, ids=_id)
def test_an_invalid_document_is_refused_by_both_judges(kind: Kind, path: Path) -> None:
    errors = list(_errors(door.validator_of(kind).iter_errors(_value(path))))
    keyword = path.stem.partition("--")[0]
    assert any(_says(error, keyword) for error in errors), f"jsonschema never mentions {keyword}"
    examined = door.examine(read(path), kind)
    assert examined.document is None
    assert examined.findings
    lines = path.read_text("utf-8").splitlines()
    for finding in examined.findings:
        assert finding.code.startswith("MENS-V") or finding.code == "MENS-R005"
        assert finding.code != "MENS-V099"
        assert not lines[finding.line - 1][finding.column - 1].isspace(), finding


@pytest.mark.parametrize(("kind", "path"), VALID, ids=_id)
def test_a_valid_document_survives_its_own_model(kind: Kind, path: Path) -> None:
    document = door.examine(read(path), kind).document
    assert document is not None
    written = document.model.model_dump_json(by_alias=True, exclude_unset=True)
    again = door.examine(Source("again.json", written.encode(), "json"), kind).document
    assert again is not None
    assert again.model == document.model


def test_findings_bound() -> None:
    kind = next(kind for kind in KINDS if kind.name == "findings")
    bound = 10_000_000
    declared = door.schema_of(kind)["properties"]["findings"]
    assert declared["maxItems"] == bound
    judge = Draft202012Validator({name: value for name, value in declared.items() if name not in ("items", "$ref")})
    field = door.model_of(kind).model_fields["findings"]
    adapter = TypeAdapter(Annotated[list[Any], *field.metadata])
    entries: list[Any] = [None] * bound
    assert judge.is_valid(entries)
    assert adapter.validate_python(entries) == entries
    entries.append(None)
    assert [error.validator for error in judge.iter_errors(entries)] == ["maxItems"]
    with pytest.raises(Refusal) as refusal:
        adapter.validate_python(entries)
    assert [error["type"] for error in refusal.value.errors(include_input=False)] == ["too_long"]
