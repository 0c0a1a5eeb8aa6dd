"""A safetensors file by its header alone: every tensor's name, type, shape and place, or every reason to refuse it."""

from __future__ import annotations

import gc
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from mens.checkpoint.storage.dtypes import ITEM_BYTES, SUB_BYTE
from mens.checkpoint.storage.faults import Fault, refusal, said
from mens.checkpoint.storage.files import Stamp, read_exactly, stamp_of
from mens.contracts.source import open_regular

LENGTH_BYTES: Final = 8
LONGEST_HEADER: Final = 100_000_000
LONGEST_NAME: Final = 512
SURELY_SHORT: Final = LONGEST_NAME // 4  # in characters, of which none takes more than four bytes
MOST_TENSORS: Final = 500_000
MOST_DIMENSIONS: Final = 64
LARGEST: Final = 2**63 - 1
METADATA: Final = "__metadata__"
FIELDS: Final = ("dtype", "shape", "data_offsets")
_PLACE: Final = attrgetter("start", "end")
_TWO_INTEGERS: Final = [int, int]
_INTEGERS: Final = frozenset({int})


class TensorHeader(NamedTuple):
    """One tensor as a header declares it; `start` and `end` count from the beginning of its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    start: int
    end: int

    @property
    def num_bytes(self) -> int:
        """How many bytes it takes."""
        return self.end - self.start

    @property
    def num_elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Shard:
    """One safetensors file: what it is called, where it really lies, and what its header declares."""

    name: str
    path: Path
    data_start: int
    stamp: Stamp
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorHeader] = field(repr=False)


class _Entry(NamedTuple):
    """An entry of the right form; its numbers count from the end of the header and are not yet judged."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Members(list[tuple[str, Any]]):
    """Any other object of a header, as it was written."""


class _NotANumberError(ValueError):
    """A fraction, a NaN or an infinity, none of which a header may hold."""


def read_header(path: Path, name: str = "") -> Shard:
    """Read the header of one file; raises FaultyCheckpoint with every fault, UnsupportedError for packed types."""
    name = name or path.name
    descriptor = open_regular(path)
    try:
        stamp = stamp_of(descriptor)
        raw = _header_bytes(descriptor, stamp.size, str(path))
    finally:
        os.close(descriptor)
    data_start = LENGTH_BYTES + len(raw)
    try:
        with without_collection():
            tensors, metadata = _judge(raw, name, data_start, stamp.size)
    except _FaultsError as found:
        raise refusal(str(path), found.faults) from None
    return Shard(name, path, data_start, stamp, metadata, tensors)


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the cycle collector: headers make no cycles, and it would walk all their tuples again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _FaultsError(Exception):
    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self.faults = faults


def _header_bytes(descriptor: int, size: int, where: str) -> bytes:
    """The header's bytes; their number is judged before memory is taken for them."""
    if size < LENGTH_BYTES:
        raise refusal(where, [Fault("MENS-C001", f"{size} bytes are too few for a safetensors file")])
    length = int.from_bytes(read_exactly(descriptor, 0, LENGTH_BYTES, where), "little")
    if length > LONGEST_HEADER:
        what = f"the header claims {length:,} bytes; the format allows {LONGEST_HEADER:,}"
    elif length > size - LENGTH_BYTES:
        what = f"the header claims {length:,} bytes, and {size - LENGTH_BYTES:,} follow"
    elif length < len("{}"):
        what = f"a header of {length} bytes holds nothing"
    else:
        return bytes(read_exactly(descriptor, LENGTH_BYTES, length, where))
    raise refusal(where, [Fault("MENS-C001", what)])


