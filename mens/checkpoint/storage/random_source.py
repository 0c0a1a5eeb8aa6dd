"""Random values of any declared shape, the same on every machine and for every range that is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mens.checkpoint.storage.bfloat16 import bf16_from_f32
from mens.checkpoint.storage.dtypes import ITEM_BYTES
from mens.checkpoint.storage.sources import DeclaredSource, TensorInfo, check_range
from mens.contracts.errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK: Final = 1 << 18
"""Elements made at once: their working memory stays in cache."""
WORDS_PER_STEP: Final = 4
"""How many 64-bit words one step of the counter yields."""
CENTRE: Final = 2 * 0xFFFF
DEVIATION: Final = ((2**32 - 1) / 3) ** 0.5
"""Mean and standard deviation of a sum of four independent 16-bit integers."""
TYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "u1"}


class Fill(NamedTuple):
    """How a tensor's values are spread: mean and standard deviation of floating-point ones."""

    mean: float = 0.0
    deviation: float = 0.02


def plain(_tensor: TensorInfo) -> Fill:
    """Every tensor alike."""
    return Fill()


class RandomSource(DeclaredSource):
    """Values that follow from a seed and a tensor's name.

    Nearly normal, never beyond 3.5 deviations, so always finite. A tensor declared in another floating-point type
    has the same values, rounded. Integers are uniform over their bits, except that BOOL is 0 or 1.
    """

    def __init__(self, seed: int, tensors: Iterable[TensorInfo], fill: Callable[[TensorInfo], Fill] = plain) -> None:
        super().__init__(tensors)
        self._seed = seed
        self._fill = fill
        for tensor in self._tensors.values():
            if tensor.dtype == "C64" or tensor.dtype.startswith("F8_E8"):
                what = f"no random values are made for {tensor.dtype}, the type of '{tensor.name}'"
                raise UnsupportedError("MENS-C042", what)

    def read_range(self, name: str, start: int, stop: int) -> memoryview:
        """Some bytes of a tensor, equal to the same bytes of the whole."""
        tensor = self._tensors[name]
        check_range(tensor.num_bytes, name, start, stop)
        size = ITEM_BYTES[tensor.dtype]
        first, last = start // size, -(-stop // size)
        result = bytearray()
        for begin in range(first, last, BLOCK):
            result += self._values(tensor, begin, min(begin + BLOCK, last)).tobytes()
        return memoryview(result)[start - first * size : stop - first * size]

    def _values(self, tensor: TensorInfo, first: int, last: int) -> NDArray[Any]:
        words = self._words(tensor.name, first, last)
        if tensor.dtype.startswith("F8_"):
            return _small_floats(words)
        if tensor.dtype == "BOOL":
            return (words & 1).astype("u1")
        if tensor.dtype not in TYPES:
            return words.astype(f"<u{ITEM_BYTES[tensor.dtype]}")
        values = _spread(words, self._fill(tensor))
        if tensor.dtype == "BF16":
            return bf16_from_f32(values.astype("<f4")).astype("<u2")
        if tensor.dtype == "F16":
            return values.astype("<f4").astype("<f2")
        return values.astype(TYPES[tensor.dtype])

    def _words(self, name: str, first: int, last: int) -> NDArray[np.uint64]:
        """One 64-bit word for each element from `first` on, found by counting and not by drawing all before them."""
        import numpy as np

        digest = hashlib.sha256(f"{self._seed}\0{name}".encode()).digest()
        generator = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
        steps = first // WORDS_PER_STEP
        generator.advance(steps)
        begin = steps * WORDS_PER_STEP
        return generator.random_raw(last - begin)[first - begin :]


def _spread(words: NDArray[np.uint64], fill: Fill) -> NDArray[Any]:
    """The four quarters of each word added up, which is nearly normal.

    Only exact steps come before the rounding: no sine and no logarithm, whose last digit differs between machines.
    """
    import numpy as np

    quarters = np.uint64(0x0000FFFF_0000FFFF)
    halves = (words & quarters) + ((words >> np.uint64(16)) & quarters)
    sums = (halves & np.uint64(0xFFFFFFFF)) + (halves >> np.uint64(32))
    return (sums.astype(np.int64) - CENTRE) * (fill.deviation / DEVIATION) + fill.mean


def _small_floats(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Eight-bit floats by their bits: without sign and upper exponent bit no format has an infinity or a NaN."""
    import numpy as np

    return (words & np.uint64(0x3F)).astype("u1")
