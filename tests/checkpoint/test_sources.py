"""Tensor sources: what each gives, and that no range of it differs from the whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mens.checkpoint.storage.bfloat16 import bf16_from_f32, f32_from_bf16
from mens.checkpoint.storage.dtypes import ITEM_BYTES, SUB_BYTE
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.random_source import BLOCK, Fill, RandomSource
from mens.checkpoint.storage.sources import DiskSource, SparseSource, TensorInfo, TensorSource
from mens.contracts.errors import ContractError, IntegrityError, UnsupportedError

Folder = Callable[..., Path]
MADE = [dtype for dtype in ITEM_BYTES if dtype not in ("C64", "F8_E8M0")]


def floats(source: TensorSource, name: str) -> np.ndarray:
    """A tensor's values."""
    data, dtype = source.read(name), source.info(name).dtype
    if dtype == "BF16":
        return f32_from_bf16(np.frombuffer(data, "<u2"))
    return np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])


# bfloat16


def test_every_bfloat16_survives_the_way_there_and_back() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = f32_from_bf16(bits)
    back = bf16_from_f32(values)
    finite = ~np.isnan(values)
    assert (back[finite] == bits[finite]).all()
    assert np.isnan(f32_from_bf16(back[~finite])).all()
    assert (back[~finite] >> 15 == bits[~finite] >> 15).all(), "NaN keeps its sign"


def test_rounding_agrees_with_torch_near_every_boundary() -> None:
    """Every upper half with the lower halves where rounding turns: 0, just off, the tie, and around it."""
    upper = np.arange(1 << 16, dtype=np.uint32)[:, None] << np.uint32(16)
    lower = np.array([0, 1, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF], np.uint32)
    values = (upper | lower).reshape(-1).view(np.float32)
    ours = bf16_from_f32(values)
    theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    number = ~np.isnan(values)
    assert number.sum() > 500_000
    assert (ours[number] == theirs[number]).all()
    assert np.isnan(f32_from_bf16(ours[~number])).all()


# Random values


def test_values_are_fixed_for_ever() -> None:
    """What a seed gives is part of the interface: fixtures and their digests rest on it."""
    names = {dtype: RandomSource(1, [TensorInfo("a.weight", dtype, (5, 7))]).read("a.weight") for dtype in MADE}
    digest = hashlib.sha256(b"".join(bytes(names[dtype]) for dtype in sorted(names))).hexdigest()
    assert digest == "e7fe0179aeb106bc0c854ef79fc263029127ed649ca58742de77e3e29cf1074e"


def test_seed_and_name_decide_and_nothing_else() -> None:
    def make(seed: int, name: str, shape: tuple[int, ...], others: int = 0) -> bytes:
        infos = [TensorInfo(f"other.{at}", "F32", (3,)) for at in range(others)]
        return bytes(RandomSource(seed, [*infos, TensorInfo(name, "F32", shape)]).read(name))

    assert make(1, "a", (6,)) == make(1, "a", (6,), others=3) == make(1, "a", (2, 3))
    assert make(1, "a", (6,)) == make(1, "a", (9,))[:24]
    assert len({make(1, "a", (6,)), make(2, "a", (6,)), make(1, "b", (6,)), make(1, "\0a", (6,))}) == 4


def test_other_types_hold_the_same_values_rounded() -> None:
    source = {
        dtype: floats(RandomSource(3, [TensorInfo("w", dtype, (1000,))]), "w") for dtype in ("F32", "F16", "BF16")
    }
    exact = torch.from_numpy(source["F32"].copy())
    assert (exact.to(torch.bfloat16).float().numpy() == source["BF16"]).all()
    assert (exact.to(torch.float16).numpy() == source["F16"]).all()


def test_values_are_spread_as_asked() -> None:
    tensors = [TensorInfo("w", "F64", (200_000,)), TensorInfo("norm", "F32", (200_000,))]
    source = RandomSource(5, tensors, lambda tensor: Fill(1.0, 0.1) if tensor.name == "norm" else Fill())
    weights, norm = floats(source, "w"), floats(source, "norm")
    assert abs(weights.mean()) < 2e-4
    assert abs(weights.std() / 0.02 - 1) < 0.01
    assert abs(norm.mean() - 1) < 1e-3
    assert abs(norm.std() / 0.1 - 1) < 0.01
    assert np.abs(weights).max() < 3.5 * 0.02
    assert abs(np.corrcoef(weights[:-1], weights[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(weights, norm)[0, 1]) < 0.01


TORCH = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}


@pytest.mark.parametrize("dtype", MADE)
def test_all_random_values_are_finite(dtype: str) -> None:
    data = RandomSource(0, [TensorInfo("w", dtype, (4096,))]).read("w")
    assert len(data) == 4096 * ITEM_BYTES[dtype]
    if dtype in TORCH:
        values = torch.frombuffer(bytearray(data), dtype=TORCH[dtype]).double()
        assert torch.isfinite(values).all()
        assert len(values.unique()) > 50
    elif dtype == "BOOL":
        assert set(data) == {0, 1}
    else:
        assert len(set(data)) == 256


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MADE), st.integers(0, 300), st.data())
def test_a_range_is_the_same_as_in_the_whole(dtype: str, count: int, data: st.DataObject) -> None:
    source = RandomSource(9, [TensorInfo("w", dtype, (count,))])
    whole = bytes(source.read("w"))
    assert len(whole) == count * ITEM_BYTES[dtype]
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    assert bytes(source.read_range("w", start, stop)) == whole[start:stop]


