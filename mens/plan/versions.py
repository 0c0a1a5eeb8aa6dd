"""Versions as Python packages number them, compared with bounds that are plain releases.

The bounds come from schemas/environment.yaml, whose schema allows `>=` and `<` and numbers alone; that is all of
PEP 440 that is needed, so no library is. A test compares this with `packaging`, which the tests have anyway.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

VERSION: Final = re.compile(
    r"v?(?:0!)?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?P<pre>[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview)[-_.]?[0-9]*)?"
    r"(?P<post>-[0-9]+|[-_.]?(?:post|rev|r)[-_.]?[0-9]*)?"
    r"(?P<dev>[-_.]?dev[-_.]?[0-9]*)?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
LONGEST: Final = 100
BOUND: Final = re.compile(r"(>=|<)([0-9.]+)")


class Version(NamedTuple):
    """A version as far as bounds tell versions apart: its numbers, and whether it came before the release of them."""

    release: tuple[int, ...]
    early: bool

    def below(self, bound: tuple[int, ...]) -> bool:
        """Whether it is older than a release; a candidate for that release is, as is a build on the way to it."""
        return self.release < bound or (self.release == bound and self.early)


def parse(text: str) -> Version | None:
    """The version that a text is; None where it is none. Local parts such as `+cu130` say nothing about age."""
    match = VERSION.fullmatch(text.strip()) if len(text) <= LONGEST else None
    if match is None:
        return None
    early = bool(match["pre"] or (match["dev"] and not match["post"]))
    return Version(numbers(match["release"]), early)


def numbers(release: str) -> tuple[int, ...]:
    """The numbers of a release without the zeros at its end, which say nothing: 5.20.0 is 5.20."""
    found = [int(number) for number in release.split(".")]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def within(version: Version, bounds: str) -> bool:
    """Whether every bound holds, as in `>=3.4,<3.7.1`."""
    return all(version.below(numbers(bound)) == (sign == "<") for sign, bound in BOUND.findall(bounds))
