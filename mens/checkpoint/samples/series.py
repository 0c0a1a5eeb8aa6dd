"""Which series a sample takes its tokens, its chat template and, at full size, its geometry from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mens_contracts.family_v1 import FamilyV1
from mens_contracts.release_v1 import Model, ReleaseV1
from mens_contracts.releases import RELEASES, REPOS

from mens.checkpoint.keys.releases import model_config
from mens.contracts.errors import UnsupportedError
from mens.contracts.json_types import JsonObject
from mens.contracts.problems import nearest, shown

UNKNOWN: Final = "MENS-U005"
NO_GEOMETRY: Final = "MENS-U006"


@dataclass(frozen=True)
class Series:
    """A model of a release, or neither where no release lists a model of the family."""

    release: ReleaseV1 | None = None
    model: Model | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return "no series" if self.model is None else self.model.repo

    def config(self) -> JsonObject | None:
        """The model's own configuration; None where it is not known."""
        if self.release is None or self.model is None:
            return None
        return copy.deepcopy(model_config(self.release, self.model))


def choose(family: FamilyV1, name: str | None, with_geometry: bool = False) -> Series:
    """Return the series of this name, a release's id or a repository; without a name, the usual one of the family.

    Raises UnsupportedError where nothing of this name belongs to the family, or its geometry is wanted and not known.
    """
    listed = list(_of_family(family))
    found = [entry for entry in listed if name is None or name in (entry[0].id, entry[1].repo)]
    if name is not None and not found:
        raise _unknown(family, name, listed)
    known = [entry for entry in found if model_config(*entry) is not None]
    if with_geometry and not known:
        raise _without_geometry(family, name, listed)
    usable = known if with_geometry else found
    # The default model first, then the release that the family was named after.
    ordered = sorted(usable, key=lambda entry: (not entry[1].default, entry[0].id != family.id))
    return Series(*ordered[0]) if ordered else Series()


def _of_family(family: FamilyV1) -> Iterator[tuple[ReleaseV1, Model]]:
    for release in RELEASES.values():
        yield from ((release, model) for model in release.models if model.family == family.id)


def _unknown(family: FamilyV1, name: str, listed: Iterable[tuple[ReleaseV1, Model]]) -> UnsupportedError:
    names = list(dict.fromkeys([release.id for release, _ in listed] + [model.repo for _, model in listed]))
    known = name in REPOS or name in RELEASES
    is_none = f"is no series of family '{family.id}'" if known else "is no release and no model known here"
    fix = f"Series of '{family.id}': {', '.join(names)}." if names else f"No release has a model of '{family.id}'."
    return UnsupportedError(UNKNOWN, f"{shown(name)} {is_none}.{'' if known else nearest(name, names)}", "", fix)


def _without_geometry(
    family: FamilyV1, name: str | None, listed: Iterable[tuple[ReleaseV1, Model]]
) -> UnsupportedError:
    known = [model.repo for release, model in listed if model_config(release, model) is not None]
    what = f"The geometry of {f'family {family.id!r}' if name is None else shown(name)} is recorded by no release."
    fix = f"Recorded: {', '.join(known)}." if known else "Leave --full-size out and give sizes with --set."
    return UnsupportedError(NO_GEOMETRY, what, "", fix)
