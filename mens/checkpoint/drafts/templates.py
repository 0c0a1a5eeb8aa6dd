"""Tensor names that no family has, as templates: running numbers become indices, sizes become expressions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from mens.checkpoint.drafts.shapes import Dimensions, layers_condition
from mens.checkpoint.keys.keymap import EXPERT, LAYER
from mens.checkpoint.keys.layout import NUMBER, generic
from mens.checkpoint.storage.headers import TensorHeader
from mens.contracts.json_types import JsonObject

LETTERS: Final = "jklnopqrstuvwxyz"
PREFERRED: Final[Mapping[str, str]] = {"text": LAYER + EXPERT, "vision": "b", "mtp": "m" + EXPERT}
"""The letters that running numbers usually have, by component and in order."""
HINTS: Final = {"vision": re.compile(r"(^|\.)vis(ual|ion)"), "mtp": re.compile(r"^mtp\.")}
ROLE: Final = re.compile(r"[^a-z0-9_]+")


class Group(NamedTuple):
    """Tensors whose names differ in running numbers only, and whose shapes are equal."""

    generic: str
    shape: tuple[int, ...]
    members: tuple[tuple[tuple[int, ...], TensorHeader], ...]

    @property
    def dtypes(self) -> list[str]:
        """Their element types."""
        return sorted({tensor.dtype for _, tensor in self.members})


class Template(NamedTuple):
    """A group as an entry of a family, and what a person should look at."""

    entry: JsonObject
    num_tensors: int
    remarks: tuple[str, ...]


def groups_of(tensors: Iterable[TensorHeader]) -> list[Group]:
    """Lay together what differs in running numbers only, in the order of names."""
    found: dict[tuple[str, tuple[int, ...]], list[tuple[tuple[int, ...], TensorHeader]]] = defaultdict(list)
    for tensor in tensors:
        numbers = tuple(int(match[0]) for match in NUMBER.finditer(tensor.name))
        found[generic(tensor.name), tuple(tensor.shape)].append((numbers, tensor))
    return [Group(name, shape, tuple(sorted(members))) for (name, shape), members in sorted(found.items())]


def component_of(name: str, prefixes: Mapping[str, str]) -> str:
    """Return the part of the model that a name belongs to: by the family's prefixes, else by upstream's usual words."""
    for component in ("vision", "mtp"):
        prefix = prefixes.get(component)
        if (prefix and under(name, prefix)) or HINTS[component].search(name):
            return component
    return "text"


def under(name: str, prefix: str) -> bool:
    """Whether a name begins with a prefix, at a full stop."""
    return name.startswith(prefix if prefix.endswith(".") else f"{prefix}.")


class Indices:
    """The running indices of a draft: a letter, how far it goes, and an expression for that."""

    def __init__(self, known: Mapping[str, tuple[str | int, int]], stem: str | None) -> None:
        self.counts: dict[str, tuple[str | int, int]] = dict(known)
        self.stem = stem
        """What stands before the number of a layer."""
        self._given: dict[tuple[str, int], str] = {}

    def letter(self, stem: str, component: str, place: int, values: list[int], taken: str) -> str | None:
        """Return the letter for a position in a name; None where the numbers have gaps and are best spelled out."""
        layers = self.counts[LAYER][1]
        if component == "text" and place == 0 and stem == self.stem:
            return LAYER if values[-1] < layers else None
        if values != list(range(len(values))):
            return None
        count = len(values)
        usual = PREFERRED[component][place : place + 1]
        free = usual not in ("", LAYER, *taken) and (usual != EXPERT or "expert" in stem)
        if free and self.counts.get(usual, (0, count))[1] == count:
            self.counts.setdefault(usual, (count, count))
            return usual
        return self._own(stem, count)

    def _own(self, stem: str, count: int) -> str | None:
        if (stem, count) not in self._given:
            free = [letter for letter in LETTERS if letter not in self.counts]
            if not free:
                return None
            self.counts[free[0]] = (count, count)
            self._given[stem, count] = free[0]
        return self._given[stem, count]


def layer_stem(names: Iterable[str], prefixes: Mapping[str, str]) -> tuple[str | None, int]:
    """Return what most often stands before the first number of a text tensor's name, and how many numbers follow it."""
    seen: Counter[str] = Counter()
    highest: dict[str, int] = {}
    for name in names:
        match = NUMBER.search(name)
        if match is not None and component_of(name, prefixes) == "text":
            stem = name[: match.start()]
            seen[stem] += 1
            highest[stem] = max(highest.get(stem, 0), int(match[0]))
    if not seen:
        return None, 0
    stem = seen.most_common(1)[0][0]
    return stem, highest[stem] + 1


