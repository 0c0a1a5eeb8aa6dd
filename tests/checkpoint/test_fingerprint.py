"""Fingerprints: what changes them, and what does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mens.checkpoint.storage.fingerprint import fingerprint, fingerprint_of, text_fingerprint
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.sources import TensorInfo

Folder = Callable[..., Path]
TEXT = {
    "model_type": "qwen3_5_text",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "layer_types": ["linear_attention", "full_attention"],
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000_000, "partial_rotary_factor": 0.25},
}
MULTIMODAL = {"model_type": "qwen3_5", "text_config": TEXT, "vision_config": {"depth": 2}, "tie_word_embeddings": True}


def changed(config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(config), **fields}


def test_the_fingerprint_is_fixed_for_ever(tensors: list[TensorInfo]) -> None:
    """Adapters record it: whoever changes what enters it raises its version, knowingly."""
    assert fingerprint(tensors, MULTIMODAL) == "arch:770e4c0c1e22d8444cdbda4ffa1cfa9ab6fe977d4379b202d98d29e627371dc3"
    assert text_fingerprint(MULTIMODAL) == "text:56e5917c4a8e589be4132b231713dbd614ece1e960843d45d7379909869d5e32"


def test_order_and_shards_do_not_matter(checkpoint: Folder, tensors: list[TensorInfo]) -> None:
    single, sharded = open_checkpoint(checkpoint("a")), open_checkpoint(checkpoint("b", max_shard_bytes=1))
    assert fingerprint_of(single) == fingerprint_of(sharded)
    assert fingerprint_of(single) == fingerprint(reversed(tensors), single.config.value)


@pytest.mark.parametrize("what", ["name", "dtype", "shape", "one less", "one more"])
def test_every_change_of_a_tensor_shows(what: str, tensors: list[TensorInfo]) -> None:
    before = fingerprint(tensors, TEXT)
    for at, tensor in enumerate(tensors):
        other = {
            "name": [tensor._replace(name=tensor.name + "x")],
            "dtype": [tensor._replace(dtype="F64")],
            "shape": [tensor._replace(shape=(*tensor.shape, 1))],
            "one less": [],
            "one more": [tensor, tensor._replace(name="more")],
        }[what]
        assert fingerprint([*tensors[:at], *other, *tensors[at + 1 :]], TEXT) != before


MATTERS: list[dict[str, Any]] = [
    {"num_attention_heads": 8},
    {"num_key_value_heads": 4},
    {"hidden_act": "gelu"},
    {"rms_norm_eps": 1e-5},
    {"max_position_embeddings": 8192},
    {"num_experts_per_tok": 2},
    {"tie_word_embeddings": True},
    {"rope_parameters": {**TEXT["rope_parameters"], "rope_theta": 1e6}},  # type: ignore[dict-item]
    {"rope_parameters": {**TEXT["rope_parameters"], "partial_rotary_factor": 0.5}},  # type: ignore[dict-item]
    {"rope_parameters": {**TEXT["rope_parameters"], "rope_type": "yarn", "factor": 4}},  # type: ignore[dict-item]
    {"layer_types": ["sliding_attention", "full_attention"]},
    {"sliding_window": 512},
    {"model_type": "other"},
]
SAME: list[dict[str, Any]] = [
    {"layer_types": None},
    {"transformers_version": "9.9"},
    {"torch_dtype": "float16"},
    {"use_cache": False},
    {"eos_token_id": 5},
    {"tie_word_embeddings": False},
    {"sliding_window": 512, "use_sliding_window": False},
    {"rope_parameters": None, "rope_theta": 10_000_000, "partial_rotary_factor": 0.25, "rope_scaling": None},
    {"n_head": 99},
]


@pytest.mark.parametrize("fields", MATTERS, ids=lambda fields: "+".join(fields))
def test_what_decides_how_a_model_computes_shows(fields: dict[str, Any], tensors: list[TensorInfo]) -> None:
    assert fingerprint(tensors, changed(TEXT, **fields)) != fingerprint(tensors, TEXT)
    assert text_fingerprint(changed(TEXT, **fields)) != text_fingerprint(TEXT)


@pytest.mark.parametrize("fields", SAME, ids=lambda fields: "+".join(fields))
def test_what_is_only_written_otherwise_does_not(fields: dict[str, Any], tensors: list[TensorInfo]) -> None:
    assert fingerprint(tensors, changed(TEXT, **fields)) == fingerprint(tensors, TEXT)
    assert text_fingerprint(changed(TEXT, **fields)) == text_fingerprint(TEXT)


def test_a_text_only_export_shares_the_text_fingerprint_alone(tensors: list[TensorInfo]) -> None:
    export = changed(TEXT, tie_word_embeddings=True)
    assert text_fingerprint(export) == text_fingerprint(MULTIMODAL)
    assert fingerprint(tensors, export) != fingerprint(tensors, MULTIMODAL)
    assert text_fingerprint(changed(TEXT, hidden_size=128)) != text_fingerprint(TEXT)
    assert text_fingerprint(TEXT) != text_fingerprint(export), "tied or not is part of it"


def test_both_have_the_form_of_their_kind(tensors: list[TensorInfo]) -> None:
    kinds = {"arch": fingerprint(tensors, TEXT), "text": text_fingerprint(TEXT)}
    for prefix, text in kinds.items():
        assert text.startswith(f"{prefix}:")
        assert len(text) == 69
