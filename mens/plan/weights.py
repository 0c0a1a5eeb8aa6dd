"""Bytes of the frozen base, tensor by tensor, as bitsandbytes and torch allocate them."""

from __future__ import annotations

from mens_contracts.training_preset_v1 import TrainingPresetV1

from mens.plan.graph import Graph, TensorClass

FLOAT32 = 4
BLOCK = 64
"""Values that share one scale in NF4 (bitsandbytes' default block)."""
NESTED_BLOCK = 256
"""Scales that share one second-level scale under double quantisation."""
NF4_CODE = 16 * FLOAT32
"""The sixteen values of NF4, a float32 table that every quantised tensor carries."""
NESTED_CODE = 256 * FLOAT32
"""The 256 values of the dynamic 8-bit type of the scales, likewise one table for each tensor."""
OFFSET = FLOAT32
"""The mean of the scales, taken off before they are quantised: one float32 scalar."""


def blocks(count: int, size: int) -> int:
    """How many blocks cover so many values, the last one perhaps not full."""
    return -(-count // size)


def element_bytes(preset: TrainingPresetV1) -> int:
    """Bytes of one number in the type that matrices are multiplied in."""
    return 2 if preset.compute_dtype == "bf16" else FLOAT32


def packed_bytes(elements: int) -> int:
    """NF4 values, two in a byte: ceil(n / 2)."""
    return blocks(elements, 2)


def constant_bytes(elements: int, double_quant: bool) -> int:
    """NF4's quantisation constants.

    Plain: 4 ceil(n / 64) for the scales and 64 for the code. Double: ceil(n / 64) for the scales as bytes,
    4 ceil(ceil(n / 64) / 256) for their own scales, 64 and 1024 for the two codes, 4 for the offset.
    """
    scales = blocks(elements, BLOCK)
    if not double_quant:
        return FLOAT32 * scales + NF4_CODE
    return scales + FLOAT32 * blocks(scales, NESTED_BLOCK) + NF4_CODE + NESTED_CODE + OFFSET


def quantised(tensor: TensorClass, preset: TrainingPresetV1) -> bool:
    """Whether the base holds it in 4 bits: what the family allows, without routed experts, which loading leaves."""
    return preset.base_quant == "nf4" and tensor.nf4 and not tensor.routed


def held_bytes(tensor: TensorClass, preset: TrainingPresetV1) -> int:
    """Bytes of one number of an unquantised tensor: the compute type, but F32 where the family keeps what it finds."""
    return FLOAT32 if tensor.keeps_f32 else element_bytes(preset)


def nf4_weights(graph: Graph, preset: TrainingPresetV1) -> int:
    """Packed values of everything held in 4 bits."""
    return sum(packed_bytes(t.elements) * t.num for t in graph.tensors if quantised(t, preset))


def quantisation_constants(graph: Graph, preset: TrainingPresetV1) -> int:
    """Scales and tables of everything held in 4 bits."""
    return sum(constant_bytes(t.elements, preset.double_quant) * t.num for t in graph.tensors if quantised(t, preset))


def remainder(graph: Graph, preset: TrainingPresetV1) -> int:
    """Everything that is not held in 4 bits: embeddings, head, norms, small matrices, routed experts."""
    return sum(held_bytes(t, preset) * t.elements * t.num for t in graph.tensors if not quantised(t, preset))


def routed_bytes(graph: Graph, preset: TrainingPresetV1) -> int:
    """The share of routed experts in the remainder."""
    return sum(held_bytes(t, preset) * t.elements * t.num for t in graph.where(routed=True))


def dequantised(graph: Graph, preset: TrainingPresetV1) -> int:
    """The largest quantised matrix, unpacked for a multiplication: e n, and 4 ceil(n / 64) for unpacked scales."""
    largest = max((t.elements for t in graph.tensors if quantised(t, preset)), default=0)
    scales = FLOAT32 * blocks(largest, BLOCK) if preset.double_quant else 0
    return element_bytes(preset) * largest + scales
