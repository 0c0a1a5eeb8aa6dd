"""JSON Schemas in a form that two versions of one can be compared in, place by place.

A place is where a value may stand. It is described by one branch per JSON type (per tag, for a union of
objects), which makes `{"type": ["string", "null"]}` and `anyOf` of a reference and null the same thing, and
hides how a schema is cut into $defs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mens.contracts.json_types import JsonObject, JsonValue

JSON_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")
KEYWORDS_BY_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "integer": frozenset({"minimum", "maximum"}),
    "number": frozenset({"minimum", "maximum"}),
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties", "propertyNames"}),
}
VALUE_KEYWORDS: Final = frozenset({"const", "enum"})
TYPED_KEYWORDS: Final = VALUE_KEYWORDS.union({"type"}, *KEYWORDS_BY_TYPE.values())
ANNOTATIONS: Final = frozenset({"title", "description", "default", "$defs"})
UNIONS: Final = frozenset({"anyOf", "oneOf"})
ABSENT: Final = "absent"
"""What a default is where there is none: no canonical JSON text reads like this."""


def canonical(value: JsonValue) -> str:
    """Return the text that equal JSON values share and that 0, 0.0 and false do not."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Place:
    """What one version of a schema says about the values at one place."""

    branches: Mapping[str, JsonObject]
    default: str = ABSENT
    discriminator: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Keywords that nothing here understands, with the text that stands for their whole meaning."""

    @property
    def opaque(self) -> bool:
        """Whether the place is a union whose branches could not be told apart."""
        return bool(UNIONS & self.unknown.keys())

    @property
    def types(self) -> frozenset[str]:
        """The JSON types that may stand here."""
        return frozenset(type_of(key) for key in self.branches)


def type_of(branch: str) -> str:
    """Return the JSON type of a branch key: `object` for `object:rename`."""
    return branch.partition(":")[0]


@dataclass(frozen=True)
class Schema:
    """A self-contained schema: its root and its definitions."""

    root: JsonObject

    @property
    def definitions(self) -> JsonObject:
        """The definitions that `#/$defs/<name>` refers to."""
        found = self.root.get("$defs", {})
        return found if isinstance(found, dict) else {}

    def target(self, reference: JsonValue) -> JsonValue:
        """Return what a reference names, or None when it names nothing in this file."""
        prefix = "#/$defs/"
        if not isinstance(reference, str) or not reference.startswith(prefix):
            return None
        return self.definitions.get(reference.removeprefix(prefix).replace("~1", "/").replace("~0", "~"))

    def follow(self, node: JsonValue) -> JsonValue:
        """Return the node that a chain of references ends in."""
        seen: list[JsonValue] = []
        while isinstance(node, dict) and node not in seen and isinstance(target := self.target(node.get("$ref")), dict):
            seen.append(node)
            node = target
        return node

    def reached(self, value: JsonValue) -> JsonObject:
        """Return every definition that a value leans on, by reference."""
        reached: JsonObject = {}
        waiting = list(_references(value))
        while waiting:
            reference = waiting.pop()
            if reference not in reached:
                reached[reference] = self.target(reference)
                waiting.extend(_references(reached[reference]))
        return reached

    def meaning(self, value: JsonValue) -> str:
        """Return text that changes whenever the value, or any definition that it leans on, changes."""
        reached = self.reached(value)
        return canonical([value, reached]) if reached else canonical(value)

    def complete(self, value: JsonValue) -> bool:
        """Say whether every reference below a value ends in a definition."""
        ends = (self.follow({"$ref": reference}) for reference in self.reached(value))
        return all(isinstance(end, dict) and "$ref" not in end for end in ends)


def _references(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def resolved(schema: Schema, node: JsonObject) -> JsonObject:
    """Return the node with its reference followed; what cannot be followed stays, as an unknown keyword."""
    seen: set[str] = set()
    while "$ref" in node:
        target = schema.target(node["$ref"])
        reference = canonical(node["$ref"])
        if not isinstance(target, dict) or reference in seen:
            return {**node, "$ref beyond reach": node["$ref"]}
        seen.add(reference)
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = target | {key: value for key, value in beside.items() if key in ANNOTATIONS}
        # Both sides of a reference bind; a sibling that asserts is kept apart, never merged over the target.
        asserting = {key: value for key, value in beside.items() if key not in ANNOTATIONS}
        if asserting:
            node["beside $ref"] = asserting
    return node


def place(schema: Schema, node: JsonValue, above: frozenset[int] = frozenset()) -> Place:
    """Describe the place that a schema node governs; `above` holds the unions that it is an option of."""
    if node is True or node == {}:
        return Place({name: {} for name in JSON_TYPES})
    if not isinstance(node, dict):
        return Place({}, unknown={} if node is False else {"not a schema": canonical(node)})
    flat = resolved(schema, node)
    this = id(schema.follow(node))
    if this in above:
        return Place({}, unknown={"oneOf": "a union that is its own branch"})
    described = _union(schema, flat, above | {this}) if UNIONS & flat.keys() else _typed(schema, flat)
    return Place(
        described.branches,
        default=canonical(flat["default"]) if "default" in flat else ABSENT,
        discriminator=described.discriminator,
        unknown=described.unknown,
    )


def _typed(schema: Schema, node: JsonObject) -> Place:
    declared = node.get("type", list(JSON_TYPES))
    types = declared if isinstance(declared, list) else [declared]
    unknown = {
        key: schema.meaning(value)
        for key, value in node.items()
        if key not in TYPED_KEYWORDS and key not in ANNOTATIONS and key != "$ref"
    }
    if strange := [name for name in types if name not in KEYWORDS_BY_TYPE]:
        unknown["type"] = canonical(strange)
    known = [name for name in types if name in KEYWORDS_BY_TYPE and (name != "integer" or "number" not in types)]
    branches = {name: branch for name in known if (branch := _branch(node, name)) is not None}
    return Place(branches, unknown=unknown)


def _branch(node: JsonObject, json_type: str) -> JsonObject | None:
    """Return the keywords that bind values of one type; None when no value of that type is listed."""
    branch = {key: value for key, value in node.items() if key in KEYWORDS_BY_TYPE[json_type] or key == "title"}
    listed = [[node["const"]]] if "const" in node else []
    listed += [node["enum"]] if "enum" in node else []
    if listed:
        common = set.intersection(*({canonical(value) for value in values} for values in listed))
        values = [value for value in listed[0] if is_of(value, json_type) and canonical(value) in common]
        if not values:
            return None
        branch |= {"const": values[0]} if "const" in node else {"enum": values}
    return branch


def is_of(value: JsonValue, json_type: str) -> bool:
    """Say whether a value is of a JSON type; an integral number counts as an integer."""
    if isinstance(value, bool):
        return json_type == "boolean"
    if isinstance(value, int | float):
        return json_type == "number" or (json_type == "integer" and float(value).is_integer())
    names = {str: "string", list: "array", dict: "object", type(None): "null"}
    return names[type(value)] == json_type


def _union(schema: Schema, node: JsonObject, above: frozenset[int]) -> Place:
    """Describe a union; one whose branches cannot be told apart is kept whole, as an unknown keyword."""
    allowed = ANNOTATIONS | UNIONS | {"$ref", "discriminator"}
    keyword = "oneOf" if "oneOf" in node else "anyOf"
    apart = node.keys() <= allowed and len(UNIONS & node.keys()) == 1 and isinstance(node[keyword], list)
    merged: Place | None = None
    if apart:
        options = [place(schema, option, above) for option in node[keyword]]
        merged = _tagged(schema, node, options) if "discriminator" in node else _disjoint(options)
    if merged is None:
        whole = {key: value for key, value in node.items() if key not in ANNOTATIONS}
        return Place({}, unknown={keyword: schema.meaning(whole)})
    return merged


def _disjoint(options: list[Place]) -> Place | None:
    """Describe a union of disjoint types; None when two options share one."""
    branches: dict[str, JsonObject] = {}
    unknown: dict[str, str] = {}
    discriminator: str | None = None
    for option in options:
        taken = {type_of(key) for key in branches}
        clash = taken & option.types or {"integer", "number"} <= taken | option.types
        if clash or option.opaque or unknown.keys() & option.unknown.keys():
            return None
        branches |= option.branches
        unknown |= option.unknown
        discriminator = discriminator or option.discriminator
    return Place(branches, unknown=unknown, discriminator=discriminator)


def _tagged(schema: Schema, node: JsonObject, options: list[Place]) -> Place | None:
    """Describe a union of objects that a tag tells apart; None when the tags do not do so."""
    tag = node["discriminator"].get("propertyName") if isinstance(node["discriminator"], dict) else None
    if not isinstance(tag, str) or "oneOf" not in node or len(node["discriminator"]) != 1:
        return None
    branches: dict[str, JsonObject] = {}
    unknown: dict[str, str] = {}
    for option in options:
        body = option.branches.get("object", {}) if len(option.branches) == 1 else {}
        mark = _mark(schema, body, tag)
        if mark is None or f"object:{mark}" in branches:
            return None
        branches[f"object:{mark}"] = body
        unknown |= {f"{mark}: {name}": text for name, text in option.unknown.items()}
    return Place(branches, unknown=unknown, discriminator=tag)


def _mark(schema: Schema, body: JsonObject, tag: str) -> str | None:
    """Return the constant by which an object is recognised as a branch; None when it may lack one."""
    node = body.get("properties", {}).get(tag)
    mark = resolved(schema, node).get("const") if isinstance(node, dict) else None
    return mark if isinstance(mark, str) and tag in body.get("required", ()) else None
