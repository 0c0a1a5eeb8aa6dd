"""What the driver says, in each way in which it says it; programs and files are real, and no GPU is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from mens_contracts.environment_v1 import ComputeDevice

from mens.plan.observe import Driver, nvidia_files, nvidia_smi, observe, read_answer

H200 = ComputeDevice(name="NVIDIA H200", compute_capability="9.0", memory_bytes=143771 << 20)


def _driver(version: str | None, name: str, capability: str | None = None, mebibytes: int | None = None) -> Driver:
    memory = None if mebibytes is None else mebibytes << 20
    return Driver(version, (ComputeDevice(name=name, compute_capability=capability, memory_bytes=memory),))


@pytest.mark.parametrize(
    ("answer", "driver"),
    [
        ("580.65.06, 9.0, 143771, NVIDIA H200\n", Driver("580.65.06", (H200,))),
        ("580.65.06, 9.0, 143771, NVIDIA H200\n" * 2, Driver("580.65.06", (H200, H200))),
        ("[N/A], [N/A], [N/A], NVIDIA GB10\r\n", _driver(None, "NVIDIA GB10")),
        ("440.33, [Not Supported], 11441, Tesla, K80", _driver("440.33", "Tesla, K80", None, 11441)),
        ("580.65.06, 9.0, 8, \x1b[31mNVIDIA\x07 H200\n", _driver("580.65.06", "[31mNVIDIA H200", "9.0", 8)),
        ("580.65.06, 9.0, 8, \n", _driver("580.65.06", "a device without a name", "9.0", 8)),
        ("No devices were found\n", None),
        ("", None),
    ],
)
def test_answers_of_nvidia_smi(answer: str, driver: Driver | None) -> None:
    assert read_answer(answer) == driver


def test_no_machine_has_more_devices_than_a_report_holds() -> None:
    driver = read_answer("580.65.06, 9.0, 143771, NVIDIA H200\n" * 500)
    assert driver is not None
    assert len(driver.devices) == 128


def _program(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_nvidia_smi_is_asked_once_and_not_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_smi() is None
    _program(tmp_path, 'echo "$@" >>"$0.asked"\necho "580.65.06, 9.0, 143771, NVIDIA H200"')
    assert nvidia_smi() == Driver("580.65.06", (H200,))
    asked = (tmp_path / "nvidia-smi.asked").read_text()
    assert asked == "--query-gpu=driver_version,compute_cap,memory.total,name --format=csv,noheader,nounits\n"
    _program(tmp_path, "echo NVIDIA-SMI has failed; exit 9")
    assert nvidia_smi() is None
    (tmp_path / "nvidia-smi").write_text("no program")
    assert nvidia_smi() is None
    _program(tmp_path, '/bin/sleep 5; echo "580.65.06, 9.0, 143771, NVIDIA H200"')
    assert nvidia_smi(patience=0.3) is None, "an answer that comes too late is not waited for"


def test_files_of_the_driver(tmp_path: Path) -> None:
    assert nvidia_files(tmp_path) == Driver()
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build\nGCC version:  gcc 12.2.0\n"
    )
    for bus in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        (tmp_path / "gpus" / bus / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 34\n")
    (tmp_path / "gpus" / "0000:03:00.0").mkdir()
    assert nvidia_files(tmp_path) == Driver("570.124.06", (ComputeDevice(name="NVIDIA H200"),) * 2)


def test_this_machine_is_observed_whatever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "not" / "yet"))
    machine = observe(["pydantic", "a-package-that-nobody-has"])
    assert list(machine.packages) == ["pydantic"]
    assert [disk.place for disk in machine.disks] == ["working_folder", "hub_cache"]
    assert all(disk.free_bytes for disk in machine.disks), "a folder that is not there yet has a disk"
    assert machine.memory_bytes is not None
    assert (machine.hub_cache, machine.hub_cache_exists) == (str(tmp_path / "not" / "yet"), False)
    monkeypatch.setenv("HF_HUB_CACHE", f"{tmp_path}/\udcff\x1b[31m")
    assert observe([]).hub_cache == f"{tmp_path}/\ufffd[31m"
