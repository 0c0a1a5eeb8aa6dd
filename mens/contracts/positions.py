"""Where things stand in a text: decoding, positions by JSON pointer, and the fault a strict parse ends in."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple, TypeAlias

MAX_DEPTH = 64
MAX_DIGITS = 400
SHOWN_CHARACTERS = 40

# A scalar is the offset where it starts; a container adds what it holds; a member adds the offset of its key.
Node: TypeAlias = "int | tuple[int, Children]"
Member: TypeAlias = "tuple[int, Node]"
Children: TypeAlias = "list[Node] | dict[str, Member]"

_BREAK = re.compile(r"\r\n?|\n")
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")


class Position(NamedTuple):
    """A place in a text, counted from 1; columns count code points."""

    line: int
    column: int


class SyntaxFault(Exception):
    """The one thing a strict parse refuses, and where: line and column count from 1."""

    def __init__(self, message: str, line: int, column: int, pointer: str = "") -> None:
        super().__init__(message, line, column, pointer)
        self.message = message
        self.line = line
        self.column = column
        self.pointer = pointer

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"


def escape(token: str) -> str:
    """One key as a token of a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """One token of a JSON pointer (RFC 6901) as the key it stands for."""
    return token.replace("~1", "/").replace("~0", "~")


def quoted(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """A text for a message: in quotes, cut when long, everything invisible spelt out."""
    shown = "".join(char if char.isprintable() else named(char) for char in text[:limit])
    return f"'{shown}...'" if len(text) > limit else f"'{shown}'"


def named(char: str) -> str:
    """A character by its number, as Unicode writes it: U+00A0."""
    return f"U+{ord(char):04X}"


def found(text: str, offset: int) -> str:
    """What stands at an offset, for a message that says what was expected instead."""
    if offset >= len(text):
        return "the end of the document"
    char = text[offset]
    if char in "\r\n":
        return "the end of the line"
    return quoted(char) if char.isprintable() else named(char)


def locate(text: str, offset: int) -> Position:
    """The position of one offset; lines end in LF, CR LF or CR, as editors count them."""
    offset = min(offset, len(text))
    breaks = text.count("\n", 0, offset)
    if "\r" in text:
        breaks += text.count("\r", 0, offset) - text.count("\r\n", 0, offset)
    start = 1 + max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset))
    return Position(breaks + 1, offset - start + 1)


def fault_at(text: str, offset: int, message: str, pointer: str = "") -> SyntaxFault:
    """A fault at an offset of a text."""
    return SyntaxFault(message, *locate(text, offset), pointer)


def decode(data: bytes) -> str:
    """Bytes as text: UTF-8 without a byte order mark and without NUL, or a fault."""
    _refuse_other_encodings(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        message = f"byte 0x{data[error.start]:02X} is not valid UTF-8 here; save the file as UTF-8"
        raise fault_at(before, len(before), message) from None
    if "\0" in text:
        raise fault_at(text, text.index("\0"), "a NUL character (U+0000) is not allowed in a document")
    return text


def _refuse_other_encodings(data: bytes) -> None:
    """Recognise UTF-16 and UTF-32 by their marks, or by where the zeros of the first two characters fall."""
    zeros = tuple(byte == 0 for byte in data[:4])
    encoding = ""
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")) or sum(zeros) == 3:
        encoding = "UTF-32"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")) or zeros in {
        (True, False, True, False),
        (False, True, False, True),
    }:
        encoding = "UTF-16"
    if encoding:
        raise SyntaxFault(f"the document is written in {encoding}; save it as UTF-8", 1, 1)
    if data.startswith(b"\xef\xbb\xbf"):
        raise _byte_order_mark()


def _byte_order_mark() -> SyntaxFault:
    return SyntaxFault("the document starts with a byte order mark (U+FEFF); save it as UTF-8 without one", 1, 1)


def refuse_unfit_text(text: str) -> None:
    """Refuse what no document may hold in either format: a leading byte order mark, a lone surrogate."""
    if text.isascii():
        return
    if text[0] == "\ufeff":
        raise _byte_order_mark()
    try:
        text.encode("utf-8")  # far faster than a search for what is almost never there
    except UnicodeEncodeError as error:
        raise fault_at(text, error.start, lone_surrogate(text[error.start])) from None


def lone_surrogate(char: str) -> str:
    """The message for half a character."""
    return f"a lone surrogate ({named(char)}) is half a character; write the whole character"


