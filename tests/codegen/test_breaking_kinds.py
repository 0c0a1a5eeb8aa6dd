"""The comparison beside jsonschema, over the real kinds and their real documents.

Labelled mutations, breaking and compatible, and unlabelled edits: whatever the comparison lets pass leaves every
document that was valid valid, and nothing that refuses one of them escapes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing.exceptions import Unresolvable

from mens.codegen.breaking.compare import compare
from mens.codegen.breaking.rules import BRANCH_RULES, PLACE_RULES, RULE_IDS
from mens.codegen.breaking.shapes import Schema, place
from mens.codegen.schemas import bundle, read_schemas
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

REPO = Path(__file__).parents[2]
COMPATIBLE = {rule.id for rules in (PLACE_RULES, BRANCH_RULES) for rule in rules if not rule.breaking}
SURFACE = {"NUMBER_CLASS_CHANGED", "DEFAULT_CHANGED", "TITLE_CHANGED", "CONST_CHANGED", "PROPERTY_REMOVED"}
"""Rules that may speak although every old document stays valid."""


def read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]


def accepts(schema: Any, document: Any) -> bool:
    return Draft202012Validator(schema).is_valid(document)


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
        documents = [read(path) for path in sorted(folder.glob("*"))]
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
    node["pattern"] = r"^~(?!\n)$"
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
    assert len(kinds()) == len(list((REPO / "schemas/kinds").glob("*.json"))) - 1 >= 24
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


def applicable(kind: Kind, mutation: Mutation, rng: Random, limit: int) -> list[Site]:
    """Return places that the mutation can change, each node of the schema once, in a seeded order."""
    found: dict[tuple[str | int, ...], Site] = {}
    for site in rng.sample(sites_of(kind.name), len(sites_of(kind.name))):
        node = {key: value for key, value in at(kind.schema, site.path).items() if key != "$defs"}
        if site.path not in found and mutation(deepcopy(node), site.value):
            found[site.path] = site
        if len(found) == limit:
            break
    return list(found.values())


def test_every_breaking_mutation_of_the_real_kinds_is_caught() -> None:
    named: Counter[str] = Counter()
    num_cases = num_exact = 0
    for kind in kinds():
        rng = Random(f"breaking {kind.name}")
        for mutation in BREAKING:
            for site in applicable(kind, mutation, rng, 4):
                changed = deepcopy(kind.schema)
                rule = mutation(at(changed, site.path), site.value)
                assert rule is not None
                found = {change.rule for change in compare(kind.schema, changed) if change.breaking}
                assert found, (kind.name, site.path, rule)
                if rule not in SURFACE:
                    assert not accepts(changed, site.document), (kind.name, site.path, rule)
                num_cases += 1
                num_exact += rule in found
                named[rule] += 1
    assert num_cases >= 1000
    assert set(named) == set(RULE_IDS) - COMPATIBLE - {"KIND_REMOVED"}, named
    # A changed tag changes which branches a union has, and is reported as that.
    assert num_exact / num_cases > 0.95


# Mutations that leave old documents as they were.


def roomier(root: Any, node: Any, rng: Random) -> bool:
    bounds = {"maximum": 1, "maxLength": 1, "maxItems": 1, "minimum": -1}
    present = [keyword for keyword in bounds if keyword in node]
    for keyword in present:
        node[keyword] += bounds[keyword]
    return bool(present)


def without_pattern(root: Any, node: Any, rng: Random) -> bool:
    return isinstance(node.get("maxLength"), int) and node.pop("pattern", None) is not None


def another_value(root: Any, node: Any, rng: Random) -> bool:
    if not isinstance(node.get("enum"), list):
        return False
    node["enum"].insert(rng.randrange(len(node["enum"]) + 1), "one_more")
    return True


def nullable(root: Any, node: Any, rng: Random) -> bool:
    changed = False
    for member in node["properties"].values() if "additionalProperties" in node and "properties" in node else ():
        if isinstance(member.get("type"), str) and "const" not in member and rng.random() < 0.3:
            member["type"] = [member["type"], "null"]
            changed = True
    return changed


def new_property(root: Any, node: Any, rng: Random) -> bool:
    if node.get("additionalProperties") is not False or "properties" not in node:
        return False
    node["properties"]["brand_new"] = {"type": "boolean", "default": False, "description": "New."}
    return True


def newly_optional(root: Any, node: Any, rng: Random) -> bool:
    names = [name for name in node.get("required", ()) if "const" not in node["properties"][name]]
    if not names or "additionalProperties" not in node:
        return False
    name = rng.choice(names)
    node["required"].remove(name)
    node["properties"][name]["default"] = None
    return True


def opened(root: Any, node: Any, rng: Random) -> bool:
    if node.get("additionalProperties") is not False:
        return False
    node["additionalProperties"] = True
    return True


def another_branch(root: Any, node: Any, rng: Random) -> bool:
    if "discriminator" not in node:
        return False
    tag = {"type": "string", "const": "one_more"}
    name = node["discriminator"]["propertyName"]
    branch = {"type": "object", "properties": {name: tag}, "required": [name], "additionalProperties": False}
    root["$defs"]["OneMore"] = branch
    node["oneOf"].append({"$ref": "#/$defs/OneMore"})
    return True


def reworded(root: Any, node: Any, rng: Random) -> bool:
    if not isinstance(node.get("description"), str):
        return False
    node["description"] += " In other words."
    return True


def reordered(root: Any, node: Any, rng: Random) -> bool:
    entries = rng.sample(list(node.items()), len(node))
    node.clear()
    node.update(entries)
    return len(entries) > 1


def renamed_definition(root: Any, node: Any, rng: Random) -> bool:
    if "$ref" not in node:
        return False
    old = node["$ref"].removeprefix("#/$defs/")
    root["$defs"][f"{old}Renamed"] = root["$defs"].pop(old)
    for other in nodes(root):
        if other.get("$ref") == f"#/$defs/{old}":
            other["$ref"] += "Renamed"
    return True


def inlined_definition(root: Any, node: Any, rng: Random) -> bool:
    if "$ref" not in node:
        return False
    target = root["$defs"][node.pop("$ref").removeprefix("#/$defs/")]
    node.update({key: deepcopy(value) for key, value in target.items() if key not in node})
    return True


GENTLE: dict[Callable[[Any, Any, Random], bool], str] = {
    roomier: "type",
    without_pattern: "pattern",
    another_value: "enum",
    nullable: "properties",
    new_property: "properties",
    newly_optional: "required",
    opened: "additionalProperties",
    another_branch: "discriminator",
    reworded: "description",
    reordered: "type",
    renamed_definition: "$ref",
    inlined_definition: "$ref",
}
"""Each mutation with a keyword that a node must have to be worth trying."""


def test_no_compatible_mutation_of_the_real_kinds_is_refused() -> None:
    performed: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for kind in kinds():
        rng = Random(f"compatible {kind.name}")
        for mutation, keyword in GENTLE.items():
            worth = [index for index, node in enumerate(subschemas(kind.schema)) if keyword in node]
            for index in rng.sample(worth, min(4, len(worth))):
                changed = deepcopy(kind.schema)
                if not mutation(changed, list(subschemas(changed))[index], rng):
                    continue
                changes = compare(kind.schema, changed)
                assert not [change for change in changes if change.breaking], (kind.name, mutation.__name__)
                assert all(accepts(changed, document) for document in kind.documents), (kind.name, mutation.__name__)
                performed[mutation.__name__] += 1
                named.update({change.rule for change in changes})
    assert performed.total() >= 500
    assert set(performed) == {mutation.__name__ for mutation in GENTLE}
    assert set(named) == COMPATIBLE


def subschemas(node: Any) -> Iterator[Any]:
    """Yield the nodes that are schemas, not the mappings of names to schemas between them."""
    yield node
    for keyword in ("properties", "$defs"):
        for member in node.get(keyword, {}).values():
            yield from subschemas(member)
    for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from subschemas(option)
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(keyword), dict):
            yield from subschemas(node[keyword])


# Edits that nobody labelled.


def edited(schema: Any, rng: Random) -> Any:
    """Return the schema with one random edit somewhere: an entry gone, moved, or with another value."""
    changed = deepcopy(schema)
    node = rng.choice([node for node in nodes(changed) if node])
    key = rng.choice(list(node))
    donor = rng.choice([other for other in nodes(changed) if other])
    other = rng.choice(list(donor))
    edit = rng.randrange(3)
    if edit == 0:
        del node[key]
    elif edit == 1:
        node[key] = deepcopy(donor[other])
    else:
        node[other] = deepcopy(donor[other])
    return changed


def test_what_passes_leaves_every_valid_document_valid() -> None:
    num_edits = num_passed = num_refusing = 0
    for kind in kinds():
        rng = Random(f"edits {kind.name}")
        for _ in range(12):
            changed = edited(kind.schema, rng)
            try:
                Draft202012Validator.check_schema(changed)
                stays = all(accepts(changed, document) for document in kind.documents)
            except (SchemaError, Unresolvable, RecursionError, re.error):
                continue
            passed = not any(change.breaking for change in compare(kind.schema, changed))
            assert stays or not passed, kind.name
            num_edits += 1
            num_passed += passed
            num_refusing += not stays
    assert num_edits >= 200
    assert num_passed >= 40
    assert num_refusing >= 20
