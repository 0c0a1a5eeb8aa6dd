"""Digests: right, remembered only while nothing has been touched, and never believed by verify."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mens.checkpoint.storage.digests import BLOCK, SETTLED_NS, cache_folder, digests, verify
from mens.checkpoint.storage.faults import FaultyCheckpoint
from mens.contracts.errors import IntegrityError, UsageError

Change = Callable[[Path], object]
NAMES = ["a.safetensors", "b.safetensors"]
LONG_AGO = 10**18


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files that have lain there for years, one of several blocks."""
    made = tmp_path / "base"
    made.mkdir()
    (made / "a.safetensors").write_bytes(bytes(range(256)) * (3 * BLOCK // 256) + b"tail")
    (made / "b.safetensors").write_bytes(b"")
    return made


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose clock says that every file has long settled, as most files have."""
    monkeypatch.setattr(time, "time_ns", lambda: 1 << 62)
    return tmp_path / "cache"


def how(folder: Path, cache: Path) -> list[str]:
    found = digests(folder, NAMES, cache=cache)
    for digest in found:
        data = (folder / digest.name).read_bytes()
        assert (digest.sha256, digest.num_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert [digest.name for digest in found] == NAMES
    return [digest.how for digest in found]


def test_digests_are_computed_once(folder: Path, cache: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert how(folder, cache) == ["computed", "computed"]
    assert how(folder, cache) == ["remembered", "remembered"]
    assert sorted(folder.rglob("*")) == before, "nothing is left in the model's folder"
    assert len(list(cache.rglob("*.json"))) == 2
    assert {path.suffix for path in cache.rglob("*") if path.is_file()} == {".json"}


def same_size(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path) -> None:
    status = path.stat()
    path.with_suffix(".new").write_bytes(path.read_bytes())
    os.utime(path.with_suffix(".new"), ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(path.with_suffix(".new"), path)


CHANGES: dict[str, Change] = {
    "appended": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "touched": lambda path: os.utime(path, ns=(LONG_AGO, LONG_AGO)),
    "overwritten, its time set back": same_size,
    "replaced by its like": replaced,
    "emptied": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_touched_file_is_hashed_again(change: str, folder: Path, cache: Path) -> None:
    how(folder, cache)
    CHANGES[change](folder / "a.safetensors")
    assert how(folder, cache) == ["computed", "remembered"]
    assert how(folder, cache) == ["remembered", "remembered"]


def test_another_name_for_a_file_is_the_same_file(folder: Path, cache: Path, tmp_path: Path) -> None:
    how(folder, cache)
    (tmp_path / "alias").symlink_to(folder)
    assert how(tmp_path / "alias", cache) == ["remembered", "remembered"]


DAMAGE = [
    *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"stamp": [1]}', b"[" * 100_000, b'{"sha256": "x"}'),
    *(None, "folder", "pipe"),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
def test_a_damaged_memory_costs_a_rehash_and_is_mended(damage: bytes | str | None, folder: Path, cache: Path) -> None:
    how(folder, cache)
    for entry in cache.rglob("*.json"):
        if isinstance(damage, bytes):
            entry.write_bytes(damage)
        else:
            entry.unlink()
        if damage == "folder":
            entry.mkdir()
        if damage == "pipe":
            os.mkfifo(entry)
    assert how(folder, cache) == ["computed", "computed"]
    if damage != "folder":
        assert how(folder, cache) == ["remembered", "remembered"]


def test_a_memory_with_another_digest_form_is_not_believed(folder: Path, cache: Path) -> None:
    how(folder, cache)
    for entry in cache.rglob("*.json"):
        entry.write_text(json.dumps({**json.loads(entry.read_text()), "sha256": "0" * 63}))
    assert how(folder, cache) == ["computed", "computed"]


def test_a_file_that_has_just_changed_is_not_remembered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one tick of the clock a second change would leave the same times."""
    newest = max((folder / name).stat().st_ctime_ns for name in NAMES)
    monkeypatch.setattr(time, "time_ns", lambda: newest + SETTLED_NS - 1)
    (folder / "a.safetensors").touch()
    newest = max((folder / name).stat().st_ctime_ns for name in NAMES)
    assert how(folder, tmp_path / "cache")[0] == how(folder, tmp_path / "cache")[0] == "computed"
    monkeypatch.setattr(time, "time_ns", lambda: newest + SETTLED_NS)
    assert how(folder, tmp_path / "cache")[0] == "computed"
    assert how(folder, tmp_path / "cache")[0] == "remembered"


def test_a_cache_that_cannot_be_written_is_only_slow(folder: Path, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    assert how(folder, cache) == ["computed", "computed"]


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/mens/digests")
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        monkeypatch.setenv("HOME", "/home/someone")
        assert cache_folder() == Path("/home/someone/.cache/mens/digests")


def test_progress_counts_every_byte(folder: Path, cache: Path) -> None:
    for _ in range(2):
        seen: list[int] = []
        digests(folder, NAMES, cache=cache, progress=seen.append)
        assert sum(seen) == sum((folder / name).stat().st_size for name in NAMES)


def test_a_missing_file_is_told(folder: Path, cache: Path) -> None:
    with pytest.raises(UsageError) as error:
        digests(folder, ["none"], cache=cache)
    assert error.value.code == "MENS-P004"


# verify


def test_verify_reads_again_whatever_is_remembered(folder: Path, cache: Path) -> None:
    """A memory that lies cannot make a changed file pass."""
    expected = {digest.name: digest.sha256 for digest in digests(folder, NAMES, cache=cache)}
    assert [digest.how for digest in verify(folder, expected)] == ["computed", "computed"]
    path = folder / "a.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[BLOCK + 5] ^= 1
    path.write_bytes(damaged)
    stamp = path.stat()
    for entry in cache.rglob("*.json"):
        known = json.loads(entry.read_text())
        times = [stamp.st_dev, stamp.st_ino, stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns]
        if known["path"] == str(path):
            entry.write_text(json.dumps({**known, "stamp": times}))
    assert digests(folder, ["a.safetensors"], cache=cache)[0].sha256 == expected["a.safetensors"], "the memory lies"
    with pytest.raises(FaultyCheckpoint) as error:
        verify(folder, expected)
    found = hashlib.sha256(damaged).hexdigest()
    assert (error.value.code, error.value.exit_code) == ("MENS-C041", 4)
    assert error.value.what == (f"'a.safetensors' has SHA-256 {found}, where {expected['a.safetensors']} was expected")


def test_verify_tells_everything(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    os.mkfifo(folder / "pipe")
    expected = dict.fromkeys(["a.safetensors", "gone", "../secret", "pipe"], "0" * 64)
    with pytest.raises(FaultyCheckpoint) as error:
        verify(folder, expected)
    assert {fault.code for fault in error.value.faults} == {"MENS-C041", "MENS-C044", "MENS-P001", "MENS-P002"}
    assert [fault.message for fault in error.value.faults][1:] == [
        "'gone' is missing",
        "the path '../secret' leaves the artifact's folder with `..`",
        "'pipe': not a regular file; nothing was read from it",
    ]


def test_a_file_that_is_written_to_meanwhile_has_no_digest(folder: Path, cache: Path) -> None:
    path = folder / "a.safetensors"

    def write(_done: int) -> None:
        with path.open("ab") as file:
            file.write(b"x")

    with pytest.raises(IntegrityError) as error:
        digests(folder, ["a.safetensors"], cache=cache, progress=write)
    assert (error.value.code, error.value.where) == ("MENS-C040", str(path))
    assert not list(cache.rglob("*.json"))


@pytest.mark.parametrize("at", [8, 30, 200, -1])
def test_a_flipped_bit_anywhere_in_a_shard_is_caught(at: int, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4
    (tmp_path / "s").write_bytes(data)
    expected = {"s": hashlib.sha256(data).hexdigest()}
    assert len(verify(tmp_path, expected)) == 1
    flipped = bytearray(data)
    flipped[at] ^= 0x10
    (tmp_path / "s").write_bytes(flipped)
    with pytest.raises(FaultyCheckpoint):
        verify(tmp_path, expected)
