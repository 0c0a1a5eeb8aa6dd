"""A base as a plan needs it: recognised, laid out, complete, and in which types its tensors are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mens_contracts.family_v1 import FamilyV1

from mens.checkpoint.keys.coverage import Coverage, compare
from mens.checkpoint.keys.keymap import expand
from mens.checkpoint.keys.layout import detect
from mens.checkpoint.keys.recognition import recognise
from mens.checkpoint.storage import hub
from mens.checkpoint.storage.fingerprint import fingerprint_of
from mens.checkpoint.storage.folder import Checkpoint, open_checkpoint
from mens.contracts.errors import IntegrityError, UnsupportedError
from mens.contracts.json_types import JsonObject
from mens.plan.graph import Stored

SHOWN: Final = 5


@dataclass(frozen=True)
class Base:
    """What a plan takes from a checkpoint."""

    family: FamilyV1
    config: JsonObject
    stored: Stored
    identity: JsonObject


def open_base(reference: str) -> Base:
    """Open a base by its folder, or by `repo[@revision]` in the local hub cache; only headers are read."""
    found = hub.resolve(reference)
    base = base_of(open_checkpoint(found.folder))
    if found.repo is None:
        return base
    known = {"repo": found.repo, "revision": found.revision, "source": "hub download metadata"}
    return replace(base, identity={**base.identity, "state": "declared", **known})


def base_of(checkpoint: Checkpoint) -> Base:
    """Return the base; raises UnsupportedError for unknown and quantised ones, IntegrityError for incomplete ones."""
    config = checkpoint.config.value
    family = recognise(config)
    if checkpoint.quantised is not None:
        raise UnsupportedError(
            code="MENS-L007",
            what=f"The base is quantised already ({checkpoint.quantised}); training starts from 16 or 32 bits.",
            where=str(checkpoint.folder),
        )
    layout = detect(family, checkpoint.tensors)
    specs = list(expand(family, config, layout.selection))
    coverage = compare(specs, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})
    if not coverage.complete:
        raise _incomplete(checkpoint, family, coverage)
    stored = {
        (spec.role, spec.layer): checkpoint.tensors[spec.key].dtype
        for spec in specs
        if spec.entry.dtypes and spec.key in checkpoint.tensors
    }
    identity = {"state": "unknown", "family": family.id, "fingerprint": fingerprint_of(checkpoint)}
    return Base(family, config, stored, identity)


def _incomplete(checkpoint: Checkpoint, family: FamilyV1, coverage: Coverage) -> IntegrityError:
    wrong = [
        *(f"missing     {key}" for key in coverage.missing),
        *(f"unknown     {key}" for key in coverage.unknown),
        *(
            f"wrong shape {entry.key}: {list(entry.found)}, expected {list(entry.expected)}"
            for entry in coverage.mismatched
        ),
    ]
    lines = [f"  {line}" for line in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        lines.append(f"  and {len(wrong) - SHOWN:,} more")
    count = f"{coverage.matched:,} tensors match family '{family.id}', {len(wrong):,} do not:"
    return IntegrityError(
        code="MENS-L008",
        what="\n".join([count, *lines]),
        where=str(checkpoint.folder),
        fix="`mens inspect` shows everything about this folder. Nothing was planned.",
    )
