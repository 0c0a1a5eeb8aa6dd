"""What a changed schema does to its readers: compares schemas/kinds with schemas/released.

A pointer says where in a document of the kind the change shows: `*` is any item or map value, `(key)` the keys
of a map, `(rename)` the branch of a union with that tag.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from mens.codegen.breaking_rules import BRANCH_RULES, FOLDER_RULES, PLACE_RULES, BranchPair, FolderPair, PlacePair
from mens.codegen.breaking_shapes import Place, Schema, place
from mens.codegen.schemas import COMMON, KindName, bundle, kind_name, read_schemas
from mens.contracts.errors import ContractError, MensError, UsageError
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.positions import SyntaxFault
from mens.contracts.problems import pointer as join
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml


class Change(NamedTuple):
    """One difference between two versions of a schema, named by its rule."""

    rule: str
    pointer: str
    what: str
    breaking: bool


def compare(previous: JsonObject, current: JsonObject) -> list[Change]:
    """Return every change between two self-contained schemas that matters to a reader of documents."""
    walk = _Walk(Schema(previous), Schema(current))
    return list(dict.fromkeys(walk.changes(previous, current, "", optional=False, above=frozenset())))


@dataclass(frozen=True)
class _Walk:
    """Both versions side by side, from the root down."""

    old: Schema
    new: Schema

    def changes(
        self, before: JsonValue, after: JsonValue, pointer: str, *, optional: bool, above: frozenset[tuple[int, int]]
    ) -> Iterator[Change]:
        if self._same(before, after):
            return
        places = PlacePair(pointer, place(self.old, before), place(self.new, after), optional)
        for place_rule in PLACE_RULES:
            for where, what in place_rule.handler(places):
                yield Change(place_rule.id, pointer + where, what, place_rule.breaking)
        # Schema trees are finite and stay alive during the walk, so a pair of nodes seen above is a cycle.
        pair = (id(self.old.follow(before)), id(self.new.follow(after)))
        if pair in above:
            return
        for key, old, new in _shared(places.before, places.after):
            tag = f"/({key.partition(':')[2]})" if ":" in key else ""
            yield from self._branch(BranchPair(pointer + tag, old, new, self.new), above | {pair})

    def _same(self, before: JsonValue, after: JsonValue) -> bool:
        """Say early that nothing below differs: most of a schema does not change."""
        return self.old.meaning(before) == self.new.meaning(after) and self.old.complete(before)

    def _branch(self, pair: BranchPair, above: frozenset[tuple[int, int]]) -> Iterator[Change]:
        for rule in BRANCH_RULES:
            for where, what in rule.handler(pair):
                yield Change(rule.id, pair.pointer + where, what, rule.breaking)
        for where, before, after, optional in _below(pair.before, pair.after):
            yield from self.changes(before, after, pair.pointer + where, optional=optional, above=above)


def _shared(before: Place, after: Place) -> Iterator[tuple[str, JsonObject, JsonObject]]:
    """Yield the branches that both versions have; a number takes over where an integer was."""
    for key, branch in before.branches.items():
        other = after.branches.get(key)
        if other is None and key == "integer":
            other = after.branches.get("number")
        if other is None and key == "number":
            other = after.branches.get("integer")
        if other is not None:
            yield key, branch, other


def _below(before: JsonObject, after: JsonObject) -> Iterator[tuple[str, JsonValue, JsonValue, bool]]:
    """Yield the places inside values of one type: where, both nodes, and whether both may leave it out."""
    old, new = before.get("properties", {}), after.get("properties", {})
    required = {*before.get("required", ()), *after.get("required", ())}
    for name in old:
        if name in new:
            yield join(name), old[name], new[name], name not in required
    extra = before.get("additionalProperties", True), after.get("additionalProperties", True)
    if False not in extra:
        yield "/*", *extra, False
    if "propertyNames" in before or "propertyNames" in after:
        yield "/(key)", _key(before), _key(after), False
    if "items" in before or "items" in after:
        yield "/*", before.get("items", True), after.get("items", True), False


def _key(branch: JsonObject) -> JsonValue:
    """Return the schema of a map's keys, which are strings whether it says so or not."""
    names = branch.get("propertyNames", {})
    plain = isinstance(names, dict) and "$ref" not in names
    return {"type": "string", **names} if plain else names


# Folders: what was released beside what stands there now.


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


# Files.

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
        raise UsageError("MENS-B004", "there is no schemas/kinds here", str(root))
    try:
        schemas = read_schemas(root / "schemas" / "kinds")
    except SyntaxFault as fault:
        raise ContractError("MENS-B003", str(fault), "schemas/kinds") from None
    current = {kind.file: bundle(kind.file, schemas.files) for kind in schemas.kinds}
    frozen = {path.name: _frozen(path) for path in sorted((root / "schemas" / "released").glob("*.json"))}
    # Frozen files are self-contained; a folder copied by hand, common definitions and all, reads the same.
    released = {name: bundle(name, frozen) for name in frozen if kind_name(Path(name)).kind != COMMON}
    waivers: list[Any] = []
    if (root / WAIVERS).exists():
        waivers = _document(root, WAIVERS, "schema-waivers.v1.schema.json", current)["waivers"]
    return Repository(root, current, released, waivers)


