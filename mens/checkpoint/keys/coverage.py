"""What a checkpoint holds beside what its family says it should: the comparison that everything else rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mens.checkpoint.keys.keymap import TensorSpec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Mismatch:
    """A tensor that is there with another shape than it should have."""

    key: str
    expected: Shape
    found: Shape


@dataclass(frozen=True)
class Coverage:
    """Every tensor of both sides, in exactly one place."""

    matched: int
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]

    @property
    def complete(self) -> bool:
        """Whether both sides agree, name by name and shape by shape, and there was something to agree on."""
        return self.matched > 0 and not (self.missing or self.unknown or self.mismatched)


def compare(expected: Iterable[TensorSpec], found: Mapping[str, Shape]) -> Coverage:
    """Compare names and shapes in both directions; an optional tensor may be absent, never different."""
    matched = 0
    missing: list[str] = []
    mismatched: list[Mismatch] = []
    known: set[str] = set()
    for spec in expected:
        shape = found.get(spec.key)
        if shape is None:
            if spec.required:
                missing.append(spec.key)
            continue
        known.add(spec.key)
        if tuple(shape) == spec.shape:
            matched += 1
        else:
            mismatched.append(Mismatch(spec.key, spec.shape, tuple(shape)))
    unknown = tuple(sorted(found.keys() - known))
    return Coverage(matched, tuple(missing), unknown, tuple(mismatched))