class Writer:
    """Writes entries for groups of tensors that no template matches."""

    def __init__(
        self,
        prefixes: Mapping[str, str],
        indices: Indices,
        dimensions: Dimensions,
        kinds: Mapping[str, list[int]],
        dtypes: Iterable[str],
    ) -> None:
        self.prefixes = prefixes
        self.indices = indices
        self.dimensions = dimensions
        self.kinds = kinds
        self.dtypes = set(dtypes)

    def templates(self, group: Group) -> Iterator[Template]:
        """Return as few entries as say exactly which tensors there are."""
        key = self._key(group)
        if key is None:
            at = next(at for at in range(len(group.members[0][0])) if self._splits(group, at))
            for value in sorted({numbers[at] for numbers, _ in group.members}):
                yield from self.templates(_fixed(group, at, value))
            return
        entry, remarks = self._entry(group, key)
        yield Template(entry, len(group.members), tuple(remarks))

    def _splits(self, group: Group, at: int) -> bool:
        last = at == len(group.members[0][0]) - 1
        return last or len({numbers[at] for numbers, _ in group.members}) > 1

    def _key(self, group: Group) -> str | None:
        """The template; None where the numbers of the names are no plain product of ranges."""
        if not group.members[0][0]:
            return group.generic
        columns = [sorted(set(column)) for column in zip(*(numbers for numbers, _ in group.members), strict=True)]
        total = 1
        for column in columns:
            total *= len(column)
        if total != len(group.members):
            return None
        component = component_of(group.generic, self.prefixes)
        parts = group.generic.split("*")
        key, taken = parts[0], ""
        for place, (values, rest) in enumerate(zip(columns, parts[1:], strict=True)):
            letter = self.indices.letter("*".join(parts[: place + 1]), component, place, values, taken)
            if letter is None or (letter == LAYER and self.placement(frozenset(values)) is None):
                return None
            taken += letter
            key += f"{{{letter}}}{rest}"
        return key

    def placement(self, layers: frozenset[int]) -> JsonObject | None:
        """Say in which layers a tensor stands: all, those of a kind or of a condition; None where nothing says it."""
        total = self.indices.counts[LAYER][1]
        if layers == frozenset(range(total)):
            return {}
        for kind, members in self.kinds.items():
            if layers == frozenset(members):
                return {"in_layers": kind}
        condition = layers_condition(layers, total)
        return None if condition is None else {"exists_if": condition}

    def _entry(self, group: Group, key: str) -> tuple[JsonObject, list[str]]:
        component = component_of(group.generic, self.prefixes)
        fitting = {size: self.dimensions.fitting(size, component) for size in group.shape}
        shape = [fitting[size][0] if len(fitting[size]) == 1 else size for size in group.shape]
        remarks = [_open(size, names) for size, names in fitting.items() if size > 1 and len(names) != 1]
        entry: JsonObject = {"role": self._role(group), "component": component, "key": self._prefixed(key)}
        entry |= self._placed(group, key) | {"shape": shape}
        if not self.dtypes.issuperset(group.dtypes):
            entry["dtypes"] = group.dtypes
        return entry, remarks

    def _placed(self, group: Group, key: str) -> JsonObject:
        if f"{{{LAYER}}}" not in key:
            return {}
        layers = frozenset(numbers[0] for numbers, _ in group.members)
        return self.placement(layers) or {}

    def _prefixed(self, key: str) -> str:
        for name, prefix in sorted(self.prefixes.items(), key=lambda item: -len(item[1])):
            if prefix and under(key, prefix):
                return f"{{{name}}}{key[len(prefix) :]}"
        return key

    def _role(self, group: Group) -> str:
        """A name for what the tensor is, from what upstream calls it."""
        name = group.generic
        for prefix in sorted(self.prefixes.values(), key=len, reverse=True):
            if prefix and under(name, prefix):
                name = name[len(prefix) :]
                break
        words = [ROLE.sub("_", part.lower()).strip("_") for part in name.split(".")]
        kept = [word for word in words if word and word != "weight" and word != "layers"]
        kept = [word if word[0].isalpha() else f"n{word}" for word in kept]
        return ".".join(kept)[:90].strip("._") or "tensor"


def _open(size: int, names: list[str]) -> str:
    return f"FILL IN: {size} is {' or '.join(names[:6])}." if names else f"FILL IN: nothing known here is {size}."


def _fixed(group: Group, at: int, value: int) -> Group:
    """The members with this number at a place, which is then part of the name."""
    parts = group.generic.split("*")
    parts[at : at + 2] = [f"{parts[at]}{value}{parts[at + 1]}"]
    members = tuple((numbers[:at] + numbers[at + 1 :], t) for numbers, t in group.members if numbers[at] == value)
    return Group("*".join(parts), group.shape, members)
