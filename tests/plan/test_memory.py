"""The whole plan: sums, moments, monotony, and the search for what fits."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mens_contracts.families import FAMILIES

from mens.contracts import door
from mens.contracts.json_types import JsonObject
from mens.plan import memory, search
from mens.plan.activations import Situation, step_of
from mens.plan.graph import Graph, graph_of
from mens.plan.resolve import resolve
from mens.plan.search import Case, longest_sequence, nearest
from mens.plan.targets import roles, targets
from tests.plan.sparse import released

GIB = 1 << 30
MODELS = ["Qwen/Qwen3.5-0.8B", "Qwen/Qwen3.5-4B", "Qwen/Qwen3.5-9B", "Qwen/Qwen3.5-27B", "Qwen/Qwen3.5-35B-A3B"]
NAMES = [*FAMILIES, "Qwen/Qwen3.5-4B", "Qwen/Qwen3.5-35B-A3B"]


@cache
def model(name: str) -> Graph:
    family, config = (FAMILIES[name], FAMILIES[name].tiny_config) if name in FAMILIES else released(name)
    return graph_of(family, config)


def case_of(name: str, situation: Situation | None = None, **flags: Any) -> Case:
    preset = resolve("4080", None, flags).preset
    graph = model(name)
    return Case(graph, targets(graph, preset), preset, situation or Situation())


situations = st.builds(
    Situation, device=st.sampled_from(["cuda", "cpu"]), num_devices=st.integers(1, 8), fused_kernels=st.booleans()
)
flags = st.fixed_dictionaries(
    {
        "seq_len": st.integers(8, 20_000),
        "batch_size": st.integers(1, 64),
        "rank": st.integers(1, 256),
        "loss_chunk_size": st.sampled_from([0, 1, 256, 4096]),
        "double_quant": st.booleans(),
        "gradient_checkpointing": st.booleans(),
        "compute_dtype": st.sampled_from(["bf16", "fp32"]),
        "optimizer": st.sampled_from(["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"]),
        "dropout": st.sampled_from([0, 0.1]),
        "ce_last_k": st.sampled_from([0, 8]),
        "targets": st.sampled_from([["all"], ["attention"], ["qv"], ["attention", "linear", "mlp"]]),
    }
)
grown = st.sampled_from(["seq_len", "batch_size", "rank"])


@settings(deadline=None)
@given(st.sampled_from(NAMES), flags, situations)
def test_the_total_is_the_sum_and_the_fullest_moment(name: str, chosen: JsonObject, situation: Situation) -> None:
    case = case_of(name, situation, **chosen)
    plan = case.memory
    assert plan.total == sum(plan.components.values())
    assert all(size >= 0 for size in [*plan.components.values(), *plan.host.values()])
    step = step_of(case.preset, situation, roles(case.targets))
    all_moments = dict(memory.moments(case.graph, case.preset, step))
    fullest = max(sum(components.values()) for components in all_moments.values())
    assert sum(plan.components[name] for name in ("activations", "loss", "workspace")) == fullest
    assert sum(all_moments[plan.peak].values()) == fullest
    assert len(all_moments) == 2


@settings(deadline=None)
@given(st.sampled_from(NAMES), flags, situations, grown, st.integers(1, 500))
def test_more_never_needs_less(name: str, chosen: JsonObject, situation: Situation, field: str, more: int) -> None:
    larger = chosen | {field: chosen[field] + more}
    if field == "rank" and "8bit" in chosen["optimizer"]:
        larger |= {"optimizer": "adamw"}  # an 8-bit state starts at 4,096 numbers, where it takes less
        chosen |= {"optimizer": "adamw"}
    limits = {"seq_len": 20_000, "batch_size": 4096, "rank": 1024}
    if larger[field] > limits[field]:
        return
    small, large = case_of(name, situation, **chosen).memory, case_of(name, situation, **larger).memory
    assert small.total + sum(small.host.values()) <= large.total + sum(large.host.values())


@pytest.mark.parametrize(
    ("dear", "cheap"),
    [
        ({"double_quant": False}, {}),
        ({"gradient_checkpointing": False}, {}),
        ({"loss_chunk_size": 0, "ce_last_k": 0}, {"ce_last_k": 0}),
        ({}, {"optimizer": "paged_adamw_8bit"}),
        ({"compute_dtype": "fp32"}, {}),
        ({"base_quant": "none"}, {}),
        ({"targets": ["all"]}, {"targets": ["qv"]}),
        ({"dropout": 0.1, "gradient_checkpointing": False}, {"gradient_checkpointing": False}),
    ],
    ids=lambda own: "-".join(own) or "as-it-is",
)
def test_what_saves_memory(dear: JsonObject, cheap: JsonObject) -> None:
    common = {"seq_len": 2048}
    name = "Qwen/Qwen3.5-4B"
    assert case_of(name, **common | cheap).memory.total < case_of(name, **common | dear).memory.total


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(NAMES), flags, situations, st.integers(1, 200))
def test_the_longest_sequence_really_is(name: str, chosen: JsonObject, situation: Situation, gib: int) -> None:
    case = case_of(name, situation, **chosen)
    available = gib * GIB // 4
    length = longest_sequence(case, available)
    assert length % search.GRANULE == 0
    if length:
        assert case.changed({"seq_len": length}).fits(available)
    if length < case.graph.context - search.GRANULE:
        assert not case.changed({"seq_len": length + search.GRANULE}).fits(available)


def test_a_deployment_target_limits_the_sequence() -> None:
    preset = resolve("mobile_edge").preset
    graph = model("Qwen/Qwen3.5-0.8B")
    assert longest_sequence(Case(graph, targets(graph, preset), preset, Situation()), 80 * GIB) == 512


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(MODELS), flags, st.integers(4, 40))
def test_what_is_proposed_fits_and_may_be_asked_for(name: str, chosen: JsonObject, gib: int) -> None:
    case = case_of(name, **chosen)
    proposed = nearest(case, gib * GIB)
    assert not (proposed and case.fits(gib * GIB))
    for other in proposed:
        assert other.total <= gib * GIB
        again = resolve("4080", None, chosen | other.changes).preset
        assert Case(case.graph, targets(case.graph, again), again, case.situation).memory.total == other.total
    assert len({str(other.changes) for other in proposed}) == len(proposed)


def test_what_is_proposed_for_a_long_sequence() -> None:
    case = case_of("Qwen/Qwen3.5-4B", seq_len=8192, batch_size=4, loss_chunk_size=0, ce_last_k=0)
    changes = [other.changes for other in nearest(case, 16 * GIB)]
    assert changes[0].keys() <= {"loss_chunk_size", "batch_size", "grad_accum", "optimizer", "seq_len"}
    assert changes[0]["loss_chunk_size"] == 256
    assert any(change.keys() == {"seq_len"} for change in changes)
    tokens = {
        (change.get("batch_size", 4) * change.get("grad_accum", 8)) for change in changes if "batch_size" in change
    }
    assert tokens <= {32}


def test_nothing_near_where_the_base_alone_is_too_large() -> None:
    assert nearest(case_of("Qwen/Qwen3.5-35B-A3B", experts="16bit"), 16 * GIB) == []


def test_every_preset_is_still_one_after_the_changes() -> None:
    """A change to a shorter sequence takes the last k positions along where a preset states them."""
    case = case_of("Qwen/Qwen3.5-4B", seq_len=16384, ce_last_k=16384, batch_size=1)
    kind = door.kind_of_model(type(case.preset))
    for other in nearest(case, 8 * GIB):
        written = case.preset.model_dump(mode="json", by_alias=True, exclude_unset=True) | other.changes
        assert door.check(written, kind)[1] == []
