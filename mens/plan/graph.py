"""The model that would be trained, as numbers: its tensors by class, its layers by shape, nothing twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mens_contracts.family_v1 import FamilyV1, MemoryClass

from mens.checkpoint.keys.geometry import Geometry
from mens.checkpoint.keys.keymap import TensorSpec, expand, layer_kinds
from mens.contracts.errors import UnsupportedError
from mens.contracts.json_types import JsonObject

TRAINED_CLASS = "AutoModelForCausalLM"
"""Upstream's automatic class for what is trained: the text model alone, without vision tower and prediction layers."""
EVERYWHERE = "decoder"
"""The layer kind of a family whose layers are all alike."""
OUTSIDE = "outside"
"""The layer kind of what stands in no layer: embeddings, the last norm, the head."""

Stored = Mapping[tuple[str, int | None], str]
"""The element type that a base stores a role's tensor of a layer in."""


class TensorClass(NamedTuple):
    """Tensors that are alike in everything the plan asks about, and how many there are."""

    role: str
    kind: str
    shape: tuple[int, ...]
    in_layer: bool
    nf4: bool
    routed: bool
    lora: str | None
    inputs_first: bool
    keeps_f32: bool
    """Whether the base stores it in F32 and the family says that this is to be kept."""
    num: int = 1

    @property
    def elements(self) -> int:
        """How many numbers one of them holds."""
        return math.prod(self.shape)

    @property
    def width(self) -> tuple[int, int]:
        """A matrix's inputs and outputs, whichever way round it is stored."""
        first, second = self.shape
        return (first, second) if self.inputs_first else (second, first)


class Matrix(NamedTuple):
    """A matrix of a layer that an adapter may be put on."""

    role: str
    kind: str
    inputs: int
    outputs: int
    nf4: bool


class Attention(NamedTuple):
    """Softmax attention: the widths of its projections, and what it does besides."""

    query: int
    key: int
    heads: int
    kv_heads: int
    gated: bool
    normed: bool


class Delta(NamedTuple):
    """Linear attention by the gated delta rule."""

    key: int
    """The width of the keys once repeated, so that each value head has its own."""
    value: int
    value_heads: int
    conv: int
    """How many channels the short convolution runs over: queries, keys (not repeated) and values."""


class Feed(NamedTuple):
    """A feed-forward part that every token visits."""

    width: int
    gated: bool


class Experts(NamedTuple):
    """Routed experts, of which each token visits `top_k`."""

    number: int
    top_k: int
    width: int
    switched: bool
    """Whether a shared expert stands beside them behind a switch."""


@dataclass(frozen=True)
class Layer:
    """Everything about one layer that its activations depend on."""

    hidden: int
    layer_norm: bool
    attention: Attention | None
    delta: Delta | None
    feed: Feed | None
    experts: Experts | None
    matrices: tuple[Matrix, ...]


@dataclass(frozen=True)
class Graph:
    """A model as numbers."""

    family: str
    sets: Mapping[str, tuple[str, ...]]
    """The family's own named target sets: roles by name."""
    tensors: tuple[TensorClass, ...]
    layers: tuple[tuple[Layer, int], ...]
    """Every shape of layer, and how many layers have it."""
    hidden: int
    vocab: int
    context: int

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return sum(count for _, count in self.layers)

    @property
    def parameters(self) -> int:
        """How many parameters are held in memory."""
        return sum(tensor.elements * tensor.num for tensor in self.tensors)

    def where(self, *, routed: bool) -> tuple[TensorClass, ...]:
        """The tensors of routed experts, or all others."""
        return tuple(tensor for tensor in self.tensors if tensor.routed is routed)


def trained_class(family: FamilyV1) -> MemoryClass:
    """Return the class that is trained; raises UnsupportedError where upstream has no such class for the family."""
    for memory in family.memory:
        if memory.auto_class == TRAINED_CLASS:
            return memory
    raise UnsupportedError("MENS-L006", f"Family '{family.id}' has no class that {TRAINED_CLASS} builds.")


def graph_of(family: FamilyV1, config: JsonObject, stored: Stored | None = None) -> Graph:
    """Return the model that training would hold, however the base is laid out on disk."""
    numbers = Geometry(family, config)
    selection = trained_class(family).selection
    specs = [spec for spec in expand(family, config, selection) if spec.required and spec.counts]
    kinds = _main_kinds(family, numbers)
    classes = Counter(_class_of(spec, kinds, stored or {}) for spec in specs)
    tensors = tuple(tensor._replace(num=count) for tensor, count in classes.items())
    return Graph(
        family=family.id,
        sets={name: tuple(roles) for name, roles in family.lora.sets.items()},
        tensors=tensors,
        layers=tuple(Counter(_layers(specs, kinds, numbers)).items()),
        hidden=numbers.integer("hidden"),
        vocab=numbers.integer("vocab"),
        context=numbers.integer("context"),
    )


