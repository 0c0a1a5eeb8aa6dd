"""A family's list of tensors beside those on disk: what matches, what does not, and how many parameters there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from mens.checkpoint.keys.coverage import Coverage, compare
from mens.checkpoint.keys.geometry import Geometry
from mens.checkpoint.keys.keymap import Component, TensorSpec
from mens.checkpoint.storage.headers import TensorHeader

Tensors = Mapping[str, TensorHeader]
SHOWN: Final = 5


class Difference(NamedTuple):
    """A tensor that is there and is not what the family says."""

    key: str
    expected: str
    found: str
    problem: Literal["shape", "dtype"]


@dataclass(frozen=True)
class Census:
    """Every tensor of both sides in one place, and every parameter on disk under one heading."""

    matched: int
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    mismatched: tuple[Difference, ...]
    components: Mapping[Component, int]
    groups: Mapping[str, int]
    """Parameters by the first step of the role."""
    total: int
    """All of them, also those of unknown tensors."""
    active: int
    """The text parameters that one token passes through."""
    mixed: tuple[str, ...]
    """Remarks on tensors that are stored in another type than others of their kind."""

    @property
    def complete(self) -> bool:
        """Whether both sides agree by name, shape and type, and there was something to agree on."""
        return self.matched > 0 and not (self.missing or self.unknown or self.mismatched)


def take_census(specs: list[TensorSpec], tensors: Tensors, numbers: Geometry) -> Census:
    """Compare the family's list with the headers, and count."""
    coverage = compare(specs, {name: tensor.shape for name, tensor in tensors.items()})
    here = [(spec, tensors[spec.key]) for spec in specs if spec.key in tensors]
    retyped = [
        Difference(spec.key, " or ".join(spec.dtypes), tensor.dtype, "dtype")
        for spec, tensor in here
        if tensor.dtype not in spec.dtypes
    ]
    counts = _Counts(here)
    return Census(
        matched=coverage.matched - _newly_wrong(coverage, retyped),
        missing=coverage.missing,
        unknown=coverage.unknown,
        mismatched=(*_reshaped(coverage), *retyped),
        components=counts.components,
        groups=counts.groups,
        total=sum(counts.components.values()) + sum(tensors[name].num_elements for name in coverage.unknown),
        active=counts.always + (_chosen(counts.routed, numbers) if counts.routed else 0),
        mixed=tuple(_mixed(here)),
    )


def _reshaped(coverage: Coverage) -> Iterator[Difference]:
    for entry in coverage.mismatched:
        yield Difference(entry.key, _shape(entry.expected), _shape(entry.found), "shape")


def _newly_wrong(coverage: Coverage, retyped: list[Difference]) -> int:
    reshaped = {entry.key for entry in coverage.mismatched}
    return sum(entry.key not in reshaped for entry in retyped)


def _shape(shape: tuple[int, ...]) -> str:
    return str(list(shape))[:200]


def _chosen(routed: int, numbers: Geometry) -> int:
    experts = max(1, numbers.integer("experts"))
    return routed * min(numbers.integer("top_k"), experts) // experts


class _Counts:
    """Parameters on disk by heading. What only repeats another tensor, or is no parameter, counts nowhere."""

    def __init__(self, here: Iterable[tuple[TensorSpec, TensorHeader]]) -> None:
        self.components: dict[Component, int] = {"text": 0, "vision": 0, "mtp": 0}
        self.groups: Counter[str] = Counter()
        self.always = self.routed = 0
        roles: Counter[tuple[Component, str, bool]] = Counter()
        for spec, tensor in here:
            if spec.counts:
                roles[spec.component, spec.role, spec.entry.routed] += tensor.num_elements
        for (component, role, routed), number in roles.items():
            self.components[component] += number
            self.groups[role.partition(".")[0]] += number
            if component == "text":
                self.routed += number if routed else 0
                self.always += 0 if routed else number


def _mixed(here: Iterable[tuple[TensorSpec, TensorHeader]]) -> Iterator[str]:
    """Types that stray within a part of the model; a role with types of its own is compared with itself alone."""
    entries: dict[tuple[Component, str, bool, str], list[str]] = defaultdict(list)
    for spec, tensor in here:
        if tensor.dtype in spec.dtypes:
            entries[spec.component, spec.role, bool(spec.entry.dtypes), tensor.dtype].append(spec.key)
    kinds: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (component, role, own_types, dtype), keys in entries.items():
        kinds[f"of role '{role}'" if own_types else f"of the {component} part"][dtype] += keys
    for whose, types in kinds.items():
        (usual, _), *others = sorted(types.items(), key=lambda item: -len(item[1]))
        for other, keys in others:
            names = ", ".join(keys[:SHOWN]) + (" ..." if len(keys) > SHOWN else "")
            are = "tensor is" if len(keys) == 1 else "tensors are"
            yield f"{len(keys):,} {are} stored as {other}, where most {whose} are {usual}: {names}"
