"""What was released beside what stands now: folders, waivers and freezing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from mens.codegen.breaking.compare import Change, compare
from mens.codegen.breaking.rules import FOLDER_RULES, FolderPair
from mens.codegen.schemas import COMMON, KindName, bundle, kind_name, read_object, read_schemas
from mens.contracts.errors import ContractError, UsageError
from mens.contracts.json_types import JsonObject
from mens.contracts.positions import SyntaxFault, decode
from mens.contracts.problems import pointer as join
from mens.contracts.strict_yaml import parse_yaml
from mens.contracts.writing import write_atomically


class KindChange(NamedTuple):
    """A change, and the kind whose schema it is in."""

    kind: KindName
    change: Change

    def __str__(self) -> str:
        where = f":{self.change.pointer}" if self.change.pointer else ""
        return f"{self.kind}{where}: {self.change.what}"


def compare_all(released: Mapping[str, JsonObject], current: Mapping[str, JsonObject]) -> list[KindChange]:
    """Return the changes of every released kind; both mappings are from file name to self-contained schema."""
    found = [
        KindChange(kind_name(Path(name)), Change(rule.id, "", what, rule.breaking))
        for rule in FOLDER_RULES
        for name, what in rule.handler(FolderPair(released, current))
    ]
    for name, schema in released.items():
        if name in current:
            found += [KindChange(kind_name(Path(name)), change) for change in compare(schema, current[name])]
    return found


class Verdict(NamedTuple):
    """What a comparison comes to once waivers are counted."""

    refused: list[KindChange]
    waived: list[KindChange]
    compatible: list[KindChange]
    stale: list[JsonObject]

    @property
    def clean(self) -> bool:
        """Whether nothing breaks unwaived and no waiver waives nothing."""
        return not self.refused and not self.stale


def judge(changes: Iterable[KindChange], waivers: Iterable[JsonObject]) -> Verdict:
    """Sort changes by what follows from them; each waiver allows exactly one place and rule."""
    verdict = Verdict([], [], [], [])
    open_waivers = list(waivers)
    for found in changes:
        matching = [waiver for waiver in open_waivers if found.change.breaking and _waives(waiver, found)]
        open_waivers = [waiver for waiver in open_waivers if waiver not in matching]
        sort = verdict.waived if matching else verdict.refused if found.change.breaking else verdict.compatible
        sort.append(found)
    verdict.stale.extend(open_waivers)
    return verdict


def _waives(waiver: JsonObject, found: KindChange) -> bool:
    named = (waiver["kind"], waiver["version"], waiver["rule"], waiver["pointer"])
    return named == (*found.kind, found.change.rule, found.change.pointer)


WAIVERS: Final = "schemas/waivers.yaml"
REGISTRY: Final = "schemas/registry.yaml"
REMEDY: Final = f"A released version is frozen: make the change in a new version, or give its reason in {WAIVERS}."


class Repository(NamedTuple):
    """What the comparison reads: every schema self-contained, by file name."""

    root: Path
    current: Mapping[str, JsonObject]
    released: Mapping[str, JsonObject]
    waivers: Sequence[JsonObject]


def read_repository(root: Path) -> Repository:
    """Read the kinds, the released kinds and the waivers under a repository's root."""
    if not (root / "schemas" / "kinds").is_dir():
        raise UsageError("MENS-P004", "there is no schemas/kinds here", str(root))
    schemas = read_schemas(root / "schemas" / "kinds")
    current = {kind.file: bundle(kind.file, schemas.files) for kind in schemas.kinds}
    frozen = {path.name: read_object(path, root) for path in sorted((root / "schemas" / "released").glob("*.json"))}
    # Frozen files are self-contained; a folder copied by hand, common definitions and all, reads the same.
    released = {name: bundle(name, frozen) for name in frozen if kind_name(Path(name)).kind != COMMON}
    waivers: list[Any] = []
    if (root / WAIVERS).exists():
        waivers = _document(root, WAIVERS, "schema-waivers.v1.schema.json", current)["waivers"]
    return Repository(root, current, released, waivers)


def _document(root: Path, name: str, schema: str, schemas: Mapping[str, JsonObject]) -> JsonObject:
    """Read one YAML document and hold it to the schema under the same root.

    The door would want generated models, which may be stale while schemas are being changed.
    """
    try:
        value, positions = parse_yaml(decode((root / name).read_bytes()))
    except SyntaxFault as fault:
        raise ContractError("MENS-S001", fault.message, f"{name}:{fault.line}:{fault.column}") from None
    except FileNotFoundError:
        raise UsageError("MENS-P004", "no such file", name) from None
    error = best_match(Draft202012Validator(schemas[schema]).iter_errors(value))
    if error is not None or not isinstance(value, dict):
        place_of = positions.value(join(*error.absolute_path) if error is not None else "")
        message = error.message if error is not None else "not a mapping"
        raise ContractError("MENS-G003", message, f"{name}:{place_of.line}:{place_of.column}")
    return value


def stable_files(repository: Repository) -> list[str]:
    """Return the files of the kinds that the registry promises to keep."""
    registry = _document(repository.root, REGISTRY, "kind-registry.v1.schema.json", repository.current)
    entries: list[Any] = registry["kinds"]
    files = [KindName(entry["kind"], entry["version"]).file for entry in entries if entry["stability"] == "stable"]
    missing = sorted(name for name in files if name not in repository.current)
    if missing:
        raise ContractError("MENS-G002", f"stable, and without a schema: {', '.join(missing)}", REGISTRY)
    return files


def freeze(repository: Repository) -> list[str]:
    """Copy every stable kind into schemas/released, whole and self-contained; return what was done."""
    folder = repository.root / "schemas" / "released"
    folder.mkdir(exist_ok=True)
    done: list[str] = []
    for name in stable_files(repository):
        text = json.dumps(repository.current[name], indent=2, ensure_ascii=False) + "\n"
        target = folder / name
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            done.append(f"{'updated' if target.exists() else 'froze'} schemas/released/{name}")
            write_atomically(target, text.encode())
    for name in repository.released:
        if name not in repository.current:
            (folder / name).unlink()
            done.append(f"removed schemas/released/{name}")
    return done
