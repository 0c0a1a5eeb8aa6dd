"""The local hub cache: finding a model that was downloaded, and what its download said. Nothing here uses a network."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from mens.contracts.errors import MensError, UnsupportedError, UsageError
from mens.contracts.paths import fault as path_fault
from mens.contracts.positions import quoted
from mens.contracts.source import open_regular

REPO: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
SMALL: Final = 4096
SHOWN: Final = 5


class Found(NamedTuple):
    """A checkpoint's folder; repository and commit where it lies in the hub cache."""

    folder: Path
    repo: str | None
    revision: str | None


class Declared(NamedTuple):
    """What the download of a folder's files recorded. Nobody has compared it with the files themselves."""

    repo: str | None
    revision: str | None
    """None where the files' records name several commits, or none."""
    sha256: Mapping[str, str]
    """By file name; only of files that the hub stores by their SHA-256, as it does all weights."""


def cache_folder() -> Path:
    """Where huggingface_hub keeps downloads, by the same variables and in the same order."""
    given = os.environ.get
    home = given("HF_HOME") or os.path.join(given("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = given("HF_HUB_CACHE") or given("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(cache)))


def resolve(reference: str) -> Found:
    """The folder that a base is named by: a path that exists, else `repo[@revision]` in the local hub cache."""
    if os.path.lexists(os.path.expanduser(reference)):
        return located(Path(os.path.expanduser(reference)))
    repo, _, revision = reference.partition("@")
    if not REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith((".git", ".", "-", "/")):
        what = "is neither a folder that exists nor the name of a model, as in Organisation/Model@revision"
        raise UsageError("MENS-C052", what, reference)
    if "@" in reference and (not revision or path_fault(revision)):
        raise UsageError("MENS-C052", f"{quoted(revision)} cannot be a revision", reference)
    return _cached(repo, revision or "main", reference, cache_folder())


def _cached(repo: str, revision: str, reference: str, cache: Path) -> Found:
    folder = cache / f"models--{repo.replace('/', '--')}"
    get = f"Download it first: hf download {repo} --revision {revision}"
    if not folder.is_dir():
        raise UnsupportedError("MENS-C050", f"neither a folder here nor a model in {cache}", reference, get)
    commit = _commit(folder, revision)
    snapshot = folder / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        what = f"revision {quoted(revision)} is not in {folder}, which has {_revisions(folder)}"
        raise UnsupportedError("MENS-C051", what, reference, get)
    return Found(snapshot, repo, commit)


def _commit(folder: Path, revision: str) -> str:
    """The commit that a branch, tag or commit stands for here; empty where it stands for none."""
    text = _small_text(folder / "refs" / revision).strip() or revision
    return text if COMMIT.fullmatch(text) else ""


def _revisions(folder: Path) -> str:
    commits: list[str] = []
    with suppress(OSError):
        commits = sorted(name for name in os.listdir(folder / "snapshots") if COMMIT.fullmatch(name))
    more = f" and {len(commits) - SHOWN} more" if len(commits) > SHOWN else ""
    return f"{', '.join(commits[:SHOWN])}{more}" if commits else "none"


def located(folder: Path) -> Found:
    """A folder, with its repository and commit if it is a snapshot in a hub cache."""
    real = Path(os.path.realpath(folder))  # unlike resolve, it lets a link that leads in a circle be
    repository = real.parent.parent
    if real.parent.name != "snapshots" or not repository.name.startswith("models--") or not COMMIT.fullmatch(real.name):
        return Found(folder, None, None)
    return Found(folder, "/".join(repository.name.split("--")[1:]), real.name)


def declared(folder: Path, names: Iterable[str]) -> Declared:
    """What downloads recorded of these files: the cache by its blobs' names, `--local-dir` by files of its own."""
    found = located(folder)
    if found.revision is not None:
        blobs = {name: _blob_name(folder / name) for name in names}
        return Declared(found.repo, found.revision, {name: blob for name, blob in blobs.items() if blob})
    records = {name: _record(folder, name) for name in names}
    commits = {record[0] for record in records.values() if record}
    revision = commits.pop() if len(commits) == 1 and all(records.values()) else None
    return Declared(None, revision, {name: record[1] for name, record in records.items() if record and record[1]})


def _blob_name(path: Path) -> str:
    """The digest by which the cache stores a file.

    The first link counts, not where it ends: a store shared among repositories names its files by another hash.
    """
    with suppress(OSError):
        target = Path(os.path.normpath(os.path.join(os.path.realpath(path.parent), os.readlink(path))))
        if target.parent.name == "blobs" and SHA256.fullmatch(target.name):
            return target.name
    return ""


def _record(folder: Path, name: str) -> tuple[str, str] | None:
    """Commit and SHA-256 from `.cache/huggingface/download/NAME.metadata`; None without a record that still holds."""
    lines = _small_text(folder / ".cache" / "huggingface" / "download" / f"{name}.metadata").split("\n")
    if len(lines) < 3:
        return None
    commit, etag, moment = (line.strip() for line in lines[:3])
    try:
        recorded = float(moment)
        modified = os.stat(folder / name).st_mtime
    except (ValueError, OSError):
        return None
    # As huggingface_hub does: a file that changed more than a second after the record is another file.
    if not COMMIT.fullmatch(commit) or not math.isfinite(recorded) or modified - 1 > recorded:
        return None
    return commit, etag if SHA256.fullmatch(etag) else ""


def _small_text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError, MensError), os.fdopen(open_regular(path), "rb") as file:
        return file.read(SMALL).decode("utf-8")
    return ""
