"""Named rules: what crosses the fields of a document, each with its code.

A rule judges what was written, after the schema has accepted it. Every rule has a heading in docs/errors.md.
The rules of a kind live in the module named here, which is imported when the first document of the kind comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from mens.contracts.problems import Problem, Rule

MODULES = {
    "training-preset": "rules_presets",
    "adapter-meta": "rules_adapters",
    "merge-manifest": "rules_merges",
    "provenance": "rules_provenance",
    "training-manifest": "rules_runs",
    "checkpoint-state": "rules_runs",
    "training-row": "rules_rows",
    "corpus-mix": "rules_mixes",
    "eval-policy": "rules_gates",
    "gate-receipt": "rules_gates",
    "plan": "rules_reports",
    "inspection": "rules_reports",
    "environment": "rules_environment",
    "environment-facts": "rules_environment",
    "family": "rules_families",
    "release": "rules_families",
    "lane": "rules_presets",
    "kind-registry": "rules_schemas",
    "schema-waivers": "rules_schemas",
    "hf-config": "rules_upstream",
    "peft-adapter-config": "rules_upstream",
}
"""Where each kind's rules are; a kind that is not here has none."""


class _Rules(Mapping[str, tuple[Rule, ...]]):
    def __getitem__(self, kind: str) -> tuple[Rule, ...]:
        rules: tuple[Rule, ...] = import_module(f"mens.contracts.{MODULES[kind]}").RULES[kind]
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
