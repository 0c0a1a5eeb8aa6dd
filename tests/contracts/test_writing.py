"""Class 1 and 2 of facts/reliability.md: killed at every system call, a full disk, a folder that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mens.contracts.errors import ResourceError
from mens.contracts.writing import SUFFIX, write_atomically

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
OLD = (FIXTURES / "adapter-meta.v2" / "valid" / "lm_head_only.json").read_bytes()

# Runs one command and kills its own process at the k-th of these calls: before it, after it, or (a write) half-way.
KILLER = """
import os, signal, sys
from mens.cli.main import main
k, moment, *arguments = sys.argv[1:]
main(["migrate", arguments[1]])  # imports are over before anything is counted
calls = 0
def deadly(name):
    real = getattr(os, name)
    def call(*values, **named):
        global calls
        calls += 1
        if calls < int(k):
            return real(*values, **named)
        print(name, file=sys.stderr, flush=True)
        if moment == "after":
            real(*values, **named)
        if moment == "half" and name == "write":
            real(values[0], values[1][: len(values[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(os, name, call)
for name in ("open", "write", "fsync", "replace", "unlink", "close", "fchmod"):
    deadly(name)
sys.exit(main(arguments))
"""

# Imports everything, gives up root's right to write anywhere, and runs one command.
NOBODY = """
import os, sys
from mens.cli.main import main
main(["migrate", sys.argv[2]])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""

LIMITED = """
import resource, sys
from mens.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(main(sys.argv[1:]))
"""


def _run(
    program: str, *arguments: str | Path, environment: dict[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def new(child_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an uninterrupted migration writes."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "meta.json").write_bytes(OLD)
    command = [sys.executable, "-m", "mens", "migrate", "meta.json", "--write"]
    subprocess.run(command, cwd=folder, env=child_environment, check=True, capture_output=True)
    written = (folder / "meta.json").read_bytes()
    assert json.loads(written)["version"] == 3
    assert os.listdir(folder) == ["meta.json"]
    return written


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_at_every_system_call(
    moment: str, new: bytes, child_environment: dict[str, str], tmp_path: Path
) -> None:
    met: list[str] = []
    left_over = 0
    for k in range(1, 40):
        folder = tmp_path / str(k)
        folder.mkdir()
        meta = folder / "meta.json"
        meta.write_bytes(OLD)
        meta.chmod(0o640)
        killed = _run(KILLER, k, moment, "migrate", meta, "--write", environment=child_environment, cwd=folder)
        if killed.returncode == 0:
            break
        assert killed.returncode == -9, killed.stderr
        met.append(killed.stderr.split()[-1])
        assert meta.read_bytes() in (OLD, new), "neither the old document nor the new one"
        left_over += len(os.listdir(folder)) - 1
        again = _run(KILLER, 1000, "never", "migrate", meta, "--write", environment=child_environment, cwd=folder)
        assert again.returncode == 0, again.stderr
        assert meta.read_bytes() == new
        assert meta.stat().st_mode & 0o777 == 0o640
        assert os.listdir(folder) == ["meta.json"]
    assert met == ["open", "open", "fchmod", "write", "fsync", "close", "replace", "open", "fsync", "close"]
    assert left_over >= 4, "the kills leave temporaries, or nothing was cleaned up"


def test_temporaries_of_an_interrupted_run_are_cleaned_up(tmp_path: Path) -> None:
    target = tmp_path / "we[i]rd*.json"
    ours = tmp_path / f".{target.name}.4194999{SUFFIX}"
    others = [tmp_path / f".other.json.1{SUFFIX}", tmp_path / f".weird.json.1{SUFFIX}", tmp_path / "notes.txt"]
    for path in (ours, *others):
        path.write_text("half")
    write_atomically(target, b"whole")
    assert target.read_bytes() == b"whole"
    assert sorted(tmp_path.iterdir()) == sorted([target, *others])


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 32 KiB, where this machine lets us mount one."""
    folder = Path(tempfile.mkdtemp())
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        folder.rmdir()
        pytest.skip("no file system can be mounted here; a file that cannot grow takes the same way out")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_full_disk(small_disk: Path, new: bytes, child_environment: dict[str, str]) -> None:
    meta = small_disk / "meta.json"
    meta.write_bytes(OLD)
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert shutil.disk_usage(small_disk).free == 0
    command = [sys.executable, "-m", "mens", "migrate", str(meta), "--write"]
    full = subprocess.run(command, env=child_environment, capture_output=True, text=True, check=False)
    assert full.returncode == 5
    assert full.stderr == (
        f"{meta}: cannot be written: No space left on device; {len(new)} bytes are needed, 0 are free   [MENS-P006]\n"
        "The previous content is intact.\n"
    )
    assert meta.read_bytes() == OLD
    assert sorted(os.listdir(small_disk)) == ["filler", "meta.json"]
    filler.unlink()
    assert subprocess.run(command, env=child_environment, capture_output=True, check=False).returncode == 0
    assert os.listdir(small_disk) == ["meta.json"]


def test_a_file_that_cannot_grow(child_environment: dict[str, str], tmp_path: Path) -> None:
    meta = tmp_path / "meta.json"
    meta.write_bytes(OLD)
    full = _run(LIMITED, "migrate", meta, "--write", environment=child_environment, cwd=tmp_path)
    assert full.returncode == 5
    assert "cannot be written: File too large   [MENS-P006]" in full.stderr
    assert meta.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["meta.json"]


def test_a_folder_that_cannot_be_written(child_environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:  # below no folder that only root may enter
        folder = Path(name)
        meta = folder / "meta.json"
        meta.write_bytes(OLD)
        folder.chmod(0o555)
        refused = _run(NOBODY, "migrate", meta, "--write", environment=child_environment, cwd=folder)
        assert refused.returncode == 5
        assert refused.stderr == (
            f"{meta}: cannot be written: Permission denied   [MENS-P006]\nThe previous content is intact.\n"
        )
        assert meta.read_bytes() == OLD
        assert os.listdir(folder) == ["meta.json"]
        folder.chmod(0o755)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "x.json"
    with pytest.raises(ResourceError) as refusal:
        write_atomically(missing, b"")
    what = "cannot be written: No such file or directory"
    assert refusal.value == ResourceError("MENS-P006", what, str(missing), "The previous content is intact.")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to("real.json")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o600
    circle = tmp_path / "circle.json"
    circle.symlink_to("circle.json")
    with pytest.raises(ResourceError):
        write_atomically(circle, b"new")


def test_a_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new.json", b"{}")
    finally:
        os.umask(before)
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o640
