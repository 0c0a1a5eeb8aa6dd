"""Checkpoints of any family, layout and geometry as sparse files: a header each, and nothing behind it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1
from mens_contracts.releases import RELEASES

from mens.checkpoint.keys.keymap import expand
from mens.checkpoint.keys.releases import configured_models
from mens.checkpoint.storage.sources import SparseSource, TensorInfo
from mens.checkpoint.storage.write import SHARD_BYTES, write_checkpoint
from mens.contracts.json_types import JsonObject

Selection = Mapping[str, str]


def tensors_of(family: FamilyV1, config: JsonObject, selection: Selection) -> list[TensorInfo]:
    """What a checkpoint of this geometry and layout must hold, each tensor in the first of its types."""
    return [
        TensorInfo(spec.key, spec.dtypes[0], spec.shape) for spec in expand(family, config, selection) if spec.required
    ]


def write(
    folder: Path,
    config: JsonObject,
    tensors: Iterable[TensorInfo],
    files: Mapping[str, bytes | str | JsonObject] | None = None,
    max_shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write a sparse checkpoint with these files beside it."""
    beside = {"config.json": config, **(files or {})}
    write_checkpoint(
        folder, SparseSource(tensors), {name: _bytes(data) for name, data in beside.items()},
        max_shard_bytes=max_shard_bytes,
    )  # fmt: skip
    return folder


def _bytes(data: bytes | str | JsonObject) -> bytes:
    if isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else json.dumps(data).encode()


def tiny(folder: Path, family: str, layout: str | None = None, **options: Any) -> Path:
    """Write a family's tiny model in one of its layouts."""
    found = FAMILIES[family]
    config = changed(found.tiny_config, options.pop("config", {}))
    chosen = next(entry for entry in found.layouts if layout in (None, entry.name))
    return write(folder, config, tensors_of(found, config, chosen.selection), **options)


def released(repo: str) -> tuple[FamilyV1, JsonObject]:
    """The family and the configuration of a published model."""
    for release in RELEASES.values():
        for model, config in configured_models(release):
            if model.repo == repo and model.family is not None:
                return FAMILIES[model.family], copy.deepcopy(config)
    raise AssertionError(repo)


def published(folder: Path, repo: str, layout: str | None = None, **options: Any) -> Path:
    """Write a published model in one of its family's layouts."""
    family, config = released(repo)
    config = changed(config, options.pop("config", {}))
    chosen = next(entry for entry in family.layouts if layout in (None, entry.name))
    return write(folder, config, tensors_of(family, config, chosen.selection), **options)


def changed(config: JsonObject, changes: JsonObject) -> JsonObject:
    """A copy with other values, section by section."""
    result = copy.deepcopy(config)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = changed(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
