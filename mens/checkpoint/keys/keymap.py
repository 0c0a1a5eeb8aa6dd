"""A family's tensors, spelled out for one configuration and one layout."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Final, Literal, NamedTuple

from mens_contracts.family_v1 import FamilyV1, LayerAxis, Tensor

from mens.checkpoint.keys.geometry import Geometry, refusal
from mens.contracts.errors import ContractError
from mens.contracts.expressions import ExpressionError, parse
from mens.contracts.json_types import JsonObject, JsonValue

Component = Literal["text", "vision", "mtp"]
Selection = Mapping[str, str]

LAYER: Final = "i"
"""The running index that counts layers, and so is bound to layer kinds."""
EXPERT: Final = "e"
MAX_TENSORS: Final = 10_000_000
MAX_LAYERS: Final = 10_000
PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class TensorSpec(NamedTuple):
    """One tensor that a checkpoint should hold. A named tuple, because there may be a hundred thousand."""

    key: str
    role: str
    component: Component
    shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    nf4: bool
    lora: str | None
    layer: int | None
    kind: str | None
    expert: int | None
    required: bool
    entry: Tensor
    """The family's own entry, for everything else: merge, parts, orientation, Vox name."""

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def counts(self) -> bool:
        """Whether it holds parameters of its own: no buffer, no second copy of a shared matrix."""
        return self.entry.drop is None and self.entry.same_as is None


