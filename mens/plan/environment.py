"""What a machine offers and what each absence costs: facts and observations in, verdicts out. Nothing is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from mens_contracts.environment_facts_v1 import (
    EnvironmentFactsV1,
    Operation,
    Requirement,
    VersionCondition,
    VersionFault,
)
from mens_contracts.environment_v1 import ComputeDevice, EnvironmentCheck, EnvironmentV1, FreeSpace, Readiness

from mens.plan.versions import Version, numbers, parse, within

State = Literal["ok", "missing", "old", "faulty", "low"]
GIB: Final = 1 << 30
UNREADABLE: Final = "an unreadable version"


@dataclass(frozen=True)
class Torch:
    """How torch was built: for which CUDA or ROCm, if for any."""

    cuda: str | None = None
    rocm: str | None = None

    def __str__(self) -> str:
        return f"CUDA {self.cuda}" if self.cuda else f"ROCm {self.rocm}" if self.rocm else "CPU"


@dataclass(frozen=True)
class Machine:
    """Everything that was observed, before anybody judges it."""

    python: str
    platform: str
    packages: Mapping[str, str | None]
    """The version of each distribution that is installed; None where its metadata does not say."""
    torch: Torch | None = None
    """None where torch is not installed or does not say how it was built."""
    libraries: tuple[str, ...] = ()
    """The compiled libraries of the 4-bit package by what follows its name: cpu, cuda128, rocm64."""
    driver: str | None = None
    devices: tuple[ComputeDevice, ...] = ()
    devices_hidden: bool = False
    """Whether an environment variable keeps programs from every device."""
    bytecode_cache: bool = True
    num_cores: int | None = None
    memory_bytes: int | None = None
    disks: tuple[FreeSpace, ...] = ()
    hub_cache: str = ""
    hub_cache_exists: bool = False

    @property
    def usable(self) -> tuple[ComputeDevice, ...]:
        """The devices that a program would see."""
        return () if self.devices_hidden else self.devices


@dataclass
class _Verdict:
    """What there is to say of one thing while it is being said; the gravest state wins."""

    name: str
    found: str | None
    state: State = "ok"
    blocks: set[Operation] = field(default_factory=set)
    costs: list[str] = field(default_factory=list)

    def add(self, state: State, cost: str, blocks: list[Operation] | tuple[Operation, ...] = ()) -> None:
        grave: tuple[State, ...] = ("ok", "low", "old", "missing", "faulty")
        self.state = max(self.state, state, key=grave.index)
        self.blocks |= set(blocks)
        self.costs.append(cost)

    def check(self) -> EnvironmentCheck:
        order: tuple[Operation, ...] = ("train", "merge", "serve")
        blocks = [operation for operation in order if operation in self.blocks]
        return EnvironmentCheck(name=self.name, found=self.found, state=self.state, blocks=blocks, costs=self.costs)


def judge(facts: EnvironmentFactsV1, machine: Machine) -> EnvironmentV1:
    """The report on a machine."""
    checks = [verdict.check() for verdict in _verdicts(facts, machine)]
    blocked = {operation for check in checks for operation in check.blocks}
    return EnvironmentV1(
        schema_="mens/environment/v1",
        python=machine.python,
        platform=machine.platform,
        num_cores=machine.num_cores,
        memory_bytes=machine.memory_bytes,
        disks=list(machine.disks),
        driver=machine.driver,
        devices=list(machine.devices),
        checks=checks,
        ready=Readiness(train="train" not in blocked, merge="merge" not in blocked, serve="serve" not in blocked),
    )


def sound(report: EnvironmentV1) -> bool:
    """Whether training could run, on a CPU at least, and nothing that is installed computes wrong results."""
    return report.ready.train and all(check.state != "faulty" for check in report.checks)


def packages_of(facts: EnvironmentFactsV1) -> list[str]:
    """Every distribution that the facts speak of, by whatever name."""
    names = [name for package in facts.packages for name in (package.package, *package.also)]
    names += [condition.package for package in facts.packages for fault in package.faults for condition in fault.when]
    return list(dict.fromkeys([*names, facts.backends.package]))


def _verdicts(facts: EnvironmentFactsV1, machine: Machine) -> Iterator[_Verdict]:
    yield _python(facts, machine)
    for package in facts.packages:
        yield _package(package, facts, machine)
        if package.package == "torch" and machine.torch is not None:
            yield _torch_build(machine.torch, machine)
        if package.package == facts.backends.package and facts.backends.package in machine.packages:
            yield _backend(facts, machine)
    yield _devices(facts, machine)
    if machine.driver is not None or machine.devices:
        yield _driver(facts, machine)
    yield _bytecode(facts, machine)
    yield from _resources(facts, machine)
    yield _hub_cache(machine)


def _python(facts: EnvironmentFactsV1, machine: Machine) -> _Verdict:
    verdict = _Verdict("python", machine.python)
    if not _holds(parse(machine.python), f">={facts.python_floor}"):
        verdict.add("old", f"mens needs Python {facts.python_floor} or newer.", ("train", "merge", "serve"))
    return verdict


def _package(package: Requirement, facts: EnvironmentFactsV1, machine: Machine) -> _Verdict:
    installed = [name for name in (package.package, *package.also) if name in machine.packages]
    if not installed:
        absent = _Verdict(package.package, None)
        absent.add("missing", package.cost_when_absent, package.needed_by)
        return absent
    shown = [_shown(name, machine.packages[name], package.package) for name in installed]
    verdict = _Verdict(package.package, ", ".join(shown)[:500])
    version = _version(machine.packages[installed[0]])
    if version is None:
        verdict.add(
            "old", "Its version cannot be read, so nothing can be said for it. Install it again.", package.needed_by
        )
    elif package.floor is not None and not within(version, f">={package.floor}"):
        verdict.add("old", f"{package.floor} or newer is needed.", package.needed_by)
        if package.cost_when_old is not None:
            verdict.add("old", package.cost_when_old)
    for fault in package.faults:
        if _occurs(fault, facts, machine):
            wrong = fault.effect == "wrong_results"
            verdict.add("faulty" if wrong else "old", fault.says, fault.spoils if wrong else ())
    return verdict


def _shown(name: str, version: str | None, usual: str) -> str:
    said = version if version else UNREADABLE
    return said if name == usual else f"{name} {said}"


def _version(text: str | None) -> Version | None:
    return parse(text) if text else None


def _occurs(fault: VersionFault, facts: EnvironmentFactsV1, machine: Machine) -> bool:
    if not all(_installed(condition, facts, machine) for condition in fault.when):
        return False
    bounds = fault.compute_capability
    return bounds is None or any(_capable(device, bounds) for device in machine.usable)


def _installed(condition: VersionCondition, facts: EnvironmentFactsV1, machine: Machine) -> bool:
    also = [name for package in facts.packages if package.package == condition.package for name in package.also]
    names = [name for name in (condition.package, *also) if name in machine.packages]
    # What cannot be read cannot be ruled out.
    return any(_holds(_version(machine.packages[name]), condition.versions, unknown=True) for name in names)


def _capable(device: ComputeDevice, bounds: str) -> bool:
    """Whether a fault of these compute capabilities may occur on a device; one that does not say is not ruled out."""
    return device.compute_capability is None or _holds(parse(device.compute_capability), bounds, unknown=True)


def _holds(version: Version | None, bounds: str, *, unknown: bool = False) -> bool:
    return unknown if version is None else within(version, bounds)


def _torch_build(torch: Torch, machine: Machine) -> _Verdict:
    verdict = _Verdict("torch build", str(torch))
    if machine.usable and not (torch.cuda or torch.rocm):
        verdict.add(
            "missing", "This build of torch runs on the CPU only and leaves the GPU idle. Install a CUDA build."
        )
    return verdict


def _backend(facts: EnvironmentFactsV1, machine: Machine) -> _Verdict:
    verdict = _Verdict("4-bit backend", ", ".join(machine.libraries) or None)
    exact = not _holds(_version(machine.packages[facts.backends.package]), f">={facts.backends.same_major_from}")
    if machine.torch is not None and not _fitting(machine.libraries, machine.torch, exact=exact):
        verdict.add("missing", f"{facts.backends.cost_when_absent} torch is built for {machine.torch}.")
    elif not machine.libraries:
        verdict.add("missing", facts.backends.cost_when_absent)
    return verdict


def _fitting(libraries: tuple[str, ...], torch: Torch, *, exact: bool) -> bool:
    """Whether a library serves this build of torch. Their names are cpu, cuda128 for 12.8, rocm64 for 6.4."""
    kind, version, digits = ("cuda", torch.cuda, 2) if torch.cuda else ("rocm", torch.rocm, 1)
    if version is None:
        return "cpu" in libraries
    major, minor = [*version.split("."), "0"][:2]
    if exact:
        return f"{kind}{major}{minor}" in libraries
    return any(name.startswith(kind) and name.removeprefix(kind)[:digits] == major for name in libraries)


def _devices(facts: EnvironmentFactsV1, machine: Machine) -> _Verdict:
    if not machine.devices:
        verdict = _Verdict("gpu", None)
        verdict.add("missing", facts.no_device)
        return verdict
    verdict = _Verdict("gpu", "; ".join(map(_device, machine.devices))[:500])
    if machine.devices_hidden:
        verdict.add("missing", f"CUDA_VISIBLE_DEVICES hides every device. {facts.no_device}")
    return verdict


def _device(device: ComputeDevice) -> str:
    memory = [] if device.memory_bytes is None else [f"{device.memory_bytes / GIB:.0f} GiB"]
    capability = [] if device.compute_capability is None else [f"compute capability {device.compute_capability}"]
    details = ", ".join([*memory, *capability])
    return f"{device.name} ({details})" if details else device.name


def _driver(facts: EnvironmentFactsV1, machine: Machine) -> _Verdict:
    verdict = _Verdict("nvidia driver", machine.driver)
    cuda = machine.torch.cuda if machine.torch else None
    if machine.driver is None:
        verdict.add("missing", "The driver does not say which version it is.")
    elif cuda is not None:
        major = numbers(cuda)[0]
        floor = next((driver.floor for driver in facts.drivers if driver.cuda_major == major), None)
        if floor is not None and not _holds(parse(machine.driver), f">={floor}"):
            cost = f"torch is built for CUDA {cuda}, which needs driver {floor} or newer, and leaves the GPU idle."
            verdict.add("old", cost)
    return verdict


def _bytecode(facts: EnvironmentFactsV1, machine: Machine) -> _Verdict:
    verdict = _Verdict("bytecode cache", "on" if machine.bytecode_cache else "off")
    if not machine.bytecode_cache:
        verdict.add("missing", facts.bytecode_cache)
    return verdict


def _resources(facts: EnvironmentFactsV1, machine: Machine) -> Iterator[_Verdict]:
    yield _Verdict("cores", None if machine.num_cores is None else str(machine.num_cores))
    amounts = [("memory", "memory", machine.memory_bytes, "")]
    amounts += [("disk", f"disk {disk.place.replace('_', ' ')}", disk.free_bytes, " free") for disk in machine.disks]
    for resource, name, amount, what in amounts:
        verdict = _Verdict(name, None if amount is None else f"{amount / GIB:.1f} GiB{what}")
        for fact in facts.resources:
            if fact.resource == resource and amount is not None and amount < fact.floor_bytes:
                verdict.add("low", fact.cost_when_low)
        yield verdict


def _hub_cache(machine: Machine) -> _Verdict:
    verdict = _Verdict("hub cache", machine.hub_cache[:500] or None)
    if not machine.hub_cache_exists:
        verdict.add("missing", "No model has been downloaded yet, so a base is found by its folder only.")
    return verdict
