"""`mens validate`: documents against their contracts, every finding at its line and column."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import click

from mens import __version__
from mens.cli.progress import counted
from mens.contracts import door
from mens.contracts.codes import CODES, exit_code
from mens.contracts.errors import MensError, UsageError
from mens.contracts.findings import Finding
from mens.contracts.kinds import Kind, kind_of_file, mark_bytes, named, names
from mens.contracts.source import STDIN, Source, open_regular, read, read_lines, read_whole, syntax_of
from mens.report.findings import FORMATS, Format, render
from mens.report.log import FindingLog

SUFFIXES = (".json", ".yaml", ".yml", ".jsonl")


class Target(NamedTuple):
    """Something to check, and whether it was named or found in a folder."""

    path: str
    named: bool


def _complete_kind(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in names() if name.startswith(incomplete)]


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH ...]")
@click.option(
    "--kind", "kind_name", metavar="KIND", shell_complete=_complete_kind, help="Hold every file to this kind."
)
@click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), default="text", help="How findings are written."
)
@click.option("--skip-unknown", is_flag=True, help="Skip named files that are no document of mens, as in a folder.")
def validate(paths: tuple[str, ...], kind_name: str | None, format_name: Format, skip_unknown: bool) -> int:
    """Check documents: files, folders, globs, or `-` for standard input; the current folder when none is named.

    A document says itself what kind it is, or its file name does. In a folder, files of no kind are skipped and
    counted. Exit code 0 when everything holds, else the highest of the findings' own: 1 a contract is violated,
    2 a path names nothing, 3 an unknown kind, 4 a path or file that cannot be trusted, 5 a file that cannot be read.
    """
    kind = named(kind_name) if kind_name else None
    run = Run(kind, skip_unknown)
    for target in targets(paths or (".",)):
        run.check(target)
    run.refuse_nothing(paths)
    titles = {code: entry.title for code, entry in CODES.items()}
    chunks = render(
        format_name, run.log, documents=run.documents, total=len(run.log), codes=titles, version=__version__
    )
    for chunk in chunks:
        sys.stdout.write(chunk)
    sys.stdout.flush()
    if run.skipped:
        said = "1 file of no kind was" if run.skipped == 1 else f"{run.skipped:,} files of no kind were"
        click.echo(f"{said} skipped.", err=True)
    return exit_code(run.log.codes)


def targets(paths: Iterable[str]) -> Iterator[Target]:
    """Every file that the arguments name, folders and globs unfolded in sorted order."""
    for path in paths:
        if path != "-" and not os.path.lexists(path) and glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))
            yield from targets(matches) if matches else [Target(path, named=True)]
        elif path != "-" and os.path.isdir(path):
            yield from (Target(found, named=False) for found in _walk(path))
        else:
            yield Target(path, named=True)


def _walk(folder: str) -> Iterator[str]:
    """Documents below a folder; links to folders are not followed, hidden folders not entered."""
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(SUFFIXES):
                yield os.path.normpath(os.path.join(top, name))


def _holds_rows(path: str, kind: Kind) -> bool:
    """Whether each line of a file is a document: of a JSONL file always, of another by its kind."""
    suffix = os.path.splitext(path)[1].lower()
    return suffix == ".jsonl" or (kind.by == "lines" and suffix not in SUFFIXES)


class Run:
    """One run of validate: what has been counted and found so far."""

    def __init__(self, kind: Kind | None, skip_unknown: bool) -> None:
        self.kind = kind
        self.skip_unknown = skip_unknown
        self.documents = 0
        self.skipped = 0
        self.log = FindingLog()
        self._claims = door.shipped_claims()

    def check(self, target: Target) -> None:
        """Check one file, whatever it is."""
        try:
            self._check(target)
        except MensError as error:
            self.log.add([Finding(target.path, 1, 1, "", error.code, "error", error.what)])

    def _check(self, target: Target) -> None:
        by_name = self.kind or kind_of_file(target.path)
        if target.path == "-":
            self._stdin()
        elif by_name is not None and _holds_rows(target.path, by_name):
            with os.fdopen(open_regular(Path(target.path)), "rb") as file:
                self._rows(target.path, file, by_name)
        else:
            source = read(Path(target.path))
            asked = target.named and not self.skip_unknown
            if asked or by_name is not None or any(mark in source.data for mark in mark_bytes()):
                self._document(source, target)
            else:
                self.skipped += 1

    def _stdin(self) -> None:
        if sys.stdin is None:
            raise UsageError("MENS-P004", "there is no standard input", STDIN)
        if self.kind is not None and self.kind.by == "lines":
            self._rows(STDIN, sys.stdin.buffer, self.kind)
            return
        data = read_whole(sys.stdin.buffer, STDIN)
        self._document(Source(STDIN, data, syntax_of(STDIN, data)), Target(STDIN, named=True))

    def _document(self, source: Source, target: Target) -> None:
        examined = door.examine(source, self.kind, self._claims)
        if examined.kind is None and not examined.findings:
            self._no_kind(target)
            return
        self.documents += 1
        self.log.add(examined.findings)

    def _no_kind(self, target: Target) -> None:
        if target.named and not self.skip_unknown:
            message = "no kind of document is recognised in it; --kind says which is meant"
            self.log.add([Finding(target.path, 1, 1, "", "MENS-U001", "error", message)])
        else:
            self.skipped += 1

    def _rows(self, name: str, file: BinaryIO, kind: Kind) -> None:
        for examined in counted(door.rows(name, read_lines(file, name), kind), "rows"):
            self.documents += 1
            self.log.add(examined.findings)

    def refuse_nothing(self, paths: tuple[str, ...]) -> None:
        """A run that was asked to check something and checked nothing has not passed."""
        if not self.documents and not self.log and not self.skip_unknown:
            where = ", ".join(paths) or "."
            self.log.add([Finding(where, 1, 1, "", "MENS-U001", "error", "no document of any kind was found here")])
