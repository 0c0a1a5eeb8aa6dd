"""The lint of schemas: the keyword subset whose generated models accept exactly what a JSON Schema judge accepts."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from mens.contracts.json_types import JsonObject


def subset_problems(meta: Draft202012Validator, schema: JsonObject) -> Iterator[str]:
    """Every place where a schema leaves what meta.schema.json allows."""
    assert isinstance(meta.schema, dict), "the meta-schema is an object"
    definitions = meta.schema["$defs"]
    for error in meta.iter_errors(schema):
        yield from _said(error, definitions, "$")


def _said(error: ValidationError, definitions: JsonObject, above: str, meant: str = "") -> Iterator[str]:
    """What an error says once the form is known that a node was meant to have: no list of forms it has not."""
    where = f"{above}{error.json_path[1:]}"
    form = _form(error.instance) if error.validator == "oneOf" and isinstance(error.instance, dict) else meant
    if form != meant:
        judge = Draft202012Validator({"$ref": f"#/$defs/{form}", "$defs": definitions})
        inner = [said for found in judge.iter_errors(error.instance) for said in _said(found, definitions, where, form)]
        yield from inner or [f"{where}: a definition has a description and is more than a reference"]
    else:
        leaf = best_match([error]) or error
        yield f"{above}{leaf.json_path[1:]}: {leaf.message[:300]}"


def _form(node: JsonObject) -> str:
    """The form of the meta-schema that a node is meant to have, by its telling keyword or its type."""
    telling = {"$ref": "reference", "properties": "class", "const": "constant", "enum": "choice"}
    for keyword_, form in {**telling, "oneOf": "taggedUnion", "anyOf": "union"}.items():
        if keyword_ in node:
            return form
    declared = node.get("type")
    name = declared[0] if isinstance(declared, list) and declared else declared
    if name == "object":
        return "free" if node.get("additionalProperties") is True else "map"
    return {"string": "text", "integer": "number", "number": "number", "array": "array"}.get(str(name), "boolean")


def structure_problems(schema: JsonObject, title: str | None) -> Iterator[str]:
    """What the meta-schema cannot say of one file: names that must match other names."""
    if title is not None and schema["title"] != title:
        yield f"$.title: {schema['title']!r} must be {title!r}, which follows from the file's name"
    for where, node in classes(schema):
        unknown = set(node["required"]) - set(node["properties"])
        if unknown:
            yield f"{where}: required names no property: {', '.join(sorted(unknown))}"
        for key, value in node["properties"].items():
            if keyword.iskeyword(key):
                yield f"{where}.{key}: a property cannot be called as a Python keyword is"
            if (key in node["required"]) == ("default" in value):
                yield f"{where}.{key}: a property has a default if and only if it is not required"


def meaning_problems(bundled: JsonObject) -> Iterator[str]:
    """What takes a self-contained schema to say: defaults hold, bounds are in order, unions tell branches apart."""
    missing = sorted(set(_references(bundled)) - {f"#/$defs/{name}" for name in bundled.get("$defs", {})})
    if missing:
        yield f"{', '.join(missing)}: no such definition"
        return
    for where, node in _nodes(bundled, "$"):
        yield from (f"{where}: {problem}" for problem in _bounds(node))
        if "pattern" in node:
            yield from (f"{where}: {problem}" for problem in _pattern(node["pattern"]))
        if "oneOf" in node:
            yield from (f"{where}: {problem}" for problem in _tags(node, bundled))
        if "anyOf" in node:
            yield from (f"{where}: {problem}" for problem in _disjoint(node, bundled))
        if "default" in node:
            yield from (f"{where}: {problem}" for problem in _default(node, bundled))


def classes(schema: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Every object with properties, by where it stands."""
    if "properties" in schema:
        yield "$", schema
    for key, node in schema.get("$defs", {}).items():
        if "properties" in node:
            yield f"$.$defs.{key}", node


def _nodes(node: JsonObject, where: str) -> Iterator[tuple[str, JsonObject]]:
    """Every schema within a schema, itself first; names of properties and definitions are no keywords."""
    yield where, node
    for keyword_ in ("properties", "$defs"):
        for key, child in node.get(keyword_, {}).items():
            yield from _nodes(child, f"{where}.{key}" if keyword_ == "properties" else f"{where}.$defs.{key}")
    for keyword_ in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(keyword_), dict):
            yield from _nodes(node[keyword_], f"{where}.{keyword_}")
    for keyword_ in ("oneOf", "anyOf"):
        for index, branch in enumerate(node.get(keyword_, [])):
            yield from _nodes(branch, f"{where}.{keyword_}[{index}]")


def _references(schema: JsonObject) -> Iterator[str]:
    for _, node in _nodes(schema, "$"):
        if "$ref" in node:
            yield node["$ref"]


def _bounds(node: JsonObject) -> Iterator[str]:
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        if low in node and high in node and node[low] > node[high]:
            yield f"{low} {node[low]} is above {high} {node[high]}"


def _pattern(pattern: str) -> Iterator[str]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"the pattern {pattern!r} is no regular expression: {error}"


def _tags(node: JsonObject, root: JsonObject) -> Iterator[str]:
    """A discriminator needs a required constant in each branch, and no two alike."""
    tag, seen = node["discriminator"]["propertyName"], set()
    for branch in node["oneOf"]:
        target = _target(branch, root)
        constant = target.get("properties", {}).get(tag, {}).get("const")
        if constant is None or tag not in target["required"]:
            yield f"{branch['$ref']} has no required constant {tag!r}"
        elif constant in seen:
            yield f"{branch['$ref']} repeats the tag {constant!r}"
        seen.add(constant)


def _disjoint(node: JsonObject, root: JsonObject) -> Iterator[str]:
    """Branches of distinct JSON types, so that a value has one reading; whole numbers are numbers."""
    seen: set[str] = set()
    for branch in node["anyOf"]:
        types = set(_types(branch, root))
        for shared in sorted(types & seen):
            yield f"two branches of anyOf are of type {shared}"
        seen |= types | ({"integer", "number"} if types & {"integer", "number"} else set())


def _types(node: JsonObject, root: JsonObject) -> Iterable[str]:
    target = _target(node, root)
    if "anyOf" in target:
        return [name for branch in target["anyOf"] for name in _types(branch, root)]
    declared = target.get("type", "object")
    return [declared] if isinstance(declared, str) else list(declared)


def _target(node: JsonObject, root: JsonObject) -> Any:
    return root["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _default(node: JsonObject, root: JsonObject) -> Iterator[str]:
    """A default must hold against its own schema; nothing else would ever check it."""
    validator = Draft202012Validator({**node, "$defs": root.get("$defs", {})})
    for error in validator.iter_errors(node["default"]):
        yield f"the default is refused: {error.message[:200]}"
