"""Documents onto disk: the old file or the new one, never half of one, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path

from mens.contracts.errors import ResourceError

SUFFIX = ".mens-tmp"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content: temporary sibling, fsync, rename, fsync of the folder."""
    target = path.resolve()  # a link keeps being a link to the same file
    scratch = target.with_name(f".{target.name[:200]}.{os.getpid()}{SUFFIX}")
    try:
        _clean(target)
        _write(scratch, data, _mode_of(target))
        os.replace(scratch, target)
        _sync_folder(target.parent)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        what = f"cannot be written: {error.strerror}; {len(data):,} bytes are needed"
        raise ResourceError("MENS-P006", what, str(path), "The previous content is intact.") from error


def _mode_of(target: Path) -> int:
    return target.stat().st_mode & 0o777 if target.exists() else 0o666


def _write(scratch: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
