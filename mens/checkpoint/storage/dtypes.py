"""The element types of safetensors, and how many bytes an element takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ITEM_BYTES: Final[Mapping[str, int]] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2FNUZ": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "C64": 8,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}
"""In the order in which the library lays tensors out, from the last to the first; sizes never fall along it."""
SUB_BYTE: Final = frozenset({"F4", "F6_E2M3", "F6_E3M2"})
"""Packed types: several elements share a byte, so a range of elements is no range of bytes."""
EIGHT_BIT_FLOATS: Final = frozenset({"F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"})
PLAIN_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
