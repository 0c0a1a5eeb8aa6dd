"""`python -m tests.docs.refresh [PAGE ...]`: run every example of the documentation and write down what it prints."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from mens.cli.main import mens
from tests.docs.examples import ROOT, play, sections

CLI = "docs/cli.md"
PAGES = {"README.md": "##", "docs/errors.md": "###", "docs/editors.md": "##", CLI: "##"}
"""Each page with examples, and the mark of the headings that part its sections."""


def main(names: list[str]) -> None:
    """Rewrite the pages that changed and name them."""
    for name in names or list(PAGES):
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = cli_outline(before) if name == CLI else before
        for _, section in sections(after, PAGES[name]):
            with tempfile.TemporaryDirectory() as folder:
                played = play(section, Path(folder)).text
                found = [word for word in ("Traceback", str(ROOT), folder) if word in played]
                if found:
                    raise SystemExit(f"{name}: an example prints {found[0]!r}; nothing was written\n{played}")
                after = after.replace(section, played)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"rewrote {name}")


def cli_outline(page: str) -> str:
    """The page's introduction, and a section for every command that asks for its help text."""
    asked = [f"## {name}\n\n```console\n$ {name} --help\n```\n" for name in command_names(mens, "mens")]
    return "\n".join([page.partition("\n## ")[0], *asked])


def command_names(command: click.Command, name: str) -> Iterator[str]:
    """A command and all below it, as they are typed."""
    yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None, "a group knows what it lists"
            yield from command_names(found, f"{name} {below}")


if __name__ == "__main__":
    main(sys.argv[1:])
