"""The key map against upstream itself: every name and every shape, in memory and on disk, in both directions."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import BuiltFrom, FamilyV1, Layout, MemoryClass, Tensor
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from mens.checkpoint.coverage import compare
from mens.checkpoint.geometry import Geometry
from mens.checkpoint.keymap import TensorSpec, count_active, count_parameters, expand
from mens.checkpoint.layout import detect
from mens.checkpoint.recognition import recognise
from mens.contracts.json_types import JsonObject

Shapes = dict[str, tuple[int, ...]]


_BUILT: dict[str, Any] = {}


def build_on_meta(case: Any) -> Any:
    """The model that upstream builds from a configuration, without its weights; built once for all tests."""
    if case.name not in _BUILT:
        _BUILT[case.name] = _built_on_meta(case.class_config, case.memory)
    return _BUILT[case.name]


def _built_on_meta(config: JsonObject, memory: MemoryClass) -> Any:
    parsed = transformers.AutoConfig.for_model(**copy.deepcopy(config))
    with torch.device("meta"):
        model = getattr(transformers, memory.auto_class).from_config(parsed)
    assert type(model).__name__ == memory.architecture
    return model


def shapes_of(model: Any) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def in_memory(family: FamilyV1, config: JsonObject, memory: MemoryClass) -> list[TensorSpec]:
    return list(expand(family, config, memory.selection))


def test_every_geometry_in_memory(case: Any) -> None:
    model = build_on_meta(case)
    specs = in_memory(case.family, case.config, case.memory)
    found = shapes_of(model)
    coverage = compare(specs, found)
    assert coverage.complete, coverage
    assert coverage.matched == len(found)
    owned = {name for name, _ in model.named_parameters()}
    assert {spec.key for spec in specs if spec.required} == owned | (found.keys() - owned - shared(specs))
    assert count_parameters(specs) == model.num_parameters()


def shared(specs: list[TensorSpec]) -> set[str]:
    return {spec.key for spec in specs if spec.entry.same_as is not None}


def test_every_geometry_on_disk(case: Any) -> None:
    """Upstream's own renaming takes every name on disk to one in memory, or leaves it out by a pattern of its own."""
    model = build_on_meta(case)
    found = shapes_of(model)
    layouts = [
        layout for layout in case.family.layouts if case.memory.name in layout.loads_into and fits(layout, case.config)
    ]
    assert layouts
    rename = upstream_renaming(model)
    for layout in layouts:
        specs = [spec for spec in expand(case.family, case.config, layout.selection) if spec.required]
        renamed, left_out = renamed_by_upstream(model, rename, specs, found)
        kept = {spec.component for spec in in_memory(case.family, case.config, case.memory)}
        assert {spec.component for spec in left_out} == {spec.component for spec in specs} - kept, layout.name
        assert renamed.keys() | tied_names(model) == found.keys(), layout.name
        recipes = {spec.key: spec.entry.built_from for spec in in_memory(case.family, case.config, case.memory)}
        for target, sources in renamed.items():
            assert joined_shape(recipes[target], sources) == found[target], target


def joined_shape(recipe: BuiltFrom | None, sources: list[TensorSpec]) -> tuple[int, ...]:
    """The shape that a tensor in memory has by the map's account of where it comes from."""
    if len(sources) == 1:
        return sources[0].shape
    assert recipe is not None
    by_role = {role: [s for s in sources if s.role == role] for role in recipe.roles}
    assert sum(map(len, by_role.values())) == len(sources)
    return tuple(
        built(recipe, [[torch.empty(s.shape, device="meta") for s in by_role[role]] for role in recipe.roles]).shape
    )


def fits(layout: Layout, config: JsonObject) -> bool:
    """Whether a configuration can stand beside a layout: a vision tower needs its section."""
    return "vision_config" in config or layout.selection.get("vision") != "present"


def tied_names(model: Any) -> set[str]:
    return set(model.state_dict()) - {name for name, _ in model.named_parameters()}


def upstream_renaming(model: Any) -> Callable[[str], str]:
    """Upstream's way from a name on disk to a name in memory; layouts share most names, so each is asked for once."""
    transforms = get_model_conversion_mapping(model)
    renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
    converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
    meta = dict(model.state_dict())

    @cache
    def rename(key: str) -> str:
        return str(rename_source_key(key, renamings, converters, model.base_model_prefix, meta)[0])

    return rename


