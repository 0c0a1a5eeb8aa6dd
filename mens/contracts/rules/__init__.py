"""Named rules: what crosses the fields of a document, each with its code.

A rule judges what was written, after the schema has accepted it. Every rule has a heading in docs/errors.md.
The rules of a kind live in the module named here, which is imported when the first document of the kind comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from mens.contracts.problems import Problem, Rule

MODULES = {
    "training-preset": "presets",
    "adapter-meta": "adapters",
    "merge-manifest": "merges",
    "provenance": "provenance",
    "training-manifest": "runs",
    "checkpoint-state": "runs",
    "training-row": "rows",
    "corpus-mix": "mixes",
    "eval-policy": "gates",
    "gate-receipt": "gates",
    "plan": "reports",
    "inspection": "reports",
    "environment": "environment",
    "environment-facts": "environment",
    "family": "families",
    "release": "families",
    "lane": "presets",
    "kind-registry": "schemas",
    "schema-waivers": "schemas",
    "hf-config": "upstream",
    "peft-adapter-config": "upstream",
}
"""Where each kind's rules are; a kind that is not here has none."""


class _Rules(Mapping[str, tuple[Rule, ...]]):
    def __getitem__(self, kind: str) -> tuple[Rule, ...]:
        rules: tuple[Rule, ...] = import_module(f"{__name__}.{MODULES[kind]}").RULES[kind]
        return rules

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


RULES: Mapping[str, tuple[Rule, ...]] = _Rules()
"""The rules of every kind, by its name: they hold for all its versions."""

MISPLACED: dict[str, dict[str, str]] = {
    "adapter-meta/v3": {
        "base_quant": "`base_quant` stands at top level; it belongs under `quant`, as quant.base_quant"
    },
}
"""Fields known to be written at the wrong level (MENS-R005), by kind: said instead of `is not a field of`."""


def say_misplaced(kind: str, problem: Problem) -> Problem:
    """Name the known mistake behind an unknown field."""
    known = MISPLACED.get(kind, {}).get(problem.pointer.removeprefix("/"))
    if known is None or problem.code != "MENS-V003":
        return problem
    return problem._replace(code="MENS-R005", message=known)
