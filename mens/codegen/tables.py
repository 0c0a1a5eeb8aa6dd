"""Data files become tables of generated types: families, releases, presets, lanes and the kind registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jsonschema import Draft202012Validator

from mens.codegen.names import classes_used, construct, python_identifier
from mens.codegen.schemas import KindName, Schemas, bundle, path_fields, read_object
from mens.contracts.claims import Claims
from mens.contracts.errors import ContractError
from mens.contracts.json_types import JsonObject
from mens.contracts.judge import judge
from mens.contracts.problems import Problem
from mens.contracts.rules import RULES

T = TypeVar("T")
REGISTRY = Path("schemas/registry.yaml")


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
ENVIRONMENT = DataKind("", KindName("environment-facts", 1), "ENVIRONMENT", "")
"""The facts about environments are one file and not a folder: which packages there are is read as a whole."""


class Entry(NamedTuple):
    """One data file, checked: its id, its value and the module it becomes."""

    id: str
    value: JsonObject
    source: Path
    module: str


class Data(NamedTuple):
    """Every data file by folder, the registry, and the facts about environments."""

    entries: Mapping[str, tuple[Entry, ...]]
    registry: JsonObject
    environment: Entry


def read_data(root: Path, schemas: Schemas) -> Data:
    """Read every data file; refuse the first that its schema, a rule or another file contradicts."""
    claims = Claims()
    entries = {kind.folder: tuple(_entries(root, kind, schemas, claims)) for kind in DATA_KINDS}
    registry = _read(root / REGISTRY, root, KindName("kind-registry", 1), schemas)
    problems = list(_registry_problems(registry, schemas))
    if problems:
        fix = "A kind is a schema file under schemas/kinds and an entry in the registry."
        raise ContractError("MENS-G002", "\n  ".join(problems), REGISTRY.as_posix(), fix)
    facts = _read(root / "schemas/environment.yaml", root, ENVIRONMENT.kind, schemas)
    return Data(entries, registry, Entry("environment", facts, Path("schemas/environment.yaml"), "environment"))


def _registry_problems(registry: JsonObject, schemas: Schemas) -> Iterator[str]:
    """Where the registry and the schema files disagree: what exists, how it is recognised, whether it is open."""
    declared = [KindName(entry["kind"], entry["version"]) for entry in registry["kinds"]]
    for name in sorted(set(declared) ^ set(schemas.kinds)):
        other = f"schemas/kinds/{name.file} is missing" if name in declared else "has no entry here"
        yield f"{name}: {other}"
    for name, entry in zip(declared, registry["kinds"], strict=True):
        schema = schemas.kinds.get(name)
        if schema is not None:
            yield from (f"{name}: {problem}" for problem in _entry_problems(name, entry, schema))


def _entry_problems(name: KindName, entry: JsonObject, schema: JsonObject) -> Iterator[str]:
    mark = schema["properties"].get("schema", {}).get("const")
    if entry["recognise"]["by"] == "schema" and (mark != f"mens/{name}" or "schema" not in schema["required"]):
        yield f"is recognised by `schema`, so schemas/kinds/{name.file} requires the constant 'mens/{name}'"
    if (entry["owner"] == "upstream") != schema["additionalProperties"]:
        yield "a schema is open where upstream owns the kind, and closed where mens does"


def _entries(root: Path, kind: DataKind, schemas: Schemas, claims: Claims) -> Iterator[Entry]:
    modules: dict[str, str] = {}
    for path in sorted((root / "schemas" / kind.folder).glob("*.yaml")):
        value = _read(path, root, kind.kind, schemas)
        source = path.relative_to(root)
        where = source.as_posix()
        _refuse(list(claims.problems(kind.kind.kind, value, where)), where)
        if value["id"] != path.stem:
            raise ContractError("MENS-G003", f"the id {value['id']!r} is not the file's name", where)
        module = python_identifier(value["id"])
        first = modules.setdefault(module, where)
        if first != where:
            raise ContractError("MENS-G003", f"the module {module} is already that of {first}", where)
        yield Entry(value["id"], value, source, module)


def _read(path: Path, root: Path, kind: KindName, schemas: Schemas) -> JsonObject:
    value = read_object(path, root)
    problems = judge(value, Draft202012Validator(bundle(kind.file, schemas.files)), f"mens/{kind}")
    if not problems:
        problems = [problem for rule in RULES.get(kind.kind, ()) for problem in rule(value)]
    _refuse(problems, path.relative_to(root).as_posix())
    return value


def _refuse(problems: list[Problem], where: str) -> None:
    if problems:
        listed = "\n".join(f"  {problem.pointer}: {problem.message}   [{problem.code}]" for problem in problems[:10])
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        fix = f"Lines and columns: mens validate {where}"
        raise ContractError("MENS-G003", count, where, f"{listed}\n{fix}")


def entry_context(entry: Entry, kind: DataKind, schemas: Schemas) -> JsonObject:
    """What the template of one data file's module needs."""
    root = bundle(kind.kind.file, schemas.files)
    source = construct(entry.value, root, root)
    by_module: dict[str, list[str]] = {}
    for name in classes_used(source, [root["title"], *root.get("$defs", {})]):
        by_module.setdefault(_home(name, kind.kind, schemas), []).append(name)
    title = f"{entry.value['title'].rstrip('.')}."
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
        "title": f"Every entry of schemas/{kind.folder}, by id.",
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
    presets = [e for e in data.entries["presets"] if "default" in e.value.get("aliases", [])]
    model = _the_one("releases", models, "`default: true` at one model")
    preset = _the_one("presets", presets, "the alias `default` at one preset")
    known = [entry.id for entry in data.entries["families"]]
    if model["family"] not in known:
        what = f"the default model {model['repo']} is of family {model['family']!r}, which has no file"
        raise ContractError("MENS-G003", what, "schemas/families", f"Families: {', '.join(known)}")
    return {"model": model["repo"], "family": model["family"], "preset": preset.id}


def _the_one(folder: str, found: list[T], wanted: str) -> T:
    """The only one; that there are not two is a rule of claims, which names both."""
    if not found:
        raise ContractError("MENS-G003", f"nothing here is the default; it takes {wanted}", f"schemas/{folder}")
    assert len(found) == 1, "claims refuse a second"
    return found[0]


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
