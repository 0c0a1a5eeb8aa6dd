"""Named rules for the receipts that training writes into manifests and adapters."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, pointer
from mens.contracts.rules.shared import Path, adds_up, below, within

AT: Path = ("receipts",)


def coverage_adds_up(document: JsonObject) -> Iterator[Problem]:
    """MENS-R011, MENS-R012: coverage is the sum of its rows, and nothing is attached that was not asked for."""
    coverage = below(document, ("receipts", "coverage"))
    if coverage is None:
        return
    for name in ("num_expected", "num_attached"):
        parts = [row[name] for row in coverage["rows"]]
        yield from adds_up(coverage[name], parts, (*AT, "coverage", name), "the rows")
    for index, row in enumerate(coverage["rows"]):
        where = (*AT, "coverage", "rows", index, "num_attached")
        yield from within(row["num_attached"], row["num_expected"], where, "more is attached than was expected")


def quantisation_adds_up(document: JsonObject) -> Iterator[Problem]:
    """MENS-R011, MENS-R015: the loaded base is the sum of its classes, and 4 bits are claimed where they are."""
    receipt = below(document, ("receipts", "quantisation"))
    if receipt is None:
        return
    sizes = [row["bytes"] for row in receipt["classes"]]
    yield from adds_up(receipt["total_bytes"], sizes, (*AT, "quantisation", "total_bytes"), "the classes")
    quantised = any(row["dtype"] == "NF4" for row in receipt["classes"])
    if quantised != (receipt["base_quant"] == "nf4"):
        message = f"base_quant is {receipt['base_quant']}, but {'some' if quantised else 'no'} class is stored as NF4"
        yield Problem("MENS-R015", pointer(*AT, "quantisation", "base_quant"), message)


def masks_add_up(document: JsonObject) -> Iterator[Problem]:
    """MENS-R011, MENS-R012: supervised tokens are tokens, and those of the roles together."""
    masks = below(document, ("receipts", "masks"))
    if masks is None:
        return
    supervised = masks["num_supervised_tokens"]
    where = (*AT, "masks", "num_supervised_tokens")
    yield from within(supervised, masks["num_tokens"], where, "more tokens are supervised than there are")
    if masks.get("roles"):
        yield from adds_up(supervised, masks["roles"].values(), where, "the roles")
    truncated = (*AT, "masks", "num_truncated_rows")
    cut = masks.get("num_truncated_rows", 0)
    yield from within(cut, masks["num_rows"], truncated, "more rows are truncated than there are")


RECEIPT_RULES = (coverage_adds_up, quantisation_adds_up, masks_add_up)