def renamed_by_upstream(
    model: Any, rename: Callable[[str], str], specs: list[TensorSpec], found: Shapes
) -> tuple[dict[str, list[TensorSpec]], list[TensorSpec]]:
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    renamed: dict[str, list[TensorSpec]] = {}
    left_out = []
    for spec in specs:
        target = rename(spec.key)
        if target in found:
            renamed.setdefault(target, []).append(spec)
        else:
            assert any(pattern.search(target) for pattern in ignored), f"{spec.key} becomes {target}"
            left_out.append(spec)
    return renamed, left_out


def test_the_number_of_cases(all_cases: list[Any], all_geometries: list[Any]) -> None:
    """A proof over nothing proves nothing."""
    proven = {case.name.rpartition(":")[0] for case in all_cases}
    assert proven == {name for name, _, _ in all_geometries}
    assert {case.family.id for case in all_cases} == set(FAMILIES)
    assert {(case.family.id, case.memory.name) for case in all_cases} == {
        (family.id, memory.name) for family in FAMILIES.values() for memory in family.memory
    }
    assert len(all_cases) == 49


# Tiny checkpoints, really written and really loaded.


def tensors_for(specs: list[TensorSpec], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        spec.key: torch.randn(spec.shape, generator=generator) * 0.02 for spec in specs if spec.entry.same_as is None
    }
    embedding = next(tensors[spec.key] for spec in specs if spec.role == "embedding")
    return tensors | {spec.key: embedding.clone() for spec in specs if spec.entry.same_as is not None}


def written_config(config: JsonObject, layout: Layout, memory: MemoryClass) -> JsonObject:
    """What stands in config.json beside this layout: the text part alone where there is no vision tower."""
    if layout.selection.get("vision") == "absent" and "text_config" in config:
        return {**config["text_config"], "architectures": [memory.architecture]}
    return config


def disk_cases() -> Iterator[Any]:
    for family in FAMILIES.values():
        for layout in family.layouts:
            for memory in family.memory:
                if memory.name in layout.loads_into:
                    yield pytest.param(family, layout, memory, id=f"{family.id}-{layout.name}-{memory.name}")


DISK_CASES = list(disk_cases())


def test_the_number_of_layouts() -> None:
    assert len(DISK_CASES) == 33
    assert {(case.values[0].id, case.values[1].name) for case in DISK_CASES} == {  # type: ignore[union-attr]
        (family.id, layout.name) for family in FAMILIES.values() for layout in family.layouts
    }


@pytest.mark.parametrize(("family", "layout", "memory"), DISK_CASES)
@pytest.mark.parametrize("optional", [False, True], ids=["required", "with_optional"])
def test_written_from_the_key_map_and_loaded(
    tmp_path: Path,
    tiny_config: Callable[..., JsonObject],
    family: FamilyV1,
    layout: Layout,
    memory: MemoryClass,
    optional: bool,
) -> None:
    config = tiny_config(family, memory)
    beside = written_config(config, layout, memory)
    specs = [spec for spec in expand(family, beside, layout.selection) if spec.required or optional]
    tensors = tensors_for(specs, seed=7)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(beside), encoding="utf-8")
    auto = getattr(transformers, memory.auto_class)
    model, info = auto.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert type(model).__name__ == memory.architecture
    dropped = {spec.key for spec in specs if spec.entry.drop is not None}
    assert not info["missing_keys"], info
    assert not info["mismatched_keys"], info
    assert set(info["unexpected_keys"]) <= dropped, info
    loaded = model.state_dict()
    expected = expected_in_memory(family, beside, memory, specs, tensors)
    assert expected.keys() | tied_names(model) == loaded.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    model.save_pretrained(tmp_path / "saved")
    assert_declared(family, tmp_path / "saved")


def assert_declared(family: FamilyV1, folder: Path) -> None:
    """What upstream saves is a layout that the family declares, covered to the last tensor."""
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (not a dict)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert recognise(config) is family
    layout = detect(family, found)
    assert layout.name is not None, layout
    assert compare(expand(family, config, layout.selection), found).complete


