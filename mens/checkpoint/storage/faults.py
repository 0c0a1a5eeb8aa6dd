"""What is wrong with a checkpoint, collected before it is refused: the first few in words, and the true number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from mens.contracts.codes import CODES
from mens.contracts.errors import IntegrityError, MensError, UnsupportedError
from mens.contracts.positions import quoted

SHOWN: Final = 5
LONGEST_SHOWN: Final = 200


class Fault(NamedTuple):
    """One thing wrong: its code and a message that names what it is about."""

    code: str
    message: str


class FaultyCheckpoint(IntegrityError):
    """A checkpoint that is not what it claims, with every fault; the code is that of the first."""

    def __init__(self, code: str, what: str, where: str, faults: Sequence[Fault]) -> None:
        super().__init__(code, what, where, "Nothing was read but headers and small files.")
        self.faults = tuple(faults)


def said(name: str) -> str:
    """A tensor's or a file's name for a message: whole, unless it is absurd."""
    return quoted(name, LONGEST_SHOWN)


def refusal(where: str, faults: Sequence[Fault]) -> MensError:
    """The error to raise for these faults: damage comes before what is merely unsupported."""
    damage = [fault for fault in faults if CODES[fault.code].exit_code != 3]
    first = (damage or faults)[0]
    what = first.message if len(faults) == 1 else _listed(faults)
    if not damage:
        return UnsupportedError(first.code, what, where)
    return FaultyCheckpoint(first.code, what, where, faults)


def _listed(faults: Sequence[Fault]) -> str:
    lines = [f"{len(faults):,} things are wrong:", *(f"  {fault.message}" for fault in faults[:SHOWN])]
    if len(faults) > SHOWN:
        lines.append(f"  and {len(faults) - SHOWN:,} more")
    return "\n".join(lines)
