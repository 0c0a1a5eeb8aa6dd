"""A log of findings that stays small in memory however many there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO

from mens.contracts.findings import Finding

KEPT_IN_MEMORY = 10_000


class FindingLog:
    """Findings in the order they came: the first in memory, the rest in a temporary file."""

    def __init__(self) -> None:
        self._first: list[Finding] = []
        self._rest: IO[str] | None = None
        self._total = 0
        self.codes: set[str] = set()

    def add(self, findings: Iterable[Finding]) -> None:
        """Append findings."""
        for finding in findings:
            self._total += 1
            self.codes.add(finding.code)
            if len(self._first) < KEPT_IN_MEMORY:
                self._first.append(finding)
            else:
                self._rest = self._rest or _temporary_file()
                self._rest.write(json.dumps(finding) + "\n")

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[Finding]:
        yield from self._first
        if self._rest is not None:
            self._rest.seek(0)
            for line in self._rest:
                yield Finding(*json.loads(line))


def _temporary_file() -> IO[str]:
    import tempfile  # most runs find far less than would spill

    return tempfile.TemporaryFile("w+", encoding="utf-8")
