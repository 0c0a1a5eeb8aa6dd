"""Sparse checkpoints: files as long as a model of any size, holding nothing but their header."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1
from mens_contracts.releases import RELEASES

from mens.checkpoint.keys.keymap import TensorSpec, expand
from mens.checkpoint.keys.releases import configured_models
from mens.contracts.json_types import JsonObject

ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}


def write_sparse(folder: Path, config: JsonObject, specs: Iterable[TensorSpec], **dtypes: str) -> Path:
    """Write a checkpoint whose file is as long as it should be and holds nothing but its header."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for spec in specs:
        if not spec.required:
            continue
        dtype = dtypes.get(spec.role.replace(".", "_"), spec.dtypes[0])
        start, end = end, end + spec.elements * ITEM_BYTES[dtype]
        header[spec.key] = {"dtype": dtype, "shape": list(spec.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


def released(repo: str) -> tuple[FamilyV1, JsonObject]:
    """The family and the configuration of a published model."""
    for release in RELEASES.values():
        for model, config in configured_models(release):
            if model.repo == repo:
                assert model.family is not None
                return FAMILIES[model.family], config
    raise AssertionError(repo)


def sparse_checkpoint(
    folder: Path, name: str, layout: str | None = None, config: JsonObject | None = None, **dtypes: str
) -> Path:
    """Write a sparse checkpoint of a published model or of a family's tiny one, in one of its layouts."""
    family, found = (FAMILIES[name], FAMILIES[name].tiny_config) if name in FAMILIES else released(name)
    config = copy.deepcopy(config or found)
    chosen = next(entry for entry in family.layouts if layout in (None, entry.name))
    specs = expand(family, config, chosen.selection)
    return write_sparse(folder / f"{name.replace('/', '--')}-{chosen.name}", config, specs, **dtypes)
