"""Data files become tables of generated types: families, releases, presets, lanes and the kind registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from mens.codegen.names import classes_used, construct, python_identifier
from mens.codegen.schemas import KindName, Schemas, bundle, path_fields
from mens.contracts.claims import Claims
from mens.contracts.errors import ContractError
from mens.contracts.json_types import JsonObject
from mens.contracts.judge import judge
from mens.contracts.problems import Problem
from mens.contracts.rules import RULES
from mens.contracts.strict_yaml import parse_yaml


class DataKind(NamedTuple):
    """One folder of data files, each a document of one kind, and what its table is called."""

    folder: str
    kind: KindName
    constant: str
    plural: str


DATA_KINDS = (
    DataKind("families", KindName("family", 1), "FAMILY", "FAMILIES"),
    DataKind("releases", KindName("release", 1), "RELEASE", "RELEASES"),
    DataKind("presets", KindName("training-preset", 1), "PRESET", "PRESETS"),
    DataKind("lanes", KindName("lane", 1), "LANE", "LANES"),
)


class Entry(NamedTuple):
    """One data file, checked: its id, its value and the module it becomes."""

    id: str
    value: JsonObject
    source: Path
    module: str


class Data(NamedTuple):
    """Every data file by folder, and the registry."""

    entries: Mapping[str, tuple[Entry, ...]]
    registry: JsonObject


def read_data(root: Path, schemas: Schemas) -> Data:
    """Read every data file; refuse the first that its schema, a rule or another file contradicts."""
    claims = Claims()
    entries = {kind.folder: tuple(_entries(root, kind, schemas, claims)) for kind in DATA_KINDS}
    registry = _read(root / "schemas" / "registry.yaml", KindName("kind-registry", 1), schemas)
    declared = {KindName(entry["kind"], entry["version"]) for entry in registry["kinds"]}
    for missing in sorted(declared ^ set(schemas.kinds)):
        where = "schemas/kinds" if missing in declared else "schemas/registry.yaml"
        raise ContractError(
            "MENS-G002", f"{missing} is not declared", where, "A kind is a schema file and a registry entry."
        )
    return Data(entries, registry)


def _entries(root: Path, kind: DataKind, schemas: Schemas, claims: Claims) -> Iterator[Entry]:
    for path in sorted((root / "schemas" / kind.folder).glob("*.yaml")):
        value = _read(path, kind.kind, schemas)
        where = str(path.relative_to(root))
        _refuse(list(claims.problems(kind.kind.kind, value, where)), where)
        if value["id"] != path.stem:
            raise ContractError("MENS-G003", f"the id {value['id']!r} is not the file's name", where)
        yield Entry(value["id"], value, path.relative_to(root), python_identifier(value["id"]))


def _read(path: Path, kind: KindName, schemas: Schemas) -> JsonObject:
    value, _ = parse_yaml(path.read_text(encoding="utf-8"))
    validator = Draft202012Validator(bundle(kind.file, schemas.files))
    problems = judge(value, validator, f"mens/{kind}")
    assert problems or isinstance(value, dict), "every kind's root is an object"
    if not problems and isinstance(value, dict):
        problems = [problem for rule in RULES.get(kind.kind, ()) for problem in rule(value)]
    _refuse(problems, str(path))
    return value  # type: ignore[return-value]


def _refuse(problems: list[Problem], where: str) -> None:
    if problems:
        listed = "\n".join(
            f"  {problem.pointer or '/'}: {problem.message}   [{problem.code}]" for problem in problems[:10]
        )
        fix = "mens validate shows lines and columns."
        raise ContractError("MENS-G003", f"{len(problems)} problems\n{listed}", where, fix)


def entry_context(entry: Entry, kind: DataKind, schemas: Schemas) -> JsonObject:
    """What the template of one data file's module needs."""
    root = bundle(kind.kind.file, schemas.files)
    source = construct(entry.value, root, root)
    by_module: dict[str, list[str]] = {}
    for name in classes_used(source, [root["title"], *root.get("$defs", {})]):
        by_module.setdefault(_home(name, kind.kind, schemas), []).append(name)
    title = str(entry.value.get("title", entry.id)).rstrip(".")
    return {"title": title, "imports": sorted(by_module.items()), "constant": kind.constant, "source": source}


