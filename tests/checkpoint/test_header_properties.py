"""Headers against the safetensors library, both ways, and damaged headers against everything."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from mens.checkpoint.storage.dtypes import ITEM_BYTES
from mens.checkpoint.storage.headers import read_header
from mens.checkpoint.storage.sources import TensorInfo
from mens.checkpoint.storage.write import header_bytes, plan_shards
from mens.contracts.errors import MensError

NUMPY = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "F16": np.float16,
    "U32": np.uint32, "I32": np.int32, "F32": np.float32, "U64": np.uint64, "I64": np.int64, "F64": np.float64,
}  # fmt: skip
NAMES = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=40).filter(str.isprintable)
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def specs(dtypes: list[str]) -> st.SearchStrategy[list[TensorInfo]]:
    """Tensors under names that a checkpoint might have."""
    one = st.builds(TensorInfo, NAMES.filter(lambda name: name != "__metadata__"), st.sampled_from(dtypes), SHAPES)
    return st.lists(one, max_size=8, unique_by=lambda tensor: tensor.name)


def read(data: bytes) -> dict[str, Any]:
    """What our reader makes of these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(data)
        return dict(read_header(path).tensors)


@settings(deadline=None)
@given(specs(list(NUMPY)))
def test_what_the_library_writes_is_read_alike(tensors: list[TensorInfo]) -> None:
    data = save({tensor.name: np.zeros(tensor.shape, NUMPY[tensor.dtype]) for tensor in tensors})
    found = read(data)
    assert {(tensor.name, tensor.dtype, tensor.shape) for tensor in found.values()} == set(tensors)
    for name, there in safetensors.deserialize(data):
        assert data[found[name].start : found[name].end] == bytes(there["data"])


@settings(deadline=None)
@given(specs(list(NUMPY)), st.dictionaries(NAMES, st.text(max_size=20).filter(str.isprintable), max_size=3))
def test_what_mens_writes_is_read_alike(tensors: list[TensorInfo], metadata: dict[str, str]) -> None:
    planned = plan_shards(tensors)[0]
    body = np.random.default_rng(0).integers(0, 2, planned.num_bytes, np.uint8).tobytes()
    data = header_bytes(planned.tensors, metadata) + body
    found, theirs = read(data), load(data)
    assert found.keys() == theirs.keys() == {tensor.name for tensor in tensors}
    for name, array in theirs.items():
        assert (NUMPY[found[name].dtype], found[name].shape) == (array.dtype.type, array.shape)
        assert data[found[name].start : found[name].end] == array.tobytes()
        assert found[name].start % ITEM_BYTES[found[name].dtype] == 0, "tensors are aligned"


@settings(deadline=None)
@given(specs(list(NUMPY)))
def test_mens_writes_the_very_bytes_of_the_library(tensors: list[TensorInfo]) -> None:
    planned = plan_shards(tensors)[0]
    arrays = {tensor.name: np.zeros(tensor.shape, NUMPY[tensor.dtype]) for tensor in tensors}
    assert header_bytes(planned.tensors, {}) + bytes(planned.num_bytes) == save(arrays)


@settings(deadline=None)
@given(specs([*NUMPY, "BF16", "F8_E4M3", "F8_E5M2"]), st.data())
def test_a_declared_place_is_where_the_library_says(tensors: list[TensorInfo], data: st.DataObject) -> None:
    """Entries in any order in the header, fields in any order in an entry: the format asks for neither."""
    placed = header_bytes(plan_shards(tensors)[0].tensors)
    header = json.loads(placed[8:])
    names = data.draw(st.permutations(list(header)))
    fields = data.draw(st.permutations(["dtype", "shape", "data_offsets"]))
    shuffled = {
        name: header[name] if name == "__metadata__" else {field: header[name][field] for field in fields}
        for name in names
    }
    raw = json.dumps(shuffled, indent=data.draw(st.sampled_from([None, 1]))).encode()
    size = plan_shards(tensors)[0].num_bytes
    found = read(len(raw).to_bytes(8, "little") + raw + bytes(size))
    theirs = safetensors.deserialize(len(raw).to_bytes(8, "little") + raw + bytes(size))
    assert {(name, there["dtype"], tuple(there["shape"])) for name, there in theirs} == {
        (tensor.name, tensor.dtype, tensor.shape) for tensor in found.values()
    }


GOOD = save({"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.int8)}, {"format": "pt"})


def library_accepts(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)
    except Exception:
        return False
    return True


def judged(data: bytes) -> bool:
    """Whether we accept these bytes; whatever else happens but a refusal is a defect."""
    try:
        read(data)
    except MensError as error:
        return error.exit_code not in (3, 4)
    return True


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) * 8 - 1))
def test_a_flipped_bit_is_refused_or_makes_another_good_header(bit: int) -> None:
    damaged = bytearray(GOOD)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not judged(bytes(damaged)) or library_accepts(bytes(damaged))


def test_a_file_cut_anywhere_is_refused() -> None:
    accepted = [judged(GOOD[:length]) for length in range(len(GOOD) + 1)]
    assert accepted == [False] * len(GOOD) + [True]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    assert not judged(data) or library_accepts(data)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "a", ""]), inner, max_size=4
            )
        ),
    ),
    st.integers(0, 16),
)
def test_any_json_is_refused_unless_the_library_reads_it_too(value: Any, size: int) -> None:
    raw = json.dumps(value).encode()
    data = len(raw).to_bytes(8, "little") + raw + bytes(size)
    assert not judged(data) or library_accepts(data)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["F32", "F16", "BF16", "U8", "F4", "F33"]),
            st.lists(st.sampled_from([0, 1, 2, 3, 2**31, 2**63, -1]), max_size=3),
            st.integers(-1, 9),
            st.integers(0, 20),
        ),
        max_size=3,
    ),
    st.integers(0, 24),
)
def test_mens_accepts_what_the_library_accepts_and_no_more(entries: list[Any], size: int) -> None:
    """Everything but packed types and shapes that hide an overflow behind a zero, where we are the stricter."""
    header = {
        f"t{at}": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        for at, (dtype, shape, begin, end) in enumerate(entries)
    }
    raw = json.dumps(header).encode()
    data = len(raw).to_bytes(8, "little") + raw + bytes(size)
    stricter = any(dtype == "F4" or (0 in shape and max(shape) > 2**30) for dtype, shape, _, _ in entries)
    if not stricter:
        assert judged(data) == library_accepts(data)