def test_upstream_notices_too(tmp_path: Path, family: FamilyV1) -> None:
    """A tensor left out or misspelt shows in upstream's own account, so its silence above means something."""
    (memory, *_), (layout, *_) = family.memory, family.layouts
    beside = written_config(family.tiny_config, layout, memory)
    tensors = tensors_for([spec for spec in expand(family, beside, layout.selection) if spec.required], seed=7)
    name = next(
        key for key in tensors if key.endswith(("q_proj.weight", "c_attn.weight")) and not key.startswith("mtp")
    )
    tensors[name + "_"] = tensors.pop(name)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(beside), encoding="utf-8")
    _, info = getattr(transformers, memory.auto_class).from_pretrained(tmp_path, output_loading_info=True)
    assert len(info["missing_keys"]) == 1
    assert len(info["unexpected_keys"]) == 1


def expected_in_memory(
    family: FamilyV1, config: JsonObject, memory: MemoryClass, specs: list[TensorSpec], tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the class should hold, by the family's own account of how its tensors are built."""
    places = {(spec.role, spec.layer, indices(spec.key)): spec for spec in specs}
    expected = {}
    for wanted in in_memory(family, config, memory):
        if not wanted.required:
            continue
        here = places.get((wanted.role, wanted.layer, indices(wanted.key)))
        if here is not None:
            expected[wanted.key] = tensors[here.key]
        else:
            assert wanted.entry.built_from is not None, wanted.key
            columns = [
                [tensors[spec.key] for spec in specs if spec.role == role and spec.layer == wanted.layer]
                for role in wanted.entry.built_from.roles
            ]
            expected[wanted.key] = built(wanted.entry.built_from, columns)
    return expected


def indices(key: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\.(\d+)\.", key))


def built(recipe: BuiltFrom, columns: list[list[torch.Tensor]]) -> torch.Tensor:
    """Follow a recipe over a list of tensors for each role: concat joins roles, stack joins what runs over an index."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    for step in recipe.steps:
        if step.op == "concat":
            rows = [[torch.cat(row, dim=step.axis)] for row in rows]
        elif step.op == "stack":
            rows = [[torch.stack([row[0] for row in rows], dim=step.axis)]]
        else:
            rows = [[tensor.transpose(step.axis, step.other) for tensor in row] for row in rows]
    ((result,),) = rows
    return result


# What the comparison notices.


def test_every_slip_in_the_map_is_noticed(family: FamilyV1) -> None:
    """Drop, rename and reshape every entry in turn: the comparison that proves the map must fail each time."""
    noticed = 0
    for memory in family.memory:
        config = family.tiny_config
        found = {spec.key: spec.shape for spec in in_memory(family, config, memory)}
        for index, entry in enumerate(family.tensors):
            if any(spec.entry is entry for spec in in_memory(family, config, memory)):
                for slip in slips(entry):
                    wrong = family.model_copy(
                        update={"tensors": [*family.tensors[:index], *slip, *family.tensors[index + 1 :]]}
                    )
                    coverage = compare(in_memory(wrong, config, memory), found)
                    assert not coverage.complete, (entry.role, slip)
                    noticed += 1
    assert noticed >= 3 * 12


def slips(entry: Tensor) -> list[list[Tensor]]:
    return [
        [],
        [entry.model_copy(update={"key": entry.key + "x"})],
        [entry.model_copy(update={"shape": [*entry.shape[:-1], f"({entry.shape[-1]}) + 1"]})],
        [entry.model_copy(update={"shape": [*entry.shape, 1]})],
    ]


def test_a_changed_model_is_noticed(family: FamilyV1) -> None:
    """The same, the other way about: upstream's model with one name or shape changed no longer fits the map."""
    memory = family.memory[0]
    specs = in_memory(family, family.tiny_config, memory)
    found = {spec.key: spec.shape for spec in specs if spec.required}
    for name, shape in found.items():
        rest = {other: value for other, value in found.items() if other != name}
        assert compare(specs, rest).missing == (name,)
        assert compare(specs, {**rest, name + "_": shape}).unknown == (name + "_",)
        assert [m.key for m in compare(specs, {**rest, name: (*shape, 1)}).mismatched] == [name]


# What the map says beyond names and shapes.


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
