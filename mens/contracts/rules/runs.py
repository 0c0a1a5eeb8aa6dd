"""Named rules for training manifests and checkpoint states."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer, shown
from mens.contracts.rules.receipts import RECEIPT_RULES
from mens.contracts.rules.shared import Path, adds_up, below, files_listed_once, in_order, within

UNDER_WAY = ("prepared", "running")
ENDED = ("completed", "stopped_early", "failed")
TOKENS = "more tokens carried loss than went through"


def state_is_coherent(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R060: what a manifest says of a run's end goes with its state."""
    state, result = manifest["state"], manifest.get("result")
    finished = manifest.get("finished") is not None
    if finished == (state in UNDER_WAY):
        yield Problem("MENS-R060", "/finished", _at_odds("finished", finished, state))
    if (result is not None) != (state in ENDED):
        yield Problem("MENS-R060", "/result", _at_odds("result", result is not None, state))
    failure = (result or {}).get("failure") is not None
    if result is not None and failure != (state == "failed"):
        yield Problem("MENS-R060", "/result/failure", _at_odds("failure", failure, state))


def _at_odds(field: str, given: bool, state: str) -> str:
    return f"`{field}` is {'given' if given else 'missing'}, but the state of the run is {state}"


def manifest_adds_up(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R011: the layers of each kind are the layers, the rows of each lane the rows."""
    shape = manifest["architecture"]
    layers = ("architecture", "num_layers")
    yield from adds_up(shape["num_layers"], shape["layer_counts"].values(), layers, "layer_counts")
    for index, file in enumerate(manifest["data"]):
        if file.get("lanes"):
            used = file.get("num_rows_used")
            where = ("data", index, "lanes")
            total = file["num_rows"] if used is None else used
            yield from within(sum(file["lanes"].values()), total, where, "the lanes have more rows than are used")


def manifest_counts(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R012: a part is not more than the whole, a step not without a batch."""
    progress = manifest["progress"]
    yield from _counts(progress, ("progress",))
    for index, file in enumerate(manifest["data"]):
        where = ("data", index, "num_rows_used")
        yield from within(file.get("num_rows_used"), file["num_rows"], where, "more rows are used than there are")


def _counts(document: JsonObject, at: Path) -> Iterator[Problem]:
    steps, tokens = "num_optimizer_steps", "num_supervised_tokens"
    yield from within(document[steps], document["num_batches"], (*at, steps), "more optimizer steps than batches")
    yield from within(document[tokens], document["num_tokens"], (*at, tokens), TOKENS)


def manifest_times(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R013: a run ends after it begins."""
    yield from in_order(manifest["created"], manifest.get("finished"), ("finished",), "the run ends before it begins")


def state_counts(state: JsonObject) -> Iterator[Problem]:
    """MENS-R012: a part is not more than the whole."""
    steps, sampler = state["num_optimizer_steps"], state["sampler"]
    yield from _counts(state, ())
    planned = state["num_planned_optimizer_steps"]
    yield from within(steps, planned, ("num_optimizer_steps",), "more optimizer steps than planned")
    where = ("sampler", "position")
    yield from within(sampler["position"], sampler["num_samples"], where, "the sampler stands beyond the epoch")
    best = below(state, ("validation", "best_optimizer_step"))
    yield from within(best, steps, ("validation", "best_optimizer_step"), "the best step is still to come")


def contents_are_listed(state: JsonObject) -> Iterator[Problem]:
    """MENS-R061: what a resume reads is among the files whose digests are known."""
    listed = {file["path"] for file in state["files"]}
    for where, path in _contents(state["contents"]):
        if path not in listed:
            yield Problem("MENS-R061", pointer("contents", *where), f"{shown(path)} is not listed in `files`")


def _contents(contents: JsonObject) -> Iterator[tuple[Path, str]]:
    for name, value in contents.items():
        if isinstance(value, list):
            yield from (((name, index), path) for index, path in enumerate(value))
        elif value is not None:
            yield (name,), value


def one_generator_state_each(state: JsonObject) -> Iterator[Problem]:
    """MENS-R062: every process has a state of torch's generators to go on from."""
    states, processes = len(state["contents"]["rng_torch"]), state.get("world_size", 1)
    if states != processes:
        yield Problem("MENS-R062", "/contents/rng_torch", f"{states:,} generator states for {processes:,} processes")


RULES: dict[str, tuple[Rule, ...]] = {
    "training-manifest": (
        state_is_coherent,
        manifest_adds_up,
        manifest_counts,
        manifest_times,
        files_listed_once("outputs"),
        *RECEIPT_RULES,
    ),
    "checkpoint-state": (state_counts, contents_are_listed, one_generator_state_each, files_listed_once("files")),
}
