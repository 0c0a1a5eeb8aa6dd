"""Paths inside artifacts: what a document may name, judged before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, pointer, shown

LONGEST_NAME = 255


def path_problems(value: JsonObject, fields: tuple[str, ...]) -> Iterator[Problem]:
    """Every path in these fields that could leave the artifact's folder or name no file at all."""
    for field in fields:
        for where, text in _values(value, field.split("/")[1:], ()):
            reason = fault(text)
            if reason:
                yield Problem("MENS-P001", pointer(*where), f"the path {shown(text)} {reason}")


def _values(value: Any, tokens: list[str], above: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if not tokens:
        if isinstance(value, str):
            yield above, value
    elif tokens[0] == "*" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, tokens[1:], (*above, index))
    elif tokens[0] == "*" and isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, tokens[1:], (*above, key))
    elif isinstance(value, dict) and tokens[0] in value:
        yield from _values(value[tokens[0]], tokens[1:], (*above, tokens[0]))


def fault(text: str) -> str:
    """Why a path may not stand in a document; empty when it may."""
    parts = text.split("/")
    if "\0" in text or any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "contains a control character"
    if text.startswith(("/", "\\")) or (len(text) > 1 and text[1] == ":"):
        return "is absolute; paths are relative to the artifact's folder"
    if text.startswith("~"):
        return "begins with `~`, which some programs expand"
    if "\\" in text:
        return "contains a backslash; paths use forward slashes"
    if ".." in parts:
        return "leaves the artifact's folder with `..`"
    if "" in parts or "." in parts:
        return "has an empty or `.` step"
    if any(len(part.encode()) > LONGEST_NAME for part in parts):
        return f"has a name of more than {LONGEST_NAME} bytes"
    return ""
