"""Progress on anything that takes longer than two seconds, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 2.0
EVERY = 0.2


def counted(items: Iterable[T], noun: str) -> Iterator[T]:
    """Pass items on, and once two seconds have gone by say on stderr how many there were."""
    if not sys.stderr.isatty():
        yield from items
        return
    begun = shown = time.monotonic()
    number = 0
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic() if number % 256 == 0 else shown
        if now - begun > PATIENCE and now - shown > EVERY:
            shown = now
            sys.stderr.write(f"\r{number:,} {noun}, {number / (now - begun):,.0f} a second ")
            sys.stderr.flush()
    if shown > begun:
        sys.stderr.write(f"\r{number:,} {noun} in {time.monotonic() - begun:,.1f} s\x1b[K\n")
