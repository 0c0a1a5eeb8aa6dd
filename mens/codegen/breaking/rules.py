"""The rules by which a changed schema breaks its readers, as a table: {id, purpose, handler}.

A change breaks when a document that was valid may no longer be, or when what was read from it no longer means,
or is no longer called, the same. The compatible rules are here too, so that a reviewer sees what is promised anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from jsonschema import Draft202012Validator

from mens.codegen.breaking.shapes import ABSENT, JSON_TYPES, Place, Schema, canonical, place
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.problems import pointer

Said = Iterator[tuple[str, str]]
"""What a handler yields: where, relative to the pair's pointer, and what changed there."""


@dataclass(frozen=True)
class PlacePair:
    """One place of a document as the two versions describe it."""

    pointer: str
    before: Place
    after: Place
    optional: bool
    """Whether it is a property that both versions allow to be left out."""


@dataclass(frozen=True)
class BranchPair:
    """What the two versions ask of the values of one type at one place."""

    pointer: str
    before: JsonObject
    after: JsonObject
    schema: Schema
    """The current schema, in which references of `after` are resolved."""


@dataclass(frozen=True)
class FolderPair:
    """The released schemas beside the current ones."""

    released: Mapping[str, JsonObject]
    current: Mapping[str, JsonObject]


Pair = TypeVar("Pair", PlacePair, BranchPair, FolderPair)


@dataclass(frozen=True)
class Rule(Generic[Pair]):
    """One way in which a schema can change."""

    id: str
    purpose: str
    handler: Callable[[Pair], Said]
    breaking: bool = True


