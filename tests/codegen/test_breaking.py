"""A released schema may change only so that old documents stay valid and mean the same.

Three ways to know that the comparison says so: labelled pairs per rule, labelled mutations of the real schemas, and
unlabelled edits of the real schemas. jsonschema judges real documents beside the comparison in all three.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from mens.codegen.breaking import Change, compare
from mens.codegen.breaking_rules import BRANCH_RULES, FOLDER_RULES, PLACE_RULES, RULE_IDS
from mens.codegen.breaking_shapes import Schema, place
from mens.codegen.schemas import bundle, read_schemas
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

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
        assert purpose.endswith(".") and purpose[0].isupper() and purpose.count(". ") == 0, rule
    shown = {folder.name.partition("--")[0] for folder in PAIRS}
    assert shown == set(RULE_IDS) - {"KIND_REMOVED"} | {"NO_CHANGE"}
    assert len(PAIRS) == 73


@pytest.mark.parametrize("folder", PAIRS, ids=lambda folder: folder.name)
def test_a_pair_shows_its_rule_and_nothing_else(folder: Path) -> None:
    previous, current, document = (read(folder / f"{n}.json") for n in ("previous.schema", "current.schema", "document"))
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


# The real kinds and their real documents.


class Kind(NamedTuple):
    name: str
    schema: Any
    documents: list[Any]


@cache
def kinds() -> list[Kind]:
    schemas = read_schemas(REPO / "schemas/kinds")
    found = []
    for name in sorted(schemas.kinds):
        folder = REPO / "tests/fixtures/kinds" / f"{name.kind}.v{name.version}" / "valid"
        documents = [read(path) if path.suffix == ".json" else parse_yaml(path.read_text("utf-8"))[0]
                     for path in sorted(folder.glob("*"))]  # fmt: skip
        found.append(Kind(str(name), bundle(name.file, schemas.files), documents))
    return found


class Site(NamedTuple):
    """A node of a schema, by its path, that judged a value of a document, and the document."""

    path: tuple[str | int, ...]
    value: Any
    document: Any


def at(root: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        root = root[step]
    return root


def sites(root: Any, path: tuple[str | int, ...], value: Any, document: Any) -> Iterator[Site]:
    node = at(root, path)
    if not isinstance(node, dict):
        return
    yield Site(path, value, document)
    if "$ref" in node:
        yield from sites(root, ("$defs", node["$ref"].removeprefix("#/$defs/")), value, document)
    for union in ("anyOf", "oneOf"):
        for index, option in enumerate(node.get(union, ())):
            if accepts({**option, "$defs": root.get("$defs", {})}, value):
                yield from sites(root, (*path, union, index), value, document)
    if isinstance(value, list) and "items" in node:
        for item in value[:20]:
            yield from sites(root, (*path, "items"), item, document)
    if isinstance(value, dict):
        for name, member in list(value.items())[:100]:
            inside = ("properties", name) if name in node.get("properties", {}) else ("additionalProperties",)
            if inside[0] in node:
                yield from sites(root, (*path, *inside), member, document)
            if "propertyNames" in node:
                yield from sites(root, (*path, "propertyNames"), name, document)


@cache
def sites_of(kind: str) -> list[Site]:
    found = next(item for item in kinds() if item.name == kind)
    return [site for document in found.documents for site in sites(found.schema, (), document, document)]


Mutation = Callable[[Any, Any], str | None]
"""Changes a node in place so that the value it accepted is refused, or the surface changes; names the rule."""


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def bound(keyword: str, rule: str, measure: Callable[[Any], Any], by: int, holds: Callable[[Any], bool]) -> Mutation:
    def mutate(node: Any, value: Any) -> str | None:
        if keyword not in node or not holds(value) or (measure(value) + by < 0 and keyword.startswith("max")):
            return None
        node[keyword] = measure(value) + by
        return rule

    return mutate


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def another_pattern(node: Any, value: Any) -> str | None:
    if not isinstance(value, str) or "maxLength" not in node:
        return None
    node["pattern"] = "^~(?!\n)$"
    return "PATTERN_CHANGED"


def fewer_values(node: Any, value: Any) -> str | None:
    if len(node.get("enum", ())) < 2 or value is None:
        return None
    node["enum"].remove(value)
    return "ENUM_VALUE_REMOVED"


def another_const(node: Any, value: Any) -> str | None:
    if "const" not in node:
        return None
    node["const"] += "_other"
    return "CONST_CHANGED"


def closed_values(node: Any, value: Any) -> str | None:
    if not isinstance(value, str) or "maxLength" not in node or "enum" in node or isinstance(node.get("type"), list):
        return None
    node["enum"] = ["~"]
    return "VALUES_CLOSED"


def no_null(node: Any, value: Any) -> str | None:
    if value is None and isinstance(node.get("type"), list):
        node["type"].remove("null")
        return "TYPE_NARROWED"
    if value is None and {"type": "null"} in node.get("anyOf", ()):
        node["anyOf"].remove({"type": "null"})
        return "TYPE_NARROWED"
    return None


def another_type(node: Any, value: Any) -> str | None:
    if not isinstance(node.get("type"), str) or "const" in node or "enum" in node:
        return None
    node["type"] = "array" if node["type"] == "boolean" else "boolean"
    return "TYPE_NARROWED"


def fewer_branches(node: Any, value: Any) -> str | None:
    tag = node.get("discriminator", {}).get("propertyName")
    if tag is None or not isinstance(value, dict) or len(node["oneOf"]) < 2:
        return None
    definition = "".join(part.capitalize() for part in value[tag].split("_"))
    kept = [option for option in node["oneOf"] if not option["$ref"].lower().endswith(definition.lower())]
    if len(kept) != len(node["oneOf"]) - 1:
        return None
    node["oneOf"] = kept
    return "UNION_BRANCH_REMOVED"


def fewer_properties(node: Any, value: Any) -> str | None:
    present = [name for name in node.get("properties", {}) if isinstance(value, dict) and name in value]
    if not present:
        return None
    name = present[len(present) // 2]
    del node["properties"][name]
    node["required"] = [other for other in node["required"] if other != name]
    return "PROPERTY_REMOVED"


def newly_required(node: Any, value: Any) -> str | None:
    absent = [name for name in node.get("properties", {}) if isinstance(value, dict) and name not in value]
    if not absent:
        return None
    node["properties"][absent[0]].pop("default", None)
    node["required"].append(absent[0])
    return "PROPERTY_NOW_REQUIRED"


def new_and_required(node: Any, value: Any) -> str | None:
    if "properties" not in node or not isinstance(value, dict):
        return None
    node["properties"]["brand_new"] = {"type": "boolean", "description": "New."}
    node["required"].append("brand_new")
    return "PROPERTY_NOW_REQUIRED"


def unlisted(node: Any, value: Any) -> list[str]:
    if not isinstance(value, dict) or node.get("additionalProperties", False) is False:
        return []
    return [name for name in value if name not in node.get("properties", {})]


def closed_object(node: Any, value: Any) -> str | None:
    if not unlisted(node, value):
        return None
    node["additionalProperties"] = False
    return "ADDITIONAL_PROPERTIES_CLOSED"


def claimed_name(node: Any, value: Any) -> str | None:
    if not unlisted(node, value):
        return None
    node.setdefault("properties", {})[unlisted(node, value)[0]] = {"type": "array", "maxItems": 0, "items": {}}
    return "OPEN_PROPERTY_CLAIMED"


def not_understood(node: Any, value: Any) -> str | None:
    node["not"] = {}
    return "UNKNOWN_CHANGE"


def another_default(node: Any, value: Any) -> str | None:
    optional = [item for item in node.get("properties", {}).values() if "default" in item]
    if not optional:
        return None
    optional[-1]["default"] = "another default"
    return "DEFAULT_CHANGED"


def another_title(node: Any, value: Any) -> str | None:
    if "title" not in node:
        return None
    node["title"] = f"Other{node['title']}"
    return "TITLE_CHANGED"


def floating(node: Any, value: Any) -> str | None:
    if node.get("type") != "integer":
        return None
    node["type"] = "number"
    return "NUMBER_CLASS_CHANGED"


BREAKING: list[Mutation] = [
    bound("maximum", "MAXIMUM_LOWERED", lambda v: v, -1, is_number),
    bound("minimum", "MINIMUM_RAISED", lambda v: v, 1, is_number),
    bound("maxLength", "MAX_LENGTH_LOWERED", len, -1, is_text),
    bound("minLength", "MIN_LENGTH_RAISED", len, 1, is_text),
    bound("maxItems", "MAX_ITEMS_LOWERED", len, -1, is_list),
    bound("minItems", "MIN_ITEMS_RAISED", len, 1, is_list),
    *(another_pattern, fewer_values, another_const, closed_values, no_null, another_type, fewer_branches),
    *(fewer_properties, newly_required, new_and_required, closed_object, claimed_name, not_understood),
    *(another_default, another_title, floating),
]


def test_every_kind_is_here_with_documents_that_reach_into_its_schema() -> None:
    assert len(kinds()) >= 24
    for kind in kinds():
        assert len(kind.documents) >= 5, kind.name
        assert all(accepts(kind.schema, document) for document in kind.documents), kind.name
        assert len({site.path for site in sites_of(kind.name)}) >= 5, kind.name


def test_every_union_of_the_real_kinds_is_understood() -> None:
    num_unions = 0
    for kind in kinds():
        for node in nodes(kind.schema):
            if "anyOf" in node or "oneOf" in node:
                num_unions += 1
                assert not place(Schema(kind.schema), node).unknown, kind.name
    assert num_unions >= 50


def nodes(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def applicable(kind: Kind, mutation: Mutation, rng: Random) -> list[Site]:
    """Return places that the mutation can change, each node of the schema once, in a seeded order."""
    shuffled = rng.sample(sites_of(kind.name), len(sites_of(kind.name)))
    by_path = {site.path: site for site in shuffled if mutation(deepcopy(at(kind.schema, site.path)), site.value)}
    return list(by_path.values())


def test_every_breaking_mutation_of_the_real_kinds_is_caught() -> None:
    named: Counter[str] = Counter()
    num_cases = num_exact = 0
    for kind in kinds():
        rng = Random(f"breaking {kind.name}")
        for mutation in BREAKING:
            for site in applicable(kind, mutation, rng)[:8]:
                changed = deepcopy(kind.schema)
                rule = mutation(at(changed, site.path), site.value)
                assert rule is not None
                found = {change.rule for change in compare(kind.schema, changed) if change.breaking}
                assert found, (kind.name, site.path, rule)
                if rule not in SURFACE or rule == "UNKNOWN_CHANGE":
                    assert not accepts(changed, site.document), (kind.name, site.path, rule)
                num_cases += 1
                num_exact += rule in found
                named[rule] += 1
    assert num_cases >= 1000
    assert set(named) == set(RULE_IDS) - COMPATIBLE - {"KIND_REMOVED"}, named
    # A changed tag changes which branches a union has, and is reported as that.
    assert num_exact / num_cases > 0.95
