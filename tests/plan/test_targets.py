"""What is adapted, against PEFT itself on every family."""

from __future__ import annotations

import pytest
from mens_contracts.families import FAMILIES

from mens.contracts.errors import IntegrityError
from mens.plan.graph import graph_of
from mens.plan.resolve import resolve
from mens.plan.targets import empty_sets, targets, trainable, untouched_layers
from tests.plan.measure import build
from tests.plan.sparse import released

LORA = {"base_quant": "none", "compute_dtype": "fp32"}
SETS = [["attention", "linear", "mlp"], ["all"], ["qv"], ["attention"], ["mlp"], ["linear", "qv"]]


CASES = [(family, sets) for family in FAMILIES for sets in SETS]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "sets"), CASES, ids=[f"{family}-{'+'.join(sets)}" for family, sets in CASES])
@pytest.mark.parametrize("rank", [1, 5])
def test_as_many_as_peft_makes(family: str, sets: list[str], rank: int) -> None:
    built = build(family, LORA | {"targets": sets, "rank": rank})
    found = targets(built.graph, built.resolved.preset)
    assert trainable(found, rank) == sum(parameter.numel() for parameter in built.trainable)
    assert sum(target.num_modules for target in found) == len(built.trainable) // 2
    assert found


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama", "gpt2"])
def test_nothing_to_adapt_is_a_hole(family: str) -> None:
    graph = graph_of(FAMILIES[family], FAMILIES[family].tiny_config)
    with pytest.raises(IntegrityError) as refused:
        targets(graph, resolve("4080", None, {"targets": ["linear"]}).preset)
    assert refused.value.code == "MENS-L005"
    assert refused.value.exit_code == 4
    assert "attention" in refused.value.fix


def test_fused_query_and_gate_is_counted_as_stored() -> None:
    family, config = released("Qwen/Qwen3.5-4B")
    graph = graph_of(family, config)
    found = {(target.kind, target.role): target for target in targets(graph, resolve("4080").preset)}
    query = found["full_attention", "attention.query_gate"]
    assert (query.inputs, query.outputs, query.num_modules) == (2560, 2 * 16 * 256, 8)
    assert query.trainable(16) == 8 * 16 * (2560 + 8192)
    assert found["linear_attention", "mlp.down"].num_modules == 24
    assert found["full_attention", "mlp.down"].num_modules == 8


def test_matrices_stored_inputs_first() -> None:
    graph = graph_of(FAMILIES["gpt2"], FAMILIES["gpt2"].tiny_config)
    found = {target.role: target for target in targets(graph, resolve("4080").preset)}
    assert (found["mlp.up"].inputs, found["mlp.up"].outputs) == (32, 128)
    assert (found["mlp.down"].inputs, found["mlp.down"].outputs) == (128, 32)


def test_routed_experts_are_never_targeted() -> None:
    for name in ("qwen3_moe", "qwen3_5_moe", "qwen3_next"):
        graph = graph_of(FAMILIES[name], FAMILIES[name].tiny_config)
        for found in targets(graph, resolve("4080", None, {"targets": ["all"]}).preset):
            assert not found.role.startswith("expert"), name


def test_sets_that_choose_nothing_and_layers_left_out() -> None:
    family, config = released("Qwen/Qwen3.5-4B")
    graph = graph_of(family, config)
    qv = resolve("4080", None, {"targets": ["qv"]}).preset
    assert list(empty_sets(graph, qv)) == []
    assert untouched_layers(graph, targets(graph, qv)) == 24
    dense = graph_of(FAMILIES["llama"], FAMILIES["llama"].tiny_config)
    assert list(empty_sets(dense, resolve("4080").preset)) == ["linear"]
    assert untouched_layers(dense, targets(dense, resolve("4080").preset)) == 0


def test_dropout_changes_no_count() -> None:
    graph = graph_of(FAMILIES["qwen3_5"], FAMILIES["qwen3_5"].tiny_config)
    preset = resolve("4080").preset
    assert targets(graph, preset) == targets(graph, preset.model_copy(update={"dropout": 0.5}))
