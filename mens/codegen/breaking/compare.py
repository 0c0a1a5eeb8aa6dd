"""What a changed schema does to its readers: compares schemas/kinds with schemas/released.

A pointer says where in a document of the kind the change shows: `*` is any item or map value, `(key)` the keys
of a map, `(rename)` the branch of a union with that tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mens.codegen.breaking.rules import BRANCH_RULES, PLACE_RULES, BranchPair, PlacePair
from mens.codegen.breaking.shapes import Place, Schema, place
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.problems import pointer as join


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
    if not any(schema is False for schema in extra):
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
