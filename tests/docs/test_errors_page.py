"""docs/errors.md has a heading for every code and an example that does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mens.contracts.codes import CODES
from tests.docs.examples import ROOT, play, sections

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = list(sections(PAGE, "###"))
UNREACHED = "no command that exists today leads to it"
WITHOUT_EXAMPLE = {
    "MENS-C040": "a file would have to change between two reads of one command",
    "MENS-C041": UNREACHED,
    "MENS-C042": UNREACHED,
    "MENS-C044": UNREACHED,
    "MENS-K004": "no family has been removed yet",
    "MENS-K007": UNREACHED,
    "MENS-L006": "every family that mens ships has a class that is trained",
    "MENS-V099": "test_differential looks for a document on which the two judges differ, and finds none",
}
"""Codes that no document and no command leads to, and why."""
EXAMPLES = [(code, section) for code, section in SECTIONS if code not in WITHOUT_EXAMPLE]


def test_every_code_has_one_heading_in_order() -> None:
    headings = [code for code, _ in SECTIONS]
    assert headings == sorted(CODES)


def test_every_code_that_the_source_can_raise_is_listed() -> None:
    sources = sorted((ROOT / "mens").rglob("*.py"))
    assert len(sources) > 30
    raised = {code for path in sources for code in re.findall(r"\bMENS-[A-Z][0-9]{3}\b", path.read_text("utf-8"))}
    assert raised == set(CODES)


@pytest.mark.parametrize(("code", "section"), SECTIONS, ids=[code for code, _ in SECTIONS])
def test_section_begins_with_the_title_and_the_exit_code(code: str, section: str) -> None:
    title, exit_code = CODES[code]
    first = section.split("\n\n")[1]
    stated = title if title.startswith("ce_") else f"{title[0].upper()}{title[1:]}"
    assert first == f"{stated}. Exit code {exit_code}."


def test_codes_without_an_example_say_so() -> None:
    pages = dict(SECTIONS)
    for code in WITHOUT_EXAMPLE:
        assert "There is no example" in pages[code].replace("\n", " ")
        assert "```console" not in pages[code]


@pytest.mark.parametrize(("code", "section"), EXAMPLES, ids=[code for code, _ in EXAMPLES])
def test_example_prints_what_the_page_says(code: str, section: str, tmp_path: Path) -> None:
    played = play(section, tmp_path)
    assert played.commands, "a section has at least one console block"
    assert played.text == section
    last = played.commands[-1]
    assert f"[{code}]" in last.output
    if "|" not in last.command:  # the exit code of a pipe is that of its last command
        assert last.exit_code == CODES[code].exit_code
