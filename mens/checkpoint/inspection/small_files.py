"""The small files beside weights: read whole and strictly, or not there."""

from __future__ import annotations

import os
from pathlib import Path

from mens.contracts.errors import ContractError
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.positions import SyntaxFault, decode
from mens.contracts.source import read
from mens.contracts.strict_json import parse_json


def text_of(path: Path) -> str | None:
    """The text of a file; None where there is none. Raises ContractError where it is not UTF-8."""
    if not os.path.lexists(path):
        return None
    try:
        return decode(read(path).data)
    except SyntaxFault as fault:
        raise _unreadable(path, fault) from None


def json_of(path: Path) -> JsonObject:
    """The object in a JSON file; empty where there is no file. Raises ContractError where it holds none."""
    text = text_of(path)
    if text is None:
        return {}
    try:
        value: JsonValue = parse_json(text)
    except SyntaxFault as fault:
        raise _unreadable(path, fault) from None
    if not isinstance(value, dict):
        raise ContractError("MENS-V001", "must be an object", f"{path}:1:1")
    return value


def _unreadable(path: Path, fault: SyntaxFault) -> ContractError:
    return ContractError("MENS-S001", fault.message, f"{path}:{fault.line}:{fault.column}")
