"""The tensor index of a sharded checkpoint: which shard each tensor should lie in, and whether it does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mens.checkpoint.storage.faults import Fault, FaultyCheckpoint, refusal, said
from mens.checkpoint.storage.headers import Shard, TensorHeader, without_collection
from mens.contracts.json_types import JsonValue
from mens.contracts.paths import fault as path_fault
from mens.contracts.positions import SyntaxFault, decode
from mens.contracts.source import read
from mens.contracts.strict_json import parse_json

NAME: Final = "model.safetensors.index.json"
SHARD_SUFFIX: Final = ".safetensors"
UNREADABLE: Final = "MENS-C020"


@dataclass(frozen=True)
class Index:
    """What an index says; `total_size` is None where it does not say."""

    path: Path
    weight_map: Mapping[str, str] = field(repr=False)
    total_size: int | None

    @property
    def shards(self) -> list[str]:
        """The names of all shards, in order."""
        return sorted(set(self.weight_map.values()))


def read_index(path: Path) -> Index:
    """Read an index; raises FaultyCheckpoint where it is none, or names a shard that is no plain file beside it."""
    source = read(path)
    try:
        with without_collection():
            value = parse_json(decode(source.data))
    except SyntaxFault as fault:
        where = f"{path}:{fault.line}:{fault.column}"
        raise refusal(where, [Fault(UNREADABLE, fault.message)]) from None
    return _index(path, value)


def _index(path: Path, value: JsonValue) -> Index:
    if not isinstance(value, dict):
        raise _no_index(path, "an index is an object")
    weight_map, metadata = value.get("weight_map"), value.get("metadata")
    if not isinstance(weight_map, dict) or not weight_map or not all(type(name) is str for name in weight_map.values()):
        raise _no_index(path, "'weight_map' must map tensor names to file names, and at least one")
    if metadata is not None and not isinstance(metadata, dict):
        raise _no_index(path, "'metadata' must be an object")
    total_size = (metadata or {}).get("total_size")
    if total_size is not None and (type(total_size) is not int or total_size < 0):
        raise _no_index(path, "'total_size' must be a count of bytes")
    faults = [Fault("MENS-C021", text) for text in map(_shard_name_fault, sorted(set(weight_map.values()))) if text]
    if faults:
        raise refusal(str(path), faults)
    return Index(path, weight_map, total_size)


def _no_index(path: Path, what: str) -> FaultyCheckpoint:
    return FaultyCheckpoint(UNREADABLE, what, str(path), [Fault(UNREADABLE, what)])


def _shard_name_fault(name: str) -> str:
    """Why a name may not stand for a shard; empty when it may."""
    reason = path_fault(name)
    if not reason and "/" in name:
        reason = "lies in another folder; shards lie beside their index"
    if not reason and not name.isprintable():
        reason = "has characters that do not print"
    if not reason and not name.endswith(SHARD_SUFFIX):
        reason = "is no safetensors file, the only kind that mens reads"
    return f"the shard {said(name)} {reason}" if reason else ""


def compared(index: Index, shards: Iterable[Shard]) -> Iterator[Fault]:
    """Everything in which an index and the headers of its shards contradict each other."""
    total = 0
    doubled: dict[str, list[str]] = {}
    found: dict[str, TensorHeader] = {}
    for shard in shards:
        for name in shard.tensors.keys() & found.keys():
            doubled.setdefault(name, [found[name].file]).append(shard.name)
        found.update(shard.tensors)
        total += sum(tensor.num_bytes for tensor in shard.tensors.values())
    for name, files in sorted(doubled.items()):
        yield Fault("MENS-C026", f"tensor {said(name)} lies in {' and in '.join(map(said, files))}")
    # A tensor that lies in two shards is not also said to lie in the wrong one.
    yield from (fault for name, fault in _misplaced(index, found) if name not in doubled)
    for name in sorted(found.keys() - index.weight_map.keys()):
        yield Fault("MENS-C025", f"tensor {said(name)} lies in {said(found[name].file)} and is not listed")
    if index.total_size is not None and index.total_size != total:
        yield Fault("MENS-C027", f"'total_size' is {index.total_size:,}, and the tensors take {total:,} bytes")


def _misplaced(index: Index, found: Mapping[str, TensorHeader]) -> Iterator[tuple[str, Fault]]:
    for name, file in index.weight_map.items():
        tensor = found.get(name)
        if tensor is None:
            yield name, Fault("MENS-C023", f"tensor {said(name)} is listed in {said(file)} and lies in no shard")
        elif tensor.file != file:
            what = f"tensor {said(name)} is listed in {said(file)} and lies in {said(tensor.file)}"
            yield name, Fault("MENS-C024", what)


def index_text(weight_map: Mapping[str, str], total_size: int) -> str:
    """An index as mens writes it: the same tensors give the same bytes."""
    index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(index, ensure_ascii=False, indent=2) + "\n"
