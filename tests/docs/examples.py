"""Examples in the documentation, run for real.

A section of a page is a world of its own: an empty folder into which its file blocks are written and in which its
console blocks run. What a command prints takes the place of what the page says it prints, so one function serves
the tests, which want no difference, and `python -m tests.docs.refresh`, which writes the page anew.

    ```yaml preset.yaml         a file of that name
    ```diff                     a file of the repository (---), changed, under another name (+++)
    ```console                  `$ command` lines, each followed by what it prints, stdout and stderr together
    ```sh                       a command for the reader alone; nothing runs it
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
SHARED = ("schemas", "templates")
"""What a section finds in its folder when it speaks of it: copies of the repository's own."""


class Done(NamedTuple):
    """A command of a console block, and how it really ended."""

    command: str
    output: str
    exit_code: int


class Played(NamedTuple):
    """A section as it would read if it said what really happens, and every command that it ran."""

    text: str
    commands: tuple[Done, ...]


def sections(page: str, mark: str) -> Iterator[tuple[str, str]]:
    """The sections of a page that begin with this mark, by heading; each ends where any heading of Markdown begins."""
    fenced = [match.span() for match in FENCE.finditer(page)]
    heads = [
        match
        for match in re.finditer(r"^#{1,6} .*$", page, re.MULTILINE)
        if not any(start <= match.start() < end for start, end in fenced)
    ]
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        if head[0].startswith(f"{mark} "):
            yield head[0].removeprefix(f"{mark} "), page[head.start() : following.start() if following else None]


def play(section: str, folder: Path) -> Played:
    """Write the section's files into the folder, run its commands there, and put in what they print."""
    _share(section, folder)
    _shims(folder)
    commands: list[Done] = []
    text, end = [], 0
    for block in FENCE.finditer(section):
        language, _, name = block["info"].partition(" ")
        text.append(section[end : block.start("body")])
        end = block.end("body")
        if language == "console":
            ran = [_run(command, folder) for command in _commands(block["body"])]
            commands += ran
            text.append("".join(f"$ {done.command}\n{done.output}" for done in ran))
            continue
        if language == "diff":
            _write(folder, *_patched(block["body"]))
        elif name:
            _write(folder, name, block["body"])
        text.append(block["body"])
    return Played("".join([*text, section[end:]]), tuple(commands))


def _commands(console: str) -> list[str]:
    return [line.removeprefix("$ ") for line in console.splitlines() if line.startswith("$ ")]


def _write(folder: Path, name: str, text: str) -> None:
    target = folder / "here" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _share(section: str, folder: Path) -> None:
    (folder / "here").mkdir()
    code = "\n".join(block[0] for block in FENCE.finditer(section))
    if any(f"{name}/" in code for name in SHARED) or "mens.codegen" in code:
        for name in SHARED:
            shutil.copytree(ROOT / name, folder / "here" / name)


def _shims(folder: Path) -> None:
    """`mens` and `python` as a reader's shell would find them, from the sources that are tested."""
    (folder / "bin").mkdir()
    for name, command in (("mens", f"{sys.executable} -m mens"), ("python", sys.executable)):
        shim = folder / "bin" / name
        shim.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        shim.chmod(0o755)


def _run(command: str, folder: Path) -> Done:
    path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", os.defpath)])
    modules = os.pathsep.join([str(ROOT), str(ROOT / "generated")])
    environment = {"PATH": path, "PYTHONPATH": modules, "COLUMNS": "100", "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder / "here",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    output = done.stdout.decode()
    return Done(command, output if output.endswith("\n") or not output else f"{output}\n", done.returncode)


def _patched(diff: str) -> tuple[str, str]:
    """The file that a diff block makes: its name, and its text."""
    source, target, *lines = diff.splitlines()
    assert source.startswith("--- "), source
    assert target.startswith("+++ "), target
    text = (ROOT / source.removeprefix("--- ")).read_text(encoding="utf-8")
    for old, new in _hunks(lines):
        assert text.count(old) == 1, f"{source}: {text.count(old)} places read\n{old}"
        text = text.replace(old, new)
    return target.removeprefix("+++ "), text


def _hunks(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Old and new text of each hunk; a line `@@` begins one."""
    for hunk in "\n".join(lines).split("@@\n"):
        rows = [row for row in hunk.splitlines() if row]
        if rows:
            old = "".join(f"{row[1:]}\n" for row in rows if row[0] in " -")
            yield old, "".join(f"{row[1:]}\n" for row in rows if row[0] in " +")
