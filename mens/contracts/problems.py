"""A problem: something wrong at a place of a document, before the place has a line and a column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from mens.contracts.json_types import JsonObject
from mens.contracts.positions import escape

LONGEST = 80


class Problem(NamedTuple):
    """One thing wrong, where in the document, and whether the field's name or its value is to be shown."""

    code: str
    pointer: str
    message: str
    at_key: bool = False


Rule = Callable[[JsonObject], Iterator[Problem]]
"""A named rule: what it has against a document that its schema accepts."""


def pointer(*path: str | int) -> str:
    """The JSON pointer of a path of keys and indexes."""
    return "".join(f"/{escape(str(token))}" for token in path)


def shown(value: Any) -> str:
    """A value as an error message quotes it: JSON-like, single-quoted strings, never longer than a line."""
    if isinstance(value, str):
        cut = value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
        return f"'{json.dumps(cut, ensure_ascii=False)[1:-1]}'"
    if isinstance(value, dict | list):
        return f"a mapping of {len(value)}" if isinstance(value, dict) else f"a list of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def nearest(written: Any, known: Iterable[Any]) -> str:
    """` Did you mean 'rank'?` where something near is known, nothing where not."""
    from difflib import get_close_matches  # only a refused document pays for it

    if not isinstance(written, str):
        return ""
    near = get_close_matches(written, [name for name in known if isinstance(name, str)], n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
