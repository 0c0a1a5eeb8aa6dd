"""The family that an unknown checkpoint comes nearest to, and everything in which it differs from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final, NamedTuple

from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1
from mens_contracts.releases import RELEASES

from mens.checkpoint.keys.geometry import Geometry, sections
from mens.checkpoint.keys.keymap import Selection, bound_prefixes, pattern, stands
from mens.checkpoint.keys.layout import generic
from mens.checkpoint.keys.releases import configured_models
from mens.checkpoint.storage.faults import said
from mens.contracts.errors import UnsupportedError
from mens.contracts.json_types import JsonObject

SHOWN: Final = 6
EVERYWHERE: Final = frozenset(
    {"_name_or_path", "architectures", "attention_dropout", "bos_token_id", "dtype", "eos_token_id",
     "id2label", "initializer_range", "label2id", "model_type", "output_attentions", "output_hidden_states",
     "pad_token_id", "return_dict", "torch_dtype", "transformers_version", "use_cache", "text_config",
     "vision_config", "quantization_config", "sliding_window", "use_sliding_window", "max_window_layers",
     "rope_parameters", "rope_scaling", "layer_types"}
)  # fmt: skip
"""Fields that upstream writes for any architecture; that a family does not read them says nothing."""


class Nearest(NamedTuple):
    """A family and what speaks for and against it; tensor names have a star for every running number."""

    family: FamilyV1
    selection: Selection
    shared: tuple[str, ...]
    absent: tuple[str, ...]
    """Names of the family that are not here."""
    foreign: tuple[str, ...]
    """Names here that the family does not have."""
    ungiven: tuple[str, ...]
    """Numbers that the family needs and the configuration does not give."""
    unread: tuple[str, ...]
    """Fields of the configuration that nothing of the family reads."""


def nearest_family(config: JsonObject, keys: Iterable[str]) -> Nearest | None:
    """Return the family and layout that share most tensor names; None where no family shares any."""
    here = {generic(key) for key in keys}
    best: tuple[float, FamilyV1, Selection, set[str]] | None = None
    for family in FAMILIES.values():
        for selection in _selections(family):
            names = _patterns(family, selection, always=True)
            likeness = len(names & here) / len(names | here)
            if likeness > (best[0] if best else 0):
                best = (likeness, family, selection, names)
    if best is None:
        return None
    _, family, selection, names = best
    return Nearest(
        family,
        selection,
        shared=tuple(sorted(names & here)),
        absent=tuple(sorted(names - here)),
        foreign=tuple(sorted(here - _patterns(family, selection, always=False))),
        ungiven=tuple(_ungiven(family, config)),
        unread=tuple(_unread(family, config)),
    )


def _selections(family: FamilyV1) -> Iterator[Selection]:
    axes = [[(axis.axis, option.name) for option in axis.options] for axis in family.variants]
    return (dict(choice) for choice in product(*axes))


def _patterns(family: FamilyV1, selection: Selection, *, always: bool) -> set[str]:
    """The names of a layout: those that stand in every model of the family, or all that may stand in one."""
    prefixes = bound_prefixes(family, selection)
    names = set()
    for tensor in family.tensors:
        surely = tensor.presence == "required" and tensor.exists_if is None
        if stands(tensor, selection) and (surely or not always):
            text, indices = pattern(tensor.key, prefixes)
            names.add(generic(text % ((0,) * len(indices))))
    return names


def _ungiven(family: FamilyV1, config: JsonObject) -> list[str]:
    known = Geometry(family, config).known()
    formulas = family.geometry.items()
    return [f"{name} ({formula})" for name, formula in formulas if name not in known and "vision." not in str(formula)]


def _unread(family: FamilyV1, config: JsonObject) -> list[str]:
    read = set(EVERYWHERE) | _fields(family.tiny_config)
    for release in RELEASES.values():
        for model, recorded in configured_models(release):
            read |= _fields(recorded) if model.family == family.id else set()
    return sorted({*sections(config)["text"], *config} - read)


def _fields(config: JsonObject) -> set[str]:
    return {*config, *sections(config)["text"]}


def explained(error: UnsupportedError, config: JsonObject, keys: Iterable[str]) -> UnsupportedError:
    """The same refusal, with the nearest family and what differs from it."""
    lines = [error.what, *_known_reasons(config)]
    found = nearest_family(config, keys)
    if found is not None:
        lines += _compared(found)
    return UnsupportedError(error.code, "\n".join(lines), error.where, error.fix)


def _compared(found: Nearest) -> Iterator[str]:
    of = len(found.shared) + len(found.absent)
    yield f"Nearest is family '{found.family.id}', which shares {len(found.shared)} of its {of} tensor names with it:"
    rows = {
        "not here": found.absent,
        "only here": found.foreign,
        "not given": found.ungiven,
        "not read": found.unread,
    }
    for heading, names in rows.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"  {heading:<10} {', '.join(said(name)[1:-1] for name in names[:SHOWN])}{more}"


def _known_reasons(config: JsonObject) -> Iterator[str]:
    """What release files say of an architecture that no family describes."""
    named = config.get("model_type")
    word = re.compile(rf"\b{re.escape(named)}\b") if isinstance(named, str) and named else None
    for release in RELEASES.values():
        for model in release.models:
            if word is not None and model.unsupported is not None and word.search(model.unsupported):
                yield f"{model.repo}: {model.unsupported}"
