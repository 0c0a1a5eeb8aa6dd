"""The entries of a checkpoint's folder by name and kind alone: what is refused before a file is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from mens.checkpoint.storage.faults import Fault, said
from mens.contracts.errors import ResourceError, UsageError

PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
CODE: Final = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"})
CODE_FOLDER: Final = "custom_generate"
"""The one subfolder from which upstream runs code; no other is entered, neither there nor here."""


class Entry(NamedTuple):
    """One name in the folder, what it is, and, where it is a link, what it leads to."""

    name: str
    mode: int
    is_link: bool
    """The mode is that of what the link leads to, and 0 where it leads to nothing."""


def entries_of(folder: Path) -> dict[str, Entry]:
    """Everything in a folder, in the order of names; nothing is opened, so nothing can hang."""
    try:
        with os.scandir(folder) as found:
            entries = [_entry(item) for item in found]
    except FileNotFoundError:
        raise UsageError("MENS-P004", "no such file or folder", str(folder)) from None
    except NotADirectoryError:
        raise UsageError("MENS-C037", "a checkpoint is named by its folder, and this is none", str(folder)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ResourceError("MENS-P005", f"cannot be read: {reason}", str(folder)) from None
    return {entry.name: entry for entry in sorted(entries)}


def _entry(item: os.DirEntry[str]) -> Entry:
    try:
        mode = item.stat().st_mode
    except OSError:
        mode = 0
    return Entry(item.name, mode, item.is_symlink())


def entry_faults(folder: Path, entries: Iterable[Entry]) -> Iterator[Fault]:
    """Pickles, code, links that lead out, and entries that would block or act when opened."""
    roots = roots_of(folder)
    for entry in entries:
        suffix = os.path.splitext(entry.name)[1].lower()
        if stat.S_ISDIR(entry.mode):
            if entry.name == CODE_FOLDER:
                yield Fault("MENS-C032", f"the folder {said(entry.name)} holds code, which mens never runs")
        elif suffix in PICKLES:
            yield Fault("MENS-C031", f"{said(entry.name)} is a pickle, which runs code when it is loaded")
        elif suffix in CODE:
            yield Fault("MENS-C032", f"{said(entry.name)} is code, which mens never runs")
        elif entry.is_link and not entry.mode:
            yield Fault("MENS-C035", f"the link {said(entry.name)} leads to nothing")
        elif not stat.S_ISREG(entry.mode):
            yield Fault("MENS-C036", f"{said(entry.name)} is neither a file nor a folder")
        elif entry.is_link and not _inside(folder / entry.name, roots):
            yield Fault("MENS-C035", f"the link {said(entry.name)} leads out of the folder; put the file itself there")


def roots_of(folder: Path) -> list[Path]:
    """Where files of a checkpoint may really lie: in its folder, or among the blobs of the hub cache that it is in."""
    real = folder.resolve()
    roots = [real]
    repository = real.parent.parent
    if real.parent.name == "snapshots" and repository.name.startswith("models--"):
        # The second holds files that several repositories share; a repository's own blobs are then links to it.
        roots += [repository / "blobs", repository.parent / "blobs"]
    return roots


def _inside(path: Path, roots: list[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(root) for root in roots)
