"""Fingerprints of an architecture: what a checkpoint is before any of its values is looked at.

Two of them, because two questions are asked. `fingerprint` is of the checkpoint as it lies on disk: another layout of
the same weights, another element type or another prefix is another fingerprint, and adapters record this one. The
configuration enters it only where tensor names and shapes say nothing. `text_fingerprint` is of the text model alone,
from the configuration alone: a multimodal checkpoint and its text-only export share it, so an adapter of the one may
be converted for the other. Neither reads a family file, so that a better family file changes no recorded fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Final

from mens.checkpoint.storage.folder import Checkpoint
from mens.checkpoint.storage.headers import TensorHeader
from mens.checkpoint.storage.sources import TensorInfo
from mens.contracts.json_types import JsonObject, JsonValue

VERSION: Final = 1
"""Part of every fingerprint: whoever changes what enters one raises it, and old ones then match nothing."""

BEHAVIOUR: Final[dict[str, tuple[str, ...]]] = {
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "linear_key_heads": ("linear_num_key_heads",),
    "linear_value_heads": ("linear_num_value_heads",),
    "top_k": ("num_experts_per_tok", "moe_topk"),
    "norm_top_k": ("norm_topk_prob",),
    "activation": ("hidden_act", "activation_function"),
    "epsilon": ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps"),
    "context": ("max_position_embeddings", "n_positions"),
    "theta": ("rope_parameters.rope_theta", "rope_theta"),
    "rotated": ("rope_parameters.partial_rotary_factor", "partial_rotary_factor"),
    "rope_type": ("rope_parameters.rope_type", "rope_scaling.rope_type", "rope_scaling.type"),
    "rope_factor": ("rope_parameters.factor", "rope_scaling.factor"),
    "rope_sections": ("rope_parameters.mrope_section", "rope_scaling.mrope_section"),
    "rope_origin": (
        "rope_parameters.original_max_position_embeddings",
        "rope_scaling.original_max_position_embeddings",
    ),
}
"""What decides how a text model computes and shows in no shape, under every name that upstream has had for it."""
SIZES: Final[dict[str, tuple[str, ...]]] = {
    "layers": ("num_hidden_layers", "n_layer"),
    "hidden": ("hidden_size", "n_embd"),
    "ffn": ("intermediate_size", "n_inner"),
    "vocab": ("vocab_size",),
    "experts": ("num_experts", "num_local_experts"),
    "expert_ffn": ("moe_intermediate_size",),
    "shared_ffn": ("shared_expert_intermediate_size",),
    "linear_key_dim": ("linear_key_head_dim",),
    "linear_value_dim": ("linear_value_head_dim",),
    "kernel": ("linear_conv_kernel_dim",),
}
"""What shapes say on disk, for the fingerprint that reads no shapes."""
UNSAID: Final[dict[str, tuple[JsonValue, ...]]] = {"rope_type": ("default",), "rotated": (1, 1.0)}
"""Values that mean the same as saying nothing."""
PLAIN_LAYERS: Final = frozenset({"full_attention", "linear_attention"})


def fingerprint_of(checkpoint: Checkpoint) -> str:
    """The fingerprint of an opened checkpoint."""
    return fingerprint(checkpoint.tensors.values(), checkpoint.config.value)


def fingerprint(tensors: Iterable[TensorHeader | TensorInfo], config: JsonObject) -> str:
    """`arch:` and a digest: of names, types and shapes, and of the configuration where those are silent."""
    lying = {tensor.name: [tensor.dtype, tensor.shape] for tensor in tensors}
    model = {"model_type": config.get("model_type"), **behaviour(config)}
    return f"arch:{_digest({'version': VERSION, 'config': model, 'tensors': lying})}"


def text_fingerprint(config: JsonObject) -> str:
    """`text:` and a digest: of the text model that a configuration describes, in whatever layout it is stored."""
    text = _text(config)
    model = {"model_type": text.get("model_type"), **behaviour(config), **dict(_said(config, SIZES))}
    return f"text:{_digest({'version': VERSION, 'config': model})}"


def behaviour(config: JsonObject) -> dict[str, JsonValue]:
    """What a configuration says about computing, under names of our own; what it leaves unsaid is left out."""
    said = dict(_said(config, BEHAVIOUR))
    said["tied"] = bool(config.get("tie_word_embeddings") or _text(config).get("tie_word_embeddings"))
    kinds = _field(config, "layer_types")
    # A list of full and linear attention only repeats what the tensor names show, and may be missing.
    if isinstance(kinds, list) and not PLAIN_LAYERS.issuperset(map(str, kinds)):
        said["layer_types"] = kinds
    if _field(config, "use_sliding_window") is not False and _field(config, "sliding_window") is not None:
        said["window"] = _field(config, "sliding_window")
    return said


def _said(config: JsonObject, fields: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, JsonValue]]:
    for name, spellings in fields.items():
        found = (_field(config, spelling) for spelling in spellings)
        value = next((value for value in found if value is not None), None)
        if value is not None and value not in UNSAID.get(name, ()):
            yield name, value


def _field(config: JsonObject, path: str) -> JsonValue:
    """A field of the text model, or of the root where the text model's section does not have it."""
    for section in (_text(config), config):
        value: JsonValue = section
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def _text(config: JsonObject) -> JsonObject:
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def _digest(value: JsonValue) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
