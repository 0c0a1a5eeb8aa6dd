"""A file of rows, counted: how many, and which file it was. Nothing is tokenised."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final, NamedTuple

from mens.contracts.source import open_regular

PIECE: Final = 1 << 20


class Rows(NamedTuple):
    """What one pass over the file tells."""

    path: str
    num_rows: int
    sha256: str


def count_rows(path: Path) -> Rows:
    """Count the lines that hold something, and take the file's digest, a piece at a time."""
    digest = hashlib.sha256()
    count = 0
    pending = False  # whether the line that is being read holds anything yet
    with os.fdopen(open_regular(path), "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            *ended, rest = piece.split(b"\n")
            for line in ended:
                count += pending or bool(line.strip())
                pending = False
            pending = pending or bool(rest.strip())
    return Rows(str(path), count + pending, digest.hexdigest())
