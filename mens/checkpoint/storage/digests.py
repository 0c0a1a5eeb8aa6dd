"""SHA-256 of weight files: computed, remembered while a file stays untouched, and never taken on trust to verify."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from mens.checkpoint.storage.faults import Fault, refusal, said
from mens.checkpoint.storage.files import Stamp, read_into, stamp_of
from mens.contracts.errors import IntegrityError, MensError
from mens.contracts.paths import fault as path_fault
from mens.contracts.source import open_regular
from mens.contracts.writing import write_atomically

BLOCK: Final = 4 * 1024 * 1024
SETTLED_NS: Final = 2_000_000_000
"""A file that changed less than this ago may change again without its times telling."""
SMALL: Final = 64 * 1024
SHA256: Final = re.compile(r"[0-9a-f]{64}")
Progress = Callable[[int], None]
"""Called with the number of bytes that are done since the last call, from several threads."""
D = TypeVar("D")


class Digest(NamedTuple):
    """A file's digest and where it comes from."""

    name: str
    sha256: str
    num_bytes: int
    how: Literal["computed", "remembered"]


def cache_folder() -> Path:
    """Where digests are remembered: the user's cache, never a model's folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The base directory specification: what is not absolute is to be ignored.
    root = Path(base) if base.startswith("/") else Path(os.path.expanduser("~")) / ".cache"
    return root / "mens" / "digests"


def digests(
    folder: Path, names: Iterable[str], *, cache: Path | None = None, progress: Progress | None = None
) -> list[Digest]:
    """The digests of these files, from memory where they have not been touched since."""
    memory = _Memory(cache or cache_folder())
    return _each(names, lambda name: _remembered_or_computed(folder / name, name, memory, progress))


def verify(folder: Path, expected: Mapping[str, str], *, progress: Progress | None = None) -> list[Digest]:
    """Read every file again, whatever is remembered; raises IntegrityError naming all that differ or are missing."""
    faults: list[Fault] = []

    def check(name: str) -> Digest | None:
        if path_fault(name):
            faults.append(Fault("MENS-P001", f"the path {said(name)} {path_fault(name)}"))
            return None
        if not os.path.lexists(folder / name):
            faults.append(Fault("MENS-C044", f"{said(name)} is missing"))
            return None
        try:
            digest = _computed(folder / name, name, progress)[0]
        except MensError as error:
            faults.append(Fault(error.code, f"{said(name)}: {error.what}"))
            return None
        if digest.sha256 != expected[name]:
            what = f"{said(name)} has SHA-256 {digest.sha256}, where {expected[name]} was expected"
            faults.append(Fault("MENS-C041", what))
        return digest

    found = _each(expected, check)
    if faults:
        raise refusal(str(folder), sorted(faults))
    return [digest for digest in found if digest is not None]


def _each(names: Iterable[str], work: Callable[[str], D]) -> list[D]:
    """Do the work for every name, in order; hashing leaves the interpreter, so threads do help."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, names))


def _remembered_or_computed(path: Path, name: str, memory: _Memory, progress: Progress | None) -> Digest:
    descriptor = open_regular(path)
    try:
        stamp = stamp_of(descriptor)
    finally:
        os.close(descriptor)
    known = memory.recall(path, stamp)
    if known is None:
        digest, stamp = _computed(path, name, progress)
        memory.keep(path, stamp, digest.sha256)
        return digest
    if progress is not None:
        progress(stamp.size)
    return Digest(name, known, stamp.size, "remembered")


def _computed(path: Path, name: str, progress: Progress | None) -> tuple[Digest, Stamp]:
    """Hash a file; raises IntegrityError where it is written to meanwhile."""
    descriptor = open_regular(path)
    try:
        stamp = stamp_of(descriptor)
        sha256 = _hashed(descriptor, stamp.size, str(path), progress)
        if stamp_of(descriptor) != stamp:
            raise IntegrityError("MENS-C040", "was written to while it was being read; start again", str(path))
    finally:
        os.close(descriptor)
    return Digest(name, sha256, stamp.size, "computed"), stamp


def _hashed(descriptor: int, size: int, where: str, progress: Progress | None) -> str:
    state = hashlib.sha256()
    buffer = memoryview(bytearray(min(BLOCK, size)))
    for start in range(0, size, BLOCK):
        part = buffer[: min(BLOCK, size - start)]
        read_into(descriptor, start, part, where)
        state.update(part)
        if progress is not None:
            progress(len(part))
    return state.hexdigest()


class _Memory:
    """One small file for each file that was hashed. It may be lost or damaged at any time: that costs a rehash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _place(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
        return self._folder / name[:2] / f"{name}.json"

    def recall(self, path: Path, stamp: Stamp) -> str | None:
        """The digest of a file whose stamp is still the one that it was hashed under."""
        with suppress(OSError, ValueError, RecursionError, MensError):
            descriptor = open_regular(self._place(path))
            with os.fdopen(descriptor, "rb") as file:
                entry = json.loads(file.read(SMALL))
            if isinstance(entry, dict) and entry.get("stamp") == list(stamp) and _is_sha256(entry.get("sha256")):
                sha256: str = entry["sha256"]
                return sha256
        return None

    def keep(self, path: Path, stamp: Stamp, sha256: str) -> None:
        """Remember a digest, unless the file is so new that a later change might bear the same time."""
        if time.time_ns() - max(stamp.mtime_ns, stamp.ctime_ns) < SETTLED_NS:
            return
        place = self._place(path)
        entry = {"path": str(path.resolve()), "stamp": list(stamp), "sha256": sha256}
        # A cache that cannot be written is a slow cache, and no reason to stop.
        with suppress(OSError, ValueError, MensError):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(place, json.dumps(entry).encode())


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None
