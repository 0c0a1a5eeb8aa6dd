"""Files read in place: exact ranges, and the marks by which a changed file is told from the one that was seen."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from mens.contracts.errors import IntegrityError, ResourceError

LONGEST_READ: Final = 1 << 30  # the kernel gives at most 2 GiB less a page at once


class Stamp(NamedTuple):
    """What the file system says of a file; equal stamps mean that nobody has written to it in between."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def stamp_of(descriptor: int) -> Stamp:
    """The stamp of an open file."""
    status = os.fstat(descriptor)
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_exactly(descriptor: int, start: int, length: int, where: str) -> bytes | bytearray:
    """So many bytes from a place in an open file; a file that has fewer has changed since it was measured."""
    try:
        if length <= LONGEST_READ:
            data = os.pread(descriptor, length, start)
            if len(data) == length:
                return data
        buffer = bytearray(length)
        read_into(descriptor, start, memoryview(buffer), where)
    except OSError as error:
        raise ResourceError("MENS-P005", f"cannot be read: {error.strerror}", where) from None
    return buffer


def read_into(descriptor: int, start: int, buffer: memoryview, where: str) -> None:
    """Fill a buffer from a place in an open file."""
    done = 0
    while done < len(buffer):
        try:
            got = os.preadv(descriptor, [buffer[done : done + LONGEST_READ]], start + done)
        except OSError as error:
            raise ResourceError("MENS-P005", f"cannot be read: {error.strerror}", where) from None
        if not got:
            what = f"ends at byte {start + done:,}, where {len(buffer) - done:,} more were promised"
            raise IntegrityError("MENS-C040", f"{what}; it was cut while it was read", where)
        done += got
