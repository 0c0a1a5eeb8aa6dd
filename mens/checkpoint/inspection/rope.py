"""The rotary position settings of a configuration, and what in them contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from mens_contracts.family_v1 import FamilyV1

from mens.checkpoint.keys.geometry import Geometry, refusal, sections
from mens.contracts.expressions import ExpressionError
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.problems import shown

STORED: Final = ".inv_freq"
"""How the names of stored frequencies end, in every architecture that ever stored them."""
METHOD: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
TWICE: Final = ("rope_theta", "partial_rotary_factor")
"""Fields that newer configurations keep in rope_parameters and some repeat outside it."""
BLOCKS: Final = ("rope_parameters", "rope_scaling")


def rope_facts(family: FamilyV1, config: JsonObject, numbers: Geometry, keys: Iterable[str]) -> JsonObject | None:
    """Return the settings as the report holds them; None where positions are embedded otherwise."""
    rope = family.rope
    if rope is None:
        return None
    theta = numbers.evaluate(rope.theta, "rope theta")
    factor = numbers.evaluate(rope.partial_factor, "rope partial factor")
    sections_ = None if rope.sections is None else numbers.evaluate(rope.sections, "rope sections")
    return {
        "theta": None if theta is None else _number(family, "rope theta", theta, 1, 1e12),
        "partial_factor": _number(family, "rope partial factor", factor, 1e-6, 1),
        "mrope_section": _sections(family, sections_),
        "mrope_interleaved": _block(config, "mrope_interleaved") is True,
        "scaling": _scaling(family, config, numbers),
        "inv_freq": "stored" if any(key.endswith(STORED) for key in keys) else "synthesised",
    }


def rope_warnings(facts: JsonObject | None, config: JsonObject) -> Iterator[str]:
    """What a reader of this configuration may get wrong."""
    if facts is None:
        return
    if facts["theta"] is None:
        yield "the configuration does not say the base of the rotary frequencies; readers take defaults of their own"
    text = sections(config)["text"]
    for name in TWICE:
        places = {"rope_parameters": _within(text, "rope_parameters", name), "outside it": text.get(name)}
        values = {place: value for place, value in places.items() if value is not None}
        if len(values) == 2 and values["rope_parameters"] != values["outside it"]:
            inside, outside = shown(values["rope_parameters"]), shown(values["outside it"])
            yield f"'{name}' is {inside} in rope_parameters and {outside} outside it; the first is taken"


def _number(family: FamilyV1, subject: str, value: JsonValue, low: float, high: float) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise refusal(family.id, subject, ExpressionError(f"it is {shown(value)}, not between {low:g} and {high:g}"))
    return value


def _sections(family: FamilyV1, value: JsonValue) -> list[int]:
    if value is None:
        return []
    if isinstance(value, list) and len(value) <= 8 and all(type(size) is int and 0 <= size <= 65536 for size in value):
        return value
    raise refusal(family.id, "rope sections", ExpressionError(f"they are {shown(value)}"))


def _scaling(family: FamilyV1, config: JsonObject, numbers: Geometry) -> JsonObject | None:
    if family.rope is None or family.rope.scaling is None:
        return None
    method = numbers.evaluate(family.rope.scaling, "rope scaling")
    if method is None or method == "default":
        return None
    if not isinstance(method, str) or not METHOD.fullmatch(method):
        raise refusal(family.id, "rope scaling", ExpressionError(f"it is {shown(method)}, no method's name"))
    factor, original = _block(config, "factor"), _block(config, "original_max_position_embeddings")
    return {
        "method": method,
        "factor": None if factor is None else _number(family, "rope scaling factor", factor, 1, 100_000),
        "original_context_length": original if type(original) is int and 1 <= original <= 10**9 else None,
    }


def _block(config: JsonObject, name: str) -> JsonValue:
    text = sections(config)["text"]
    return next((value for block in BLOCKS if (value := _within(text, block, name)) is not None), None)


def _within(section: JsonObject, block: str, name: str) -> JsonValue:
    inner = section.get(block)
    return inner.get(name) if isinstance(inner, dict) else None
