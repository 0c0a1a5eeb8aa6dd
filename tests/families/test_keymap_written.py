"""Tiny checkpoints written straight from the key map: upstream loads every one, and saves what the map declares."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import BuiltFrom, FamilyV1, Layout, MemoryClass
from safetensors import safe_open
from safetensors.torch import save_file

from mens.checkpoint.keys.coverage import compare
from mens.checkpoint.keys.keymap import TensorSpec, expand
from mens.checkpoint.keys.layout import detect
from mens.checkpoint.keys.recognition import recognise
from mens.contracts.json_types import JsonObject

Recipe = Callable[[BuiltFrom, list[list[torch.Tensor]]], torch.Tensor]


def in_memory(family: FamilyV1, config: JsonObject, memory: MemoryClass) -> list[TensorSpec]:
    return list(expand(family, config, memory.selection))


def tied_names(model: Any) -> set[str]:
    return set(model.state_dict()) - {name for name, _ in model.named_parameters()}


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
    built: Recipe,
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
    expected = expected_in_memory(built, family, beside, memory, specs, tensors)
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
    built: Recipe,
    family: FamilyV1,
    config: JsonObject,
    memory: MemoryClass,
    specs: list[TensorSpec],
    tensors: dict[str, torch.Tensor],
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
