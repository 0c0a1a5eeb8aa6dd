"""Documents onto disk: the old file or the new one, never half of one, whatever happens in between."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage

from mens.contracts.errors import ResourceError

SUFFIX = ".mens-tmp"
FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content: temporary sibling, fsync, rename, fsync of the folder."""
    scratch, state = None, "The previous content is intact."
    try:
        target = path.resolve(strict=True) if path.is_symlink() else path.absolute()  # a link stays a link
        _clean(target)
        scratch = target.with_name(f".{target.name[:200]}.{os.getpid()}{SUFFIX}")
        _write(scratch, data, target.stat().st_mode & 0o777 if target.exists() else None)
        os.replace(scratch, target)
        state = "The new content is in place, but may not survive a loss of power."
        _sync_folder(target.parent)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        if scratch is not None:
            with suppress(OSError):
                scratch.unlink()
        raise ResourceError("MENS-P006", _reason(path, data, error), str(path), state) from error


def _reason(path: Path, data: bytes, error: OSError | RuntimeError) -> str:
    if not isinstance(error, OSError):
        return f"cannot be written: {error}"
    if error.errno not in FULL:
        return f"cannot be written: {error.strerror}"
    free = disk_usage(path.parent).free
    return f"cannot be written: {error.strerror}; {len(data):,} bytes are needed, {free:,} are free"


def _write(scratch: Path, data: bytes, mode: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(scratch, flags, 0o666 if mode is None else mode)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)  # the umask is for new files, and this one only takes another's place
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clean(target: Path) -> None:
    """Remove what an interrupted run left beside this file."""
    for left in target.parent.glob(f".{_literal(target.name[:200])}.*{SUFFIX}"):
        left.unlink(missing_ok=True)


def _literal(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
