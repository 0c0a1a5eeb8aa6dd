"""Named rules for merge manifests."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer, shown
from mens.contracts.rules.shared import adds_up, files_listed_once, repeats, within

LABELS = ("merged", "copied", "dropped")


def ledger_is_counted(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R011: the counts are the ledger's."""
    for label in LABELS:
        entries = [1 for entry in manifest["ledger"] if entry["label"] == label]
        yield from adds_up(manifest[f"num_{label}"], entries, (f"num_{label}",), f"the {label} entries of the ledger")


def tensors_listed_once(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R010: one thing happened to each tensor."""
    yield from repeats((("ledger", index, "key"), entry["key"]) for index, entry in enumerate(manifest["ledger"]))


def ledger_files_are_listed(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R070: a tensor of the result lies in a file of the result."""
    listed = {file["path"] for file in manifest["files"]}
    for index, entry in enumerate(manifest["ledger"]):
        if entry["label"] != "dropped" and entry["file"] not in listed:
            message = f"{shown(entry['file'])} is not listed in `files`"
            yield Problem("MENS-R070", pointer("ledger", index, "file"), message)


def pairs_are_consumed(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R071: every pair of every adapter went into a tensor, and none from elsewhere did."""
    adapters = manifest["adapters"]
    consumed: list[set[str]] = [set() for _ in adapters]
    for index, entry in enumerate(manifest["ledger"]):
        for place, pair in enumerate(entry.get("pairs", [])):
            if pair["adapter"] < len(adapters):
                consumed[pair["adapter"]].add(pair["module"])
            else:
                where = pointer("ledger", index, "pairs", place, "adapter")
                yield Problem("MENS-R071", where, f"{len(adapters):,} adapters were merged, counted from 0")
    for index, (adapter, modules) in enumerate(zip(adapters, consumed, strict=True)):
        if adapter["num_pairs"] != len(modules):
            message = f"{adapter['num_pairs']:,} pairs, of which {len(modules):,} stand in the ledger"
            yield Problem("MENS-R071", pointer("adapters", index, "num_pairs"), message)


def unknown_base_is_accepted(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R072: nothing is merged into an unknown base unless a person says so."""
    if manifest["base"]["state"] == "unknown" and not manifest.get("accepted_unknown_base", False):
        yield Problem("MENS-R072", "/base/state", "the base is unknown and `accepted_unknown_base` is not true")


def verification_holds(manifest: JsonObject) -> Iterator[Problem]:
    """MENS-R073: what the verification found is what it says it proves."""
    streaming, probes = manifest["verification"]["streaming"], manifest["verification"]["probes"]
    at = ("verification", "streaming")
    if streaming["num_tensors"] != manifest["num_merged"]:
        message = f"{streaming['num_tensors']:,} tensors were sampled of {manifest['num_merged']:,} that were merged"
        yield Problem("MENS-R073", pointer(*at, "num_tensors"), message)
    changed = streaming["num_changed_values"]
    yield from within(changed, streaming["num_values"], (*at, "num_changed_values"), "more changed than was sampled")
    if probes["status"] == "passed" and probes["max_abs_difference"] > probes["tolerance"]:
        message = f"the difference {probes['max_abs_difference']} is above the tolerance {probes['tolerance']}"
        yield Problem("MENS-R073", "/verification/probes/max_abs_difference", message)
    if probes["status"] == "passed" and probes["difference_from_base"] == 0:
        yield Problem("MENS-R073", "/verification/probes/difference_from_base", "the merge changed nothing")


RULES: dict[str, tuple[Rule, ...]] = {
    "merge-manifest": (
        ledger_is_counted,
        tensors_listed_once,
        ledger_files_are_listed,
        pairs_are_consumed,
        unknown_base_is_accepted,
        verification_holds,
        files_listed_once("files"),
    ),
}
