"""Does it fit, how long a sequence would, and what would have to change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mens_contracts.training_preset_v1 import TrainingPresetV1

from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.rules.presets import MOBILE_EDGE_LIMITS
from mens.plan.activations import Situation
from mens.plan.graph import Graph
from mens.plan.memory import MemoryPlan, plan_memory
from mens.plan.targets import Target

GRANULE: Final = 8
"""Sequence lengths are searched in steps of so many tokens, which is also the shortest that a preset may have."""
LONGEST: Final = 1_048_576
"""The longest sequence that a preset may ask for."""
CHUNKED: Final = 256
MAX_ALTERNATIVES: Final = 8


@dataclass(frozen=True)
class Case:
    """A model, what is adapted, a configuration and the place it would run at."""

    graph: Graph
    targets: tuple[Target, ...]
    preset: TrainingPresetV1
    situation: Situation

    @property
    def memory(self) -> MemoryPlan:
        """What one device needs."""
        return plan_memory(self.graph, self.targets, self.preset, self.situation)

    def changed(self, changes: JsonObject) -> Case:
        """The same with other settings; the adapted matrices stay the same."""
        return Case(self.graph, self.targets, self.preset.model_copy(update=changes), self.situation)

    def fits(self, available: int) -> bool:
        """Whether one device has enough memory."""
        return self.memory.total <= available


@dataclass(frozen=True)
class Alternative:
    """Settings that fit, as changes, and what the run needs with them on one device."""

    changes: JsonObject
    total: int


def longest_sequence(case: Case, available: int) -> int:
    """Return the longest sequence that fits, in steps of eight tokens up to the model's own limit; 0 where none does.

    Every term grows with the sequence or stays, so halving finds it. A deployment target's own limit holds too.
    """
    low, high = 0, max(_longest_allowed(case) // GRANULE, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if case.changed({"seq_len": middle * GRANULE}).fits(available):
            low = middle
        else:
            high = middle - 1
    return low * GRANULE


def _longest_allowed(case: Case) -> int:
    limits = MOBILE_EDGE_LIMITS if case.preset.deployment_target == "mobile_edge" else {}
    return min(case.graph.context, limits.get("seq_len", LONGEST))


def nearest(case: Case, available: int) -> list[Alternative]:
    """Return settings that fit, nearest first.

    Each change that leaves what is learnt alone and fits by itself; where none does, all of those together, with a
    shorter sequence if need be; then a shorter sequence, quantisation or a lower rank by itself.
    """
    if case.fits(available):
        return []
    free = _first_of_each_kind(case, _free(case), available)
    together = [] if free else [_together(case, available)]
    costly = _first_of_each_kind(case, _costly(case, available), available)
    found = [*free, *(other for other in together if other is not None), *costly]
    return list({json.dumps(other.changes): other for other in found}.values())[:MAX_ALTERNATIVES]


def _priced(case: Case, changes: JsonObject) -> Alternative:
    return Alternative(changes, case.changed(changes).memory.total)


def _free(case: Case) -> Iterator[JsonObject]:
    """Changes that cost time or nothing, and leave what is learnt as it is."""
    preset = case.preset
    if not 0 < preset.loss_chunk_size <= CHUNKED:
        yield {"loss_chunk_size": CHUNKED}
    if not preset.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    if preset.base_quant == "nf4" and not preset.double_quant:
        yield {"double_quant": True}
    yield from _smaller_batches(preset)
    if preset.optimizer in ("adamw", "paged_adamw"):
        yield {"optimizer": "paged_adamw_8bit"}


def _smaller_batches(preset: TrainingPresetV1) -> Iterator[JsonObject]:
    batch, accumulated = preset.batch_size, preset.grad_accum
    while batch > 1 and batch % 2 == 0 and accumulated * 2 <= 4096:
        batch, accumulated = batch // 2, accumulated * 2
        yield {"batch_size": batch, "grad_accum": accumulated}
    if batch > 1 and accumulated * batch <= 4096:
        yield {"batch_size": 1, "grad_accum": accumulated * batch}


def _costly(case: Case, available: int) -> Iterator[JsonObject]:
    """Changes that change what is learnt."""
    preset = case.preset
    length = longest_sequence(case, available)
    if 0 < length < preset.seq_len:
        yield shorter(preset, length)
    if preset.base_quant == "none":
        yield {"base_quant": "nf4"}
    yield from _ranks(case)


def _first_of_each_kind(case: Case, changes: Iterable[JsonObject], available: int) -> list[Alternative]:
    """Those that fit by themselves; of several steps of one kind the first that fits is the nearest."""
    found: dict[frozenset[str], Alternative] = {}
    for change in changes:
        priced = _priced(case, change)
        if priced.total <= available:
            found.setdefault(frozenset(change), priced)
    return list(found.values())


def _together(case: Case, available: int) -> Alternative | None:
    """Changes laid on one another, nearest first, until it fits."""
    laid: JsonObject = {}
    for change in _free(case):
        laid |= change
        if case.changed(laid).fits(available):
            return _priced(case, laid)
    if case.preset.base_quant == "none":
        laid |= {"base_quant": "nf4"}
    for change in [{}, *_ranks(case)]:
        smaller = case.changed(laid | change)
        length = min(longest_sequence(smaller, available), case.preset.seq_len)
        if length > 0:
            return _priced(case, laid | change | (shorter(case.preset, length) if length < case.preset.seq_len else {}))
    return None


def _ranks(case: Case) -> Iterator[JsonObject]:
    rank, alpha = case.preset.rank, case.preset.alpha
    while rank > 4 and rank % 2 == 0:
        rank, alpha = rank // 2, max(alpha // 2, 1)
        yield {"rank": rank, "alpha": alpha}


def shorter(preset: TrainingPresetV1, length: int) -> JsonObject:
    """Return the change to a shorter sequence, with the last k positions no more than it has."""
    changes: dict[str, JsonValue] = {"seq_len": length}
    if preset.ce_last_k > length and "ce_last_k" in preset.model_fields_set:
        changes["ce_last_k"] = length
    return changes


def tokens_per_optimizer_step(preset: TrainingPresetV1, num_devices: int) -> int:
    """Return the most tokens that one optimizer step sees over all devices."""
    return preset.seq_len * preset.batch_size * preset.grad_accum * num_devices