def _judge(raw: bytes, file: str, data_start: int, size: int) -> tuple[dict[str, TensorHeader], dict[str, str]]:
    members = _parsed(raw)
    names = dict(members)
    if len(names) != len(members):
        twice = [name for name, times in Counter(name for name, _ in members).items() if times > 1]
        raise _FaultsError(*(Fault("MENS-C003", f"{said(name)} stands twice in the header") for name in twice))
    if len(names) > MOST_TENSORS:
        raise _FaultsError(Fault("MENS-C013", f"{len(names):,} tensors; a file may hold {MOST_TENSORS:,}"))
    metadata, faults = _metadata(names.pop(METADATA, _Members()))
    sizes: dict[tuple[str, tuple[int, ...]], int] = {}
    tensors: dict[str, TensorHeader] = {}
    for name, entry in names.items():
        if not (name.isprintable() and 0 < len(name) <= SURELY_SHORT):
            faults += _name_faults(name)
        if not (
            isinstance(entry, _Entry)
            and 0 <= entry[2] <= entry[3] <= LARGEST
            and sizes.get(entry[:2]) == entry[3] - entry[2]
        ):
            faults += _entry_faults(name, entry, sizes)
        if not faults:
            dtype, shape, begin, end = entry
            # A named tuple's own __new__ takes twice as long, and there may be a hundred thousand.
            fields = (name, dtype, shape, file, data_start + begin, data_start + end)
            tensors[name] = tuple.__new__(TensorHeader, fields)
    # Gaps and overlaps mean something only once every tensor has a place of its own.
    faults += () if faults else _placement_faults(tensors, data_start, size)
    if faults:
        raise _FaultsError(*faults)
    return tensors, metadata


def _parsed(raw: bytes) -> _Members:
    """The header's outermost members; what could only waste memory is refused by counting, before it is parsed."""
    if not raw.startswith(b"{"):
        raise _FaultsError(Fault("MENS-C002", "the header does not begin with '{'"))
    if raw.count(b"[") + raw.count(b"{") > 3 * MOST_TENSORS or raw.count(b",") > 16 * MOST_TENSORS:
        raise _FaultsError(Fault("MENS-C013", f"the header has more parts than {MOST_TENSORS:,} tensors need"))
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        what = f"byte 0x{raw[error.start]:02X} at {error.start} of the header is not UTF-8"
    except json.JSONDecodeError as error:
        what = f"the header is not JSON: {error.msg}, at character {error.pos}"
    except RecursionError:
        what = "the header nests too deep"
    except _NotANumberError as error:
        what = f"{said(str(error))} stands in the header, which holds texts and whole numbers only"
    except ValueError:
        what = "the header holds a number of thousands of digits"
    else:
        return _outermost(value)
    raise _FaultsError(Fault("MENS-C002", what))


def _outermost(value: Any) -> _Members:
    if isinstance(value, _Members):
        return value
    # Three members called dtype, shape and data_offsets: one entry where a map of entries should be.
    raise _FaultsError(Fault("MENS-C004", "the header is one tensor's entry, not a map of tensors"))


def _object(pairs: list[tuple[str, Any]]) -> _Entry | _Members:
    """An entry where it has the form of one, which nearly all do; else what was written, to be explained later."""
    if len(pairs) == len(FIELDS):
        (first, dtype), (second, shape), (third, offsets) = pairs
        if first != "dtype" or second != "shape" or third != "data_offsets":
            dtype, shape, offsets = map(dict(pairs).get, FIELDS)
        if (
            type(dtype) is str
            and type(shape) is list
            and type(offsets) is list
            and list(map(type, offsets)) == _TWO_INTEGERS
            and _INTEGERS.issuperset(map(type, shape))
        ):
            return tuple.__new__(_Entry, (dtype, tuple(shape), *offsets))
    return _Members(pairs)


def _no_number(literal: str) -> Any:
    raise _NotANumberError(literal)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number)


def _metadata(value: Any) -> tuple[dict[str, str], list[Fault]]:
    if not isinstance(value, _Members) or not all(isinstance(text, str) for _, text in value):
        return {}, [Fault("MENS-C012", f"'{METADATA}' must map names to texts")]
    members = dict(value)
    if len(members) != len(value):
        return {}, [Fault("MENS-C003", f"a name stands twice in '{METADATA}'")]
    return members, []


def _name_faults(name: str) -> Iterator[Fault]:
    """Printable excludes control characters, lone surrogates, and marks that reverse or hide text."""
    if not name:
        yield Fault("MENS-C011", "a tensor has no name")
    elif not name.isprintable():
        yield Fault("MENS-C011", f"the name {said(name)} has characters that do not print")
    elif len(name.encode()) > LONGEST_NAME:
        yield Fault("MENS-C011", f"the name {said(name)} takes more than {LONGEST_NAME} bytes")


