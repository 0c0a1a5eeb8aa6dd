"""A report on an environment for people: what was looked for, what was found, what it costs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from mens_contracts.environment_v1 import EnvironmentV1

from mens.report.tables import Column, table

COLUMNS: Final = [Column("what"), Column("found"), Column("state"), Column("what it costs")]
NARROWEST: Final = 40
WIDEST_FOUND: Final = 40


def environment_text(report: EnvironmentV1, width: int | None = None) -> str:
    """The report as an aligned table, its last column folded to a terminal's width where one is given."""
    left = [max(len(row[column]) for row in _rows(report, None)) + 2 for column in range(3)]
    fold = None if width is None else max(NARROWEST, width - sum(left))
    return f"{table(COLUMNS, list(_rows(report, fold)))}\n\n{_ready(report)}\n"


def _rows(report: EnvironmentV1, fold: int | None) -> Iterator[tuple[str, str, str, str]]:
    for check in report.checks:
        found = textwrap.wrap(check.found or "", WIDEST_FOUND) or [""]
        costs = [line for cost in check.costs for line in ([cost] if fold is None else textwrap.wrap(cost, fold))]
        for index in range(max(len(found), len(costs))):
            first = (check.name, check.state) if index == 0 else ("", "")
            yield first[0], _at(found, index), first[1], _at(costs, index)


def _at(lines: list[str], index: int) -> str:
    return lines[index] if index < len(lines) else ""


def _ready(report: EnvironmentV1) -> str:
    states = {"train": report.ready.train, "merge": report.ready.merge, "serve": report.ready.serve}
    return "\n".join(f"{name}: {_said(report, name, ready=ready)}" for name, ready in states.items())


def _said(report: EnvironmentV1, name: str, *, ready: bool) -> str:
    if ready:
        return "ready"
    return f"not ready because of {', '.join(check.name for check in report.checks if name in check.blocks)}"
