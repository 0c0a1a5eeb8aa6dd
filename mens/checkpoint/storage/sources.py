"""Where tensors come from: shards on disk, or nowhere, so that every consumer of weights works without any."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from mens.checkpoint.storage.files import read_exactly, read_into, stamp_of
from mens.checkpoint.storage.folder import Checkpoint
from mens.checkpoint.storage.headers import Shard, TensorHeader, num_bytes
from mens.contracts.errors import ContractError, IntegrityError
from mens.contracts.source import open_regular

Shape = tuple[int, ...]


class TensorInfo(NamedTuple):
    """A tensor before it has a place: its name, safetensors type and shape."""

    name: str
    dtype: str
    shape: Shape

    @property
    def num_bytes(self) -> int:
        """How many bytes it takes; raises ValueError where no tensor can be so."""
        return num_bytes(self.dtype, self.shape)


class TensorSource(Protocol):
    """Whatever holds tensors. Names keep their order; bytes are row-major and little-endian, as in safetensors."""

    def names(self) -> Collection[str]:
        """Every tensor's name."""
        ...

    def info(self, name: str) -> TensorInfo:
        """A tensor's type and shape."""
        ...

    def read(self, name: str) -> memoryview:
        """All bytes of a tensor."""
        ...

    def read_range(self, name: str, start: int, stop: int) -> memoryview:
        """The bytes of a tensor from `start` to before `stop`, counted from its own beginning."""
        ...


class DiskSource:
    """The tensors of an opened checkpoint. Holds no file open, so that it may be shared, copied and forgotten."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._tensors = checkpoint.tensors
        self._shards = {shard.name: shard for shard in checkpoint.shards}

    def names(self) -> Collection[str]:
        """Every tensor's name, shard by shard, as the headers list them."""
        return self._tensors.keys()

    def info(self, name: str) -> TensorInfo:
        """A tensor's type and shape."""
        return TensorInfo(*self._tensors[name][:3])

    def place(self, name: str) -> tuple[Shard, TensorHeader]:
        """The shard that a tensor lies in, and where; for those who copy ranges without reading them."""
        tensor = self._tensors[name]
        return self._shards[tensor.file], tensor

    def read(self, name: str) -> memoryview:
        """All bytes of a tensor; raises IntegrityError where the shard has changed since it was opened."""
        return self.read_range(name, 0, self._tensors[name].num_bytes)

    def read_range(self, name: str, start: int, stop: int) -> memoryview:
        """Some bytes of a tensor."""
        shard, tensor = self.place(name)
        check_range(tensor.num_bytes, name, start, stop)
        descriptor = _open_unchanged(shard)
        try:
            return memoryview(read_exactly(descriptor, tensor.start + start, stop - start, str(shard.path)))
        finally:
            os.close(descriptor)

    def readinto(self, name: str, buffer: memoryview, start: int = 0) -> None:
        """Fill a buffer with bytes of a tensor, without taking memory for them."""
        shard, tensor = self.place(name)
        check_range(tensor.num_bytes, name, start, start + len(buffer))
        descriptor = _open_unchanged(shard)
        try:
            read_into(descriptor, tensor.start + start, buffer, str(shard.path))
        finally:
            os.close(descriptor)


def _open_unchanged(shard: Shard) -> int:
    """Open a shard again; its header must still be the one that was read."""
    descriptor = open_regular(shard.path)
    # Without ctime: another name for the file, or other rights, leave its content as it was.
    if stamp_of(descriptor)[:4] != shard.stamp[:4]:
        os.close(descriptor)
        raise IntegrityError("MENS-C040", "changed after its header was read; start again", str(shard.path))
    return descriptor


def check_range(size: int, name: str, start: int, stop: int) -> None:
    """Refuse a range that a tensor does not have, which is a mistake of the caller's and of no user's."""
    if not 0 <= start <= stop <= size:
        raise IndexError(f"bytes {start} to {stop} of {name}, which has {size}")


class DeclaredSource:
    """Tensors that are declared and not stored: what sources that make their values up have in common."""

    def __init__(self, tensors: Iterable[TensorInfo]) -> None:
        listed = [TensorInfo(*tensor) for tensor in tensors]
        self._tensors: Mapping[str, TensorInfo] = {tensor.name: tensor for tensor in listed}
        if len(self._tensors) != len(listed):
            raise ContractError("MENS-C026", "a tensor is declared twice")
        for tensor in listed:
            try:
                num_bytes(tensor.dtype, tensor.shape)
            except ValueError as error:
                code, what = error.args
                raise ContractError(code, f"tensor '{tensor.name}' {what}") from None

    def names(self) -> Collection[str]:
        """Every tensor's name, in the order of declaration."""
        return self._tensors.keys()

    def info(self, name: str) -> TensorInfo:
        """A tensor's type and shape."""
        return self._tensors[name]

    def read(self, name: str) -> memoryview:
        """All bytes of a tensor."""
        return self.read_range(name, 0, self._tensors[name].num_bytes)

    def read_range(self, name: str, start: int, stop: int) -> memoryview:
        """Some bytes of a tensor; those who make values up say how."""
        raise NotImplementedError


class SparseSource(DeclaredSource):
    """Tensors of zeros that take no space: written to disk, their files are holes behind a header."""

    def read_range(self, name: str, start: int, stop: int) -> memoryview:
        """Zeros."""
        check_range(self._tensors[name].num_bytes, name, start, stop)
        return memoryview(bytes(stop - start))
