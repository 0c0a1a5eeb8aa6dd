"""Named rules for corpus mixes."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer, shown
from mens.contracts.rules.shared import Path, below, no_repeats


def lanes_in_or_out(mix: JsonObject) -> Iterator[Problem]:
    """MENS-R035: a lane is taken or left out, not both."""
    included = mix.get("include_lanes", [])
    for index, lane in enumerate(mix.get("exclude_lanes", [])):
        if lane in included:
            yield Problem("MENS-R035", pointer("exclude_lanes", index), f"{shown(lane)} is included and excluded")


def outputs_are_new_files(mix: JsonObject) -> Iterator[Problem]:
    """MENS-R036: what is written is none of the files that are read, nor the other file that is written."""
    taken = {normpath(source["path"]): "a source" for source in mix["sources"]}
    taken |= {normpath(path): "a held-out file" for path in below(mix, ("contamination", "files")) or []}
    written: list[tuple[Path, str | None]] = [
        (("output",), mix["output"]),
        (("validation", "output"), below(mix, ("validation", "output"))),
    ]
    for where, path in written:
        if path is None:
            continue
        if normpath(path) in taken:
            yield Problem("MENS-R036", pointer(*where), f"{shown(path)} is {taken[normpath(path)]} as well")
        taken[normpath(path)] = "the mix's output"


def something_is_taken(mix: JsonObject) -> Iterator[Problem]:
    """MENS-R037: a mix whose sources all weigh nothing holds no row."""
    if all(source.get("weight", 1) == 0 for source in mix["sources"]):
        yield Problem("MENS-R037", "/sources", "every source has weight 0, so no row is taken")


RULES: dict[str, tuple[Rule, ...]] = {
    "corpus-mix": (
        lanes_in_or_out,
        outputs_are_new_files,
        something_is_taken,
        no_repeats("include_lanes", "exclude_lanes"),
    ),
}