def test_a_range_across_blocks_is_the_same_too() -> None:
    source = RandomSource(9, [TensorInfo("w", "BF16", (BLOCK + 100,))])
    whole = source.read("w")
    for start, stop in ((0, 10), (2 * BLOCK - 3, 2 * BLOCK + 5), (2 * BLOCK + 7, 2 * BLOCK + 200)):
        assert source.read_range("w", start, stop) == whole[start:stop]


def test_types_without_random_values_are_refused() -> None:
    for dtype in ("C64", "F8_E8M0"):
        with pytest.raises(UnsupportedError) as error:
            RandomSource(0, [TensorInfo("w", dtype, (1,))])
        assert (error.value.code, error.value.what) == (
            "MENS-C042",
            f"no random values are made for {dtype}, the type of 'w'",
        )


@pytest.mark.parametrize(
    ("tensors", "code", "what"),
    [
        ([TensorInfo("a", "F99", (1,))], "MENS-C005", "tensor 'a' has the unknown type 'F99'"),
        ([TensorInfo("a", "F32", (-1,))], "MENS-C007", "tensor 'a' has a negative dimension: -1"),
        ([TensorInfo("a", "F32", (1,))] * 2, "MENS-C026", "a tensor is declared twice"),
    ],
)
def test_impossible_declarations_are_refused(tensors: list[TensorInfo], code: str, what: str) -> None:
    with pytest.raises(ContractError) as error:
        SparseSource(tensors)
    assert (error.value.code, error.value.what) == (code, what)
    assert len(SUB_BYTE) == 3


# On disk


def test_the_disk_gives_back_what_was_written(checkpoint: Folder, tensors: list[TensorInfo]) -> None:
    made = RandomSource(7, tensors)
    for options in ({}, {"max_shard_bytes": 1}, {"max_shard_bytes": 400}):
        source = DiskSource(open_checkpoint(checkpoint(f"at{len(options)}{options.get('max_shard_bytes')}", **options)))
        assert set(source.names()) == set(made.names())
        for name in made.names():
            assert source.info(name) == made.info(name)
            assert source.read(name) == made.read(name)
            assert source.read_range(name, 3, 11) == made.read_range(name, 3, 11)
            buffer = bytearray(6)
            source.readinto(name, memoryview(buffer), 5)
            assert buffer == made.read_range(name, 5, 11)
            shard, tensor = source.place(name)
            assert shard.path.read_bytes()[tensor.start : tensor.end] == made.read(name)


def test_a_range_that_a_tensor_does_not_have_is_the_callers_mistake(checkpoint: Folder) -> None:
    disk = DiskSource(open_checkpoint(checkpoint()))
    sparse = SparseSource([TensorInfo("lm_head.weight", "BF16", (16, 8))])
    for source in (disk, sparse, RandomSource(0, [TensorInfo("lm_head.weight", "BF16", (16, 8))])):
        for start, stop in ((-1, 4), (4, 3), (0, 257)):
            with pytest.raises(IndexError):
                source.read_range("lm_head.weight", start, stop)
    with pytest.raises(IndexError):
        disk.readinto("lm_head.weight", memoryview(bytearray(2)), 255)


@pytest.mark.parametrize("change", ["touched", "cut", "replaced"])
def test_a_shard_that_changes_after_it_was_opened_is_refused(change: str, checkpoint: Folder) -> None:
    folder = checkpoint()
    path = folder / "model.safetensors"
    source = DiskSource(open_checkpoint(folder))
    if change == "touched":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    elif change == "cut":
        os.truncate(path, path.stat().st_size - 1)
    else:
        kept = path.stat()
        (folder / "new").write_bytes(path.read_bytes())
        os.utime(folder / "new", ns=(kept.st_atime_ns, kept.st_mtime_ns))
        os.replace(folder / "new", path)
    with pytest.raises(IntegrityError) as error:
        source.read("lm_head.weight")
    assert (error.value.code, error.value.what, error.value.where) == (
        "MENS-C040",
        "changed after its header was read; start again",
        str(path),
    )


def test_sparse_tensors_are_zeros() -> None:
    source = SparseSource([TensorInfo("a", "F32", (3,))])
    assert bytes(source.read("a")) == bytes(12)
    assert bytes(source.read_range("a", 2, 5)) == bytes(3)
