"""Which family a configuration belongs to: exact names, never prefixes."""

from __future__ import annotations

from mens_contracts.families import FAMILIES, RECOGNISE
from mens_contracts.family_v1 import FamilyV1

from mens.contracts.errors import UnsupportedError
from mens.contracts.json_types import JsonObject


def recognise(config: JsonObject) -> FamilyV1:
    """Return the family of a configuration; raises UnsupportedError where none claims it or the claim has ended."""
    model_type = config.get("model_type")
    found = RECOGNISE.get(model_type) if isinstance(model_type, str) else None
    if found is None:
        raise UnsupportedError(
            code="MENS-K002",
            what=f"No family reads model_type {model_type!r}. Known: {', '.join(sorted(RECOGNISE))}.",
            where="config.json",
            fix="Declare it in a file under schemas/families, then run: nox -s generate",
        )
    family = FAMILIES[found]
    _check_class(family, config)
    if family.tier == "removed":
        raise UnsupportedError("MENS-K004", f"Family '{family.id}' is no longer supported.", "config.json")
    return family


def _check_class(family: FamilyV1, config: JsonObject) -> None:
    """Refuse a configuration whose `architectures` names only classes with other tensors, such as a classifier."""
    named = config.get("architectures")
    if isinstance(named, list) and named and not set(map(str, named)) & set(family.recognise.architectures):
        raise UnsupportedError(
            code="MENS-K003",
            what=f"Family '{family.id}' does not read class {', '.join(map(str, named))}. "
            f"It reads: {', '.join(family.recognise.architectures)}.",
            where="config.json",
        )
