"""What a run needs, component by component, at the moment when it needs most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from mens_contracts.training_preset_v1 import TrainingPresetV1

from mens.plan import activations as act
from mens.plan import weights as w
from mens.plan.activations import Situation, Step
from mens.plan.graph import Graph
from mens.plan.targets import Target, roles, trainable

MiB: Final = 1 << 20
LORA_BYTES: Final = w.FLOAT32
"""Bytes of an adapter's number: PEFT holds adapters in float32 whatever the base is in, and so does their file."""
MIN_8BIT: Final = 4096
"""Parameters with fewer numbers keep a 32-bit optimizer state in bitsandbytes."""
MIN_PAGED: Final = 100_000
"""States with fewer numbers are not paged by bitsandbytes."""
STATE_BLOCK: Final = 256
"""Numbers of an 8-bit optimizer state that share one float32 scale."""
STATE_CODES: Final = 2 * 256 * w.FLOAT32
"""The two tables of the 8-bit states, signed and unsigned, once for all of them."""
OVERHEAD: Final[dict[str, int]] = {"cuda": 768 * MiB, "cpu": 0}
"""CUDA context, loaded kernels, cuBLAS workspaces and what the caching allocator rounds up: a constant, not measured
here. Contexts take 300 to 550 MiB on current cards and drivers, cuBLAS 8 to 32 MiB for each handle and stream."""
Moment = Literal["loss", "backward"]
Components = dict[str, int]


@dataclass(frozen=True)
class MemoryPlan:
    """What one device needs at its fullest moment, and what goes to host memory instead."""

    components: Components
    peak: Moment
    host: Components

    @property
    def total(self) -> int:
        """The sum of the components."""
        return sum(self.components.values())


def plan_memory(graph: Graph, found: tuple[Target, ...], preset: TrainingPresetV1, situation: Situation) -> MemoryPlan:
    """Return what one device needs; every device of a data-parallel run needs the same."""
    step = act.step_of(preset, situation, roles(found))
    on_device, on_host = optimizer(found, preset, situation)
    resident = {
        "nf4_weights": w.nf4_weights(graph, preset),
        "quantisation_constants": w.quantisation_constants(graph, preset),
        "remainder": w.remainder(graph, preset),
        "lora_weights": lora_weights(found, preset),
        "lora_copies": lora_copies(found, preset),
        "gradients": gradients(found, preset, situation),
        "optimizer": on_device,
    }
    fullest = max(moments(graph, preset, step), key=lambda moment: sum(moment[1].values()))
    overhead = {"overhead": OVERHEAD[situation.device]}
    return MemoryPlan({**resident, **fullest[1], **overhead}, fullest[0], {"optimizer": on_host} if on_host else {})


def moments(graph: Graph, preset: TrainingPresetV1, step: Step) -> list[tuple[Moment, Components]]:
    """The two moments at which a step may need most: at the loss, and while the heaviest layer goes backwards."""
    held = held_activations(graph, preset, step)
    rows = loss_rows(preset) * w.element_bytes(preset) * graph.hidden
    at_loss = {"activations": held, "loss": loss(graph, preset), "workspace": 0}
    backward = {
        "activations": held + recomputed(graph, preset, step),
        "loss": rows,
        "workspace": w.dequantised(graph, preset) + max(act.in_flight(layer, step) for layer, _ in graph.layers),
    }
    return [("backward", backward), ("loss", at_loss)]


def lora_weights(found: Iterable[Target], preset: TrainingPresetV1) -> int:
    """Adapter weights: 4 bytes for each trainable number."""
    return LORA_BYTES * trainable(found, preset.rank)


def lora_copies(found: Iterable[Target], preset: TrainingPresetV1) -> int:
    """The adapter in the compute type: autocast casts a weight once for a forward pass and keeps the copy."""
    return w.element_bytes(preset) * trainable(found, preset.rank) if preset.compute_dtype != "fp32" else 0


def gradients(found: Iterable[Target], preset: TrainingPresetV1, situation: Situation) -> int:
    """Gradients, in float32 as the adapter is; with several devices the buckets that are exchanged hold them again."""
    return lora_weights(found, preset) * (1 if situation.num_devices == 1 else 2)


def optimizer(found: Iterable[Target], preset: TrainingPresetV1, situation: Situation) -> tuple[int, int]:
    """Optimizer state on the device and in host memory.

    `adamw` is torch's: two float32 numbers for each parameter and a step of 4 bytes for each tensor. The others are
    bitsandbytes': 8 bits keep a byte twice and two float32 scales for each 256 numbers, but small tensors stay in 32
    bits; paged states of at least 100,000 numbers live in host memory.
    """
    device = host = 0
    eight_bit = "8bit" in preset.optimizer
    used_codes = False
    for target in found:
        for numbers in (preset.rank * target.inputs, preset.rank * target.outputs):
            small = numbers < MIN_8BIT
            used_codes |= eight_bit and not small
            state = 2 * numbers * (w.FLOAT32 if small or not eight_bit else 1)
            scales = 2 * w.FLOAT32 * w.blocks(numbers, STATE_BLOCK) if eight_bit and not small else 0
            paged = preset.optimizer.startswith("paged") and numbers >= MIN_PAGED and situation.device == "cuda"
            step = w.FLOAT32 if preset.optimizer == "adamw" else 0
            device += target.num_modules * (scales + step + (0 if paged else state))
            host += target.num_modules * (state if paged else 0)
    return device + (STATE_CODES if used_codes else 0), host


def held_activations(graph: Graph, preset: TrainingPresetV1, step: Step) -> int:
    """What is kept from the forward to the backward pass: layer inputs with checkpointing, everything without."""
    kept = act.layer_input if preset.gradient_checkpointing else act.layer_saved
    return act.around_layers(graph, step) + sum(count * kept(layer, step) for layer, count in graph.layers)


def recomputed(graph: Graph, preset: TrainingPresetV1, step: Step) -> int:
    """With checkpointing, the layer that keeps most is computed again and kept whole for a moment."""
    if not preset.gradient_checkpointing:
        return 0
    return max(act.layer_saved(layer, step) for layer, _ in graph.layers)


def loss_rows(preset: TrainingPresetV1) -> int:
    """Positions that the loss looks at: the last k of every sequence, or all."""
    return preset.batch_size * min(preset.seq_len, preset.ce_last_k or preset.seq_len)


def loss(graph: Graph, preset: TrainingPresetV1) -> int:
    """The loss at its fullest: hidden rows and their gradient, e 2 h for each row, and logits of one chunk of rows.

    For each logit: itself in the compute type, its log-probability and its gradient in float32: 2 + 4 + 4 bytes, or
    4 + 4 where the compute type is float32 and needs no copy.
    """
    rows = loss_rows(preset)
    chunk = min(rows, preset.loss_chunk_size or rows)
    element = w.element_bytes(preset)
    logit = (element if element != w.FLOAT32 else 0) + 2 * w.FLOAT32
    return 2 * element * graph.hidden * rows + logit * graph.vocab * chunk
