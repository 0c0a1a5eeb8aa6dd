"""`mens doctor` as a process, in environments made for the purpose: real metadata, real files, a real `nvidia-smi`.

The interpreter runs without its own packages (-S). What mens itself needs is linked into a folder, so that a test
decides what else is installed, whatever this machine has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from mens_contracts.environment_v1 import EnvironmentV1

from mens.contracts import door

ROOT = Path(__file__).parents[2]
NEEDED = (
    "annotated-types", "click", "jsonschema", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection",
    "PyYAML",
)  # fmt: skip
INSTALLED = {
    "torch": "2.13.0+cu130", "transformers": "5.23.0", "peft": "0.21.2", "accelerate": "1.15.0", "safetensors": "0.8.0",
    "numpy": "2.4.6", "bitsandbytes": "0.50.2",
}  # fmt: skip
CANARY = "raise SystemExit('{name} was imported')\n"
MODULES = """
import sys
from mens.cli.main import main
code = main(sys.argv[1:])
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""
Done = subprocess.CompletedProcess[str]
Doctor = Callable[..., Done]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages: what mens needs, and nothing else yet."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in NEEDED:
        installed = distribution(name)
        tops = {file.parts[0] for file in installed.files or [] if file.parts[0] not in ("..", "__pycache__")}
        assert tops, name
        for top in tops:
            (folder / top).symlink_to(str(installed.locate_file(top)))
    return folder


def install(site: Path, packages: dict[str, str]) -> None:
    """Install packages that end the process if anything imports them."""
    for name, version in packages.items():
        module = name.replace("-", "_")
        (site / module).mkdir(exist_ok=True)
        (site / module / "__init__.py").write_text(CANARY.format(name=name))
        metadata = site / f"{module}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def whole(site: Path) -> Path:
    """An environment in which training and merging are ready."""
    install(site, INSTALLED)
    version = "from typing import Optional\n__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n"
    (site / "torch" / "version.py").write_text(version)
    for library in ("cpu", "cuda128", "cuda130", "cuda132"):
        (site / "bitsandbytes" / f"libbitsandbytes_{library}.so").write_bytes(b"\x7fELF")
    return site


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The folder of programs that the doctor finds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def driver(programs: Path, answer: str) -> None:
    """Put an `nvidia-smi` there that gives this answer."""
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (programs / "nvidia-smi").chmod(0o755)


@pytest.fixture
def doctor(site: Path, programs: Path, tmp_path: Path) -> Doctor:
    """Run `mens doctor` there."""

    def run(*arguments: str, program: tuple[str, ...] = ("-m", "mens"), **environment: str) -> Done:
        variables = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "generated"), str(site)]),
            "PATH": str(programs),
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-S", *program, "doctor", *arguments],
            env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def document(done: Done) -> EnvironmentV1:
    """The report that a process printed, which is all that it printed, and which holds."""
    assert done.stderr == ""
    return door.loads(done.stdout, EnvironmentV1).model


def states(report: EnvironmentV1) -> dict[str, Any]:
    """The state of each check."""
    return {check.name: check.state for check in report.checks}


def test_a_machine_with_a_device(doctor: Doctor, whole: Path, programs: Path) -> None:
    driver(programs, "580.65.06, 8.9, 16376, NVIDIA GeForce RTX 4080")
    done = doctor("--json")
    report = document(done)
    assert done.returncode == 0
    assert report.driver == "580.65.06"
    assert [(device.name, device.compute_capability) for device in report.devices] == [
        ("NVIDIA GeForce RTX 4080", "8.9")
    ]
    found = {check.name: check.found for check in report.checks}
    assert found["torch build"] == "CUDA 13.0"
    assert found["4-bit backend"] == "cpu, cuda128, cuda130, cuda132"
    assert found["torch"] == "2.13.0+cu130"
    ok = {name for name, state in states(report).items() if state == "ok"}
    assert ok >= {
        "python",
        *INSTALLED,
        "torch build",
        "4-bit backend",
        "gpu",
        "nvidia driver",
        "bytecode cache",
        "cores",
    }
    assert report.ready.model_dump() == {"train": True, "merge": True, "serve": False}


def test_wrong_gradients_end_with_5(doctor: Doctor, whole: Path, programs: Path) -> None:
    driver(programs, "580.65.06, 9.0, 143771, NVIDIA H200")
    install(whole, {"flash-linear-attention": "0.4.1", "causal-conv1d": "1.6.1", "triton": "3.6.0"})
    done = doctor("--json")
    report = document(done)
    assert done.returncode == 5
    assert states(report)["flash-linear-attention"] == "faulty"
    assert not report.ready.train
    text = doctor()
    assert text.returncode == 5
    assert "train: not ready because of flash-linear-attention\n" in text.stdout
    assert doctor("--json", CUDA_VISIBLE_DEVICES="").returncode == 0, "on the CPU there are no such kernels"
    driver(programs, "580.65.06, 8.9, 16376, NVIDIA GeForce RTX 4080")
    assert doctor("--json").returncode == 0, "nor on another device"


