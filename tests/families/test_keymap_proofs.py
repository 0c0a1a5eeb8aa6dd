"""The key map against upstream itself: every name and every shape, in memory and on disk, in both directions."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import BuiltFrom, FamilyV1, Layout, MemoryClass, Tensor
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from mens.checkpoint.keys.coverage import compare
from mens.checkpoint.keys.keymap import TensorSpec, count_parameters, expand
from mens.contracts.json_types import JsonObject

Shapes = dict[str, tuple[int, ...]]
Recipe = Callable[[BuiltFrom, list[list[torch.Tensor]]], torch.Tensor]


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


def test_every_geometry_on_disk(case: Any, built: Recipe) -> None:
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
            assert joined_shape(built, recipes[target], sources) == found[target], target


def joined_shape(built: Recipe, recipe: BuiltFrom | None, sources: list[TensorSpec]) -> tuple[int, ...]:
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
