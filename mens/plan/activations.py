"""Bytes that one step keeps for its backward pass, layer by layer.

Each term counts what autograd saves, read off upstream's own modules by listing saved tensors on a CPU; docs/plan.md
has the table. e is the bytes of the compute type, 4 stands for float32, and every formula is per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from mens_contracts.training_preset_v1 import TrainingPresetV1

from mens.plan.graph import Attention, Delta, Experts, Feed, Graph, Layer, Matrix
from mens.plan.weights import FLOAT32, blocks, element_bytes

INDEX: Final = 8
"""Bytes of an index (int64)."""
CHUNK: Final = 64
"""Tokens that the gated delta rule takes at a time; sequences are padded to a multiple of it."""


@dataclass(frozen=True)
class Situation:
    """Where a run would take place."""

    device: Literal["cuda", "cpu"] = "cuda"
    num_devices: int = 1
    fused_kernels: bool = True
    """Whether flash-linear-attention and causal-conv1d are used; without them upstream falls back to plain torch."""


@dataclass(frozen=True)
class Step:
    """One forward pass: how many tokens, in which type, with which pairs."""

    batch: int
    length: int
    element: int
    rank: int
    dropout: bool
    quantised: bool
    situation: Situation
    adapted: frozenset[tuple[str, str]]

    @property
    def tokens(self) -> int:
        """Tokens of one forward pass on one device."""
        return self.batch * self.length

    @property
    def padded(self) -> int:
        """Tokens once every sequence is padded to whole chunks."""
        return self.batch * blocks(self.length, CHUNK) * CHUNK


def step_of(preset: TrainingPresetV1, situation: Situation, adapted: frozenset[tuple[str, str]]) -> Step:
    """Return the step that a configuration asks for."""
    return Step(
        batch=preset.batch_size,
        length=preset.seq_len,
        element=element_bytes(preset),
        rank=preset.rank,
        dropout=preset.dropout > 0,
        quantised=preset.base_quant == "nf4",
        situation=situation,
        adapted=adapted,
    )


def norm(width: int, groups: int, step: Step, *, layer_norm: bool = False) -> int:
    """A normalisation: its input in float32, 4 w, and a float32 factor for each group, 4 g.

    A layer norm keeps mean and factor; autocast makes its input float32 on CUDA and leaves it alone on a CPU.
    """
    if not layer_norm:
        return FLOAT32 * (width + groups)
    element = FLOAT32 if step.situation.device == "cuda" else step.element
    return element * (width + 2 * groups)


def pair_inputs(matrices: tuple[Matrix, ...], step: Step) -> int:
    """What LoRA pairs keep: each its middle, e r, and its input, e in.

    Pairs on 4-bit matrices on CUDA, and all pairs in float32, keep the input itself, once for all that read it;
    elsewhere PEFT casts the input for each pair, and each cast is kept. Dropout makes a copy and a mask for each pair.
    """
    adapted = [matrix for matrix in matrices if (matrix.kind, matrix.role) in step.adapted]
    kept = step.element * step.rank * len(adapted)
    shared: set[tuple[str, int]] = set()
    for matrix in adapted:
        if step.dropout:
            kept += (step.element + 1) * matrix.inputs
        elif not _reads_itself(matrix, step):
            kept += step.element * matrix.inputs
        else:
            shared.add((_reads(matrix), matrix.inputs))
    return kept + sum(step.element * width for _, width in shared)


def _reads_itself(matrix: Matrix, step: Step) -> bool:
    if step.element == FLOAT32:
        return True
    return step.situation.device == "cuda" and step.quantised and matrix.nf4


def _reads(matrix: Matrix) -> str:
    """Name what a matrix reads: the last of its block reads what the block made, the others what came in."""
    block, _, part = matrix.role.rpartition(".")
    if part in ("output", "down"):
        return matrix.role
    return "feed" if block in ("mlp", "shared_expert") else "mixer"


def attention(shape: Attention, step: Step) -> int:
    """Softmax attention that never holds scores (flash, or torch's equivalent on a CPU).

    Queries, keys, values and output, e (2 q + 2 k), and 4 heads for the log-sums; where queries and keys are
    normalised, a norm of each; where the output is gated, the output and the gate's sigmoid, e 2 q on a CPU, which
    copies the output, e q on CUDA; in float32 the query is a view that keeps the gate beside it alive, 4 q.
    """
    kept = step.element * (2 * shape.query + 2 * shape.key) + FLOAT32 * shape.heads
    if shape.normed:
        kept += norm(shape.query, shape.heads, step) + norm(shape.key, shape.kv_heads, step)
    if shape.gated:
        kept += step.element * shape.query * (2 if step.situation.device == "cpu" else 1)
        kept += FLOAT32 * shape.query if step.element == FLOAT32 else 0
    return kept


def delta_fused(shape: Delta, step: Step) -> int:
    """The gated delta rule by flash-linear-attention: what its autograd function saves.

    Convolution input e c; normalised queries and keys e 2 k with a float32 factor for each head; values e v; decay
    in float32 and strength; the 64-wide triangular inverse, e 64 heads; then the gated norm.
    """
    heads = shape.value_heads
    rule = step.element * (shape.conv + 2 * shape.key + shape.value + heads + CHUNK * heads)
    return rule + FLOAT32 * 4 * heads + gated_norm(shape, step)


def delta_reference(shape: Delta, step: Step) -> int:
    """The gated delta rule as upstream writes it in plain torch, without its kernels.

    Mostly float32: six key-wide, two value-wide and two 64-wide tensors; seven key-wide, two value-wide and three
    64-wide copies in the compute type for its multiplications; and for each chunk of 64 tokens the running state of
    every head, k v / heads numbers, once in float32 and twice in the compute type.
    """
    heads, key, value = shape.value_heads, shape.key, shape.value
    state = key * value // heads // CHUNK
    wide = FLOAT32 * (6 * key + 2 * value + 2 * CHUNK * heads + state)
    copies = step.element * (7 * key + 2 * value + 3 * CHUNK * heads + 2 * state)
    small = heads * (step.element + 8 * FLOAT32)
    return 2 * step.element * shape.conv + wide + copies + small + gated_norm(shape, step)


def gated_norm(shape: Delta, step: Step) -> int:
    """The norm behind the rule: three value-wide tensors in float32, one in the compute type, a factor per head."""
    return (3 * FLOAT32 + step.element) * shape.value + FLOAT32 * shape.value_heads


def feed(shape: Feed, step: Step) -> int:
    """A feed-forward part: gate, activated gate and up, e 3 w; without a gate the four steps of a GELU, e 4 w."""
    return step.element * (3 if shape.gated else 4) * shape.width


def experts(shape: Experts, hidden: int, step: Step) -> int:
    """Routed experts by grouped multiplication, for each of top_k visits.

    Gate and up as one, activated gate, the output: e (3 w + h); its weight, and the three indices that sort visits by
    expert and back. Beside them the router's softmax over all experts, and the shared expert's switch, e (h + 1).
    """
    visit = step.element * (3 * shape.width + hidden + 1) + 4 * INDEX + FLOAT32
    router = FLOAT32 * (shape.number + 1)
    switch = step.element * (hidden + 1) if shape.switched else 0
    return shape.top_k * visit + router + switch


def layer_saved(layer: Layer, step: Step) -> int:
    """Everything that one layer keeps for its backward pass, in bytes."""
    per_token = 2 * norm(layer.hidden, 1, step, layer_norm=layer.layer_norm) + pair_inputs(layer.matrices, step)
    padded = 0
    if layer.attention is not None:
        per_token += attention(layer.attention, step)
    if layer.delta is not None:
        if step.situation.fused_kernels:
            per_token += delta_fused(layer.delta, step)
        else:
            padded += delta_reference(layer.delta, step)
    if layer.feed is not None:
        per_token += feed(layer.feed, step)
    if layer.experts is not None:
        per_token += experts(layer.experts, layer.hidden, step)
    return per_token * step.tokens + padded * step.padded


def layer_input(layer: Layer, step: Step) -> int:
    """What checkpointing keeps of a layer: its input, e h."""
    return step.element * layer.hidden * step.tokens


def around_layers(graph: Graph, step: Step) -> int:
    """What stands around the layers: ids, labels and mask as int64, the last norm, and the embedding's output."""
    return (3 * INDEX + norm(graph.hidden, 1, step) + step.element * graph.hidden) * step.tokens


def widest(layer: Layer) -> int:
    """The widest thing that a layer computes, in numbers per token."""
    widths = [layer.hidden]
    if layer.attention is not None:
        widths.append(layer.attention.query * (2 if layer.attention.gated else 1) + 2 * layer.attention.key)
    if layer.delta is not None:
        widths.append(layer.delta.conv + layer.delta.value)
    if layer.feed is not None:
        widths.append(layer.feed.width * (2 if layer.feed.gated else 1))
    if layer.experts is not None:
        widths.append(layer.experts.top_k * max(2 * layer.experts.width, layer.hidden))
    return max(widths)


def in_flight(layer: Layer, step: Step) -> int:
    """Gradients and copies that exist for a moment while a layer is gone through backwards: an estimate.

    The widest intermediate twice in the compute type (the gradient that comes and the one that goes) and the hidden
    state twice in float32, which norms compute in.
    """
    return (2 * step.element * widest(layer) + 2 * FLOAT32 * layer.hidden) * step.tokens
