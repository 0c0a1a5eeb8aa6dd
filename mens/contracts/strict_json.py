"""Strict JSON: the C scanner reads, and only what it refuses is scanned again, slowly, to say where and why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from mens.contracts.json_types import JsonValue
from mens.contracts.positions import (
    MAX_DEPTH,
    MAX_DIGITS,
    Node,
    Positions,
    SyntaxFault,
    Trail,
    fault_at,
    found,
    lone_surrogate,
    named,
    quoted,
    refuse_unfit_text,
)

EXACT: Final = 2**53  # below this every integer is a float of its own
TOO_MANY_DIGITS: Final = f"a number of more than {MAX_DIGITS} digits"

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
# What most scalars look like: a string without escapes, a short number, a literal.
_USUAL = re.compile(r'"[^"\\\x00-\x1f]*"|(?:-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,20})?|true|false|null)(?![-+.\w])')
_NUMERIC = re.compile(r"[-+.\w]+")
_WORD = re.compile(r"-?[^\W\d][\w.-]*")
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
# A run of 401 digits leaves eight neighbours among every fiftieth character, and looking at those is almost free.
_SAMPLE: Final = 50
_SAMPLED_DIGITS = re.compile(f"[0-9]{{{MAX_DIGITS // _SAMPLE}}}")

_scan_string: Callable[[str, int, bool], tuple[str, int]] = vars(json.decoder)["scanstring"]  # typeshed lacks it
_CONTAINERS = frozenset({dict, list})
_LITERALS = frozenset({"true", "false", "null"})
_MEANT = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "NULL": "null"}
_NOT_FINITE = frozenset({"NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "-NaN"})


class _SuspectError(Exception):
    """Raised by a hook of the C scanner, which cannot say where it stands."""


def whole(number: float) -> int | float:
    """A float without a fraction as the integer it is, as far as floats are exact."""
    return int(number) if number.is_integer() and -EXACT <= number <= EXACT else number


def many_digits(literal: str) -> bool:
    """Whether a number is written with more digits than any document needs."""
    return len(literal) > MAX_DIGITS and len(literal) - sum(map(literal.count, "+-.eE")) > MAX_DIGITS


def parse_json(text: str) -> JsonValue:
    """The value of a JSON text, or the SyntaxFault of it."""
    refuse_unfit_text(text)
    decoder = _WARY if _SAMPLED_DIGITS.search(text[::_SAMPLE]) else _QUICK
    try:
        value: JsonValue = decoder.decode(text)
    except (ValueError, RecursionError, _SuspectError) as error:
        raise _explained(text, error) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
        raise _explained(text, _SuspectError())
    if ("\\ud" in text or "\\uD" in text) and _half_escape(text) >= 0:
        raise _explained(text, _SuspectError())
    return value


def json_positions(text: str) -> Positions:
    """Where everything in a JSON text stands; the text is known to parse."""
    return Positions(text, _scan(text))


def _explained(text: str, error: Exception) -> Exception:
    """The fault that the slow scan finds; a stack that the caller has used up is no fault of the document."""
    try:
        _scan(text)
    except SyntaxFault as fault:
        return fault
    if isinstance(error, RecursionError):
        return error
    return fault_at(text, getattr(error, "pos", 0), "this is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _SuspectError
    return members


def _float(literal: str) -> int | float:
    if many_digits(literal):
        raise _SuspectError
    number = float(literal)
    if number.is_integer():
        return whole(number)
    if number - number != 0.0:
        raise _SuspectError
    return number


def _integer(literal: str) -> int:
    if many_digits(literal):
        raise _SuspectError
    return int(literal)


def _constant(_name: str) -> float:
    raise _SuspectError


_QUICK = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_WARY = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant, parse_int=_integer)


def _too_deep(value: JsonValue) -> bool:
    """Whether containers nest beyond the limit, level by level, most of it in C."""
    level: list[Any] = [value]  # the containers of depth 1; after n rounds those of depth n + 1
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            members = container.values() if type(container) is dict else container
            if not _CONTAINERS.isdisjoint(map(type, members)):
                inner += [member for member in members if type(member) in _CONTAINERS]
        if not inner:
            return False
        level = inner
    return True


def _half_escape(text: str) -> int:
    """Where an escape for half a character stands without its other half; -1 when none does."""
    blanked = _PAIR.sub(" " * 12, text.replace("\\\\", "  "))
    half = _HALF.search(blanked)
    return half.start() if half else -1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _scan(text: str) -> Node:
    """Read the whole text token by token: its positions, or the first fault in reading order."""
    trail = Trail(text)
    at = _skip(text, 0)
    if at == len(text):
        raise SyntaxFault("the document is empty", 1, 1)
    while True:
        at, complete = _enter(trail, at)
        while complete:
            at = _skip(text, at)
            if not trail.frames:
                return _root(trail, at)
            at, complete = _leave(trail, at)


def _root(trail: Trail, at: int) -> Node:
    """The finished document, behind which nothing may follow."""
    if at < len(trail.text):
        raise trail.fault(at, f"expected the end of the document, found {found(trail.text, at)}")
    assert isinstance(trail.marks, list)
    return trail.marks[0]


def _enter(trail: Trail, at: int) -> tuple[int, bool]:
    """Read a scalar or an empty container whole, or a container up to its first value."""
    text = trail.text
    opener = text[at : at + 1]
    if opener != "{" and opener != "[":
        end = _scalar(trail, at)
        trail.put(at)
        return end, True
    trail.open(at, {} if opener == "{" else [])
    at = _skip(text, at + 1)
    if text[at : at + 1] == ("}" if opener == "{" else "]"):
        trail.close()
        return at + 1, True
    return (_key(trail, at) if opener == "{" else at), False


def _leave(trail: Trail, at: int) -> tuple[int, bool]:
    """Read what follows a value: the end of its container, or a comma and what leads to the next value."""
    text = trail.text
    mapping = isinstance(trail.marks, dict)
    closer = "}" if mapping else "]"
    char = text[at : at + 1]
    if char == closer:
        trail.close()
        return at + 1, True
    if char != ",":
        raise trail.fault(at, f"expected ',' or '{closer}', found {found(text, at)}{_remark(text, at)}")
    comma, at = at, _skip(text, at + 1)
    if text[at : at + 1] == closer:
        raise trail.fault(comma, f"a comma before '{closer}'; JSON allows none after the last value")
    return (_key(trail, at) if mapping else at), False


def _key(trail: Trail, at: int) -> int:
    """Read a key and its colon, up to the value."""
    text = trail.text
    if text[at : at + 1] != '"':
        raise trail.fault(at, f"expected a key in double quotes, found {found(text, at)}{_remark(text, at)}")
    key, end = _string(trail, at, None)
    trail.name(key, at)
    colon = _skip(text, end)
    if text[colon : colon + 1] != ":":
        raise trail.fault(colon, f"expected ':' after the key {quoted(key)}, found {found(text, colon)}", key)
    return _skip(text, colon + 1)


def _scalar(trail: Trail, at: int) -> int:
    """The end of a string, a number or a literal."""
    text = trail.text
    usual = _USUAL.match(text, at)
    if usual:
        return usual.end()
    token = trail.next_token()
    if text.startswith('"', at):
        return _string(trail, at, token)[1]
    word = _WORD.match(text, at)
    if word and word[0] in _LITERALS:
        return word.end()
    numeric = None if word else _NUMERIC.match(text, at)
    if word or not numeric:
        raise trail.fault(at, _no_value(text, at, word[0] if word else ""), token)
    number = _NUMBER.fullmatch(text, at, numeric.end())
    if not number:
        raise trail.fault(at, f"{quoted(numeric[0])} is not a number in JSON", token)
    if many_digits(number[0]):
        raise trail.fault(at, TOO_MANY_DIGITS, token)
    if float(number[0]) in (float("inf"), float("-inf")) and not number[0].lstrip("-").isdigit():
        raise trail.fault(at, beyond_floats(number[0]), token)
    return number.end()


def beyond_floats(literal: str) -> str:
    """The message for a number that would read as infinity."""
    return f"the number {quoted(literal)} is too large for a 64-bit float"


def _no_value(text: str, at: int, word: str) -> str:
    """Say why no value starts here."""
    if word in _NOT_FINITE:
        return f"{word} is not a number in JSON"
    if word:
        hint = f"write {_MEANT[word]}" if word in _MEANT else "strings stand in double quotes"
        return f"expected a value, found the bare word {quoted(word)}; {hint}"
    return f"expected a value, found {found(text, at)}{_remark(text, at)}"


def _remark(text: str, at: int) -> str:
    """Name the two habits from other formats that JSON does not share."""
    if text.startswith(("//", "/*", "#"), at):
        return "; JSON has no comments"
    return "; strings stand in double quotes" if text.startswith("'", at) else ""


def _string(trail: Trail, at: int, token: str | None) -> tuple[str, int]:
    """A string and its end; `token` is its place in the container, where it is a value."""
    text = trail.text
    try:
        value, end = _scan_string(text, at + 1, True)
    except json.JSONDecodeError as error:
        raise trail.fault(*_broken_string(text, at, error), token) from None
    half = _half_escape(text[at:end]) if text.find("\\u", at, end) >= 0 else -1
    if half >= 0:
        raise trail.fault(at + half, lone_surrogate(chr(int(text[at + half + 2 : at + half + 6], 16))), token)
    return value, end


def _broken_string(text: str, start: int, error: json.JSONDecodeError) -> tuple[int, str]:
    """Where a string breaks and why."""
    if error.msg.startswith("Unterminated"):
        return start, "the string is never closed"
    char = text[error.pos]
    if char in "\r\n":
        return error.pos, "the string is not closed on its line; a line break in it is written \\n"
    if error.msg.startswith("Invalid control"):
        return error.pos, f"an unescaped control character ({named(char)}) in a string; write \\u{ord(char):04x}"
    backslash = text.rfind("\\", start, error.pos + 1)
    written = text[backslash : backslash + 2]
    if written == "\\u":
        return backslash, "'\\u' takes four hexadecimal digits"
    return backslash, f"{quoted(written)} is not an escape in JSON"
