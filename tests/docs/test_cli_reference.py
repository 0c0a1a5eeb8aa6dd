"""docs/cli.md holds the help text of every command, as it is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mens.cli.main import mens
from tests.docs.examples import ROOT, play, sections
from tests.docs.refresh import command_names

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = list(sections(PAGE, "##"))


def test_page_lists_every_command_in_order_and_no_other() -> None:
    commands = list(command_names(mens, "mens"))
    assert len(commands) >= 10
    assert [heading for heading, _ in SECTIONS] == commands


@pytest.mark.parametrize(("heading", "section"), SECTIONS, ids=[heading for heading, _ in SECTIONS])
def test_help_text_is_what_is_printed(heading: str, section: str, tmp_path: Path) -> None:
    played = play(section, tmp_path)
    assert [done.command for done in played.commands] == [f"{heading} --help"]
    assert played.commands[0].exit_code == 0
    assert played.text == section, "python -m tests.docs.refresh docs/cli.md writes it anew"
