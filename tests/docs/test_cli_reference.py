"""docs/cli.md holds the help text of every command, as it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mens.cli.main import mens as group
from tests.docs.examples import ROOT, play, sections

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = list(sections(PAGE, "##"))


def _commands(command: click.Command, name: str) -> Iterator[str]:
    yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _commands(found, f"{name} {below}")


def test_page_lists_every_command_and_no_other() -> None:
    commands = list(_commands(group, "mens"))
    assert len(commands) >= 10
    assert sorted(heading for heading, _ in SECTIONS) == sorted(commands)


@pytest.mark.parametrize(("heading", "section"), SECTIONS, ids=[heading for heading, _ in SECTIONS])
def test_help_text_is_what_is_printed(heading: str, section: str, tmp_path: Path) -> None:
    played = play(section, tmp_path)
    assert [done.command for done in played.commands] == [f"{heading} --help"]
    assert played.commands[0].exit_code == 0
    assert played.text == section, "python -m tests.docs.refresh docs/cli.md writes it anew"
