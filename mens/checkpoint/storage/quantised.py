"""Whether a checkpoint's weights are stored quantised, told from its configuration and its tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from mens.checkpoint.storage.dtypes import EIGHT_BIT_FLOATS, PLAIN_FLOATS
from mens.checkpoint.storage.headers import TensorHeader
from mens.contracts.json_types import JsonObject

Method = Literal["fp8", "gptq", "awq", "bitsandbytes", "other"]

METHODS: Final[dict[str, Method]] = {
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "gptq": "gptq",
    "awq": "awq",
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
}
ENDINGS: Final[dict[str, Method]] = {
    "weight_scale_inv": "fp8",
    "g_idx": "gptq",
    "qweight": "awq",
    "absmax": "bitsandbytes",
    "quant_map": "bitsandbytes",
    "SCB": "bitsandbytes",
    "weight_packed": "other",
    "weight_scale": "other",
}
"""What only quantised checkpoints have beside a weight, by the last step of the tensor's name."""
PRECEDENCE: Final[tuple[Method, ...]] = ("bitsandbytes", "gptq", "awq", "fp8", "other")
"""GPTQ and AWQ share `qweight`, and only GPTQ adds `g_idx`: the more telling method is named."""
BITS: Final[dict[Method, int]] = {"fp8": 8}


class Quantisation(NamedTuple):
    """How weights are quantised, how many bits they take where that is said, and how many tensors show it."""

    method: Method
    bits: int | None
    num_tensors: int


def quantisation(config: JsonObject, tensors: Iterable[TensorHeader]) -> Quantisation | None:
    """What configuration and tensors show; None only where neither shows anything."""
    declared = _declared(config)
    seen, num_weights = _seen(tensors)
    if declared is None and not seen and not num_weights:
        return None
    method: Method = next((method for method in PRECEDENCE if method in seen), "other")
    if declared is not None:
        method = METHODS.get(str(declared.get("quant_method")), method)
        if declared.get("load_in_4bit") or declared.get("load_in_8bit"):
            method = "bitsandbytes"
    return Quantisation(method, _bits(declared or {}, method), num_weights)


def _declared(config: JsonObject) -> JsonObject | None:
    text = config.get("text_config")
    for section in (config, text if isinstance(text, dict) else {}):
        for name in ("quantization_config", "compression_config"):
            found = section.get(name)
            if found is not None:
                return found if isinstance(found, dict) else {}
    return None


def _seen(tensors: Iterable[TensorHeader]) -> tuple[set[Method], int]:
    """The methods that tensors show, and how many weights are stored in a type that no training reads."""
    seen: set[Method] = set()
    num_weights = 0
    for tensor in tensors:
        last = tensor.name.rpartition(".")[2]
        if last in ENDINGS:
            seen.add(ENDINGS[last])
        if last in ("qweight", "weight_packed"):
            num_weights += 1
        elif tensor.dtype not in PLAIN_FLOATS and len(tensor.shape) >= 2 and last not in ENDINGS:
            if tensor.dtype in EIGHT_BIT_FLOATS:
                seen.add("fp8")
                num_weights += 1
            elif last in ("weight", "gate_up_proj", "down_proj"):
                seen.add("other")
                num_weights += 1
    return seen, num_weights


def _bits(declared: JsonObject, method: Method) -> int | None:
    for name, loaded in (("load_in_4bit", 4), ("load_in_8bit", 8)):
        if declared.get(name):
            return loaded
    bits = declared.get("bits")
    return bits if type(bits) is int and 1 <= bits <= 16 else BITS.get(method)
