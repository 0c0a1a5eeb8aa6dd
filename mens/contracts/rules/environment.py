"""Named rules for reports on environments and for the facts they rest on."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer, shown
from mens.contracts.rules.families import evidence_known
from mens.contracts.rules.shared import repeats


def readiness_follows_checks(report: JsonObject) -> Iterator[Problem]:
    """MENS-R043: something is ready exactly when no check blocks it, and what is ok blocks nothing."""
    for name, ready in report["ready"].items():
        blocking = [check["name"] for check in report["checks"] if name in check.get("blocks", [])]
        if ready == bool(blocking):
            said = f"{', '.join(map(shown, blocking))} blocks it" if blocking else "no check blocks it"
            yield Problem("MENS-R043", pointer("ready", name), f"{name} is {str(ready).lower()}, but {said}")
    for index, check in enumerate(report["checks"]):
        if check["state"] == "ok" and check.get("blocks"):
            yield Problem("MENS-R043", pointer("checks", index, "blocks"), "what is ok blocks nothing")


def checks_made_once(report: JsonObject) -> Iterator[Problem]:
    """MENS-R010: one thing is checked once."""
    yield from repeats((("checks", index, "name"), check["name"]) for index, check in enumerate(report["checks"]))


def packages_listed_once(facts: JsonObject) -> Iterator[Problem]:
    """MENS-R010: a distribution has one place, under its own name or among another's."""
    names: list[tuple[tuple[str | int, ...], str]] = []
    for index, package in enumerate(facts["packages"]):
        names.append((("packages", index, "package"), package["package"]))
        names += [(("packages", index, "also", place), name) for place, name in enumerate(package.get("also", []))]
    yield from repeats(names)


RULES: dict[str, tuple[Rule, ...]] = {
    "environment": (readiness_follows_checks, checks_made_once),
    "environment-facts": (packages_listed_once, evidence_known),
}