def _home(name: str, kind: KindName, schemas: Schemas) -> str:
    """The generated module that defines a class."""
    if name == schemas.kinds[kind]["title"] or name in schemas.kinds[kind].get("$defs", {}):
        return kind.module
    return next(
        file.removesuffix(".schema.json").replace("-", "_").replace(".", "_")
        for file, schema in schemas.files.items()
        if name in schema.get("$defs", {})
    )


def table_context(kind: DataKind, entries: tuple[Entry, ...], schemas: Schemas) -> JsonObject:
    """What the template of one folder's index needs."""
    return {
        "title": f"Every entry of schemas/{kind.folder}, by id",
        "module": kind.kind.module,
        "model": schemas.kinds[kind.kind]["title"],
        "constant": kind.plural,
        "package": f"mens_contracts.{kind.folder}",
        "entries": [(entry.id, entry.module) for entry in entries],
        "attribute": kind.constant,
        "indexes": list(_indexes(kind, entries)),
    }


def _indexes(kind: DataKind, entries: tuple[Entry, ...]) -> Iterator[JsonObject]:
    if kind.folder == "presets":
        names = [(name, e.id) for e in entries for name in [e.id, *e.value.get("aliases", [])]]
        yield _index("NAMES", names, "Every name and alias, and the preset that has it.")
    if kind.folder == "families":
        names = [(name, e.id) for e in entries for name in _recognised(e.value)]
        yield _index("NAMES", names, "Every model type and architecture, and the family that recognises it.")
        types = [(name, e.id) for e in entries for name in e.value["recognise"]["model_types"]]
        yield _index("RECOGNISE", types, "Every model type, and the family that recognises it.")
    if kind.folder == "releases":
        repos = [(model["repo"], e.id) for e in entries for model in e.value["models"]]
        yield _index("REPOS", repos, "Every repository, and the release that lists it.")


def _recognised(family: JsonObject) -> list[str]:
    return [family["id"], *family["recognise"]["model_types"], *family["recognise"].get("architectures", [])]


def _index(name: str, entries: list[tuple[str, str]], about: str) -> JsonObject:
    return {"name": name, "type": "str", "entries": list(dict.fromkeys(entries)), "about": about}


def defaults(data: Data) -> JsonObject:
    """The default model, its family and the default preset, each declared once in the data."""
    models = [m for e in data.entries["releases"] for m in e.value["models"] if m.get("default")]
    presets = [e.id for e in data.entries["presets"] if "default" in e.value.get("aliases", [])]
    if len(models) != 1 or len(presets) != 1:
        what = f"{len(models)} models and {len(presets)} presets are the default; it is one of each"
        raise ContractError("MENS-G003", what, "schemas/")
    return {"model": models[0]["repo"], "family": models[0]["family"], "preset": presets[0]}


def registry_rows(data: Data, schemas: Schemas) -> list[JsonObject]:
    """The kind registry as its module holds it."""
    return [_registry_row(entry, schemas) for entry in data.registry["kinds"]]


def _registry_row(entry: JsonObject, schemas: Schemas) -> JsonObject:
    name = KindName(entry["kind"], entry["version"])
    bundled = bundle(name.file, schemas.files)
    how: dict[str, Any] = entry["recognise"]
    return {
        "name": name.kind,
        "version": name.version,
        "title": bundled["title"],
        "module": name.module,
        "stability": entry["stability"],
        "owner": entry["owner"],
        "by": how["by"],
        "field": how.get("field") or "",
        "value": how.get("value") or "",
        "version_field": how.get("version_field") or "",
        "files": tuple(how.get("files", [])),
        "paths": tuple(path_fields(bundled)),
        "summary": entry.get("summary") or bundled["description"],
    }
