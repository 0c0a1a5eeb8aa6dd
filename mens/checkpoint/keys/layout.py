"""How a checkpoint is written, told from its tensor names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mens_contracts.family_v1 import FamilyV1, VariantAxis, VariantOption

from mens.checkpoint.keys.keymap import PLACEHOLDER
from mens.contracts.errors import IntegrityError

NUMBER: Final = re.compile(r"(?<=\.)[0-9]+(?=\.|$)|^[0-9]+(?=\.|$)")


@dataclass(frozen=True)
class DetectedLayout:
    """One option for every axis, and the declared layout that has just these, if one does."""

    selection: Mapping[str, str]
    name: str | None

    @property
    def prefix(self) -> str | None:
        """How the text model's tensors begin; None where the family knows one way only."""
        return self.selection.get("prefix")

    @property
    def experts(self) -> str:
        """How routed experts are stored: none, fused or per_expert."""
        return self.selection.get("experts", "none")

    @property
    def mtp(self) -> str:
        """How multi-token prediction layers are stored: absent, dense, per_expert or packed."""
        return self.selection.get("mtp", "absent")

    @property
    def vision(self) -> bool:
        """Whether the vision tower is there."""
        return self.selection.get("vision", "absent") == "present"


def detect(family: FamilyV1, keys: Iterable[str]) -> DetectedLayout:
    """Return the layout that tensor names show; raises IntegrityError where they show none."""
    shapes = {generic(key) for key in keys}
    selection: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    for axis in family.variants:
        option = _first_seen(axis, prefixes, shapes)
        if option is None:
            raise _unseen(family, axis, prefixes)
        selection[axis.axis] = option.name
        prefixes |= option.bind
    names = [layout.name for layout in family.layouts if dict(layout.selection) == selection]
    return DetectedLayout(selection, names[0] if names else None)


def generic(key: str) -> str:
    """Return a tensor name with every running number replaced by a star."""
    return NUMBER.sub("*", key)


def _first_seen(axis: VariantAxis, prefixes: Mapping[str, str], shapes: set[str]) -> VariantOption | None:
    for option in axis.options:
        if option.probe is None or probe_pattern(option, prefixes) in shapes:
            return option
    return None


def probe_pattern(option: VariantOption, prefixes: Mapping[str, str]) -> str:
    """Return the generic name whose presence shows an option; its own prefixes count as bound."""
    bound = {**prefixes, **option.bind}
    filled = PLACEHOLDER.sub(lambda match: bound.get(match[1], "0"), option.probe or "")
    return generic(filled)


def _unseen(family: FamilyV1, axis: VariantAxis, prefixes: Mapping[str, str]) -> IntegrityError:
    probes = [probe_pattern(option, prefixes) for option in axis.options]
    return IntegrityError(
        code="MENS-K008",
        what=f"No tensor name shows the {axis.axis} of family '{family.id}'; looked for {', '.join(probes)}.",
        fix=f"Declare the layout in schemas/families/{family.id}.yaml, then run: nox -s generate",
    )
