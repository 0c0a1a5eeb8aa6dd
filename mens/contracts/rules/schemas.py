"""Named rules for the kind registry and the waivers of breaking schema changes."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule
from mens.contracts.rules.shared import repeats


def kinds_registered_once(registry: JsonObject) -> Iterator[Problem]:
    """MENS-R010: a kind and version is registered once."""
    entries = enumerate(registry["kinds"])
    yield from repeats((("kinds", index, "kind"), f"{kind['kind']}/v{kind['version']}") for index, kind in entries)


def waivers_given_once(document: JsonObject) -> Iterator[Problem]:
    """MENS-R010: a change is waived once, so that one reason stands for it."""
    yield from repeats(
        (("waivers", index, "rule"), (f"{waiver['kind']}/v{waiver['version']}", waiver["rule"], waiver["pointer"]))
        for index, waiver in enumerate(document["waivers"])
    )


RULES: dict[str, tuple[Rule, ...]] = {
    "kind-registry": (kinds_registered_once,),
    "schema-waivers": (waivers_given_once,),
}
