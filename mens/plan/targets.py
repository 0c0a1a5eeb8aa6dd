"""Which matrices an adapter is put on, and exactly how many parameters that makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mens_contracts.training_preset_v1 import TrainingPresetV1

from mens.contracts.errors import IntegrityError
from mens.plan.graph import Graph, Matrix, TensorClass

ALL = "all"


class Target(NamedTuple):
    """One kind of module in one kind of layer."""

    kind: str
    role: str
    inputs: int
    outputs: int
    num_modules: int
    nf4: bool

    def pair(self, rank: int) -> int:
        """How many numbers a low-rank pair on one of them has: A is [rank, inputs], B is [outputs, rank]."""
        return rank * (self.inputs + self.outputs)

    def trainable(self, rank: int) -> int:
        """How many numbers the pairs on all of them have."""
        return self.num_modules * self.pair(rank)


def adaptable(tensor: TensorClass) -> bool:
    """Whether `all` includes it: a matrix inside a layer that an adapter may touch and that every token visits."""
    return tensor.lora is not None and tensor.in_layer and not tensor.routed


def chosen(graph: Graph, tensor: TensorClass | Matrix, lora: str | None, name: str) -> bool:
    """Whether one named set includes a matrix: by the family's own list of roles, else by the matrix's group."""
    if name == ALL:
        return True
    if name in graph.sets:
        return tensor.role in graph.sets[name]
    return lora == name


def targets(graph: Graph, preset: TrainingPresetV1) -> tuple[Target, ...]:
    """Return everything that would be adapted; raises IntegrityError where that is nothing (a hole in coverage)."""
    counts: Counter[tuple[str, str, int, int, bool]] = Counter()
    for tensor in graph.tensors:
        if adaptable(tensor) and any(chosen(graph, tensor, tensor.lora, name) for name in preset.targets):
            counts[(tensor.kind, tensor.role, *tensor.width, tensor.nf4)] += tensor.num
    if not counts:
        raise _nothing(graph, preset)
    found = [Target(*matrix[:4], count, matrix[4]) for matrix, count in counts.items()]
    kinds = list(dict.fromkeys(target.kind for target in found))
    return tuple(sorted(found, key=lambda target: kinds.index(target.kind)))


def trainable(found: Iterable[Target], rank: int) -> int:
    """Return how many parameters training changes."""
    return sum(target.trainable(rank) for target in found)


def roles(found: Iterable[Target]) -> frozenset[tuple[str, str]]:
    """Return the layer kinds and roles that are adapted."""
    return frozenset((target.kind, target.role) for target in found)


def empty_sets(graph: Graph, preset: TrainingPresetV1) -> Iterator[str]:
    """Named sets that choose nothing in this family."""
    matrices = [tensor for tensor in graph.tensors if adaptable(tensor)]
    for name in preset.targets:
        if not any(chosen(graph, tensor, tensor.lora, name) for tensor in matrices):
            yield name


def untouched_layers(graph: Graph, found: Iterable[Target]) -> int:
    """Return how many layers get no adapter at all."""
    adapted = roles(found)
    return sum(
        count
        for layer, count in graph.layers
        if not any((matrix.kind, matrix.role) in adapted for matrix in layer.matrices)
    )


def _nothing(graph: Graph, preset: TrainingPresetV1) -> IntegrityError:
    groups = sorted({tensor.lora for tensor in graph.tensors if adaptable(tensor) and tensor.lora})
    return IntegrityError(
        code="MENS-L005",
        what=f"Targets {', '.join(preset.targets)} choose no matrix of family '{graph.family}'; nothing would train.",
        fix=f"It has: {', '.join([*groups, *graph.sets, ALL])}. Choose with --set targets=[...]",
    )