def _entry_faults(name: str, entry: Any, sizes: dict[tuple[str, tuple[int, ...]], int]) -> Iterator[Fault]:
    if not isinstance(entry, _Entry):
        yield Fault("MENS-C004", f"tensor {said(name)} {_deformity(entry)}")
        return
    dtype, shape, begin, end = entry
    size = sizes.get((dtype, shape))
    if size is None:
        try:
            size = sizes[dtype, shape] = num_bytes(dtype, shape)
        except ValueError as error:
            code, what = error.args
            yield Fault(code, f"tensor {said(name)} {what}")
            return
    if not 0 <= begin <= end <= LARGEST:
        yield Fault("MENS-C008", f"tensor {said(name)} lies at {_shown(begin)} to {_shown(end)}, which is no range")
    elif end - begin != size:
        what = f"has {end - begin:,} bytes where {dtype} {list(shape)} takes {size:,}"
        yield Fault("MENS-C008", f"tensor {said(name)} {what}")


def num_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """How many bytes a tensor takes; raises ValueError(code, reason) where no tensor can be so."""
    if dtype in SUB_BYTE:
        raise ValueError("MENS-C006", f"is stored as {dtype}, several elements to a byte, which mens does not read")
    if dtype not in ITEM_BYTES:
        raise ValueError("MENS-C005", f"has the unknown type {said(dtype)}")
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError("MENS-C007", f"has {len(shape):,} dimensions; {MOST_DIMENSIONS} are the most")
    if any(size < 0 for size in shape):
        raise ValueError("MENS-C007", f"has a negative dimension: {_shown(min(shape))}")
    # A dimension of 0 must not hide others that no machine could count.
    if any(size > LARGEST for size in shape) or math.prod(size or 1 for size in shape) > LARGEST // ITEM_BYTES[dtype]:
        raise ValueError("MENS-C007", "has a shape whose size exceeds 63 bits")
    return math.prod(shape) * ITEM_BYTES[dtype]


def _shown(number: int) -> str:
    return f"{number:,}" if -LARGEST <= number <= LARGEST else "a number beyond 63 bits"


def _deformity(entry: Any) -> str:
    """Why this is no entry."""
    if not isinstance(entry, _Members):
        return "is described by no object"
    members = dict(entry)
    if len(members) != len(entry):
        return "has a field twice"
    missing = [name for name in FIELDS if name not in members]
    unknown = [name for name in members if name not in FIELDS]
    if missing:
        return f"lacks {', '.join(missing)}"
    if unknown:
        return f"has the unknown field {said(unknown[0])}"
    checks: dict[str, Callable[[Any], bool]] = {"dtype": lambda value: isinstance(value, str), "shape": _is_counts}
    wrong = next((name for name, holds in checks.items() if not holds(members[name])), "data_offsets")
    forms = {"dtype": "a text", "shape": "a list of whole numbers", "data_offsets": "a list of two whole numbers"}
    return f"has a {wrong} that is not {forms[wrong]}"


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and _INTEGERS.issuperset(map(type, value))


def _placement_faults(tensors: Mapping[str, TensorHeader], data_start: int, size: int) -> Iterator[Fault]:
    """Tensors lie one behind the other from the end of the header to the end of the file, nothing between or after."""
    reached, previous = data_start, ""
    for tensor in sorted(tensors.values(), key=_PLACE):
        if tensor.start > reached:
            unclaimed = tensor.start - reached
            yield Fault("MENS-C009", f"{unclaimed:,} bytes before tensor {said(tensor.name)} belong to none")
        elif tensor.start < reached:
            yield Fault("MENS-C009", f"tensors {said(previous)} and {said(tensor.name)} overlap")
        if tensor.end >= reached:
            reached, previous = tensor.end, tensor.name
    if reached < size:
        yield Fault("MENS-C010", f"{size - reached:,} bytes follow the last tensor")
    elif reached > size:
        yield Fault("MENS-C010", f"the file ends {reached - size:,} bytes before its last tensor does")
