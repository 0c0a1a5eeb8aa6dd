"""Strict YAML: one pass over libyaml's events makes values and positions together, by the rules of YAML 1.2."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from mens.contracts.json_types import JsonValue
from mens.contracts.positions import (
    MAX_DIGITS,
    Children,
    Positions,
    SyntaxFault,
    Trail,
    fault_at,
    found,
    locate,
    lone_surrogate,
    named,
    quoted,
    refuse_unfit_text,
)
from mens.contracts.strict_json import TOO_MANY_DIGITS, beyond_floats, many_digits, whole

_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_MEANINGFUL: Final = frozenset("~nNtTfF+-.0123456789")
_NUMERIC: Final = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TAG = re.compile(r"[^\s,\[\]{}]+")
_LIMIT: Final = 10**MAX_DIGITS

# Line breaks to some readers and text to others, or dropped in silence: written raw they mean different things.
_AMBIGUOUS: Final = "\x85\u2028\u2029\ufeff"
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_MISPLACED: Final = {
    "mapping values are not allowed in this context": "a ':' cannot stand here; mend the indentation or quote the text",
    "mapping keys are not allowed in this context": "a '?' cannot stand here; quote the text",
    "block sequence entries are not allowed in this context": "a '-' cannot start an item here; give it its own line",
    "found unexpected ':'": "a ':' cannot stand here; quote the text",
    "found a tab character that violates indentation": "a tab cannot indent YAML; use spaces",
    "found a tab character where an indentation space is expected": "a tab cannot indent YAML; use spaces",
    "did not find expected whitespace or line break": "expected a space",
    "did not find expected comment or line break": "expected the end of the line after the sign of a block of text",
    "found an indentation indicator equal to 0": "a block of text cannot be indented by 0",
    "found unexpected document indicator": "the document ends inside quotes",
    "found duplicate %YAML directive": "directives are not allowed",
    "found duplicate %TAG directive": "directives are not allowed",
    "found incompatible YAML document": "directives are not allowed",
    "did not find expected <document start>": "expected the end of the document",
    "found undefined tag handle": "tags are not allowed",
}
_CONTINUATIONS: Final = {
    "did not find expected '-' indicator": ("list", "a '-' at its own indentation"),
    "did not find expected key": ("mapping", "a key at its own indentation"),
    "did not find expected ',' or ']'": ("list", "',' or ']'"),
    "did not find expected ',' or '}'": ("mapping", "',' or '}'"),
}
_ESCAPES: Final = {
    "found unknown escape character": "{written} is not an escape in YAML",
    "did not find expected hexdecimal number": "{written} takes more hexadecimal digits",
}
_HALF_ESCAPE: Final = "found invalid Unicode character escape code"
_BANNED: Final = {
    "tag": "tags are not allowed",
    "anchor": "anchors are not allowed",
    "alias": "aliases are not allowed",
    "directive": "directives are not allowed",
}


def parse_yaml(text: str) -> tuple[JsonValue, Positions]:
    """The value of a YAML text and where everything in it stands, or the SyntaxFault of it."""
    refuse_unfit_text(text)
    if not text.isascii():
        _refuse_ambiguous(text)
    try:
        builder = _document(text)
    except yaml.YAMLError as error:
        raise _translated(text, error) from None
    assert isinstance(builder.marks, list)
    return builder.values[0], Positions(text, builder.marks[0])


def _refuse_ambiguous(text: str) -> None:
    places = [(text.index(char), char) for char in _AMBIGUOUS if char in text]
    if places:
        offset, char = min(places)
        message = f'the invisible character {named(char)} is not allowed; write "\\u{ord(char):04x}" in double quotes'
        raise fault_at(text, offset, message)


class _Builder(Trail):
    """The trail of a YAML parse, with the values themselves."""

    __slots__ = ("owners", "values", "wants_key")

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.values: Any = []  # the innermost open container; at first a list for the root alone
        self.owners: list[Any] = []
        self.wants_key = False

    def scalar(self, event: Any) -> None:
        """Take a scalar as the key or the value that is due."""
        if event.tag is not None or event.anchor is not None:
            raise self.decorated(event)
        offset = event.start_mark.index
        value: Any = event.value
        plain = not event.style and (not value or value[0] in _MEANINGFUL)
        if self.wants_key:
            if plain and not _is_text(value):
                raise self.fault(offset, _quote_it(value), value)
            self.name(value, offset)
            self.wants_key = False
            return
        if plain:
            value = self.resolved(value, offset)
        self.add(value)
        self.put(offset)

    def add(self, value: Any) -> None:
        """Put a value into the innermost container."""
        if type(self.values) is dict:
            self.values[self.key] = value
            self.wants_key = True
        else:
            self.values.append(value)

    def resolved(self, literal: str, offset: int) -> JsonValue:
        """What a plain scalar stands for, or its fault."""
        try:
            return _resolved(literal)
        except ValueError as error:
            raise self.fault(offset, str(error), self.next_token()) from None

    def enter(self, event: Any, value: Any, children: Children) -> None:
        """Enter a mapping or a list."""
        if event.tag is not None or event.anchor is not None:
            raise self.decorated(event)
        offset = event.start_mark.index
        if self.wants_key:
            raise self.fault(offset, "a mapping or a list cannot be a key")
        self.open(offset, children)
        self.add(value)
        self.owners.append(self.values)
        self.values = value
        self.wants_key = type(value) is dict

    def leave(self) -> None:
        """Leave the innermost container."""
        self.close()
        self.values = self.owners.pop()
        self.wants_key = type(self.values) is dict

    def decorated(self, event: Any) -> SyntaxFault:
        """The fault of a value with an anchor or a tag, or of an alias."""
        token = None if self.wants_key else self.next_token()
        offset = event.start_mark.index
        if isinstance(event, AliasEvent):
            return self.fault(offset, f"aliases are not allowed: {quoted(f'*{event.anchor}')}", token)
        if self.text.startswith("&", offset):
            return self.fault(offset, f"anchors are not allowed: {quoted(f'&{event.anchor}')}", token)
        return self.fault(offset, f"tags are not allowed: {quoted(_tag_at(self.text, offset))}", token)


def _tag_at(text: str, offset: int) -> str:
    match = _TAG.match(text, offset)
    return match[0] if match else "!"


def _document(text: str) -> _Builder:
    """Read the one document of a text, event by event."""
    next_event: Callable[[], Any] = yaml.CSafeLoader(text).get_event
    builder = _Builder(text)
    started = False
    while True:
        event = next_event()
        kind = type(event)
        if kind is ScalarEvent:
            builder.scalar(event)
        elif kind is MappingStartEvent:
            builder.enter(event, {}, {})
        elif kind is SequenceStartEvent:
            builder.enter(event, [], [])
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            builder.leave()
        elif kind is AliasEvent:
            raise builder.decorated(event)
        elif kind is DocumentStartEvent:
            _refuse_preamble(text, event, started)
            started = True
        elif kind is StreamEndEvent:
            break
    _refuse_empty(builder)
    return builder


def _refuse_preamble(text: str, event: Any, started: bool) -> None:
    """Refuse a second document, and directives before the first."""
    offset = event.start_mark.index
    if started:
        raise fault_at(text, offset, "a second document starts here; a file holds one")
    if event.version or event.tags:
        raise fault_at(text, offset, "directives are not allowed")


def _refuse_empty(builder: _Builder) -> None:
    """Refuse a text without a document, or with an empty one between its marks."""
    empty = not builder.values
    if not empty and builder.values[0] is None and isinstance(builder.marks, list):
        offset = builder.marks[0]
        empty = isinstance(offset, int) and not builder.text.startswith(("~", "n", "N"), offset)
    if empty:
        raise SyntaxFault("the document is empty", 1, 1)


def _is_text(literal: str) -> bool:
    """Whether a plain scalar that looks meaningful is a string all the same."""
    if literal in _WORDS:
        return False
    if literal[0] not in _NUMERIC:
        return True
    return not any(shape.fullmatch(literal) for shape in (_INTEGER, _FLOAT, _BASED, _NOT_FINITE))


def _resolved(literal: str) -> JsonValue:
    """What a plain scalar stands for in YAML 1.2; a ValueError says what is wrong with a number."""
    if literal in _WORDS:
        return _WORDS[literal]
    if literal[0] not in _NUMERIC:
        return literal
    if _INTEGER.fullmatch(literal):
        if many_digits(literal):
            raise ValueError(TOO_MANY_DIGITS)
        return int(literal)
    if _FLOAT.fullmatch(literal):
        return _float(literal)
    if _BASED.fullmatch(literal):
        return _based(literal)
    if _NOT_FINITE.fullmatch(literal):
        raise ValueError(f"{literal} is not allowed; a number is finite (quote it if it is text)")
    return literal


def _float(literal: str) -> int | float:
    if many_digits(literal):
        raise ValueError(TOO_MANY_DIGITS)
    number = float(literal)
    if number - number != 0.0:
        raise ValueError(beyond_floats(literal))
    return whole(number)


def _based(literal: str) -> int:
    """An octal or hexadecimal integer."""
    if len(literal) > MAX_DIGITS + 2 or (value := int(literal, 0)) >= _LIMIT:
        raise ValueError(TOO_MANY_DIGITS)
    return value


def _quote_it(literal: str) -> str:
    """The message for a key that is no string."""
    if not literal:
        return 'the key is empty; write "" for an empty key'
    return f"the key {quoted(literal)} would not be a string; quote it"


def _translated(text: str, error: yaml.YAMLError) -> SyntaxFault:
    """What libyaml refuses, in our words and at the offset where it must be mended."""
    if isinstance(error, yaml.reader.ReaderError):
        match = _UNPRINTABLE.search(text)
        offset = match.start() if match else 0
        return fault_at(text, offset, f"the control character {named(text[offset])} is not allowed")
    problem = str(getattr(error, "problem", None) or "not valid YAML")
    context = str(getattr(error, "context", None) or "")
    start = getattr(error, "context_mark", None)
    mark = getattr(error, "problem_mark", None) or start
    offset = min(mark.index, len(text)) if mark else 0
    if start is None or not context:
        return fault_at(text, offset, _problem(text, offset, problem))
    return _in_context(text, offset, problem, context, start.index)


def _in_context(text: str, offset: int, problem: str, context: str, start: int) -> SyntaxFault:
    """A fault inside something that libyaml names and whose start it knows."""
    banned = _BANNED.get(context.rsplit(" ", 1)[-1])
    if banned:
        return fault_at(text, start, banned)
    if context == "while scanning a simple key":
        return fault_at(text, start, "expected a ':' after this key")
    if problem == "found unexpected end of stream":
        return fault_at(text, start, "the quoted text is never closed")
    if problem == _HALF_ESCAPE or problem in _ESCAPES:
        return _bad_escape(text, offset, problem)
    if problem in _CONTINUATIONS:
        kind, due = _CONTINUATIONS[problem]
        line, column = locate(text, start)
        message = f"found {found(text, offset)} where the {kind} that starts at {line}:{column} goes on with {due}"
        return fault_at(text, offset, message)
    return fault_at(text, offset, _problem(text, offset, problem))


def _bad_escape(text: str, offset: int, problem: str) -> SyntaxFault:
    """A fault at the backslash of an escape."""
    backslash = text.rfind("\\", 0, offset + 1)
    written = text[backslash : backslash + 2]
    if problem != _HALF_ESCAPE:
        return fault_at(text, backslash, _ESCAPES[problem].format(written=quoted(written)))
    code = int(text[backslash + 2 : backslash + (6 if written == "\\u" else 10)], 16)
    if code > 0x10FFFF:
        return fault_at(text, backslash, f"there is no character U+{code:X}")
    return fault_at(text, backslash, lone_surrogate(chr(code)))


def _problem(text: str, offset: int, problem: str) -> str:
    """One of libyaml's complaints as a sentence that says what stands there."""
    if problem == "found character that cannot start any token":
        if text.startswith("\t", offset):
            return "a tab cannot indent YAML; use spaces"
        return f"a plain value cannot start with {found(text, offset)}; quote it"
    if problem == "did not find expected node content":
        return f"expected a value, found {found(text, offset)}"
    known = _MISPLACED.get(problem)
    if known is None:
        return f"not valid YAML: {problem}"
    return f"{known}, found {found(text, offset)}" if known.startswith("expected") else known
