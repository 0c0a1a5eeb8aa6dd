"""Verdicts on machines that are described, not had: each fact of schemas/environment.yaml seen to matter and not to."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mens_contracts.environment import ENVIRONMENT
from mens_contracts.environment_facts_v1 import VersionFault
from mens_contracts.environment_v1 import ComputeDevice, EnvironmentCheck, EnvironmentV1, FreeSpace
from packaging.version import Version as Reference

from mens.contracts import door
from mens.contracts.kinds import named
from mens.contracts.strict_yaml import parse_yaml
from mens.plan.environment import Machine, Torch, judge, packages_of, sound
from mens.plan.versions import numbers, parse, within

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
HOPPER = ComputeDevice(name="NVIDIA H200", compute_capability="9.0", memory_bytes=140 * GIB)
ADA = ComputeDevice(name="NVIDIA GeForce RTX 4080", compute_capability="8.9", memory_bytes=16 * GIB)
UNKNOWN = ComputeDevice(name="NVIDIA something")
NEWEST: dict[str, str | None] = {
    "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2", "accelerate": "1.15.0", "safetensors": "0.8.0",
    "numpy": "2.4.6", "bitsandbytes": "0.50.2", "flash-linear-attention": "0.5.2", "causal-conv1d": "1.6.1",
    "liger-kernel": "0.7.0", "triton": "3.7.1", "starlette": "1.3.1", "uvicorn": "0.50.0",
}  # fmt: skip
GOOD = Machine(
    python="3.12.4",
    platform="linux-x86_64",
    packages=NEWEST,
    torch=Torch(cuda="13.0"),
    libraries=("cpu", "cuda128", "cuda130"),
    driver="580.65.06",
    devices=(HOPPER,),
    num_cores=16,
    memory_bytes=128 * GIB,
    disks=(FreeSpace(place="working_folder", path="/work", free_bytes=64 * GIB),),
    hub_cache="/cache",
    hub_cache_exists=True,
)


def having(packages: Mapping[str, str | None], *without: str, machine: Machine = GOOD) -> Machine:
    """The machine with these packages changed and those left out."""
    kept = {name: version for name, version in {**machine.packages, **packages}.items() if name not in without}
    return replace(machine, packages=kept)


def reported(machine: Machine) -> EnvironmentV1:
    """The verdict on a machine, held to its own contract on the way."""
    report = judge(ENVIRONMENT, machine)
    return door.loads(report.model_dump_json(by_alias=True), EnvironmentV1).model


def check(machine: Machine, name: str) -> EnvironmentCheck:
    """The one check of that name."""
    [found] = [check for check in reported(machine).checks if check.name == name]
    return found


def states(machine: Machine) -> dict[str, str]:
    """What is not as it should be."""
    return {check.name: check.state for check in reported(machine).checks if check.state != "ok"}


def test_a_machine_that_has_everything() -> None:
    report = reported(GOOD)
    assert states(GOOD) == {}
    assert sound(report)
    assert report.ready.model_dump() == {"train": True, "merge": True, "serve": True}
    assert [check.name for check in report.checks] == [
        "python", "torch", "torch build", "transformers", "peft", "accelerate", "safetensors", "numpy", "bitsandbytes",
        "4-bit backend", "flash-linear-attention", "causal-conv1d", "liger-kernel", "triton", "starlette", "uvicorn",
        "gpu", "nvidia driver", "bytecode cache", "cores", "memory", "disk working folder", "hub cache",
    ]  # fmt: skip
    assert all(check.costs == [] and check.blocks == [] for check in report.checks)
    assert check(GOOD, "gpu").found == "NVIDIA H200 (140 GiB, compute capability 9.0)"
    assert (report.driver, report.num_cores, report.memory_bytes) == ("580.65.06", 16, 128 * GIB)


def test_a_machine_that_has_nothing() -> None:
    report = reported(Machine(python="3.11.0", platform="linux-aarch64", packages={}))
    assert not sound(report)
    assert report.ready.model_dump() == {"train": False, "merge": False, "serve": False}
    missing = [check for check in report.checks if check.state == "missing"]
    assert len(missing) == len(ENVIRONMENT.packages) + 2, "every package, a device, a hub cache"
    assert all(check.found is None for check in missing)
    assert all(check.costs for check in missing), "what each absence costs"
    assert "torch build" not in [check.name for check in report.checks]


@pytest.mark.parametrize("package", ENVIRONMENT.packages, ids=lambda package: str(package.package))
def test_each_absence_costs_what_the_data_says(package: Any) -> None:
    machine = having({}, package.package, *package.also)
    found = check(machine, package.package)
    assert (found.state, found.found) == ("missing", None)
    assert found.costs == [package.cost_when_absent]
    assert found.blocks == package.needed_by
    ready = reported(machine).ready.model_dump()
    assert ready == {name: name not in package.needed_by for name in ("train", "merge", "serve")}
    assert sound(reported(machine)) == ("train" not in package.needed_by)


@pytest.mark.parametrize(
    "package", [p for p in ENVIRONMENT.packages if p.floor], ids=lambda package: str(package.package)
)
def test_each_floor(package: Any) -> None:
    *head, last = (*numbers(package.floor), 0)[:3]
    below = ".".join(map(str, [*head[:-1], head[-1] - 1, 99])) if last == 0 else f"{head[0]}.{head[1]}.{last - 1}"
    old = check(having({package.package: below}), package.package)
    assert old.state == "old"
    assert old.costs[0] == f"{package.floor} or newer is needed."
    assert old.blocks == package.needed_by
    early = check(having({package.package: f"{package.floor}rc1"}), package.package)
    assert early.costs[0] == f"{package.floor} or newer is needed.", "a candidate is not the release"
    at = check(having({package.package: f"{package.floor}.0"}), package.package)
    assert f"{package.floor} or newer is needed." not in at.costs
    assert at.blocks == []


def test_floors_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for name in ("train", "serve") for line in project["optional-dependencies"][name]]
    extras += [line for line in project["dependencies"] if line.startswith("numpy")]
    pinned = dict(match.groups() for line in extras if (match := re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)", line)))
    assert len(pinned) == 9
    assert pinned == {package.package: package.floor for package in ENVIRONMENT.packages if package.floor}
    assert project["requires-python"] == f">={ENVIRONMENT.python_floor}"


FAULTS: list[tuple[str, str, dict[str, str | None], ComputeDevice, bool]] = [
    # the package, words of the fault, what is installed, on what, whether it occurs
    ("flash-linear-attention", "gradients", {"triton": "3.4.0"}, HOPPER, True),
    ("flash-linear-attention", "gradients", {"triton": "3.7.0"}, HOPPER, True),
    ("flash-linear-attention", "gradients", {"triton": "3.7.0+git1234"}, HOPPER, True),
    ("flash-linear-attention", "gradients", {"triton": "3.7.1rc1"}, HOPPER, True),
    ("flash-linear-attention", "gradients", {"triton": "3.7.1"}, HOPPER, False),
    ("flash-linear-attention", "gradients", {"triton": "3.8.0"}, HOPPER, False),
    ("flash-linear-attention", "gradients", {"triton": "3.3.1"}, HOPPER, False),
    ("flash-linear-attention", "gradients", {"triton": "3.4.0"}, ADA, False),
    ("flash-linear-attention", "gradients", {"triton": "3.4.0"}, UNKNOWN, True),
    ("flash-linear-attention", "gradients", {"triton": None}, HOPPER, True),
    ("transformers", "Boundaries", {"transformers": "5.17.0"}, ADA, True),
    ("transformers", "Boundaries", {"transformers": "5.20.1"}, ADA, True),
    ("transformers", "Boundaries", {"transformers": "5.20.2"}, ADA, False),
    ("peft", "[experts, in, out]", {"peft": "0.18.1"}, ADA, True),
    ("peft", "[experts, in, out]", {"peft": "0.19.0"}, ADA, False),
    ("peft", "[experts, in, out]", {"peft": "0.21.0"}, ADA, False),
    ("torch", "linear_cross_entropy", {"torch": "2.12.1"}, ADA, True),
    ("torch", "linear_cross_entropy", {"torch": "2.13.0+cu130"}, ADA, False),
]


@pytest.mark.parametrize(("package", "words", "installed", "device", "occurs"), FAULTS)
def test_version_faults(
    package: str, words: str, installed: dict[str, str | None], device: ComputeDevice, *, occurs: bool
) -> None:
    machine = replace(having(installed), devices=(ADA, device))
    found = check(machine, package)
    assert any(words in cost for cost in found.costs) == occurs
    wrong = occurs and words == "gradients"
    assert (found.state == "faulty") == wrong
    assert sound(reported(machine)) == reported(machine).ready.train == ("train" not in found.blocks)
    assert not wrong or found.blocks == ["train"]


def test_every_fault_of_the_data_is_in_the_table_above() -> None:
    faults: list[VersionFault] = [fault for package in ENVIRONMENT.packages for fault in package.faults]
    assert len(faults) == 4
    for fault in faults:
        verdicts = {occurs for _, words, _, _, occurs in FAULTS if words in fault.says}
        assert verdicts == {True, False}, fault.says


def test_a_kernel_by_another_name_has_the_same_fault() -> None:
    machine = having({"fla-core": "0.4.0", "pytorch-triton": "3.5.0"}, "flash-linear-attention", "triton")
    found = check(machine, "flash-linear-attention")
    assert (found.state, found.found, found.blocks) == ("faulty", "fla-core 0.4.0", ["train"])
    assert check(machine, "triton").found == "pytorch-triton 3.5.0"


def test_a_device_that_is_hidden_is_not_computed_on() -> None:
    machine = replace(having({"triton": "3.4.0"}), devices_hidden=True)
    assert states(machine) == {"gpu": "missing"}
    assert check(machine, "gpu").costs == [f"CUDA_VISIBLE_DEVICES hides every device. {ENVIRONMENT.no_device}"]
    assert sound(reported(machine))


def test_a_version_that_cannot_be_read_vouches_for_nothing() -> None:
    for version in (None, "", "unknown", "1" * 101):
        found = check(having({"torch": version}), "torch")
        assert (found.state, found.blocks) == ("old", ["train", "merge", "serve"])
        assert found.costs[0].startswith("Its version cannot be read")
    assert check(having({"liger-kernel": None}), "liger-kernel").blocks == []


@pytest.mark.parametrize(
    ("torch", "driver", "devices", "said"),
    [
        (Torch("13.0"), "580.65.06", (ADA,), {}),
        (Torch("13.0"), "570.124.06", (ADA,), {"nvidia driver": "old"}),
        (Torch("12.8"), "570.124.06", (ADA,), {}),
        (Torch("12.8"), "525.60.13", (ADA,), {}),
        (Torch("12.8"), "520.61.05", (ADA,), {"nvidia driver": "old"}),
        (Torch("99.0"), "520.61.05", (ADA,), {"4-bit backend": "missing"}),
        (Torch("13.0"), None, (ADA,), {"nvidia driver": "missing"}),
        (Torch("13.0"), None, (), {"gpu": "missing"}),
        (Torch(), "580.65.06", (ADA,), {"torch build": "missing"}),
        (Torch(), None, (), {"gpu": "missing"}),
        (Torch(rocm="6.4.43483"), None, (), {"gpu": "missing", "4-bit backend": "missing"}),
        (None, "580.65.06", (ADA,), {}),
    ],
)
def test_torch_against_the_driver(
    torch: Torch | None, driver: str | None, devices: tuple[ComputeDevice, ...], said: dict[str, str]
) -> None:
    machine = replace(GOOD, torch=torch, driver=driver, devices=devices)
    assert states(machine) == said
    assert sound(reported(machine)), "training could run on the CPU"


@pytest.mark.parametrize(
    ("version", "libraries", "torch", "fits"),
    [
        ("0.50.2", ("cpu", "cuda128", "cuda130"), Torch("12.9"), True),
        ("0.50.0", ("cpu", "cuda128"), Torch("12.1"), True),
        ("0.50.2", ("cpu", "cuda128"), Torch("13.0"), False),
        ("0.49.2", ("cpu", "cuda128"), Torch("12.8"), True),
        ("0.49.2", ("cpu", "cuda128"), Torch("12.9"), False),
        (None, ("cpu", "cuda128"), Torch("12.9"), False),
        ("0.50.2", ("cpu", "rocm64"), Torch(rocm="6.4.43483"), True),
        ("0.49.2", ("cpu", "rocm64"), Torch(rocm="6.3.1"), False),
        ("0.50.2", ("cpu",), Torch(), True),
        ("0.50.2", ("cuda130",), Torch(), False),
        ("0.50.2", (), Torch(), False),
        ("0.50.2", (), None, False),
        ("0.50.2", ("cpu",), None, True),
    ],
)
def test_four_bit_backends(version: str | None, libraries: tuple[str, ...], torch: Torch | None, *, fits: bool) -> None:
    machine = replace(having({"bitsandbytes": version}), libraries=libraries, torch=torch)
    found = check(machine, "4-bit backend")
    assert found.state == ("ok" if fits else "missing")
    assert found.found == (", ".join(libraries) or None)
    assert fits or found.costs[0].startswith(ENVIRONMENT.backends.cost_when_absent)


@pytest.mark.parametrize(("python", "state"), [("3.10.14", "old"), ("3.11.0", "ok"), ("3.14.0", "ok"), ("4.0.0", "ok")])
def test_python(python: str, state: str) -> None:
    found = check(replace(GOOD, python=python), "python")
    assert found.state == state
    assert found.blocks == (["train", "merge", "serve"] if state == "old" else [])


def test_the_rest_of_the_machine() -> None:
    poor = replace(
        GOOD,
        bytecode_cache=False,
        memory_bytes=8 * GIB,
        disks=(
            FreeSpace(place="hub_cache", path="/cache", free_bytes=GIB),
            FreeSpace(place="working_folder", path="/w"),
        ),
        hub_cache_exists=False,
    )
    said = {"bytecode cache": "missing", "memory": "low", "disk hub cache": "low", "hub cache": "missing"}
    assert states(poor) == said
    assert sound(reported(poor)), "what is slow or scarce still runs"
    assert check(poor, "bytecode cache").costs == [ENVIRONMENT.bytecode_cache]
    assert check(poor, "memory").found == "8.0 GiB"
    assert check(poor, "disk working folder").found is None


def test_every_name_in_the_data_is_looked_for() -> None:
    names = packages_of(ENVIRONMENT)
    assert len(names) == len(set(names))
    assert {"torch", "fla-core", "flash-linear-attention", "triton", "pytorch-triton", "bitsandbytes"} <= set(names)


def test_facts_cite_evidence_that_they_have() -> None:
    value, _ = parse_yaml((ROOT / "schemas/environment.yaml").read_text("utf-8"))
    assert isinstance(value, dict)
    assert door.check(value, named("environment-facts"))[1] == []
    value["packages"][0]["faults"][0]["evidence"] = ["measurd"]
    [problem] = door.check(value, named("environment-facts"))[1]
    assert (problem.code, problem.pointer) == ("MENS-K028", "/packages/0/faults/0/evidence/0")


def test_versions_are_ordered_as_the_standard_orders_them() -> None:
    """Against `packaging`, the reference: every spelling below against every bound near it."""
    random_ = random.Random(20261121)
    suffixes = (
        "", "a1", "b2", "rc1", ".rc1", "-beta", ".dev0", "rc1.dev3", ".post1", ".post1.dev2", "a1.post2", "+cu130",
        "rc1+git.1", ".dev20261121+cu130",
    )  # fmt: skip
    judged = 0
    for _ in range(4_000):
        release = [str(random_.randrange(4)) for _ in range(random_.randrange(1, 5))]
        text = ".".join(release) + random_.choice(suffixes)
        bound = ".".join(str(random_.randrange(4)) for _ in range(random_.randrange(1, 5)))
        version, reference = parse(text), Reference(text)
        assert version is not None, text
        assert within(version, f"<{bound}") == (reference < Reference(bound)), (text, bound)
        assert within(version, f">={bound}") == (reference >= Reference(bound)), (text, bound)
        judged += 1
    assert judged == 4_000


@pytest.mark.parametrize("text", ["", "unknown", "1.x", "1..2", "1.2.", "v", "1!2.0", "2.13.0 (main)", "٣.1", "1.0\n2"])
def test_what_is_no_version(text: str) -> None:
    assert parse(text) is None


def test_all_bounds_have_to_hold() -> None:
    version = parse("3.5.1")
    assert version is not None
    assert within(version, ">=3.4,<3.7.1")
    assert not within(version, ">=3.6,<3.7.1")
    assert not within(version, ">=3.4,<3.5")
    assert within(version, ">=0")
