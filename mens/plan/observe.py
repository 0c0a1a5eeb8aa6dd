"""Looking at a machine: metadata of packages, the driver's own words, a few files. Nothing heavy is imported."""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mens_contracts.environment_v1 import ComputeDevice, FreeSpace

from mens.checkpoint.storage import hub
from mens.plan.environment import Machine, Torch

MIB: Final = 1 << 20
PROC: Final = Path("/proc/driver/nvidia")
CGROUP: Final = Path("/sys/fs/cgroup/memory.max")
PATIENCE: Final = 10.0
"""Seconds that the driver's program has; on a machine of eight devices that were asleep it takes some."""
LONGEST: Final = 100_000
"""Bytes of a small file of metadata that are read at most."""
MOST_DEVICES: Final = 128
LIBRARY: Final = "libbitsandbytes_*.so"


class Driver(NamedTuple):
    """What the NVIDIA driver says: its version, and the devices that it has."""

    version: str | None = None
    devices: tuple[ComputeDevice, ...] = ()


def observe(packages: Iterable[str]) -> Machine:
    """Look at this machine and this environment of Python, for these distributions among others."""
    found = {name: installed for name in packages if (installed := _distribution(name)) is not None}
    driver = nvidia_smi() or nvidia_files(PROC)
    cache = hub.cache_folder()
    return Machine(
        python=".".join(map(str, sys.version_info[:3])),
        platform=_plain(f"{platform.system()}-{platform.machine()}".lower())[:100],
        packages={name: _version(installed) for name, installed in found.items()},
        torch=_torch(found["torch"]) if "torch" in found else None,
        libraries=_libraries(found["bitsandbytes"]) if "bitsandbytes" in found else (),
        driver=driver.version,
        devices=driver.devices,
        devices_hidden=os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"),
        bytecode_cache=not sys.flags.dont_write_bytecode,
        num_cores=_cores(),
        memory_bytes=_memory(CGROUP),
        disks=(_disk("working_folder", _working_folder()), _disk("hub_cache", cache)),
        hub_cache=_plain(cache),
        hub_cache_exists=os.path.isdir(cache),
    )


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _version(installed: Distribution) -> str | None:
    """The version in the metadata; damaged metadata may lack it, or be no text at all."""
    try:
        return str(installed.metadata["Version"] or "") or None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _torch(installed: Distribution) -> Torch | None:
    """How torch was built, from the assignments in torch/version.py, which is read and never run."""
    text = _small_text(Path(str(installed.locate_file("torch/version.py"))))
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    said = dict(_texts(body))
    if not said:
        return None
    return Torch(said.get("cuda") or None, said.get("hip") or None)


def _texts(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Names that are given a constant text at the top of a module, with or without an annotation."""
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield from ((target.id, value.value) for target in targets if isinstance(target, ast.Name))


def _libraries(installed: Distribution) -> tuple[str, ...]:
    folder = Path(str(installed.locate_file("bitsandbytes")))
    return tuple(sorted(path.stem.removeprefix("libbitsandbytes_") for path in folder.glob(LIBRARY)))


def nvidia_smi(patience: float = PATIENCE) -> Driver | None:
    """What `nvidia-smi` says; None where there is none or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = "--query-gpu=driver_version,compute_cap,memory.total,name"
    command = [program, query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=patience, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode:
        return None
    return read_answer(done.stdout.decode("utf-8", "replace"))


def read_answer(text: str) -> Driver | None:
    """The driver's answer: a line for each device; what it does not know it puts in brackets."""
    lines = [[part.strip() for part in line.split(",", 3)] for line in text.splitlines() if line.count(",") >= 3]
    devices = tuple(
        ComputeDevice(name=_name(name), compute_capability=_capability(capability), memory_bytes=_mebibytes(memory))
        for _, capability, memory, name in lines[:MOST_DEVICES]
    )
    versions = [line[0] for line in lines if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}", line[0])]
    return Driver(versions[0] if versions else None, devices) if devices else None


def _name(said: str) -> str:
    return _plain(said)[:200] or "a device without a name"


def _plain(said: str | Path) -> str:
    """Text that a document may hold and a terminal may show, whatever bytes it began as."""
    text = os.fsencode(said).decode("utf-8", "replace")
    return "".join(character for character in text if character.isprintable()).strip()


def _capability(said: str) -> str | None:
    return said if re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", said) else None


def _mebibytes(said: str) -> int | None:
    return int(said) * MIB if re.fullmatch(r"[0-9]{1,9}", said) else None


def nvidia_files(proc: Path) -> Driver:
    """What the driver's files say where its program is absent: no memory, no compute capability."""
    match = re.search(r"\b([0-9]{3,6}(?:\.[0-9]{1,6}){1,3})\b", _small_text(proc / "version"))
    models = [
        re.search(r"^Model:\s*(.+?)\s*$", _small_text(path), re.MULTILINE)
        for path in sorted(proc.glob("gpus/*/information"))
    ]
    devices = tuple(ComputeDevice(name=_name(model[1])) for model in models[:MOST_DEVICES] if model)
    return Driver(match[1] if match else None, devices)


def _small_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _cores() -> int | None:
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count()


def _memory(cgroup: Path) -> int | None:
    """Physical memory, or the container's limit where that is less."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    limit = _small_text(cgroup).strip()
    return min(physical, int(limit)) if limit.isdecimal() else physical


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:  # deleted under our feet
        return Path(os.curdir)


def _disk(place: Literal["working_folder", "hub_cache"], path: Path) -> FreeSpace:
    """The free space where a folder is, or would be made."""
    nearest = next((folder for folder in (path, *path.parents) if os.path.exists(folder)), path)
    try:
        free: int | None = shutil.disk_usage(nearest).free
    except OSError:
        free = None
    return FreeSpace(place=place, path=_plain(path)[:4096] or os.curdir, free_bytes=free)
