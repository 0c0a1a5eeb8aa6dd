"""Published models that a checkpoint may be: those whose recorded configuration gives the same shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from mens_contracts.family_v1 import FamilyV1
from mens_contracts.release_v1 import Model, ReleaseV1
from mens_contracts.releases import RELEASES

from mens.checkpoint.keys.geometry import Geometry
from mens.checkpoint.keys.releases import configured_models
from mens.contracts.expressions import parse
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.problems import shown

NO_SHAPE: Final = frozenset({"context"})
"""Geometry that says how a model is used and not how large it is."""
NAMED_ELSEWHERE: Final = frozenset({"model_type", "architectures", "tie_word_embeddings"})
"""Fields that recognition and geometry judge already, under every spelling."""
ROPE: Final = "rope_parameters"
MOST_DIFFERENCES: Final = 100


class Candidate(NamedTuple):
    """A published model with these shapes."""

    release: ReleaseV1
    model: Model
    num_fields: int
    """How many recorded fields stand here with the same value."""
    differences: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether nothing that is recorded differs."""
        return not self.differences


def candidates(family: FamilyV1, config: JsonObject, repo: str | None = None) -> list[Candidate]:
    """Return every published model with these shapes: the one that a download names first, then the best agreement."""
    found = list(_same_shapes(family, config))
    return sorted(found, key=lambda one: (one.model.repo != repo, not one.exact, -one.num_fields, len(one.differences)))


def _same_shapes(family: FamilyV1, config: JsonObject) -> Iterator[Candidate]:
    here = Geometry(family, config).known()
    names = _shape_names(family, config)
    for release in RELEASES.values():
        for model, recorded in configured_models(release):
            if model.family != family.id:
                continue
            there = Geometry(family, recorded).known()
            if all(here.get(name) == there.get(name) for name in names):
                yield _compared(release, model, recorded, config)


def _shape_names(family: FamilyV1, config: JsonObject) -> list[str]:
    """The geometry to compare; a text model taken out of a multimodal one has no vision to compare."""
    has_vision = isinstance(config.get("vision_config"), dict)
    return [
        name
        for name, formula in family.geometry.items()
        if name not in NO_SHAPE and (has_vision or not any(path.startswith("vision.") for path in parse(formula).names))
    ]


def _compared(release: ReleaseV1, model: Model, recorded: JsonObject, config: JsonObject) -> Candidate:
    equal = 0
    differences: list[str] = []
    for path, value in _leaves(recorded):
        if not _is_asked(path, recorded, config):
            continue
        found = _value(config, path)
        if found == value or (found is None and value == "default"):
            equal += 1
        else:
            here = "absent" if found is None else shown(found)
            differences.append(f"{'.'.join(path)} is {here} here and {shown(value)} as recorded")
    return Candidate(release, model, equal, tuple(differences[:MOST_DIFFERENCES]))


def _leaves(value: JsonObject, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _leaves(item, (*above, key))
        else:
            yield (*above, key), item


def _is_asked(path: tuple[str, ...], recorded: JsonObject, config: JsonObject) -> bool:
    """Whether a recorded field can be expected here: a text model by itself has only the text model's fields."""
    if path[-1] in NAMED_ELSEWHERE:
        return False
    if path[0] == "vision_config":
        return isinstance(config.get("vision_config"), dict)
    return path[0] == "text_config" or "text_config" in config or "text_config" not in recorded


def _value(config: JsonObject, path: tuple[str, ...]) -> JsonValue:
    """A field under any of its spellings: in its section or at the root, inside rope_parameters or beside it."""
    tail = path[1:] if path[0] == "text_config" else path
    text = config.get("text_config")
    for section in (text if isinstance(text, dict) else config, config):
        for steps in (tail, tail[1:] if tail[0] == ROPE else (ROPE, *tail)):
            value = _at(section, steps)
            if value is not None:
                return value
    return _at(config, path)


def _at(value: JsonValue, steps: tuple[str, ...]) -> JsonValue:
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value
