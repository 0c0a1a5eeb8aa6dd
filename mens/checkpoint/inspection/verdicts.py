"""The refusals that a finished look at a checkpoint can end in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mens_contracts.family_v1 import FamilyV1

from mens.checkpoint.inspection.census import Census
from mens.checkpoint.storage.folder import Checkpoint
from mens.checkpoint.storage.quantised import Quantisation
from mens.contracts.errors import IntegrityError, UnsupportedError

SHOWN: Final = 5


def quantised_refusal(checkpoint: Checkpoint, found: Quantisation) -> UnsupportedError:
    """Return why quantised weights are no base."""
    bits = f", {found.bits} bits" if found.bits else ""
    return UnsupportedError(
        code="MENS-L007",
        what=f"The weights are stored quantised ({found.method}{bits}); training and merging start from 16 or 32 bits.",
        where=str(checkpoint.folder),
        fix="Take the repository that this one was quantised from. Nothing was written.",
    )


def incomplete(checkpoint: Checkpoint, family: FamilyV1, census: Census) -> IntegrityError:
    """Return the refusal of a checkpoint whose tensors are not those of its family."""
    names = [
        *census.unknown,
        *(f"{key} is missing" for key in census.missing),
        *(f"{entry.key} is {entry.found}, not {entry.expected}" for entry in census.mismatched),
    ]
    said = ", ".join(_counted(census, len(checkpoint.tensors)))
    lines = [f"Cannot read {checkpoint.folder} as family '{family.id}': {said}."]
    lines += [f"  {name}" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        lines.append(f"  and {len(names) - SHOWN:,} more")
    declare = f" Declare them in schemas/families/{family.id}.yaml, then run: nox -s generate" if census.unknown else ""
    return IntegrityError("MENS-K001", "\n".join(lines), fix=f"Nothing was written.{declare}")


def too_few(checkpoint: Checkpoint, family: FamilyV1, expected: int) -> IntegrityError:
    """Return the refusal of a configuration that describes another model than lies here, and a much larger one."""
    return IntegrityError(
        code="MENS-K001",
        what=f"Cannot read {checkpoint.folder} as family '{family.id}': the configuration describes more than "
        f"{expected:,} tensors, and {len(checkpoint.tensors):,} are here.",
        fix="Configuration and weights are not of one model. Nothing was written.",
    )


def _counted(census: Census, total: int) -> Iterator[str]:
    if census.unknown:
        yield f"{len(census.unknown):,} of {total:,} tensors match no rule"
    problems = [entry.problem for entry in census.mismatched]
    counts = {
        "missing": len(census.missing),
        "of another shape": problems.count("shape"),
        "of another type": problems.count("dtype"),
    }
    for what, number in counts.items():
        if number:
            yield f"{number:,} {'is' if number == 1 else 'are'} {what}"


def beyond_rows(checkpoint: Checkpoint, highest: int, num_rows: int) -> IntegrityError:
    """Return the refusal of a tokenizer that has tokens for which the embedding has no rows."""
    return IntegrityError(
        code="MENS-K009",
        what=f"The tokenizer has token {highest:,}, and the embedding has {num_rows:,} rows.",
        where=str(checkpoint.folder),
        fix="Tokenizer and weights are not of one model. Nothing was written.",
    )
