"""Everything that can be said of a checkpoint from its headers and small files, as one document.

`inspect` recognises, compares, counts and collects; it raises only where no report can be made. What a report shows to
be wrong is in `Inspection.refusal`, for the caller to raise once the report is printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from mens_contracts.inspection_v1 import InspectionV1

from mens.checkpoint.inspection.document import inspection_document
from mens.checkpoint.inspection.facts import Facts, gather
from mens.checkpoint.inspection.verdicts import beyond_rows, incomplete, quantised_refusal
from mens.checkpoint.storage.folder import Checkpoint
from mens.checkpoint.storage.headers import without_collection
from mens.contracts import door
from mens.contracts.errors import MensError


@dataclass(frozen=True)
class Inspection:
    """The report on a checkpoint, what it rests on, and the refusal that it amounts to, if any."""

    facts: Facts
    document: InspectionV1
    refusal: MensError | None


@without_collection()
def inspect(checkpoint: Checkpoint, named: str | None = None) -> Inspection:
    """Return the report on an opened checkpoint; raises where none can be made.

    UnsupportedError for an architecture that no family describes, IntegrityError where the tensor names show no layout,
    ContractError where the configuration or a small file does not hold what it should.
    """
    facts = gather(checkpoint)
    refused = list(refusals(facts))
    text = json.dumps(inspection_document(facts, named, refused), ensure_ascii=False)
    document = door.loads(text, InspectionV1, "inspection").model
    return Inspection(facts, document, refused[0] if refused else None)


def refusals(facts: Facts) -> Iterator[MensError]:
    """Say why training and merging may not start from this checkpoint; nothing when they may."""
    if facts.quantisation is not None:
        yield quantised_refusal(facts.checkpoint, facts.quantisation)
    elif not facts.census.complete:
        yield incomplete(facts.checkpoint, facts.family, facts.census)
    elif facts.tokenizer is not None and facts.tokenizer.highest >= facts.num_rows:
        yield beyond_rows(facts.checkpoint, facts.tokenizer.highest, facts.num_rows)