class _Scope(Mapping[str, JsonValue]):
    """Running indices in front of a geometry."""

    __slots__ = ("_geometry", "_indices")

    def __init__(self, geometry: Geometry, indices: Mapping[str, int]) -> None:
        self._geometry = geometry
        self._indices = indices

    def __getitem__(self, name: str) -> JsonValue:
        return self._indices[name] if name in self._indices else self._geometry[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._indices
        yield from self._geometry

    def __len__(self) -> int:
        return len(self._indices) + len(self._geometry)


def geometry(family: FamilyV1, config: JsonObject) -> Geometry:
    """Return the numbers of a configuration under the family's names."""
    return Geometry(family, config)


def expand(family: FamilyV1, config: JsonObject, selection: Selection) -> Iterator[TensorSpec]:
    """Return every tensor of this geometry in this layout, lazily; what does not fit is refused at once, not midway."""
    check_selection(family, selection)
    numbers = Geometry(family, config)
    kinds = layer_kinds(family, numbers)
    prefixes = bound_prefixes(family, selection)
    entries = [tensor for tensor in family.tensors if stands(tensor, selection)]
    jobs = [_Job(family, tensor, numbers, kinds, prefixes) for tensor in entries]
    if sum(job.size for job in jobs) > MAX_TENSORS:
        raise refusal(family.id, "indices", ExpressionError(f"this geometry has more than {MAX_TENSORS} tensors"))
    return (spec for job in jobs for spec in job.specs())


def stands(tensor: Tensor, selection: Selection) -> bool:
    """Say whether a layout has the tensor, whatever the geometry."""
    return all(selection[axis] in options for axis, options in tensor.when.items())


def check_selection(family: FamilyV1, selection: Selection) -> None:
    """Refuse a selection that leaves an axis open, or names one or an option that the family does not have."""
    axes = {axis.axis: [option.name for option in axis.options] for axis in family.variants}
    wrong = [f"{axis} is not chosen" for axis in axes if axis not in selection]
    for axis, option in selection.items():
        if option not in axes.get(axis, []):
            choices = f"has {', '.join(axes[axis])}" if axis in axes else "is not an axis"
            wrong.append(f"{axis}: {option} ({axis} {choices})")
    if wrong:
        raise ContractError("MENS-K007", f"Not a layout of family '{family.id}': {'; '.join(wrong)}.")


def bound_prefixes(family: FamilyV1, selection: Selection) -> dict[str, str]:
    """Return what the prefixes in tensor names stand for in this layout."""
    bound: dict[str, str] = {}
    for axis in family.variants:
        for option in axis.options:
            if option.name == selection[axis.axis]:
                bound |= option.bind
    return bound


def layer_kinds(family: FamilyV1, numbers: Geometry) -> dict[str, list[int]]:
    """Return the layers of every kind; a list in the configuration wins, a missing one is derived."""
    members: dict[str, list[int]] = defaultdict(list)
    for axis in family.layer_kinds:
        for layer, kind in enumerate(_kinds_on(family, axis, numbers)):
            members[kind].append(layer)
    return members


def _kinds_on(family: FamilyV1, axis: LayerAxis, numbers: Geometry) -> list[str]:
    layers = numbers.integer("layers")
    if layers > MAX_LAYERS:
        raise refusal(family.id, "layers", ExpressionError(f"{layers} are more than any model has"))
    listed = None if axis.listed_in is None else numbers.evaluate(axis.listed_in, axis.axis)
    if listed is None:
        return [_derived_kind(family, axis, numbers, layer) for layer in range(layers)]
    known = [kind.name for kind in axis.kinds]
    if not isinstance(listed, list) or len(listed) != layers or any(kind not in known for kind in listed):
        raise ContractError(
            code="MENS-K006",
            what=f"'{axis.listed_in}' must list one of {', '.join(known)} for each of {layers} layers.",
            where="config.json",
        )
    return listed


def _derived_kind(family: FamilyV1, axis: LayerAxis, numbers: Geometry, layer: int) -> str:
    scope = _Scope(numbers, {LAYER: layer})
    try:
        for kind in axis.kinds:
            if parse(kind.holds_if).evaluate(scope):
                return kind.name
    except ExpressionError as error:
        raise refusal(family.id, f"{axis.axis} of layer {layer}", error) from None
    raise refusal(family.id, f"{axis.axis} of layer {layer}", ExpressionError("no kind holds"))


class _Job:
    """One entry of the family and the ranges it runs over."""

    def __init__(
        self,
        family: FamilyV1,
        tensor: Tensor,
        numbers: Geometry,
        kinds: Mapping[str, list[int]],
        prefixes: Mapping[str, str],
    ) -> None:
        self.family = family
        self.tensor = tensor
        self.numbers = numbers
        self.dtypes: tuple[str, ...] = tuple(tensor.dtypes or family.dtypes)
        self.pattern, self.indices = pattern(tensor.key, prefixes)
        self.ranges = [self._range(index, kinds) for index in self.indices]
        self.size = math.prod(len(values) for values in self.ranges)
        self.varies = bool(self._names() & set(self.indices))
        """Whether shape or existence differ between layers; then they are worked out one by one."""
        if self.size and not self.varies and not self._exists({}):
            self.size = 0
        self.shape = self._shape({}) if self.size and not self.varies else ()

    def _names(self) -> set[str]:
        conditions = [] if self.tensor.exists_if is None else [self.tensor.exists_if]
        return {name for source in [*self.tensor.shape, *conditions] for name in parse(source).names}

    def _range(self, index: str, kinds: Mapping[str, list[int]]) -> range | list[int]:
        if index == LAYER and self.tensor.in_layers is not None:
            return kinds.get(self.tensor.in_layers, [])
        subject = f"the number of {{{index}}}"
        if index not in self.family.indices:
            raise refusal(self.family.id, self.tensor.key, ExpressionError(f"this layout does not bind {{{index}}}"))
        count = self.numbers.evaluate(self.family.indices[index], subject)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_TENSORS:
            raise refusal(self.family.id, subject, ExpressionError(f"it is {count!r}"))
        return range(count)

    def _value(self, source: str | int, indices: Mapping[str, int]) -> JsonValue:
        try:
            return parse(source).evaluate(_Scope(self.numbers, indices))
        except ExpressionError as error:
            raise refusal(self.family.id, self.tensor.key, error) from None

    def _exists(self, indices: Mapping[str, int]) -> bool:
        return self.tensor.exists_if is None or bool(self._value(self.tensor.exists_if, indices))

    def _shape(self, indices: Mapping[str, int]) -> tuple[int, ...]:
        dimensions = []
        for source in self.tensor.shape:
            value = self._value(source, indices)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise refusal(self.family.id, self.tensor.key, ExpressionError(f"'{source}' is {value!r}"))
            dimensions.append(value)
        return tuple(dimensions)

    def specs(self) -> Iterator[TensorSpec]:
        """Spell the entry out, one tensor for each combination of its indices."""
        if not self.size:
            return
        tensor, shape = self.tensor, self.shape
        layer_at = self.indices.index(LAYER) if LAYER in self.indices else None
        expert_at = self.indices.index(EXPERT) if EXPERT in self.indices else None
        required = tensor.presence == "required"
        for values in product(*self.ranges):
            if self.varies:
                indices = dict(zip(self.indices, values, strict=True))
                if not self._exists(indices):
                    continue
                shape = self._shape(indices)
            yield TensorSpec(
                self.pattern % values,
                tensor.role,
                tensor.component,
                shape,
                self.dtypes,
                tensor.nf4,
                tensor.lora,
                None if layer_at is None else values[layer_at],
                tensor.in_layers,
                None if expert_at is None else values[expert_at],
                required,
                tensor,
            )


def pattern(key: str, prefixes: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return a key template as a %-pattern with its prefixes filled in, and the running indices left open, in order."""
    indices: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name in prefixes:
            return prefixes[name]
        indices.append(name)
        return "%d"

    return PLACEHOLDER.sub(fill, key), tuple(indices)


def count_parameters(specs: Iterable[TensorSpec]) -> int:
    """Return how many parameters the tensors hold; buffers and second copies of shared matrices hold none."""
    return sum(spec.elements for spec in specs if spec.required and spec.counts)


def count_by_component(specs: Iterable[TensorSpec]) -> dict[Component, int]:
    """Return the parameters of the text model, the vision tower and the prediction layers."""
    counts: dict[Component, int] = {"text": 0, "vision": 0, "mtp": 0}
    for spec in specs:
        counts[spec.component] += spec.elements if spec.required and spec.counts else 0
    return counts


def count_active(specs: Iterable[TensorSpec], numbers: Geometry) -> int:
    """Return how many parameters one token visits: all, but of routed experts `top_k` out of `experts`."""
    always = routed = 0
    for spec in specs:
        size = spec.elements if spec.required and spec.counts else 0
        always, routed = (always, routed + size) if spec.entry.routed else (always + size, routed)
    return always + (routed * numbers.integer("top_k") // numbers.integer("experts") if routed else 0)
