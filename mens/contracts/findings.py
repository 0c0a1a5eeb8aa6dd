"""What is wrong with a document, said once and never raised: a finding."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """One thing wrong in one document, at the place where a person would mend it."""

    path: str
    line: int
    column: int
    pointer: str
    code: str
    severity: Severity
    message: str
