"""The JSON Schemas under schemas/kinds: reading, checking, bundling and projecting them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from mens.contracts.errors import ContractError
from mens.contracts.json_types import JsonObject
from mens.contracts.strict_json import parse_json

FILE_NAME = re.compile(r"([a-z][a-z0-9]*(?:-[a-z0-9]+)*)\.v([1-9][0-9]*)\.schema\.json")
COMMON = "common"


class KindName(NamedTuple):
    """A kind and its version, as in `adapter-meta/v3`."""

    kind: str
    version: int

    def __str__(self) -> str:
        return f"{self.kind}/v{self.version}"

    @property
    def module(self) -> str:
        return f"{self.kind.replace('-', '_')}_v{self.version}"

    @property
    def file(self) -> str:
        return f"{self.kind}.v{self.version}.schema.json"


class Schemas(NamedTuple):
    """Every kind's schema, and the definitions they share, by file name."""

    kinds: Mapping[KindName, JsonObject]
    files: Mapping[str, JsonObject]


def read_schemas(folder: Path) -> Schemas:
    """Read and check schemas/kinds; refuse the first file that leaves the keyword subset."""
    meta_path = folder.parent / "meta.schema.json"
    meta = Draft202012Validator(_object(parse_json(meta_path.read_text(encoding="utf-8")), meta_path))
    files: dict[str, JsonObject] = {}
    kinds: dict[KindName, JsonObject] = {}
    for path in sorted(folder.glob("*.json")):
        name = kind_name(path)
        files[path.name] = schema = _object(parse_json(path.read_text(encoding="utf-8")), path)
        problems = list(_subset_problems(meta, schema)) or list(_structure_problems(schema, name))
        if problems:
            fix = "schemas/meta.schema.json says what a schema may say."
            raise ContractError("MENS-G001", "\n  ".join(problems), str(path), fix)
        if name.kind != COMMON:
            kinds[name] = schema
    return Schemas(kinds, files)


def kind_name(path: Path) -> KindName:
    """The kind that a schema file's name declares."""
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise ContractError("MENS-G001", "a schema file is named <kind>.v<N>.schema.json", str(path))
    return KindName(match[1], int(match[2]))


def _object(value: Any, path: Path) -> JsonObject:
    if not isinstance(value, dict):
        raise ContractError("MENS-G001", "a schema is a JSON object", str(path))
    return value


def _subset_problems(meta: Draft202012Validator, schema: JsonObject) -> Iterator[str]:
    for error in meta.iter_errors(schema):
        leaf = best_match([error])
        yield f"{leaf.json_path if leaf else error.json_path}: {(leaf or error).message[:300]}"


def _structure_problems(schema: JsonObject, name: KindName) -> Iterator[str]:
    """What the meta-schema cannot say: names that must match other names, and defaults that must be valid."""
    if name.kind != COMMON and not schema["title"].endswith(f"V{name.version}"):
        yield f"title {schema['title']!r} must end in V{name.version}"
    for where, node in classes(schema):
        unknown = set(node["required"]) - set(node["properties"])
        if unknown:
            yield f"{where}: required names no property: {', '.join(sorted(unknown))}"
        for key, value in node["properties"].items():
            optional = key not in node["required"]
            if optional != ("default" in value) and not (optional and "const" in value):
                yield f"{where}.{key}: a property has a default if and only if it is not required"


def classes(schema: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Every object with properties, by where it stands."""
    if "properties" in schema:
        yield "$", schema
    for key, node in schema.get("$defs", {}).items():
        if "properties" in node:
            yield f"$.$defs.{key}", node


def bundle(name: str, files: Mapping[str, JsonObject]) -> JsonObject:
    """Make one schema file self-contained: definitions of other files move into its own `$defs`."""
    wanted: dict[str, JsonObject] = {}
    root: JsonObject = _localise(files[name], name, name, files, wanted)
    local = root.pop("$defs", {})
    clash = set(local) & set(wanted)
    if clash:
        raise ContractError("MENS-G001", f"defines again what it also borrows: {', '.join(sorted(clash))}", name)
    definitions = dict(sorted({**local, **wanted}.items()))
    return root | ({"$defs": definitions} if definitions else {})


def _localise(node: Any, here: str, root: str, files: Mapping[str, JsonObject], wanted: dict[str, JsonObject]) -> Any:
    if isinstance(node, list):
        return [_localise(item, here, root, files, wanted) for item in node]
    if not isinstance(node, dict):
        return node
    copied = {key: _localise(value, here, root, files, wanted) for key, value in node.items()}
    if isinstance(node.get("$ref"), str):
        file, _, definition = node["$ref"].partition("#/$defs/")
        copied["$ref"] = f"#/$defs/{definition}"
        _borrow(file or here, definition, root, files, wanted)
    return copied


def _borrow(
    file: str, definition: str, root: str, files: Mapping[str, JsonObject], wanted: dict[str, JsonObject]
) -> None:
    if file == root or definition in wanted:
        return
    source = files.get(file, {}).get("$defs", {}).get(definition)
    if source is None:
        raise ContractError("MENS-G001", f"{file}#/$defs/{definition} does not exist", root)
    wanted[definition] = {}  # placed first: definitions may name one another in a circle
    wanted[definition] = _localise(source, file, root, files, wanted)


def path_fields(bundled: JsonObject) -> list[str]:
    """Pointers (with `*` for any member) of the fields that hold a path inside the artifact."""
    return sorted(set(_path_fields(bundled, bundled, "", frozenset())))


def _path_fields(node: Any, root: JsonObject, pointer: str, seen: frozenset[str]) -> Iterator[str]:
    if not isinstance(node, dict):
        return
    reference = node.get("$ref")
    if reference == "#/$defs/RelativePath":
        yield pointer
    elif isinstance(reference, str) and reference not in seen:
        target = root["$defs"][reference.rpartition("/")[2]]
        yield from _path_fields(target, root, pointer, seen | {reference})
    for key, value in node.get("properties", {}).items():
        yield from _path_fields(value, root, f"{pointer}/{key}", seen)
    for key in ("items", "additionalProperties"):
        yield from _path_fields(node.get(key), root, f"{pointer}/*", seen)
    for branch in [*node.get("oneOf", []), *node.get("anyOf", [])]:
        yield from _path_fields(branch, root, pointer, seen)


def project_draft7(node: Any) -> Any:
    """The same schema in draft-07, which is what editors understand: no `$defs`, no keyword beside `$ref`."""
    if isinstance(node, list):
        return [project_draft7(item) for item in node]
    if not isinstance(node, dict):
        return node
    projected = {
        {"$defs": "definitions"}.get(key, key): project_draft7(value)
        for key, value in node.items()
        if key not in ("$schema", "discriminator")
    }
    if isinstance(node.get("$ref"), str):
        projected["$ref"] = node["$ref"].replace("#/$defs/", "#/definitions/")
        if len(projected) > 1:
            projected["allOf"] = [{"$ref": projected.pop("$ref")}]
    return projected
