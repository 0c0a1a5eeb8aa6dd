"""Checkpoints to open: small ones, and the pieces from which malformed ones are put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mens.checkpoint.storage.random_source import RandomSource
from mens.checkpoint.storage.sources import TensorInfo, TensorSource
from mens.checkpoint.storage.write import write_checkpoint

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8}
TENSORS = [
    TensorInfo("model.embed_tokens.weight", "BF16", (16, 8)),
    TensorInfo("model.layers.0.self_attn.q_proj.weight", "BF16", (8, 8)),
    TensorInfo("model.layers.0.input_layernorm.weight", "F32", (8,)),
    TensorInfo("model.norm.weight", "F16", (8,)),
    TensorInfo("lm_head.weight", "BF16", (16, 8)),
]

Pack = Callable[..., bytes]
Folder = Callable[..., Path]


def packed(header: bytes | str | Mapping[str, Any], data: int | bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, whatever the header says, and so many bytes behind it."""
    raw = json.dumps(header).encode() if isinstance(header, Mapping) else header
    raw = raw.encode() if isinstance(raw, str) else raw
    data = bytes(data) if isinstance(data, int) else data
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


@pytest.fixture
def pack() -> Pack:
    return packed


@pytest.fixture
def tensors() -> list[TensorInfo]:
    return list(TENSORS)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Folder:
    """Writes a small checkpoint: in one file, or in shards of at most so many bytes."""

    def write(name: str = "base", source: TensorSource | None = None, **options: Any) -> Path:
        config = json.dumps(options.pop("config", CONFIG)).encode()
        write_checkpoint(tmp_path / name, source or RandomSource(7, TENSORS), {"config.json": config}, **options)
        return tmp_path / name

    return write
