"""What several kinds' named rules have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, nearest, pointer, shown

Path = tuple[str | int, ...]


def repeats(entries: Iterable[tuple[Path, Any]]) -> Iterator[Problem]:
    """MENS-R010: what was to be listed once is listed again."""
    seen = set()
    for path, entry in entries:
        if entry in seen:
            said = " ".join(map(str, entry)) if isinstance(entry, tuple) else entry
            yield Problem("MENS-R010", pointer(*path), f"{shown(said)} is listed twice")
        seen.add(entry)


def no_repeats(*fields: str) -> Rule:
    """MENS-R010: in these lists each entry stands once."""

    def rule(document: JsonObject) -> Iterator[Problem]:
        for field in fields:
            yield from repeats(((field, index), entry) for index, entry in enumerate(document.get(field) or []))

    return rule


def files_listed_once(*path: str) -> Rule:
    """MENS-R010: each file of an artifact has one digest."""

    def rule(document: JsonObject) -> Iterator[Problem]:
        files = below(document, path) or []
        yield from repeats(((*path, index, "path"), file["path"]) for index, file in enumerate(files))

    return rule


def method_and_quantisation(method: str, quant: str, where: str) -> Iterator[Problem]:
    """MENS-R006: qlora means a quantised base, lora a base that is not."""
    if (method == "qlora") == (quant == "none"):
        yield Problem("MENS-R006", where, f"method {method} does not go with base_quant {quant}")


def below(value: Any, path: Iterable[str]) -> Any:
    """What stands at a path of fields; None where any of them is null or absent."""
    for field in path:
        value = value.get(field) if isinstance(value, dict) else None
    return value


def adds_up(total: int, parts: Iterable[int], where: Path, what: str) -> Iterator[Problem]:
    """MENS-R011: a total is the sum of its parts."""
    summed = sum(parts)
    if total != summed:
        yield Problem("MENS-R011", pointer(*where), f"{what} add up to {summed:,}, not {total:,}")


def within(part: int | None, whole: int | None, where: Path, what: str) -> Iterator[Problem]:
    """MENS-R012: a part is not more than the whole."""
    if part is not None and whole is not None and part > whole:
        yield Problem("MENS-R012", pointer(*where), f"{what}: {part:,} of {whole:,}")


def in_order(first: str | None, then: str | None, where: Path, what: str) -> Iterator[Problem]:
    """MENS-R013: nothing ends before it begins; timestamps are UTC, so their texts sort as they do."""
    if first is not None and then is not None and then.removesuffix("Z") < first.removesuffix("Z"):
        yield Problem("MENS-R013", pointer(*where), f"{what}: {then} is before {first}")


def licence_evidenced(licence: JsonObject | None, evidence: Mapping[str, Any], where: Path) -> Iterator[Problem]:
    """MENS-R014: a licence is stated with evidence that the document has, or is NOASSERTION."""
    if licence is None:
        return
    names = licence.get("evidence", [])
    if not names and licence["expression"] != "NOASSERTION":
        yield Problem("MENS-R014", pointer(*where, "expression"), "a licence without evidence is NOASSERTION")
    for index, name in enumerate(names):
        if name not in evidence:
            message = f"{shown(name)} is no entry of evidence.{nearest(name, evidence)}"
            yield Problem("MENS-R014", pointer(*where, "evidence", index), message)
