"""What a step keeps, against what autograd saves, and the plan of a whole step against its fullest moment."""

from __future__ import annotations

from typing import Any

import pytest
from mens_contracts.families import FAMILIES

from mens.checkpoint.keys.geometry import Geometry
from mens.plan import activations, graph
from mens.plan.activations import Situation
from mens.plan.memory import lora_copies, plan_memory
from mens.plan.resolve import resolve
from mens.plan.targets import Target, roles, targets
from tests.plan.measure import Built, build, saved_by_layer, step_peak, widened

CPU = Situation(device="cpu", fused_kernels=False)
PLAIN = {"base_quant": "none"}
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
    "settings",
    [{}, {"rank": 32, "targets": ["qv"]}, {"compute_dtype": "fp32"}],
    ids=["bf16", "bf16-qv", "fp32"],
)
def test_every_layer_keeps_what_autograd_saves(family: str, settings: Any) -> None:
    """Layers up to the first that is adapted are left out: nothing before it needs a gradient, so they keep less."""
    chosen = PLAIN | {"batch_size": BATCH, "seq_len": LENGTH, "gradient_checkpointing": False} | settings
    built = build(family, chosen, config=widened(FAMILIES[family]))
    measured, expected, layers = saved_by_layer(built, BATCH, LENGTH), planned(built), layers_of(built)
    adapted = roles(targets(built.graph, built.resolved.preset))
    has_pair = [any((matrix.kind, matrix.role) in adapted for matrix in layer.matrices) for layer in layers]
    later = range(has_pair.index(True) + 1, len(layers))
    assert later or has_pair.index(True) == len(layers) - 1
    for number in later:
        least, most = bounds(layers, number, built.resolved.preset.compute_dtype)
        assert least <= expected[number] / measured[number] <= most, (number, expected, measured)


def bounds(layers: list[graph.Layer], number: int, dtype: str) -> tuple[float, float]:
    """How near the plan comes: exact in bf16 but for two small things that every layer would be charged with.

    Chunks of linear attention are a little less than whole at their edges; rotary tables are kept once for all
    layers, and counted where they are first used, which in a hybrid is late. Float32 shares what bf16 must copy.
    """
    if dtype == "fp32":
        return 0.98, 1.12
    if layers[number].delta is not None:
        return 1.0, 1.008
    return (0.98, 1.001) if any(layer.delta for layer in layers) else (0.999, 1.001)


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
    quantise = "base_quant" not in settings
    if quantise:
        pytest.importorskip("bitsandbytes")
    wider = {"hidden_size": 256, "intermediate_size": 512, "vocab_size": 2048}
    chosen = {"batch_size": 2, "seq_len": 128, "rank": 8, "targets": ["all"]}
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
