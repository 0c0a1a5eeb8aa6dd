"""Writing a checkpoint: shards of a given size, an index and the small files, all there at once or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mens.checkpoint.storage import index as tensor_index
from mens.checkpoint.storage.dtypes import ITEM_BYTES
from mens.checkpoint.storage.folder import SINGLE
from mens.checkpoint.storage.headers import METADATA
from mens.checkpoint.storage.sources import SparseSource, TensorInfo, TensorSource
from mens.contracts.errors import ResourceError, UsageError
from mens.contracts.paths import fault as path_fault

SHARD_BYTES: Final = 5_000_000_000
BLOCK: Final = 64 * 1024 * 1024
ALIGNMENT: Final = 8
ORDER: Final = {dtype: at for at, dtype in enumerate(ITEM_BYTES)}
PREFIX: Final = ".mens-tmp."
DEFAULT_METADATA: Final[Mapping[str, str]] = {"format": "pt"}


@dataclass(frozen=True)
class PlannedShard:
    """A shard before it is written: its name, and its tensors in the order in which their bytes will lie."""

    name: str
    tensors: tuple[TensorInfo, ...]

    @property
    def num_bytes(self) -> int:
        """How many bytes its tensors take."""
        return sum(tensor.num_bytes for tensor in self.tensors)


def plan_shards(tensors: Iterable[TensorInfo], max_bytes: int = SHARD_BYTES) -> list[PlannedShard]:
    """Divide tensors among shards in their order; one that is larger than a shard has a shard of its own."""
    groups: list[list[TensorInfo]] = [[]]
    filled = 0
    for tensor in tensors:
        size = tensor.num_bytes
        if groups[-1] and filled + size > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += size
    if len(groups) == 1:
        return [PlannedShard(SINGLE, _laid_out(groups[0]))]
    names = [f"model-{number:05d}-of-{len(groups):05d}.safetensors" for number in range(1, len(groups) + 1)]
    return [PlannedShard(name, _laid_out(group)) for name, group in zip(names, groups, strict=True)]


def _laid_out(tensors: list[TensorInfo]) -> tuple[TensorInfo, ...]:
    """Wide elements first, so that every tensor begins at a multiple of its element's size; then by name.

    The library does the same, and the same tensors therefore give the same bytes.
    """
    return tuple(sorted(tensors, key=lambda tensor: (-ORDER[tensor.dtype], tensor.name)))


def header_bytes(tensors: Sequence[TensorInfo], metadata: Mapping[str, str] = DEFAULT_METADATA) -> bytes:
    """The length and the header that stand before the tensors' bytes; the same tensors give the same bytes."""
    members: dict[str, object] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    at = 0
    for tensor in tensors:
        end = at + tensor.num_bytes
        members[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (at, end)}
        at = end
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write_checkpoint(
    folder: Path,
    source: TensorSource,
    files: Mapping[str, bytes],
    *,
    max_shard_bytes: int = SHARD_BYTES,
    metadata: Mapping[str, str] = DEFAULT_METADATA,
) -> list[PlannedShard]:
    """Write all tensors of a source, and these files beside them, into a folder that must not exist yet.

    The tensors of a SparseSource become holes. An interrupted call leaves no folder; the next one clears its remains.
    """
    shards = plan_shards((source.info(name) for name in source.names()), max_shard_bytes)
    _check_names(files, shards)
    target = folder.absolute()
    if os.path.lexists(target):
        raise UsageError(
            "MENS-C043", "already exists; nothing was written", str(folder), "Name a folder that does not."
        )
    scratch = target.with_name(f"{PREFIX}{target.name[:200]}.{os.getpid()}")
    try:
        _clear(target)
        scratch.mkdir(parents=True)
        for shard in shards:
            _write(scratch / shard.name, _parts(shard, source, metadata), _size_if_sparse(shard, source, metadata))
        for name, data in {**files, **_index_file(shards)}.items():
            _write(scratch / name, [data])
        _sync(scratch)
        scratch.rename(target)
        _sync(target.parent)
    except OSError as error:
        needed = sum(shard.num_bytes for shard in shards)
        what = f"cannot be written: {error.strerror}; {needed:,} bytes of tensors are needed. Nothing was left there"
        raise ResourceError("MENS-P006", what, str(folder)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return shards


def _check_names(files: Mapping[str, bytes], shards: list[PlannedShard]) -> None:
    taken = {shard.name for shard in shards} | {tensor_index.NAME}
    for name in files:
        assert not path_fault(name), f"{name} {path_fault(name)}"
        assert "/" not in name, f"{name} lies in a folder of its own"
        assert name not in taken, f"{name} is written with the tensors"


def _clear(target: Path) -> None:
    """Remove what interrupted runs left of this folder."""
    for left in target.parent.glob(f"{PREFIX}*"):
        if left.name.startswith(f"{PREFIX}{target.name[:200]}."):
            shutil.rmtree(left, ignore_errors=True)


def _parts(shard: PlannedShard, source: TensorSource, metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    yield header_bytes(shard.tensors, metadata)
    if isinstance(source, SparseSource):
        return
    for tensor in shard.tensors:
        size = tensor.num_bytes
        for start in range(0, size, BLOCK):
            yield source.read_range(tensor.name, start, min(start + BLOCK, size))


def _size_if_sparse(shard: PlannedShard, source: TensorSource, metadata: Mapping[str, str]) -> int | None:
    if not isinstance(source, SparseSource):
        return None
    return len(header_bytes(shard.tensors, metadata)) + shard.num_bytes


def _index_file(shards: list[PlannedShard]) -> dict[str, bytes]:
    if [shard.name for shard in shards] == [SINGLE]:
        return {}
    weight_map = {tensor.name: shard.name for shard in shards for tensor in shard.tensors}
    total = sum(shard.num_bytes for shard in shards)
    return {tensor_index.NAME: tensor_index.index_text(weight_map, total).encode()}


def _write(path: Path, parts: Iterable[bytes | memoryview], size: int | None = None) -> None:
    """Write a file to the disk itself; with a size, what is not written up to there is a hole."""
    with path.open("xb", buffering=0) as file:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[file.write(rest) :]
        if size is not None:
            file.truncate(size)
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
