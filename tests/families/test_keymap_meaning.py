"""What the key map says beyond names and shapes: the pieces inside a tensor, active parameters, tying."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from mens_contracts.family_v1 import FamilyV1, Layout, MemoryClass

from mens.checkpoint.keys.geometry import Geometry
from mens.checkpoint.keys.keymap import TensorSpec, count_active, count_parameters, expand
from mens.contracts.json_types import JsonObject


def in_memory(family: FamilyV1, config: JsonObject, memory: MemoryClass) -> list[TensorSpec]:
    return list(expand(family, config, memory.selection))


def fits(layout: Layout, config: JsonObject) -> bool:
    """Whether a configuration can stand beside a layout: a vision tower needs its section."""
    return "vision_config" in config or layout.selection.get("vision") != "present"


def test_parts_fill_their_axis(all_geometries: list[tuple[str, FamilyV1, JsonObject]]) -> None:
    checked = 0
    for name, family, config in all_geometries:
        numbers = Geometry(family, config)
        for layout in family.layouts:
            if not fits(layout, config):
                continue
            for spec in expand(family, config, layout.selection):
                if spec.entry.parts is not None and spec.layer in (None, 0, 3):
                    assert (
                        sum(len(rows) for rows in piece_rows(numbers, spec).values())
                        == spec.shape[spec.entry.parts.axis]
                    ), name
                    checked += 1
    assert checked > 100


def piece_rows(numbers: Geometry, spec: TensorSpec) -> dict[str, list[int]]:
    """Which rows of a tensor belong to which of its pieces."""
    parts = spec.entry.parts
    assert parts is not None
    sizes = [(piece.name, int(str(numbers.evaluate(piece.size, piece.name)))) for piece in parts.pieces]
    rows: dict[str, list[int]] = {name: [] for name, _ in sizes}
    start = 0
    for _ in range(int(str(numbers.evaluate(parts.groups, "groups")))):
        for name, size in sizes:
            rows[name] += range(start, start + size)
            start += size
    return rows


def test_the_query_gate_alternates_by_head(family: FamilyV1, tiny_config: Callable[..., JsonObject]) -> None:
    """What upstream normalises as the query is what the map calls the query's rows."""
    if not any(entry.role == "attention.query_gate" for entry in family.tensors):
        return
    memory = next(memory for memory in family.memory if memory.name == "causal_lm")
    model = tiny_model(family, memory)
    spec = next(s for s in in_memory(family, family.tiny_config, memory) if s.role == "attention.query_gate")
    rows = piece_rows(Geometry(family, family.tiny_config), spec)["query"]
    attention = model.get_submodule(spec.key.removesuffix(".q_proj.weight"))
    seen: dict[str, torch.Tensor] = {}
    attention.q_proj.register_forward_hook(lambda module, args, output: seen.update(hidden=args[0]))
    attention.q_norm.register_forward_hook(lambda module, args, output: seen.update(query=args[0]))
    with torch.no_grad():
        model(torch.arange(6).reshape(1, 6))
    expected = seen["hidden"] @ attention.q_proj.weight[rows].T
    torch.testing.assert_close(seen["query"].reshape(expected.shape), expected)


def tiny_model(family: FamilyV1, memory: MemoryClass) -> Any:
    parsed = transformers.AutoConfig.for_model(**copy.deepcopy(family.tiny_config))
    section = parsed.get_text_config() if memory.config_section == "text" else parsed
    torch.manual_seed(0)
    return getattr(transformers, memory.auto_class).from_config(section).eval()


def test_interleaved_key_groups(family: FamilyV1) -> None:
    """Upstream's own regrouping, fed with row numbers, gives back the rows of every piece."""
    interleaved = {"linear.query_key_value_gate", "linear.beta_alpha"}
    if not interleaved <= {entry.role for entry in family.tensors}:
        return
    (memory,) = family.memory
    model = tiny_model(family, memory)
    specs = {spec.role: spec for spec in in_memory(family, family.tiny_config, memory) if spec.layer == 0}
    mixed, gates = (specs[role] for role in sorted(interleaved, reverse=True))
    module = model.get_submodule(mixed.key.removesuffix(".in_proj_qkvz.weight"))
    numbered = [torch.arange(spec.shape[0], dtype=torch.float32).reshape(1, 1, -1) for spec in (mixed, gates)]
    pieces = module.fix_query_key_value_ordering(*numbered)
    numbers = Geometry(family, family.tiny_config)
    rows = list(piece_rows(numbers, mixed).values()) + list(piece_rows(numbers, gates).values())
    assert [piece.flatten().int().tolist() for piece in pieces] == rows


def test_active_parameters(all_geometries: list[tuple[str, FamilyV1, JsonObject]]) -> None:
    """All experts but the routed ones of a token are left out, the same whether fused or one by one."""
    checked = 0
    for name, family, config in all_geometries:
        numbers = Geometry(family, config)
        if "experts" not in numbers:
            continue
        totals = {}
        for layout in family.layouts:
            if fits(layout, config):
                specs = [spec for spec in expand(family, config, layout.selection) if spec.component == "text"]
                totals[layout.name] = (count_parameters(specs), count_active(specs, numbers))
        assert len(set(totals.values())) == 1, (name, totals)
        total, active = next(iter(totals.values()))
        assert active < total
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("place", ["top", "text"])
def test_upstream_reads_tying_in_one_place_only(family: FamilyV1, place: str) -> None:
    """The trap that the families record: where the flag stands for one class, the other does not see it."""
    if "text_config" not in family.tiny_config:
        return
    config = copy.deepcopy(family.tiny_config)
    config["tie_word_embeddings"], config["text_config"]["tie_word_embeddings"] = place == "top", place == "text"
    assert Geometry(family, config)["tied"] is True
    own = {}
    for memory in family.memory:
        parsed = transformers.AutoConfig.for_model(**copy.deepcopy(config))
        section = parsed.get_text_config() if memory.config_section == "text" else parsed
        with torch.device("meta"):
            model = getattr(transformers, memory.auto_class).from_config(section)
        own[memory.config_section] = "lm_head.weight" in dict(model.named_parameters())
    assert own == {"root": place == "text", "text": place == "top"}
