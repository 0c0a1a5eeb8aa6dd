"""YAML for people: block style with short things on one line, and comments above what they are about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mens.contracts.json_types import JsonValue
from mens.contracts.positions import SyntaxFault
from mens.contracts.strict_yaml import parse_yaml

WIDTH: Final = 120
STEP: Final = "  "
PLAIN: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./*+()%=<> -]*[A-Za-z0-9_)])?")
SAFE: Final = re.compile(r"[ -~]")

Path = tuple[str | int, ...]
Comments = Mapping[Path, Sequence[str]]
"""Lines that stand above the value at a path."""


def yaml_text(document: Mapping[str, JsonValue], comments: Comments, parted: frozenset[str] = frozenset()) -> str:
    """Return a document as YAML; an empty line stands above the sections named in `parted`."""
    return "".join(f"{line}\n" for line in _members(document, (), "", comments, parted))


def _members(
    value: Mapping[str, JsonValue], path: Path, indent: str, comments: Comments, parted: frozenset[str] = frozenset()
) -> Iterator[str]:
    for key, item in value.items():
        below = (*path, key)
        if key in parted and not path:
            yield ""
        yield from (f"{indent}# {line}".rstrip() for line in comments.get(below, ()))
        yield from _member(f"{indent}{scalar(key)}:", item, below, indent, comments)


def _member(head: str, item: JsonValue, path: Path, indent: str, comments: Comments) -> Iterator[str]:
    short = f"{head} {flow(item)}"
    commented = any(other[: len(path)] == path and other != path for other in comments)
    if not isinstance(item, dict | list) or not item or (_is_flat(item) and len(short) <= WIDTH and not commented):
        yield short
        return
    yield head
    if isinstance(item, dict):
        yield from _members(item, path, indent + STEP, comments)
        return
    for place, entry in enumerate(item):
        yield from _entry(entry, (*path, place), indent + STEP, comments)


def _entry(entry: JsonValue, path: Path, indent: str, comments: Comments) -> Iterator[str]:
    yield from (f"{indent}# {line}".rstrip() for line in comments.get(path, ()))
    short = f"{indent}- {flow(entry)}"
    if not isinstance(entry, dict) or not entry or (_is_flat(entry) and len(short) <= WIDTH):
        yield short
        return
    dash = f"{indent}- "
    for line in _members(entry, path, indent + STEP, comments):
        if dash and line.lstrip().startswith("#"):
            yield indent + line.lstrip()
        else:
            yield dash + line[len(dash) :]
            dash = ""


def _is_flat(value: JsonValue) -> bool:
    """Whether it is small enough in depth to be read on one line."""
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return all(not isinstance(item, dict) and not (isinstance(item, list) and any(map(_holds, item))) for item in items)


def _holds(value: JsonValue) -> bool:
    return isinstance(value, dict | list)


def flow(value: JsonValue) -> str:
    """Return a value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: str | float | bool | None) -> str:
    """Return a text without quotes where that reads back as the same text, and anything else as JSON writes it."""
    if not isinstance(value, str):
        return json.dumps(value)
    if PLAIN.fullmatch(value) and _reads_back(value):
        return value
    return "".join(_escaped(character) for character in json.dumps(value, ensure_ascii=False))


def _reads_back(text: str) -> bool:
    try:
        found, _ = parse_yaml(f"- {text}")
    except SyntaxFault:
        return False
    return bool(found == [text])


def _escaped(character: str) -> str:
    """Letters of any script stay; what is invisible or read differently by different readers is spelled out."""
    if SAFE.fullmatch(character) or (character.isprintable() and character <= "\ud7ff"):
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
