"""Named rules for training presets and lanes."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule
from mens.contracts.rules.shared import no_repeats

MOBILE_EDGE_LIMITS = {"seq_len": 512, "rank": 32, "batch_size": 1}


def warmup_within_training(preset: JsonObject) -> Iterator[Problem]:
    """MENS-R001: a warm-up that never ends is no warm-up."""
    steps, warmup = preset.get("max_steps"), preset["warmup_steps"]
    if steps is not None and warmup >= steps:
        message = f"the warm-up of {warmup} steps is not shorter than training, {steps}"
        yield Problem("MENS-R001", "/warmup_steps", message)


def last_k_within_sequence(preset: JsonObject) -> Iterator[Problem]:
    """MENS-R002: the loss cannot be restricted to more positions than a sequence has."""
    last_k, length = preset.get("ce_last_k", 0), preset["seq_len"]
    if last_k > length:
        yield Problem("MENS-R002", "/ce_last_k", f"ce_last_k {last_k} reaches beyond the sequence, {length}")


def mobile_edge_limits(preset: JsonObject) -> Iterator[Problem]:
    """MENS-R003: what is trained for mobile_edge must fit there."""
    if preset.get("deployment_target") == "mobile_edge":
        for field, limit in MOBILE_EDGE_LIMITS.items():
            if preset[field] > limit:
                message = f"deployment_target mobile_edge allows {field} up to {limit}, not {preset[field]}"
                yield Problem("MENS-R003", f"/{field}", message)


RULES: dict[str, tuple[Rule, ...]] = {
    "training-preset": (
        warmup_within_training,
        last_k_within_sequence,
        mobile_edge_limits,
        no_repeats("aliases", "targets"),
    ),
    "lane": (no_repeats("response_modes"),),
}
