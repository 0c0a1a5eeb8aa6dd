"""A base as a plan needs it: recognised, complete, and in which types its tensors are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mens_contracts.family_v1 import FamilyV1

from mens.checkpoint.inspection.facts import gather
from mens.checkpoint.inspection.inspect import refusals
from mens.checkpoint.storage import hub
from mens.checkpoint.storage.folder import Checkpoint, open_checkpoint
from mens.contracts.json_types import JsonObject
from mens.plan.graph import Stored


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
    """Return the base; raises what `mens inspect` refuses a checkpoint with."""
    facts = gather(checkpoint)
    for refusal in refusals(facts):
        raise refusal
    stored = {
        (spec.role, spec.layer): checkpoint.tensors[spec.key].dtype
        for spec in facts.specs
        if spec.entry.dtypes and spec.key in checkpoint.tensors
    }
    identity = {"state": "unknown", "family": facts.family.id, "fingerprint": facts.fingerprint}
    return Base(facts.family, facts.config, stored, identity)