def test_no_torch_ends_with_5(doctor: Doctor, site: Path) -> None:
    done = doctor("--json")
    report = document(done)
    assert done.returncode == 5
    assert report.ready.model_dump() == {"train": False, "merge": False, "serve": False}
    assert {states(report)[name] for name in INSTALLED} == {"missing"}


def test_no_four_bit_and_no_device_end_with_0(doctor: Doctor, whole: Path) -> None:
    for path in (whole / "bitsandbytes-0.50.2.dist-info", whole / "bitsandbytes"):
        path.rename(path.with_name(f"gone-{path.name}.txt"))
    (whole / "torch" / "version.py").write_text("__version__ = '2.13.0+cpu'\ncuda = None\n")
    done = doctor("--json")
    found = states(document(done))
    assert done.returncode == 0
    assert (found["bitsandbytes"], found["torch build"]) == ("missing", "ok")
    assert "4-bit backend" not in found


@pytest.mark.parametrize("metadata", [b"", b"Version: \n", b"\xff\xfe", b"Name: torch\n"])
def test_damaged_metadata_vouches_for_nothing(doctor: Doctor, whole: Path, metadata: bytes) -> None:
    (whole / "torch-2.13.0+cu130.dist-info" / "METADATA").write_bytes(metadata)
    done = doctor("--json")
    [torch] = [check for check in document(done).checks if check.name == "torch"]
    assert (done.returncode, torch.state, torch.found) == (5, "old", "an unreadable version")


@pytest.mark.parametrize("version", ["", "def", "cuda = 1 / 0\n", "cuda = '13.0'\0", "import os; os._exit(9)\n"])
def test_a_build_that_cannot_be_told_is_not_told(doctor: Doctor, whole: Path, version: str) -> None:
    (whole / "torch" / "version.py").write_text(version)
    done = doctor("--json")
    assert done.returncode == 0
    assert "torch build" not in states(document(done))


def test_the_bytecode_cache(doctor: Doctor, whole: Path) -> None:
    assert states(document(doctor("--json")))["bytecode cache"] == "ok"
    assert states(document(doctor("--json", PYTHONDONTWRITEBYTECODE="1")))["bytecode cache"] == "missing"


def test_the_hub_cache(doctor: Doctor, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    report = document(doctor("--json", HF_HUB_CACHE=str(tmp_path / "hub")))
    assert states(report)["hub cache"] == "ok"
    assert [disk.path for disk in report.disks] == [str(tmp_path), str(tmp_path / "hub")]
    assert states(document(doctor("--json")))["hub cache"] == "missing"


def test_nothing_that_is_looked_for_is_imported(doctor: Doctor, whole: Path) -> None:
    install(whole, {"flash-linear-attention": "0.4.1", "triton": "3.6.0", "liger-kernel": "0.7.0"})
    done = doctor("--json", program=("-c", MODULES))
    assert done.returncode == 0
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "mens" in loaded
    assert not loaded & {name.replace("-", "_") for name in INSTALLED}
    assert not loaded & {"fla", "triton", "liger_kernel", "causal_conv1d", "huggingface_hub", "packaging", "requests"}


def test_the_table(doctor: Doctor, whole: Path, programs: Path) -> None:
    driver(programs, "520.61.05, 8.9, 16376, NVIDIA GeForce RTX 4080")
    done = doctor()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    state = lines[0].index("state")
    assert lines[0].split() == ["what", "found", "state", "what", "it", "costs"]
    blank = lines.index("")
    words = {line[state:].split(" ")[0] for line in lines[1:blank]}
    assert {"ok", "missing", "old"} <= words <= {"ok", "missing", "old", "low", ""}
    [told] = [line for line in lines if line.startswith("nvidia driver")]
    assert told.endswith("torch is built for CUDA 13.0, which needs driver 580 or newer, and leaves the GPU idle.")
    assert lines[blank + 1 :] == [
        "train: ready", "merge: ready", "serve: not ready because of starlette, uvicorn",
    ]  # fmt: skip


def test_json_is_one_document_and_usage_is_2(doctor: Doctor, whole: Path) -> None:
    assert json.loads(doctor("--json").stdout)["schema"] == "mens/environment/v1"
    assert doctor("--nope").returncode == 2
    assert doctor("here").returncode == 2
