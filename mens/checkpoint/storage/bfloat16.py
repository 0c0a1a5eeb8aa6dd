"""bfloat16 without a library that knows it: the upper half of a float32, rounded to nearest, ties to even."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUIET: Final = 0x0040


def bf16_from_f32(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of each value rounded once; NaN stays NaN with its sign, and too large becomes infinity."""
    import numpy as np

    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    upper = (bits >> np.uint32(16)).astype(np.uint16)
    # Half a unit less one, plus the last kept bit: a tie then carries only out of an odd number.
    rounded = ((bits + (np.uint32(0x7FFF) + (upper & np.uint16(1)))) >> np.uint32(16)).astype(np.uint16)
    # Rounding could carry a NaN's payload away into infinity.
    nan: Any = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    result: NDArray[np.uint16] = np.where(nan, upper | np.uint16(QUIET), rounded)
    return result


def f32_from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The values of bfloat16 bits, exactly."""
    import numpy as np

    return (np.ascontiguousarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
