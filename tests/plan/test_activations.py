"""What a step keeps, against what autograd saves, and the plan of a whole step against its fullest moment."""

from __future__ import annotations

from typing import Any

import pytest
from mens_contracts.families import FAMILIES

from mens.checkpoint.geometry import Geometry
from mens.plan import activations, graph
from mens.plan.activations import Situation
from mens.plan.memory import lora_copies, plan_memory
from mens.plan.resolve import resolve
from mens.plan.targets import Target, roles, targets
from tests.plan.measure import Built, build, saved_by_layer, step_peak, widened

CPU = Situation(device="cpu", fused_kernels=False)
PLAIN = {"method": "lora", "base_quant": "none"}
BATCH, LENGTH = 2, 320


def layers_of(built: Built) -> list[graph.Layer]:
    numbers = Geometry(built.family, built.config)
    specs = [spec for spec in built.specs if spec.required and spec.counts]
    return graph._layers(specs, graph._main_kinds(built.family, numbers), numbers)


def planned(built: Built) -> list[int]:
    """What the plan says of each layer; copies of the adapter, counted elsewhere, are put where they are made."""
    preset = built.resolved.preset
    step = activations.step_of(preset, CPU, roles(targets(built.graph, preset)))
    return [activations.layer_saved(layer, step) + copies(built, layer, step) for layer in layers_of(built)]


def copies(built: Built, layer: graph.Layer, step: activations.Step) -> int:
    adapted = [
        Target(matrix.kind, matrix.role, matrix.inputs, matrix.outputs, 1, matrix.nf4)
        for matrix in layer.matrices
        if (matrix.kind, matrix.role) in step.adapted
    ]
    return lora_copies(adapted, built.resolved.preset)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize(
    ("settings", "least", "most"),
    [
        ({}, 0.98, 1.01),
        ({"rank": 32, "targets": ["qv"]}, 0.98, 1.01),
        ({"compute_dtype": "fp32"}, 0.98, 1.12),
    ],
    ids=["bf16", "bf16-qv", "fp32"],
)
def test_every_layer_keeps_what_autograd_saves(family: str, settings: Any, least: float, most: float) -> None:
    """In bf16 within two hundredths; float32 shares what bf16 must copy, and the plan does not count on it.

    Layers up to the first that is adapted are left out: nothing before it needs a gradient, so they keep less or
    nothing. What is kept once for all layers, such as rotary tables, is counted where it is first used.
    """
    chosen = PLAIN | {"batch_size": BATCH, "seq_len": LENGTH, "gradient_checkpointing": False} | settings
    built = build(family, chosen, config=widened(FAMILIES[family]))
    measured = saved_by_layer(built, BATCH, LENGTH)
    expected = planned(built)
    adapted = roles(targets(built.graph, built.resolved.preset))
    first = next(
        number
        for number, layer in enumerate(layers_of(built))
        if any((matrix.kind, matrix.role) in adapted for matrix in layer.matrices)
    )
    compared = [expected[layer] / measured[layer] for layer in range(first + 1, len(expected))]
    assert compared or first == len(expected) - 1
    assert all(least <= ratio <= most for ratio in compared), compared


KEPT = {"gradient_checkpointing": False}
WHOLE = {"ce_last_k": 0, "loss_chunk_size": 0}
STEPS: list[tuple[str, Any]] = [
    ("qwen3", {}),
    ("qwen3", WHOLE),
    ("qwen3_5", {}),
    ("qwen3_5", KEPT),
    ("qwen3_5", PLAIN | {"compute_dtype": "fp32"}),
    ("qwen3_5_moe", {}),
    ("qwen3_next", KEPT),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "settings"), STEPS, ids=["-".join([family, *own]) for family, own in STEPS])
def test_a_whole_step_never_needs_more(family: str, settings: Any) -> None:
    """Weights, constants, adapter, optimizer, activations, loss and workspace together, without the CUDA overhead."""
    quantise = "method" not in settings
    if quantise:
        pytest.importorskip("bitsandbytes")
    wider = {"hidden_size": 256, "intermediate_size": 512, "vocab_size": 2048}
    chosen = {"batch_size": 2, "seq_len": 256, "rank": 8, "targets": ["all"]}
    built = build(family, chosen | settings, config=widened(FAMILIES[family], **wider), quantise=quantise)
    preset = built.resolved.preset
    plan = plan_memory(built.graph, targets(built.graph, preset), preset, CPU)
    measured = step_peak(built)
    assert 1.0 <= plan.total / measured <= 1.2, (plan, measured)


def test_fused_kernels_keep_less_than_plain_torch() -> None:
    built_graph = graph.graph_of(FAMILIES["qwen3_5"], widened(FAMILIES["qwen3_5"]))
    preset = resolve("4080").preset
    adapted = roles(targets(built_graph, preset))
    for layer, _ in built_graph.layers:
        fused = activations.layer_saved(layer, activations.step_of(preset, Situation(), adapted))
        plain = activations.layer_saved(layer, activations.step_of(preset, Situation(fused_kernels=False), adapted))
        assert (fused < plain) is (layer.delta is not None)
