"""Named rules for provenance documents."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer
from mens.contracts.rules.shared import Path, files_listed_once, in_order, licence_evidenced


def _licences(document: JsonObject) -> Iterator[tuple[Path, JsonObject]]:
    yield ("base", "licence"), document["base"]["licence"]
    for index, dataset in enumerate(document.get("datasets", [])):
        if dataset.get("licence") is not None:
            yield ("datasets", index, "licence"), dataset["licence"]


def licences_are_evidenced(document: JsonObject) -> Iterator[Problem]:
    """MENS-R014: every licence along the chain rests on evidence that the document has."""
    for where, licence in _licences(document):
        yield from licence_evidenced(licence, document.get("evidence", {}), where)


def obligations_are_carried(document: JsonObject) -> Iterator[Problem]:
    """MENS-R090: what a licence along the chain asks is asked of the artifact; nothing drops it."""
    carried = {(obligation["kind"], obligation["text"]) for obligation in document.get("obligations", [])}
    for where, licence in _licences(document):
        for index, obligation in enumerate(licence.get("obligations", [])):
            if (obligation["kind"], obligation["text"]) not in carried:
                message = f"this {obligation['kind']} obligation is missing from the document's `obligations`"
                yield Problem("MENS-R090", pointer(*where, "obligations", index), message)


def steps_follow_time(document: JsonObject) -> Iterator[Problem]:
    """MENS-R013: a step ends after it begins."""
    for index, step in enumerate(document["steps"]):
        where = ("steps", index, "finished")
        yield from in_order(step.get("started"), step.get("finished"), where, "the step ends before it begins")


def ratio_is_the_quotient(document: JsonObject) -> Iterator[Problem]:
    """MENS-R091: the ratio of training to base is their quotient, and unknown where either is."""
    compute = document.get("compute") or {}
    ratio, training, base = (compute.get(name) for name in ("ratio", "training_petaflop", "base_petaflop"))
    if ratio is None:
        return
    if training is None or not base:
        yield Problem("MENS-R091", "/compute/ratio", "a ratio needs both amounts, and a base's above 0")
    elif not math.isclose(ratio, training / base, rel_tol=1e-3):
        yield Problem(
            "MENS-R091", "/compute/ratio", f"{ratio} is not {training} / {base}, which is {training / base:g}"
        )


RULES: dict[str, tuple[Rule, ...]] = {
    "provenance": (
        licences_are_evidenced,
        obligations_are_carried,
        steps_follow_time,
        ratio_is_the_quotient,
        files_listed_once("subject", "files"),
    ),
}
