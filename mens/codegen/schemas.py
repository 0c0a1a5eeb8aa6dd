"""The JSON Schemas under schemas/kinds: reading, checking, bundling and projecting them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from mens.codegen.subset import meaning_problems, structure_problems, subset_problems
from mens.contracts.errors import ContractError, UsageError
from mens.contracts.json_types import JsonObject
from mens.contracts.positions import SyntaxFault, decode
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

FILE_NAME = re.compile(r"([a-z][a-z0-9]*(?:-[a-z0-9]+)*)\.v([1-9][0-9]*)\.schema\.json")
COMMON = "common"
DRAFT7 = {"$defs": "definitions"}


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
    def title(self) -> str:
        return f"{''.join(part.capitalize() for part in self.kind.split('-'))}V{self.version}"

    @property
    def file(self) -> str:
        return f"{self.kind}.v{self.version}.schema.json"


class Schemas(NamedTuple):
    """Every kind's schema, and the definitions they share, by file name."""

    kinds: Mapping[KindName, JsonObject]
    files: Mapping[str, JsonObject]


def read_schemas(folder: Path) -> Schemas:
    """Read and check schemas/kinds; refuse the first file that leaves the keyword subset."""
    root = folder.parent.parent
    meta = Draft202012Validator(read_object(folder.parent / "meta.schema.json", root))
    files: dict[str, JsonObject] = {}
    kinds: dict[KindName, JsonObject] = {}
    for path in sorted(folder.glob("*.json")):
        name = kind_name(path)
        files[path.name] = schema = read_object(path, root)
        title = None if name.kind == COMMON else name.title
        _refuse(list(subset_problems(meta, schema)) or list(structure_problems(schema, title)), name)
        if name.kind != COMMON:
            kinds[name] = schema
    for file in files:
        _refuse(list(meaning_problems(bundle(file, files))), kind_name(Path(file)))
    return Schemas(kinds, files)


def _refuse(problems: list[str], name: KindName) -> None:
    if problems:
        fix = "schemas/meta.schema.json and CONTRIBUTING.md say what a schema may say."
        raise ContractError("MENS-G001", "\n  ".join(problems), f"schemas/kinds/{name.file}", fix)


def read_object(path: Path, root: Path) -> JsonObject:
    """The JSON or YAML object in a file of the repository; refused with its line and column where there is none."""
    where = path.relative_to(root).as_posix()
    try:
        text = decode(path.read_bytes())
        value = parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]
    except SyntaxFault as fault:
        place = f"{where}:{fault.line}:{fault.column}"
        raise ContractError("MENS-S001", fault.message, place) from None
    except OSError as error:
        raise UsageError("MENS-P004", f"cannot be read: {error.strerror}", where) from None
    if not isinstance(value, dict):
        raise ContractError("MENS-G001" if path.suffix == ".json" else "MENS-G003", "not a mapping of fields", where)
    return value


def kind_name(path: Path) -> KindName:
    """The kind that a schema file's name declares."""
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise ContractError("MENS-G001", "a schema file is named <kind>.v<N>.schema.json", str(path))
    return KindName(match[1], int(match[2]))


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


def project_draft7(node: JsonObject, prefix: str = "") -> JsonObject:
    """The same schema in draft-07, which is what editors understand: no `$defs`, no keyword beside `$ref`.

    With a prefix, references point to definitions under longer names, so that several schemas can share a file.
    """
    projected: JsonObject = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):
            projected[DRAFT7.get(key, key)] = {name: project_draft7(child, prefix) for name, child in value.items()}
        elif key in ("oneOf", "anyOf"):
            projected[key] = [project_draft7(branch, prefix) for branch in value]
        elif key in ("items", "additionalProperties", "propertyNames") and isinstance(value, dict):
            projected[key] = project_draft7(value, prefix)
        elif key == "$ref":
            projected[key] = value.replace("#/$defs/", f"#/definitions/{prefix}")
        elif key not in ("$schema", "discriminator"):
            projected[key] = value
    if "$ref" in projected and len(projected) > 1:
        projected["allOf"] = [{"$ref": projected.pop("$ref")}]
    return projected
