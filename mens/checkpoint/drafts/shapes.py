"""Numbers of a checkpoint in terms of its configuration: an exact expression where just one fits, else the number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations_with_replacement
from typing import Final

from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1

from mens.checkpoint.keys.geometry import Geometry
from mens.contracts.expressions import ExpressionError, parse
from mens.contracts.json_types import JsonObject, JsonValue

REQUIRED: Final = ("layers", "hidden", "vocab", "context", "tied")
"""What every command may ask of every family."""
MULTIPLES: Final = (2, 3, 4)
LONGEST: Final = 300
Formulas = dict[str, str | int]


def formulas_for(base: FamilyV1, config: JsonObject) -> Formulas:
    """Return the base's geometry, and of other families the names that it lacks and this configuration gives."""
    formulas: Formulas = dict(base.geometry)
    known = Geometry(base, config).known()
    for family in FAMILIES.values():
        numbers = Geometry(family, config).known()
        for name, formula in family.geometry.items():
            lacking = name not in formulas or (name in REQUIRED and name not in known)
            if lacking and name in numbers and all("." in part for part in parse(formula).names):
                formulas[name] = formula
                known[name] = numbers[name]
    return formulas


def evaluated(formulas: Mapping[str, str | int], config: JsonObject) -> dict[str, JsonValue]:
    """Return the values of formulas that this configuration has values for."""
    return _geometry(formulas, config).known()


def _geometry(formulas: Mapping[str, str | int], config: JsonObject) -> Geometry:
    return Geometry(next(iter(FAMILIES.values())).model_copy(update={"geometry": dict(formulas)}), config)


class Dimensions:
    """The names that shapes may be written with, and their values here."""

    def __init__(self, formulas: Mapping[str, str | int], config: JsonObject) -> None:
        values, usable = evaluated(formulas, config), _shape_names()
        self._names: dict[str, dict[str, int]] = {"text": {}, "vision": {}}
        seen: set[str] = set()
        for name, formula in formulas.items():
            value = values.get(name)
            if name not in usable or str(formula) in seen or type(value) is not int or value < 2:
                continue
            if is_said(formulas, config, formula):
                seen.add(str(formula))
                vision = any(path.startswith("vision.") for path in closure(formulas, [formula]))
                self._names["vision" if vision else "text"][name] = value
        if "hidden" in self._names["text"]:
            self._names["vision"]["hidden"] = self._names["text"]["hidden"]

    def fitting(self, number: int, component: str) -> list[str]:
        """Return every expression of the simplest form that has this value; none for 1, which needs no name."""
        names = self._names["vision" if component == "vision" else "text"]
        forms = ([text for text, value in form(names) if value == number] for form in (_single, _scaled))
        return next((found for found in forms if found), []) if number > 1 else []


def _single(names: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    yield from names.items()


def _scaled(names: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for name, value in names.items():
        yield from ((f"{times} * {name}", times * value) for times in MULTIPLES)
    for (first, one), (second, other) in combinations_with_replacement(names.items(), 2):
        yield f"{first} * {second}", one * other
        if first != second:
            yield f"2 * {first} * {second}", 2 * one * other


def _shape_names() -> set[str]:
    """Names that some family writes a shape with; others count layers and positions, and fit by chance only."""
    sources = {str(size) for family in FAMILIES.values() for tensor in family.tensors for size in tensor.shape}
    return {name for source in sources for name in parse(source).names}


def is_said(formulas: Mapping[str, str | int], config: JsonObject, formula: str | int) -> bool:
    """Whether a formula reads a field that the configuration has, and does not rest on fallbacks alone."""
    fields = _geometry(formulas, config)
    return any("." in path and fields.get(path) is not None for path in closure(formulas, [formula]))


def closure(formulas: Mapping[str, str | int], sources: Iterable[str | int]) -> set[str]:
    """Return every name and configuration path that expressions rest on, near or far."""
    reached: set[str] = set()
    waiting = [name for source in sources for name in parse(source).names]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(parse(formulas[name]).names if name in formulas else ())
    return reached


def layers_condition(layers: frozenset[int], total: int) -> str | None:
    """Return a condition on `i` that holds for just these layers of so many; None where none is short enough."""
    for text in _conditions(layers, total):
        if len(text) <= LONGEST and all(bool(_holds(text, i)) is (i in layers) for i in range(total)):
            return text
    return None


def _conditions(layers: frozenset[int], total: int) -> Iterator[str]:
    first, last = min(layers), max(layers)
    if len(layers) == 1:
        yield f"i == {first}"
    yield f"i >= {first}"
    yield f"i <= {last}"
    for every in range(2, total):
        yield f"i % {every} == {first % every}"
        missing = next(i for i in range(total) if i not in layers)
        yield f"i % {every} != {missing % every}"
    yield f"i in {sorted(layers)}"


def _holds(text: str, layer: int) -> JsonValue:
    try:
        return parse(text).evaluate({"i": layer})
    except ExpressionError:
        return False
