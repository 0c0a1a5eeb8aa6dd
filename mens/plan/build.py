"""The plan as a document: everything worked out, held to its contract before anybody sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from mens_contracts.family_v1 import FamilyV1
from mens_contracts.plan_v1 import PlanV1

from mens.contracts import door
from mens.contracts.json_types import JsonObject
from mens.plan import schedule
from mens.plan.activations import Situation
from mens.plan.graph import Stored, graph_of
from mens.plan.memory import MemoryPlan
from mens.plan.resolve import Resolved
from mens.plan.rows import Rows
from mens.plan.search import Alternative, Case, longest_sequence, nearest, tokens_per_optimizer_step
from mens.plan.targets import Target, empty_sets, targets, trainable, untouched_layers
from mens.plan.weights import routed_bytes


@dataclass(frozen=True)
class Request:
    """Everything that a plan is made from."""

    resolved: Resolved
    family: FamilyV1
    config: JsonObject
    stored: Stored = field(default_factory=dict)
    base: JsonObject | None = None
    """Which base it is, as a BaseIdentity document says it."""
    rows: Rows | None = None
    situation: Situation = field(default_factory=Situation)
    available: int | None = None
    """Memory of one device; None where nobody said."""


def make_plan(request: Request) -> PlanV1:
    """Return the plan; raises IntegrityError where nothing would be trained."""
    preset = request.resolved.preset
    graph = graph_of(request.family, request.config, request.stored)
    found = targets(graph, preset)
    case = Case(graph, found, preset, request.situation)
    text = json.dumps(_document(request, case), ensure_ascii=False)
    return door.loads(text, PlanV1, "plan").model


def _document(request: Request, case: Case) -> JsonObject:
    preset, devices, available = case.preset, case.situation.num_devices, request.available
    memory = case.memory
    steps = _steps(request)
    return {
        "schema": "mens/plan/v1",
        "preset": request.resolved.name,
        "base": request.base,
        "parameters": case.graph.parameters,
        "data": _data(request.rows),
        "situation": _situation(case.situation),
        "configuration": request.resolved.values,
        "origins": dict(request.resolved.origins),
        "trainable_parameters": trainable(case.targets, preset.rank),
        "targets": [_target(target, preset.rank) for target in case.targets],
        "memory": _memory(memory, available, devices) | {"peak": memory.peak},
        "devices": [
            {"device": _device(case.situation, index)} | _memory(memory, available, 1) for index in range(devices)
        ],
        "host_memory": _host(memory, devices),
        "fits": available is None or memory.total <= available,
        "longest_sequence": None if available is None else longest_sequence(case, available),
        "nearest": [] if available is None else [_alternative(other, devices) for other in nearest(case, available)],
        "tokens_per_optimizer_step": tokens_per_optimizer_step(preset, devices),
        "optimizer_steps": steps,
        "warnings": list(dict.fromkeys(_warnings(request, case, steps))),
    }


def _steps(request: Request) -> int | None:
    preset = request.resolved.preset
    if request.rows is None:
        return None
    return schedule.optimizer_steps(request.rows.num_rows, preset, request.situation.num_devices)


def _data(rows: Rows | None) -> JsonObject | None:
    return None if rows is None else {"path": rows.path, "num_rows": rows.num_rows, "sha256": rows.sha256}


def _situation(situation: Situation) -> JsonObject:
    return {
        "device": situation.device,
        "num_devices": situation.num_devices,
        "kernels": "fused" if situation.fused_kernels else "reference",
    }


def _device(situation: Situation, index: int) -> str:
    return f"{situation.device}:{index}" if situation.device == "cuda" or situation.num_devices > 1 else "cpu"


def _target(target: Target, rank: int) -> JsonObject:
    return {
        "layer_kind": target.kind,
        "module": target.role,
        "num_modules": target.num_modules,
        "rank": rank,
        "trainable_parameters": target.trainable(rank),
    }


def _memory(memory: MemoryPlan, available: int | None, times: int) -> JsonObject:
    return {
        "components": {name: times * size for name, size in memory.components.items()},
        "total_bytes": times * memory.total,
        "available_bytes": None if available is None else times * available,
    }


def _host(memory: MemoryPlan, devices: int) -> JsonObject | None:
    if not memory.host:
        return None
    components = {name: devices * size for name, size in memory.host.items()}
    return {"components": components, "total_bytes": sum(components.values())}


def _alternative(other: Alternative, devices: int) -> JsonObject:
    return {"changes": other.changes, "total_bytes": devices * other.total}


def _warnings(request: Request, case: Case, steps: int | None) -> Iterator[str]:
    yield from _about_targets(request, case)
    yield from _about_experts(case)
    if case.preset.seq_len > case.graph.context:
        yield f"seq_len {case.preset.seq_len:,} is beyond the {case.graph.context:,} positions that the base knows."
    if case.situation.device == "cpu" and case.preset.optimizer.startswith("paged"):
        yield "Paged optimizers page to host memory; on a CPU there is nowhere to page to, and the state stays."
    if not case.situation.fused_kernels and any(layer.delta for layer, _ in case.graph.layers):
        yield "Linear attention on plain torch, without flash-linear-attention and causal-conv1d: slower and larger."
    if request.rows is not None:
        yield from schedule.remarks(request.rows.num_rows, steps, case.preset)


def _about_targets(request: Request, case: Case) -> Iterator[str]:
    if request.resolved.origins["targets"] != "default":
        for name in empty_sets(case.graph, case.preset):
            yield f"Target set '{name}' chooses nothing in family '{request.family.id}'."
    untouched = untouched_layers(case.graph, case.targets)
    if untouched:
        yield f"{untouched} of {case.graph.num_layers} layers get no adapter."


def _about_experts(case: Case) -> Iterator[str]:
    """Routed experts: never targeted, never quantised, and what that costs."""
    routed = case.graph.where(routed=True)
    if not routed:
        return
    size, numbers = routed_bytes(case.graph, case.preset), sum(tensor.elements * tensor.num for tensor in routed)
    share = f"{numbers:,} of {case.graph.parameters:,} parameters"
    yield f"Routed experts get no adapter and are not quantised: {share} stay as they are and take {_gib(size)}."
    if case.preset.experts == "refuse":
        yield f"experts is 'refuse': training refuses this base; --set experts=16bit pays the {_gib(size)} for them."


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"
