"""Names that only one document may claim: a preset's alias, a family's model type, a release's repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, pointer, shown

Claim = tuple[str, str]
"""A JSON pointer and the name that stands there."""


def _preset(preset: JsonObject) -> Iterator[Claim]:
    yield "/id", preset["id"]
    for index, alias in enumerate(preset.get("aliases", [])):
        yield pointer("aliases", index), alias


def _family(family: JsonObject) -> Iterator[Claim]:
    yield "/id", family["id"]
    for field in ("model_types", "architectures"):
        for index, name in enumerate(family["recognise"].get(field, [])):
            yield pointer("recognise", field, index), name


def _release(release: JsonObject) -> Iterator[Claim]:
    for index, model in enumerate(release["models"]):
        yield pointer("models", index, "repo"), model["repo"]
        if model.get("default"):
            yield pointer("models", index, "default"), "the default model"


CLAIMS: dict[str, Callable[[JsonObject], Iterator[Claim]]] = {
    "training-preset": _preset,
    "family": _family,
    "release": _release,
    "lane": lambda lane: iter([("/id", lane["id"])]),
}


class Claims:
    """Who claimed what so far, over every document of one run; `shipped` says what mens claims of a kind's names."""

    def __init__(self, shipped: Callable[[str], Mapping[str, str]] = lambda _kind: {}) -> None:
        self._owners: dict[tuple[str, str], tuple[str, str]] = {}
        self._shipped = shipped

    def problems(self, kind: str, value: JsonObject, where: str) -> Iterator[Problem]:
        """MENS-R004: names that this document claims and another one already has."""
        owner = str(value.get("id", ""))
        for place, name in CLAIMS[kind](value) if kind in CLAIMS else ():
            first = self._owners.setdefault((kind, name), (owner, where))
            ours = self._shipped(kind).get(name, owner)
            if first != (owner, where):
                yield Problem("MENS-R004", place, f"{shown(name)} is already claimed by {first[0]} in {first[1]}")
            elif ours != owner:
                yield Problem("MENS-R004", place, f"{shown(name)} is already claimed by {ours}, which mens ships")