def _listing(names: Iterator[str] | list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


# Places: types, unions, defaults, and whatever is not understood.


def _unknown_change(pair: PlacePair) -> Said:
    before, after = pair.before.unknown, pair.after.unknown
    for keyword in [*before, *(key for key in after if key not in before)]:
        if keyword == "$ref beyond reach":
            yield "", f"the reference {after.get(keyword, before.get(keyword))} leads out of the schema"
        elif before.get(keyword) != after.get(keyword):
            yield "", f"{keyword} changed, and nothing here can tell what that does to old documents"
    if not pair.before.opaque and not pair.after.opaque and pair.before.discriminator != pair.after.discriminator:
        yield "", f"the union's tag changed from {pair.before.discriminator} to {pair.after.discriminator}"


def _readable(pair: PlacePair) -> bool:
    return not pair.before.opaque and not pair.after.opaque


def _type_narrowed(pair: PlacePair) -> Said:
    covered = pair.after.types | ({"integer"} if "number" in pair.after.types else frozenset())
    lost = sorted(pair.before.types - covered)
    if lost and _readable(pair):
        now = ", ".join(sorted(pair.after.types)) or "nothing"
        yield "", f"no longer accepts {', '.join(lost)} (now: {now})"


def _type_widened(pair: PlacePair) -> Said:
    # An integer that becomes a number is NUMBER_CLASS_CHANGED's to report.
    numeric = {"integer", "number"}
    known = pair.before.types | (numeric if numeric & pair.before.types else frozenset())
    gained = sorted(pair.after.types - known)
    if gained and _readable(pair):
        yield "", f"accepts {', '.join(gained)} too"


def _number_class_changed(pair: PlacePair) -> Said:
    if "integer" in pair.before.types and "number" in pair.after.types and _readable(pair):
        yield "", "an integer is now read as a floating-point number"


def _tags(found: Place) -> list[str]:
    return [key.partition(":")[2] for key in found.branches if ":" in key]


def _union_branch_removed(pair: PlacePair) -> Said:
    if pair.before.discriminator is not None and pair.before.discriminator == pair.after.discriminator:
        for tag in _tags(pair.before):
            if tag not in _tags(pair.after):
                yield "", f"the branch '{tag}' of the union is gone"


def _union_branch_added(pair: PlacePair) -> Said:
    if pair.before.discriminator is not None and pair.before.discriminator == pair.after.discriminator:
        for tag in _tags(pair.after):
            if tag not in _tags(pair.before):
                yield "", f"the union has a new branch '{tag}'"


def _default_changed(pair: PlacePair) -> Said:
    before, after = pair.before.default, pair.after.default
    if pair.optional and before != after:
        yield "", f"the default changed from {before} to {after}" if before != ABSENT else f"the default {after} is new"


PLACE_RULES: Final[tuple[Rule[PlacePair], ...]] = (
    Rule("TYPE_NARROWED", "A JSON type that was accepted at a place is refused there.", _type_narrowed),
    Rule(
        "NUMBER_CLASS_CHANGED",
        "An integer has become a number, so old values are read as floats.",
        _number_class_changed,
    ),
    Rule("UNION_BRANCH_REMOVED", "A tagged branch of a union is gone.", _union_branch_removed),
    Rule("DEFAULT_CHANGED", "An optional property that is left out means something else.", _default_changed),
    Rule("UNKNOWN_CHANGE", "Something changed that this comparison does not understand.", _unknown_change),
    Rule("TYPE_WIDENED", "A place accepts another JSON type.", _type_widened, breaking=False),
    Rule("UNION_BRANCH_ADDED", "A union has another tagged branch.", _union_branch_added, breaking=False),
)


# Branches: the values of one type.


def _values(branch: JsonObject) -> dict[str, JsonValue] | None:
    """Return the only values that a branch accepts, by their canonical text; None when it lists none."""
    listed = [branch["const"]] if "const" in branch else branch.get("enum")
    return None if listed is None else {canonical(value): value for value in listed}


def _listed_values_pass(pair: BranchPair, keyword: str) -> bool:
    """Say whether the only values that were accepted, if they were listed, all satisfy a keyword of today."""
    old = _values(pair.before)
    if old is None or keyword not in pair.after:
        return False
    judge = Draft202012Validator({keyword: pair.after[keyword]})
    return all(judge.is_valid(value) for value in old.values())


def _bound(keyword: str, sign: int, wider: bool = False) -> Callable[[BranchPair], Said]:
    """Return the handler that speaks when a bound has moved; sign is +1 for a lower and -1 for an upper bound."""

    def handler(pair: BranchPair) -> Said:
        floor = 0 if keyword in ("minLength", "minItems") else None
        old, new = pair.before.get(keyword, floor), pair.after.get(keyword, floor)
        first, second = (new, old) if wider else (old, new)
        if not wider and _listed_values_pass(pair, keyword):
            return
        if second is not None and (first is None or sign * second > sign * first):
            verb = "raised" if (sign > 0) is not wider else "lowered"
            yield "", _moved(keyword, verb, old, new)

    return handler


def _moved(keyword: str, verb: str, old: JsonValue, new: JsonValue) -> str:
    if old is None:
        return f"{keyword} {new} is new"
    return f"{keyword} {old} is gone" if new is None else f"{keyword} {verb} from {old} to {new}"


def _widened(pair: BranchPair) -> Said:
    lower, upper = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")
    for keyword in lower:
        yield from _bound(keyword, 1, wider=True)(pair)
    for keyword in upper:
        yield from _bound(keyword, -1, wider=True)(pair)
    if "pattern" in pair.before and "pattern" not in pair.after:
        yield "", "the pattern is gone"


def _pattern_changed(pair: BranchPair) -> Said:
    old, new = pair.before.get("pattern"), pair.after.get("pattern")
    if new is not None and old != new and not _listed_values_pass(pair, "pattern"):
        yield "", f"the pattern changed from {old} to {new}" if old is not None else f"the pattern {new} is new"


def _title_changed(pair: BranchPair) -> Said:
    old, new = pair.before.get("title"), pair.after.get("title")
    if old != new:
        yield "", f"the title, which names the generated class, changed from {old} to {new}"


def _const_changed(pair: BranchPair) -> Said:
    old, new = _values(pair.before), _values(pair.after)
    if "const" in pair.before and old != new:
        yield "", f"the constant {', '.join(old or {})} became {' or '.join(new) if new else 'free'}"


def _values_closed(pair: BranchPair) -> Said:
    new = _values(pair.after)
    if _values(pair.before) is None and new is not None:
        yield "", f"a free value must now be {' or '.join(new)}"


def _enum_value_removed(pair: BranchPair) -> Said:
    old, new = _values(pair.before), _values(pair.after)
    if "const" not in pair.before and old is not None and new is not None:
        yield from (("", f"the value {text} is gone") for text in old if text not in new)


def _enum_value_added(pair: BranchPair) -> Said:
    old, new = _values(pair.before), _values(pair.after)
    if "const" in pair.before or old is None:
        return
    if new is None:
        yield "", "any value is accepted where some were listed"
    else:
        yield from (
            ("", f"the value {text} is new: old documents stay valid, old readers refuse it")
            for text in new
            if text not in old
        )


# Branches: objects.


def _names(branch: JsonObject, keyword: str) -> list[str]:
    return list(branch.get(keyword, ()))


def _property_removed(pair: BranchPair) -> Said:
    kept = _names(pair.after, "properties")
    added = [name for name in kept if name not in _names(pair.before, "properties")]
    for name in _names(pair.before, "properties"):
        if name not in kept:
            yield pointer(name), f"the property is gone{f' (new here: {_listing(added)})' if added else ''}"


def _property_now_required(pair: BranchPair) -> Said:
    known = _names(pair.before, "properties")
    for name in _names(pair.after, "required"):
        if name not in _names(pair.before, "required"):
            yield (
                pointer(name),
                "the property was optional and is now required"
                if name in known
                else ("the property is new and required"),
            )


def _property_now_optional(pair: BranchPair) -> Said:
    for name in _names(pair.before, "required"):
        if name in _names(pair.after, "properties") and name not in _names(pair.after, "required"):
            yield pointer(name), "the property was required and may now be left out"


def _new_optional(pair: BranchPair) -> Iterator[tuple[str, bool]]:
    """Yield each new optional property, and whether the object already let its name carry anything."""
    extra = pair.before.get("additionalProperties", True)
    for name, node in pair.after.get("properties", {}).items():
        if name not in _names(pair.before, "properties") and name not in _names(pair.after, "required"):
            found = place(pair.schema, node)
            anything = not found.unknown and len(found.branches) == len(JSON_TYPES) and not any(found.branches.values())
            yield name, extra is not False and not anything


def _open_property_claimed(pair: BranchPair) -> Said:
    for name, claimed in _new_optional(pair):
        if claimed:
            yield pointer(name), "the object was open, and the name that was free is now constrained"


def _property_added(pair: BranchPair) -> Said:
    for name, claimed in _new_optional(pair):
        if not claimed:
            yield pointer(name), "the property is new and optional"


def _closed(pair: BranchPair) -> Said:
    before, after = pair.before.get("additionalProperties", True), pair.after.get("additionalProperties", True)
    if before is not False and after is False:
        yield "", "properties that are not listed are now refused"


def _opened(pair: BranchPair) -> Said:
    before, after = pair.before.get("additionalProperties", True), pair.after.get("additionalProperties", True)
    if before is False and after is not False:
        yield "", "properties that are not listed are now accepted"


BRANCH_RULES: Final[tuple[Rule[BranchPair], ...]] = (
    Rule("TITLE_CHANGED", "The generated class has another name.", _title_changed),
    Rule("CONST_CHANGED", "A constant, by which documents are recognised, is another one or none.", _const_changed),
    Rule("VALUES_CLOSED", "A value that was free must now be one of a list.", _values_closed),
    Rule("ENUM_VALUE_REMOVED", "A listed value is gone.", _enum_value_removed),
    Rule("MINIMUM_RAISED", "A number may no longer be as small.", _bound("minimum", 1)),
    Rule("MAXIMUM_LOWERED", "A number may no longer be as large.", _bound("maximum", -1)),
    Rule("MIN_LENGTH_RAISED", "A string may no longer be as short.", _bound("minLength", 1)),
    Rule("MAX_LENGTH_LOWERED", "A string may no longer be as long.", _bound("maxLength", -1)),
    Rule("MIN_ITEMS_RAISED", "An array may no longer be as short.", _bound("minItems", 1)),
    Rule("MAX_ITEMS_LOWERED", "An array may no longer be as long.", _bound("maxItems", -1)),
    Rule(
        "PATTERN_CHANGED",
        "A pattern is new or reads differently, and no proof says that it is wider.",
        _pattern_changed,
    ),
    Rule("PROPERTY_REMOVED", "A property is gone, or has another name.", _property_removed),
    Rule("PROPERTY_NOW_REQUIRED", "A property that could be left out no longer can.", _property_now_required),
    Rule("OPEN_PROPERTY_CLAIMED", "A name that an open object left free is now constrained.", _open_property_claimed),
    Rule("ADDITIONAL_PROPERTIES_CLOSED", "Properties that are not listed are now refused.", _closed),
    Rule("ENUM_VALUE_ADDED", "A list of values has another one.", _enum_value_added, breaking=False),
    Rule("LIMIT_WIDENED", "A bound or pattern asks for less.", _widened, breaking=False),
    Rule("PROPERTY_NOW_OPTIONAL", "A property may be left out.", _property_now_optional, breaking=False),
    Rule("PROPERTY_ADDED", "An optional property is new.", _property_added, breaking=False),
    Rule("ADDITIONAL_PROPERTIES_OPENED", "Properties that are not listed are now accepted.", _opened, breaking=False),
)


# Folders.


def _kind_removed(pair: FolderPair) -> Said:
    for name in pair.released:
        if name not in pair.current:
            yield name, "the kind was released and its schema is gone"


FOLDER_RULES: Final[tuple[Rule[FolderPair], ...]] = (
    Rule("KIND_REMOVED", "A released version of a kind has no schema any more.", _kind_removed),
)

RULE_IDS: Final = (
    *(rule.id for rule in PLACE_RULES),
    *(rule.id for rule in BRANCH_RULES),
    *(rule.id for rule in FOLDER_RULES),
)

__all__ = ["BRANCH_RULES", "FOLDER_RULES", "PLACE_RULES", "RULE_IDS", "BranchPair", "FolderPair", "PlacePair", "Rule"]
