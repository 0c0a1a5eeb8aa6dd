"""What a chat template's text shows without rendering it: it is a program, and nobody has vouched for it yet."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mens.checkpoint.inspection.small_files import json_of, text_of
from mens.contracts.json_types import JsonValue

OWN_FILE: Final = "chat_template.jinja"
OLD_FILE: Final = "chat_template.json"
SETTINGS: Final = "tokenizer_config.json"
Thinking = Literal["on", "off", "absent"]
SWITCH: Final = "enable_thinking"
"""The variable by which every known template is told whether to think."""
STATEMENT: Final = re.compile(r"\{%[-+]?\s*(?:el)?if\s+(.*?)[-+]?%\}", re.DOTALL)
INLINE: Final = re.compile(r"\bif\s+([^{}%]*?)\s+else\b")
GENERATION: Final = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
SET: Final = re.compile(rf"\bset\s+{SWITCH}\s*=\s*(true|false)\b", re.IGNORECASE)
FALLBACK: Final = re.compile(rf"\b{SWITCH}\s*\|\s*default\(\s*(true|false)\b", re.IGNORECASE)
CONDITIONS: Final[dict[str, Thinking]] = {
    rf"(?:{SWITCH} is defined and )?{SWITCH} (?:is|==) false": "on",
    rf"{SWITCH} is defined and not {SWITCH}": "on",
    rf"{SWITCH} is (?:not defined|undefined) or {SWITCH}(?: (?:is|==) true)?": "on",
    rf"(?:{SWITCH} is defined and )?{SWITCH} (?:is|==) true": "off",
    rf"(?:{SWITCH} is defined and )?{SWITCH}": "off",
    rf"not {SWITCH}": "off",
}
"""Conditions on the switch, and what a template with such a condition does when nobody sets it."""


@dataclass(frozen=True)
class Template:
    """A chat template as it lies beside the weights."""

    text: str = field(repr=False)
    source: str
    warnings: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The digest of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def generation_marks(self) -> bool:
        """Whether it marks what the assistant says."""
        return GENERATION.search(self.text) is not None

    @property
    def thinking_default(self) -> Thinking | None:
        """What it does about thinking when nobody says anything; None where its text does not show that."""
        if "think" not in self.text.lower():
            return "absent"
        shown = set(_shown(self.text))
        return shown.pop() if len(shown) == 1 else None


def chat_template(folder: Path) -> Template | None:
    """Return the template that upstream would take: a file of its own wins; None where there is none."""
    found = list(_templates(folder))
    if not found:
        return None
    source, text = found[0]
    others = [name for name, other in found[1:] if other != text]
    warnings = tuple(
        f"{name} has another chat template than {source}, which is the one that is used" for name in others
    )
    return Template(text, source, warnings)


def _templates(folder: Path) -> Iterator[tuple[str, str]]:
    text = text_of(folder / OWN_FILE)
    if text:
        yield OWN_FILE, text
    for name in (OLD_FILE, SETTINGS):
        written = _default(json_of(folder / name).get("chat_template")) if os.path.lexists(folder / name) else ""
        if written:
            yield name, written


def _default(value: JsonValue) -> str:
    """The template that is used when none is named."""
    if isinstance(value, str):
        return value
    named = value if isinstance(value, list) else []
    texts = {entry.get("name"): entry.get("template") for entry in named if isinstance(entry, dict)}
    text = texts.get("default")
    return text if isinstance(text, str) else ""


def _shown(text: str) -> Iterator[Thinking]:
    for pattern in (SET, FALLBACK):
        for match in pattern.finditer(text):
            yield "on" if match[1].lower() == "true" else "off"
    for match in (*STATEMENT.finditer(text), *INLINE.finditer(text)):
        condition = " ".join(match[1].replace("(", " ").replace(")", " ").split())
        if SWITCH in condition:
            yield from (told for known, told in CONDITIONS.items() if re.fullmatch(known, condition, re.IGNORECASE))