def _main_kinds(family: FamilyV1, numbers: Geometry) -> dict[int, str]:
    """The kind of every layer on the family's first axis; a tensor that all layers have is counted under it."""
    members = layer_kinds(family, numbers)
    first = [kind.name for axis in family.layer_kinds[:1] for kind in axis.kinds]
    known = {layer: kind for kind in first for layer in members.get(kind, [])}
    return {layer: known.get(layer, EVERYWHERE) for layer in range(numbers.integer("layers"))}


def _kind_of(spec: TensorSpec, kinds: Mapping[int, str]) -> str:
    if spec.layer is None:
        return OUTSIDE
    return spec.kind or kinds[spec.layer]


def _class_of(spec: TensorSpec, kinds: Mapping[int, str], stored: Stored) -> TensorClass:
    found = stored.get((spec.role, spec.layer)) or stored.get((spec.role, None))
    return TensorClass(
        role=spec.role,
        kind=_kind_of(spec, kinds),
        shape=spec.shape,
        in_layer=spec.layer is not None,
        nf4=spec.nf4,
        routed=spec.entry.routed,
        lora=spec.lora,
        inputs_first=spec.entry.orientation == "in_out",
        keeps_f32=bool(spec.entry.dtypes) and (found or spec.dtypes[0]) == "F32",
    )


def _layers(specs: Iterable[TensorSpec], kinds: Mapping[int, str], numbers: Geometry) -> list[Layer]:
    by_layer: dict[int, dict[str, TensorSpec]] = {layer: {} for layer in kinds}
    for spec in specs:
        if spec.layer is not None:
            by_layer[spec.layer][spec.role] = spec
    return [_layer(roles, kinds, numbers) for roles in by_layer.values()]


def _layer(roles: Mapping[str, TensorSpec], kinds: Mapping[int, str], numbers: Geometry) -> Layer:
    return Layer(
        hidden=numbers.integer("hidden"),
        layer_norm="norm.input_bias" in roles,
        attention=_attention(roles, numbers),
        delta=_delta(roles, numbers),
        feed=_feed(roles),
        experts=_experts(roles, numbers),
        matrices=tuple(
            Matrix(spec.role, _kind_of(spec, kinds), *_width(spec), spec.nf4)
            for spec in roles.values()
            if spec.lora is not None and not spec.entry.routed and len(spec.shape) == 2
        ),
    )


def _width(spec: TensorSpec) -> tuple[int, int]:
    first, second = spec.shape
    return (first, second) if spec.entry.orientation == "in_out" else (second, first)


def _attention(roles: Mapping[str, TensorSpec], numbers: Geometry) -> Attention | None:
    if "attention.output" not in roles:
        return None
    heads, kv_heads = numbers.integer("heads"), numbers.integer("kv_heads")
    query = _width(roles["attention.output"])[0]
    return Attention(
        query=query,
        key=query // heads * kv_heads,
        heads=heads,
        kv_heads=kv_heads,
        gated="attention.query_gate" in roles,
        normed="attention.query_norm" in roles,
    )


def _delta(roles: Mapping[str, TensorSpec], numbers: Geometry) -> Delta | None:
    if "linear.output" not in roles:
        return None
    value = _width(roles["linear.output"])[0]
    conv = roles["linear.conv"].shape[0]
    value_heads = roles["linear.decay"].shape[0]
    key = (conv - value) // 2
    return Delta(key // numbers.integer("key_heads") * value_heads, value, value_heads, conv)


def _feed(roles: Mapping[str, TensorSpec]) -> Feed | None:
    for part in ("mlp", "shared_expert"):
        if f"{part}.down" in roles:
            return Feed(_width(roles[f"{part}.down"])[0], f"{part}.gate" in roles)
    return None


def _experts(roles: Mapping[str, TensorSpec], numbers: Geometry) -> Experts | None:
    if "router" not in roles:
        return None
    width = roles["experts.down"].shape[-1]
    return Experts(numbers.integer("experts"), numbers.integer("top_k"), width, "shared_expert.switch" in roles)
