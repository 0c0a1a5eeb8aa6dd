"""Opening a checkpoint: its folder, configuration, index and headers, all checked before any tensor is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from mens_contracts.hf_config_v1 import HfConfigV1

from mens.checkpoint.storage import index as tensor_index
from mens.checkpoint.storage.entries import Entry, entries_of, entry_faults
from mens.checkpoint.storage.faults import Fault, refusal, said
from mens.checkpoint.storage.headers import Shard, TensorHeader, read_header, without_collection
from mens.checkpoint.storage.index import Index, compared, read_index
from mens.checkpoint.storage.quantised import Quantisation, quantisation
from mens.contracts.door import Document, load
from mens.contracts.errors import ContractError, MensError
from mens.contracts.positions import SyntaxFault, decode
from mens.contracts.rules.upstream import no_code_by_configuration
from mens.contracts.source import read
from mens.contracts.strict_json import parse_json

CONFIG: Final = "config.json"
SINGLE: Final = "model.safetensors"
ADAPTER_FILES: Final = frozenset(
    {
        "adapter_config.json",
        "adapter_manifest.json",
        "adapter_meta_v2.json",
        "adapter_model.safetensors",
        "candle_qlora_adapter.safetensors",
        "populi_adapter_manifest_v3.json",
    }
)
"""Any of these makes upstream, or the reader of a dialect, take the folder for an adapter."""
WEIGHTS: Final = re.compile(r"model(?:-[0-9]+-of-[0-9]+)?\.safetensors")
"""The files from which upstream loads weights; any other safetensors file in the folder is not looked at."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose headers, index and configuration agree. Nothing is said yet about what the tensors hold."""

    folder: Path
    config: Document[HfConfigV1]
    index: Index | None
    shards: tuple[Shard, ...]
    tensors: Mapping[str, TensorHeader] = field(repr=False)

    @property
    def num_bytes(self) -> int:
        """How many bytes all tensors take."""
        return sum(tensor.num_bytes for tensor in self.tensors.values())

    @property
    def metadata(self) -> dict[str, str]:
        """What the shards' headers say about themselves, laid together."""
        return {key: text for shard in self.shards for key, text in shard.metadata.items()}

    @cached_property
    def quantisation(self) -> Quantisation | None:
        """How the weights are quantised; None where they are not."""
        return quantisation(self.config.value, self.tensors.values())

    @property
    def quantised(self) -> str | None:
        """The method by which the weights are quantised; None where they are not."""
        return None if self.quantisation is None else self.quantisation.method


@without_collection()
def open_checkpoint(path: Path | str) -> Checkpoint:
    """Open a folder; raises with every fault of the stage that found some: entries, configuration, index, headers."""
    folder = Path(path)
    entries = entries_of(folder)
    _raise(folder, [*entry_faults(folder, entries.values()), *_set_faults(entries)])
    _raise(folder, _code_faults(folder, entries))
    config = load(folder / CONFIG, HfConfigV1)
    index = read_index(folder / tensor_index.NAME) if tensor_index.NAME in entries else None
    names = index.shards if index else [SINGLE]
    _raise(folder, _shard_faults(entries, names, index))
    shards = _headers(folder, names)
    tensors: dict[str, TensorHeader] = {}
    if index is not None:
        _raise(index.path, compared(index, shards))
    for shard in shards:
        tensors.update(shard.tensors)
    if not tensors:
        _raise(folder, [Fault("MENS-C030", "the weights hold no tensor")])
    return Checkpoint(folder, config, index, shards, tensors)


def _raise(where: Path, faults: Iterable[Fault]) -> None:
    found = list(faults)
    if found:
        raise refusal(str(where), found)


def _set_faults(entries: Mapping[str, Entry]) -> Iterator[Fault]:
    """What a folder lacks, or has although it should not, to be one checkpoint."""
    adapters = sorted(ADAPTER_FILES & entries.keys())
    if adapters:
        yield Fault("MENS-C033", f"{adapters[0]} makes this an adapter's folder; a whole checkpoint is needed")
        return
    if CONFIG not in entries:
        yield Fault("MENS-C030", f"there is no {CONFIG}")
    if SINGLE in entries or tensor_index.NAME in entries:
        return
    shards = [name for name in entries if WEIGHTS.fullmatch(name)]
    what = (
        f"{len(shards)} shards lie here without {tensor_index.NAME}" if shards else "there are no safetensors weights"
    )
    yield Fault("MENS-C030", what)


def _shard_faults(entries: Mapping[str, Entry], names: list[str], index: Index | None) -> Iterator[Fault]:
    """Shards that are missing, and weights that upstream might load instead of them."""
    by = f"'{tensor_index.NAME}'" if index else f"'{SINGLE}', which stands without an index,"
    for name in names:
        if name not in entries:
            yield Fault("MENS-C022", f"{by} names {said(name)}, which is not there")
    for name in sorted(entries.keys() - set(names)):
        if WEIGHTS.fullmatch(name):
            yield Fault("MENS-C034", f"{said(name)} holds weights that {by} does not name")


def _code_faults(folder: Path, entries: Mapping[str, Entry]) -> Iterator[Fault]:
    """Code that a tokenizer's, processor's or generation configuration names; the door judges config.json itself."""
    for name in sorted(entries):
        if name.endswith("config.json") and name != CONFIG:
            path = folder / name
            try:
                value = parse_json(decode(read(path).data))
            except SyntaxFault as fault:
                raise ContractError("MENS-S001", fault.message, f"{path}:{fault.line}:{fault.column}") from None
            for problem in no_code_by_configuration(value if isinstance(value, dict) else {}):
                yield Fault(problem.code, f"{name}: {problem.message}")


def _headers(folder: Path, names: list[str]) -> tuple[Shard, ...]:
    """Every shard's header; faults of several shards are told together."""
    shards: list[Shard] = []
    errors: list[MensError] = []
    for name in names:
        try:
            shards.append(read_header(folder / name, name))
        except MensError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    _raise(folder, [Fault(error.code, f"{error.where}: {error.what}") for error in errors])
    return tuple(shards)
