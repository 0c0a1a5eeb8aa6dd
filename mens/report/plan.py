"""A plan for people: what would be trained, what it needs, whether it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from mens_contracts.plan_v1 import Alternative, PlanV1

from mens.report.tables import Column, table

GIB: Final = 1 << 30
INDENT: Final = 14
GROUPS: Final = {
    "weights": {"nf4_weights": "NF4", "quantisation_constants": "constants", "remainder": "16-bit rest"},
    "adapter": {
        "lora_weights": "weights",
        "lora_copies": "bf16 copies",
        "gradients": "gradients",
        "optimizer": "optimizer",
    },
    "step": {"activations": "activations", "loss": "loss", "workspace": "workspace", "overhead": "overhead"},
}
"""The components under the headings they are shown with."""


def plan_text(plan: PlanV1) -> str:
    """Return the plan as a person reads it."""
    return "\n".join(line.rstrip() for line in _lines(plan)) + "\n"


def _lines(plan: PlanV1) -> Iterator[str]:
    yield from _trained(plan)
    yield from _needed(plan)
    yield from _fitting(plan)
    yield from _schedule(plan)
    yield _row("from", _origins(plan))
    for warning in plan.warnings:
        yield _row("note", warning)
    yield ""
    yield _targets(plan)


def _row(heading: str, text: str) -> str:
    return f"{f'  {heading}':<{INDENT}}{text}"


def _trained(plan: PlanV1) -> Iterator[str]:
    setting = plan.configuration
    targets = ", ".join(setting["targets"])
    devices = f" × {plan.situation.num_devices} devices" if plan.situation and plan.situation.num_devices > 1 else ""
    batch = f"batch {setting['batch_size']} × {setting['grad_accum']}{devices}"
    share = f" ({100 * plan.trainable_parameters / plan.parameters:.2f} %)" if plan.parameters else ""
    trained = f"{_count(plan.trainable_parameters)} trainable{share}"
    yield _row("", f"seq {setting['seq_len']} · {batch} · rank {setting['rank']} on {targets}      {trained}")


def _needed(plan: PlanV1) -> Iterator[str]:
    device = plan.devices[0].components if plan.devices else plan.memory.components
    for heading, names in GROUPS.items():
        shown = [
            f"{_labelled(plan, name, label)} {_gib(device[name])}" for name, label in names.items() if device.get(name)
        ]
        if shown:
            yield _row(heading, " · ".join(shown) + _aside(plan, heading))
    if plan.host_memory:
        parts = [f"{name} {_gib(size)}" for name, size in plan.host_memory.components.items()]
        yield _row("host", " · ".join(parts))


def _aside(plan: PlanV1, heading: str) -> str:
    """What a line of components is to be read with: the unit, and the moment at which the step is fullest."""
    if heading == "weights":
        return "   (GiB)"
    if heading == "step" and plan.memory.peak is not None:
        return "   (at the loss)" if plan.memory.peak == "loss" else "   (in the backward pass)"
    return ""


def _labelled(plan: PlanV1, name: str, label: str) -> str:
    setting = plan.configuration
    if name == "remainder" and setting["compute_dtype"] == "fp32":
        return "32-bit rest" if setting["base_quant"] == "nf4" else "32-bit base"
    if name == "remainder" and setting["base_quant"] == "none":
        return "16-bit base"
    if name == "activations" and setting["gradient_checkpointing"]:
        return "activations (checkpointed)"
    if name == "loss":
        return "loss (chunked)" if setting["loss_chunk_size"] else "loss (whole)"
    return label


def _fitting(plan: PlanV1) -> Iterator[str]:
    device = plan.devices[0] if plan.devices else plan.memory
    each = " on each device" if len(plan.devices) > 1 else ""
    if device.available_bytes is None:
        yield _row("total", f"{_gib(device.total_bytes)} GiB{each}   say --vram to know whether it fits")
        return
    fits = "fits" if plan.fits else "does not fit"
    longest = f" · longest sequence that fits: {plan.longest_sequence:,}" if plan.longest_sequence else ""
    yield _row("total", f"{_gib(device.total_bytes)} of {_gib(device.available_bytes)} GiB{each}   {fits}{longest}")
    for number, other in enumerate(plan.nearest):
        yield _row("" if number else "would fit", _alternative(other, len(plan.devices) or 1))
    if not plan.fits and not plan.nearest:
        yield _row("would fit", "nothing near: the frozen base alone leaves too little")


def _alternative(other: Alternative, devices: int) -> str:
    changes = " ".join(f"--set {name}={_value(value)}" for name, value in other.changes.items())
    return f"{changes}   ({_gib(other.total_bytes // devices)} GiB)"


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _schedule(plan: PlanV1) -> Iterator[str]:
    if plan.tokens_per_optimizer_step is None:
        return
    parts = [f"at most {plan.tokens_per_optimizer_step:,} tokens for each optimizer step"]
    if plan.data is not None and plan.data.num_rows is not None:
        parts.append(f"{plan.data.num_rows:,} rows (not tokenised)")
    if plan.optimizer_steps is not None:
        parts.append(f"{plan.optimizer_steps:,} steps in {plan.configuration['epochs']} epochs")
    yield _row("run", " · ".join(parts))


def _origins(plan: PlanV1) -> str:
    counts = Counter(plan.origins.values())
    flags = ", ".join(name for name, origin in plan.origins.items() if origin == "flag")
    parts = {
        "preset": f"preset {plan.preset} ({counts['preset']} fields)",
        "file": f"file ({counts['file']})",
        "flag": f"flags ({counts['flag']}: {flags})",
        "default": f"defaults ({counts['default']})",
    }
    return " · ".join(text for origin, text in parts.items() if origin in counts)


def _targets(plan: PlanV1) -> str:
    columns = [
        Column("  layers"),
        Column("module"),
        Column("modules", True),
        Column("rank", True),
        Column("trainable", True),
    ]
    rows = [
        (
            f"  {target.layer_kind}",
            target.module,
            str(target.num_modules),
            str(target.rank),
            f"{target.trainable_parameters:,}",
        )
        for target in plan.targets
    ]
    return table(columns, rows)


def _gib(size: int) -> str:
    return "<0.01" if 0 < size < GIB / 200 else f"{size / GIB:.2f}"


def _count(number: int) -> str:
    units: Mapping[str, int] = {"B": 10**9, "M": 10**6, "k": 10**3}
    for unit, size in units.items():
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
