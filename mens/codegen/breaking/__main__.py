"""`python -m mens.codegen.breaking [--freeze] [--root DIR]`: what `nox -s breaking` runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mens.codegen.breaking.released import (
    REMEDY,
    WAIVERS,
    Repository,
    Verdict,
    compare_all,
    freeze,
    judge,
    read_repository,
)
from mens.contracts.errors import MensError
from mens.contracts.json_types import JsonObject


def text_lines(verdict: Verdict) -> Iterator[str]:
    """Yield a line per change, those that break last, where the eye ends."""
    for found in verdict.compatible:
        yield f"{found}   [{found.change.rule}, compatible]"
    for found in verdict.waived:
        yield f"{found}   [{found.change.rule}, waived]"
    for found in verdict.refused:
        yield f"{found}   [{found.change.rule}]"
    for waiver in verdict.stale:
        yield f"{WAIVERS}: {_waiver(waiver)} allows nothing that happens; remove it   [STALE_WAIVER]"


def github_lines(verdict: Verdict) -> Iterator[str]:
    """Yield what GitHub shows beside the changed file."""
    for level, changes in (("notice", verdict.compatible), ("warning", verdict.waived), ("error", verdict.refused)):
        for found in changes:
            yield f"::{level} file=schemas/kinds/{found.kind.file},title={found.change.rule}::{_escaped(str(found))}"
    for waiver in verdict.stale:
        yield f"::error file={WAIVERS},title=STALE_WAIVER::{_escaped(_waiver(waiver))} allows nothing that happens"


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
