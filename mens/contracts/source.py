"""Bytes of documents: read whole, only from regular files, never more than a document can need."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from mens.contracts.errors import IntegrityError, ResourceError, UsageError

LARGEST = 64 * 1024 * 1024
Syntax = Literal["json", "yaml"]
STDIN = "<stdin>"


class Source(NamedTuple):
    """A document before it is parsed: what to call it, its bytes, and how to read them."""

    name: str
    data: bytes
    syntax: Syntax


def open_regular(path: Path) -> int:
    """A file descriptor of a regular file; a FIFO or device is refused without waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError("MENS-P004", "no such file or folder", str(path)) from None
    except (OSError, ValueError) as error:
        raise _unreadable(error, str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IntegrityError("MENS-P002", "not a regular file; nothing was read from it", str(path))
    return descriptor


def _unreadable(error: OSError | ValueError, name: str) -> ResourceError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return ResourceError("MENS-P005", f"cannot be read: {reason}", name)


def read(path: Path) -> Source:
    """Read one document's file."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = read_whole(file, str(path))
    return Source(str(path), data, syntax_of(path.name, data))


def read_whole(file: BinaryIO, name: str) -> bytes:
    """All that an open file holds, if that can be a document."""
    try:
        data = file.read(LARGEST + 1)
    except OSError as error:
        raise _unreadable(error, name) from None
    if len(data) > LARGEST:
        raise IntegrityError("MENS-P003", f"larger than {LARGEST >> 20} MiB, which no document is", name)
    return data


def read_lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of an open file, one at a time; of a line that is larger than any document only so much."""
    try:
        yield from iter(lambda: file.readline(LARGEST + 1), b"")
    except OSError as error:
        raise _unreadable(error, name) from None


def syntax_of(name: str, data: bytes) -> Syntax:
    """JSON or YAML: by the file's ending, else by whether the text begins like a JSON document."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in (".yaml", ".yml"):
        return "yaml"
    if suffix in (".json", ".jsonl"):
        return "json"
    return "json" if data.lstrip()[:1] in (b"{", b"[") else "yaml"
