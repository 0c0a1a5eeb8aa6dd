"""Tiny random checkpoints of any family in any of its layouts, written straight from the key map."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from typing import Final, Literal

from mens_contracts.family_v1 import FamilyV1, Layout

from mens.checkpoint.keys.geometry import Geometry
from mens.checkpoint.keys.keymap import TensorSpec, count_parameters, expand
from mens.checkpoint.samples.config import UNFIT, Fitted, choose_layout, fit, starting_config
from mens.checkpoint.samples.series import Series, choose
from mens.checkpoint.samples.template import behaviour, chat_template
from mens.checkpoint.samples.tokenizer import tokenizer_files
from mens.checkpoint.storage.random_source import Fill, RandomSource
from mens.checkpoint.storage.sources import SparseSource, TensorInfo, TensorSource
from mens.checkpoint.storage.write import SHARD_BYTES, PlannedShard, write_checkpoint
from mens.contracts.errors import ResourceError, UsageError
from mens.contracts.json_types import JsonObject, JsonValue

Dtype = Literal["BF16", "F32"]
PARTS: Final = {"text": 0, "vision": 1, "mtp": 2}
NUMBER: Final = re.compile(r"([0-9]+)")
MATRIX: Final = Fill(0.0, 0.02)
NORMS: Final = {"plain": Fill(1.0, 0.02), "zero_centred": Fill(0.0, 0.02)}
ROLES: Final = {
    # Decay rates between 1 and 16 and time steps around a hundredth: what was read stays in mind for some tokens.
    "linear.decay": Fill(1.4, 0.39),
    "linear.time_step_bias": Fill(-4.0, 0.5),
    # Four taps of a matrix's size would leave nothing of their input.
    "linear.conv": Fill(0.0, 0.3),
}


@dataclass(frozen=True)
class Request:
    """What a sample should be; what is None is taken from the family, the series or the configuration."""

    family: FamilyV1
    layout: str | None = None
    series: str | None = None
    dtype: Dtype = "BF16"
    state_dtype: Dtype | None = None
    """The type of those tensors that a family stores in types of their own."""
    tied: bool | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    full_size: bool = False


@dataclass(frozen=True)
class Sample:
    """A checkpoint that is decided and not written: its configuration, its tensors and the files beside them."""

    family: FamilyV1
    layout: Layout
    series: Series
    config: JsonObject
    specs: tuple[TensorSpec, ...] = field(repr=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def num_parameters(self) -> int:
        """How many parameters it holds."""
        return count_parameters(self.specs)

    def source(self, seed: int) -> TensorSource:
        """Its tensors with the values that follow from a seed and their names."""
        return RandomSource(seed, self.tensors, fill_by_role(self.specs))

    def sparse_source(self) -> TensorSource:
        """Its tensors as zeros that take no space on disk."""
        return SparseSource(self.tensors)


def draft(request: Request) -> Sample:
    """Decide everything about a sample.

    Raises UnsupportedError for a layout or series that does not exist, UsageError for a setting that does not apply,
    ContractError for a geometry that the family cannot have.
    """
    family = request.family
    series = choose(family, request.series, request.full_size)
    start = starting_config(family, series, request.full_size, request.settings)
    layout = choose_layout(family, start, request.layout)
    fitted = fit(
        family,
        start,
        layout,
        series,
        dtype=request.dtype,
        tied=request.tied,
        settings=request.settings,
        full_size=request.full_size,
    )
    specs = sorted(
        (spec for spec in expand(family, fitted.config, layout.selection) if spec.required), key=_as_models_run
    )
    tensors = tuple(TensorInfo(spec.key, _dtype(spec, request), spec.shape) for spec in specs)
    _check_state_dtype(request, specs)
    files = _files(family, series, fitted)
    return Sample(family, layout, series, fitted.config, tuple(specs), tensors, files)


def write(
    sample: Sample, folder: Path, seed: int = 0, *, sparse: bool = False, max_shard_bytes: int = SHARD_BYTES
) -> list[PlannedShard]:
    """Write a sample into a folder that must not exist yet, whole or not at all; sparse ones hold zeros."""
    if not sparse:
        _check_space(sample, folder)
    source = sample.sparse_source() if sparse else sample.source(seed)
    return write_checkpoint(folder, source, sample.files, max_shard_bytes=max_shard_bytes)


def _check_space(sample: Sample, folder: Path) -> None:
    """Refuse what the disk has no room for before it is filled."""
    there = next(parent for parent in folder.absolute().parents if parent.is_dir())
    needed, free = sum(tensor.num_bytes for tensor in sample.tensors), disk_usage(there).free
    if needed > free:
        what = f"{needed:,} bytes are needed, and {free:,} are free; nothing was written"
        raise ResourceError("MENS-P006", what, str(folder), "--sparse writes zeros that take no space.")


def fill_by_role(specs: tuple[TensorSpec, ...]) -> Callable[[TensorInfo], Fill]:
    """Return how each tensor is filled: norms about what leaves a signal as it is, matrices about 0."""
    fills = {spec.key: _fill(spec) for spec in specs}
    return lambda tensor: fills[tensor.name]


def _fill(spec: TensorSpec) -> Fill:
    if spec.role in ROLES:
        return ROLES[spec.role]
    return MATRIX if spec.entry.norm is None else NORMS[spec.entry.norm]


def _as_models_run(spec: TensorSpec) -> tuple[int, list[tuple[int, str]]]:
    """Part by part, and layer after layer within a part, so that a shard holds neighbours."""
    steps = NUMBER.split(spec.key)
    return PARTS[spec.component], [(int(step), "") if step.isdigit() else (-1, step) for step in steps]


def _dtype(spec: TensorSpec, request: Request) -> str:
    if not spec.entry.dtypes:
        return request.dtype
    return request.state_dtype or spec.dtypes[0]


def _check_state_dtype(request: Request, specs: list[TensorSpec]) -> None:
    if request.state_dtype is None or any(spec.entry.dtypes for spec in specs):
        return
    what = f"Family '{request.family.id}' stores no tensors in a type of their own, so --state-dtype changes nothing."
    raise UsageError(UNFIT, what)


def _files(family: FamilyV1, series: Series, fitted: Fitted) -> dict[str, bytes]:
    how = behaviour(series)
    template = None if how is None else chat_template(how, fitted.pictures)
    context = Geometry(family, fitted.config).integer("context")
    config = f"{json.dumps(fitted.config, ensure_ascii=False, indent=2)}\n".encode()
    return {"config.json": config, **tokenizer_files(fitted.words, context, template)}