class Trail:
    """The way from the root to where a parse stands; it collects the positions, the depth and the duplicates."""

    __slots__ = ("frames", "key", "key_offset", "marks", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.marks: Children = []  # what the innermost open container holds; at first a list for the root alone
        self.key = ""
        self.key_offset = 0
        self.frames: list[tuple[Children, str]] = []

    def put(self, node: Node) -> None:
        """Note a value of the innermost container, under the key named last if that is a mapping."""
        marks = self.marks
        if isinstance(marks, dict):
            marks[self.key] = (self.key_offset, node)
        else:
            marks.append(node)

    def name(self, key: str, offset: int) -> None:
        """Note the key of the value to come, unless the mapping has it already."""
        marks = self.marks
        if type(marks) is dict and key in marks:
            line = locate(self.text, marks[key][0]).line
            raise self.fault(offset, f"the key {quoted(key)} is a duplicate; it is first written on line {line}", key)
        self.key = key
        self.key_offset = offset

    def open(self, offset: int, children: Children) -> None:
        """Enter a container."""
        if len(self.frames) >= MAX_DEPTH:
            raise self.fault(offset, f"nested deeper than {MAX_DEPTH} levels", self.next_token())
        self.put((offset, children))
        self.frames.append((self.marks, self.key))
        self.marks = children

    def close(self) -> None:
        """Leave the innermost container."""
        self.marks, self.key = self.frames.pop()

    def next_token(self) -> str | None:
        """The pointer token of the value to come; the root has none."""
        if not self.frames:
            return None
        return self.key if type(self.marks) is dict else str(len(self.marks))

    def fault(self, offset: int, message: str, token: str | None = None) -> SyntaxFault:
        """A fault inside the innermost container, or at one member or element of it."""
        tokens = [key if type(marks) is dict else str(len(marks) - 1) for marks, key in self.frames[1:]]
        if token is not None:
            tokens.append(token)
        return fault_at(self.text, offset, message, "".join(f"/{escape(token)}" for token in tokens))


class Positions(Mapping[str, Position]):
    """Where every value of a parsed text stands, by JSON pointer; a mapping of the pointers that exist."""

    def __init__(self, text: str, root: Node) -> None:
        self._text = text
        self._root = root

    def value(self, pointer: str) -> Position:
        """Where a value starts, or the nearest ancestor of it that exists."""
        member, _ = self._find(pointer)
        return self._position(_offset(member[1]))

    def key(self, pointer: str) -> Position:
        """Where the key of a member starts; where there is no such key, what `value` says."""
        member, exact = self._find(pointer)
        key_offset, node = member
        return self._position(key_offset if exact and key_offset >= 0 else _offset(node))

    def __getitem__(self, pointer: str) -> Position:
        member, exact = self._find(pointer)
        if not exact:
            raise KeyError(pointer)
        return self._position(_offset(member[1]))

    def __iter__(self) -> Iterator[str]:
        stack: list[tuple[str, Node]] = [("", self._root)]
        while stack:
            pointer, node = stack.pop()
            yield pointer
            for token, (_, child) in reversed(list(_members(node))):
                stack.append((f"{pointer}/{escape(token)}", child))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, pointer: str) -> tuple[Member, bool]:
        """The member a pointer leads to, or as far as it leads, and whether it led all the way."""
        member: Member = (-1, self._root)
        head, *tokens = pointer.split("/")
        if head:
            return member, False
        for token in tokens:
            child = _child(member[1], unescape(token))
            if child is None:
                return member, False
            member = child
        return member, True

    def _position(self, offset: int) -> Position:
        offset = min(offset, len(self._text))
        line = bisect_right(self._line_starts, offset)
        return Position(line, offset - self._line_starts[line - 1] + 1)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in _BREAK.finditer(self._text))]


def _offset(node: Node) -> int:
    return node if isinstance(node, int) else node[0]


def _members(node: Node) -> Iterator[tuple[str, Member]]:
    """What a container holds, by token; the elements of a list have no key of their own."""
    if isinstance(node, int):
        return
    children = node[1]
    if isinstance(children, dict):
        yield from children.items()
    else:
        yield from ((str(index), (-1, child)) for index, child in enumerate(children))


def _child(node: Node, token: str) -> Member | None:
    """One member or element of a container, if it has that one."""
    if isinstance(node, int):
        return None
    children = node[1]
    if isinstance(children, dict):
        return children.get(token)
    if _INDEX.match(token) and int(token) < len(children):
        return -1, children[int(token)]
    return None
