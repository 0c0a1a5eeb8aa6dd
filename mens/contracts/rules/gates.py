"""Named rules for evaluation policies and the receipts of their gates."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer
from mens.contracts.rules.shared import repeats


def gates_named_once(document: JsonObject) -> Iterator[Problem]:
    """MENS-R010: a gate's name is its own."""
    yield from repeats((("gates", index, "name"), gate["name"]) for index, gate in enumerate(document["gates"]))


def skipping_has_a_reason(policy: JsonObject) -> Iterator[Problem]:
    """MENS-R030: a gate may be skipped for a stated reason only, and a reason is stated for nothing else."""
    for index, gate in enumerate(policy["gates"]):
        skips, reason = gate.get("when_missing", "fail") == "skip", gate.get("skip_reason")
        if skips and reason is None:
            yield Problem("MENS-R030", pointer("gates", index), "`when_missing: skip` needs a `skip_reason`")
        if reason is not None and not skips:
            message = "a `skip_reason` goes with `when_missing: skip` only"
            yield Problem("MENS-R030", pointer("gates", index, "skip_reason"), message)


def overall_follows_gates(receipt: JsonObject) -> Iterator[Problem]:
    """MENS-R031: the whole has passed exactly when no blocking gate failed."""
    failed = [
        gate["name"]
        for gate in receipt["gates"]
        if gate["block"] and not gate["passed"] and not gate.get("skipped", False)
    ]
    if receipt["overall_passed"] and failed:
        yield Problem(
            "MENS-R031", "/overall_passed", f"overall_passed is true, but {', '.join(failed)} failed and blocks"
        )
    if not receipt["overall_passed"] and not failed:
        yield Problem("MENS-R031", "/overall_passed", "overall_passed is false, but no blocking gate failed")


def skipped_gates_say_nothing(receipt: JsonObject) -> Iterator[Problem]:
    """MENS-R032: a skipped gate neither passed nor measured anything."""
    for index, gate in enumerate(receipt["gates"]):
        if gate.get("skipped", False) and gate["passed"]:
            yield Problem("MENS-R032", pointer("gates", index, "passed"), "a skipped gate has not passed")
        if gate.get("skipped", False) and gate.get("measured") is not None:
            yield Problem("MENS-R032", pointer("gates", index, "measured"), "a skipped gate has measured nothing")


def verdict_follows_measurement(receipt: JsonObject) -> Iterator[Problem]:
    """MENS-R033: a gate's verdict is what the measured value and the threshold say; nothing measured fails."""
    for index, gate in enumerate(receipt["gates"]):
        operator, threshold, measured = (gate.get(name) for name in ("operator", "threshold", "measured"))
        if operator is None or threshold is None or gate.get("skipped", False):
            continue
        held = measured is not None and (measured >= threshold if operator == "at_least" else measured <= threshold)
        if held != gate["passed"]:
            said = "nothing was measured" if measured is None else f"{measured} is measured"
            message = f"passed is {str(gate['passed']).lower()}, but {said} where {operator} {threshold} is asked"
            yield Problem("MENS-R033", pointer("gates", index, "passed"), message)


RULES: dict[str, tuple[Rule, ...]] = {
    "eval-policy": (gates_named_once, skipping_has_a_reason),
    "gate-receipt": (
        gates_named_once,
        overall_follows_gates,
        skipped_gates_say_nothing,
        verdict_follows_measurement,
    ),
}