def _frozen(path: Path) -> JsonObject:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except SyntaxFault as fault:
        raise ContractError("MENS-B003", str(fault), str(path)) from None
    if not isinstance(value, dict):
        raise ContractError("MENS-B003", "a schema is a JSON object", str(path))
    return value


def _document(root: Path, name: str, schema: str, schemas: Mapping[str, JsonObject]) -> JsonObject:
    """Read one YAML document and hold it to the schema under the same root.

    The door would want generated models, which may be stale while schemas are being changed.
    """
    try:
        value, positions = parse_yaml((root / name).read_text(encoding="utf-8"))
    except SyntaxFault as fault:
        raise ContractError("MENS-B003", fault.message, f"{name}:{fault.line}:{fault.column}") from None
    except FileNotFoundError:
        raise ContractError("MENS-B003", "the file is missing", name) from None
    error = best_match(Draft202012Validator(schemas[schema]).iter_errors(value))
    if error is not None or not isinstance(value, dict):
        place_of = positions.value(join(*error.absolute_path) if error is not None else "")
        message = error.message if error is not None else "not a mapping"
        raise ContractError("MENS-B003", message, f"{name}:{place_of.line}:{place_of.column}")
    return value


def stable_files(repository: Repository) -> list[str]:
    """Return the files of the kinds that the registry promises to keep."""
    registry = _document(repository.root, REGISTRY, "kind-registry.v1.schema.json", repository.current)
    entries: list[Any] = registry["kinds"]
    files = [KindName(entry["kind"], entry["version"]).file for entry in entries if entry["stability"] == "stable"]
    missing = sorted(name for name in files if name not in repository.current)
    if missing:
        raise ContractError("MENS-B003", f"stable, and without a schema: {', '.join(missing)}", REGISTRY)
    return files


def freeze(repository: Repository) -> list[str]:
    """Copy every stable kind into schemas/released, whole and self-contained; return what was done."""
    folder = repository.root / "schemas" / "released"
    folder.mkdir(exist_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
    done: list[str] = []
    for name in stable_files(repository):
        text = json.dumps(repository.current[name], indent=2, ensure_ascii=False) + "\n"
        target = folder / name
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            done.append(f"{'updated' if target.exists() else 'froze'} schemas/released/{name}")
            _write(target, text)
    for name in repository.released:
        if name not in repository.current:
            (folder / name).unlink()
            done.append(f"removed schemas/released/{name}")
    return done


def _write(target: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    temporary = target.with_name(f".{target.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)


# The command.


def text_lines(verdict: Verdict) -> Iterator[str]:
    """Yield a line per change, those that break last, where the eye ends."""
    for found in verdict.compatible:
        yield f"{found}   [{found.change.rule}, compatible]"
    for found in verdict.waived:
        yield f"{found}   [{found.change.rule}, waived]"
    for found in verdict.refused:
        yield f"{found}   [{found.change.rule}]"
    for waiver in verdict.stale:
        yield f"{WAIVERS}: {_waiver(waiver)} allows nothing that happens; remove it   [MENS-B002]"


def github_lines(verdict: Verdict) -> Iterator[str]:
    """Yield what GitHub shows beside the changed file."""
    for level, changes in (("notice", verdict.compatible), ("warning", verdict.waived), ("error", verdict.refused)):
        for found in changes:
            yield f"::{level} file=schemas/kinds/{found.kind.file},title={found.change.rule}::{_escaped(str(found))}"
    for waiver in verdict.stale:
        yield f"::error file={WAIVERS},title=MENS-B002::{_escaped(_waiver(waiver))} allows nothing that happens"


def _waiver(waiver: JsonObject) -> str:
    return f"the waiver {waiver['kind']}/v{waiver['version']}:{waiver['pointer']} {waiver['rule']}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def summary(repository: Repository, verdict: Verdict) -> str:
    """Say how much was compared and what came of it."""
    counts = f"{len(verdict.refused)} breaking, {len(verdict.waived)} waived, {len(verdict.compatible)} compatible"
    return f"{len(repository.released)} released kinds compared: {counts}; {len(verdict.stale)} stale waivers."


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m mens.codegen.breaking", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root (default: here)")
    parser.add_argument("--freeze", action="store_true", help="copy every stable kind into schemas/released")
    parser.add_argument("--format", choices=("text", "github"), default="text", help="how changes are printed")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and freeze when asked to; 1 when a change breaks, a waiver is stale or a file is wrong."""
    options = _arguments(arguments)
    try:
        repository = read_repository(options.root)
        verdict = judge(compare_all(repository.released, repository.current), repository.waivers)
        for line in text_lines(verdict) if options.format == "text" else github_lines(verdict):
            print(line)
        print(summary(repository, verdict))
        if verdict.refused:
            print(REMEDY)
        if options.freeze and verdict.clean:
            print("\n".join(freeze(repository)) or "Nothing has changed since the last release.")
            for found in verdict.waived:
                print(f"{WAIVERS}: the waiver for {found.kind}:{found.change.pointer} is spent; remove it")
        elif options.freeze:
            print("Nothing was written.")
    except MensError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
