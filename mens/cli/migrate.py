"""`mens migrate`: a document of an older version, brought up to date."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import click

from mens.contracts import door, migrations
from mens.contracts.errors import UsageError
from mens.contracts.json_types import JsonObject
from mens.contracts.kinds import Kind, named
from mens.contracts.source import read
from mens.contracts.writing import write_atomically


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--to", "to", metavar="vN", help="The version to bring it to; the newest that a migration leads to by default."
)
@click.option("--write", is_flag=True, help="Replace FILE, atomically, instead of printing.")
def migrate(file: Path, to: str | None, write: bool) -> int:
    """Bring a document of an older version up to date and print it; nothing that it does not say is invented."""
    source = read(file)
    document = door.accept(source)
    target = _target(document.kind, to)
    digest = hashlib.sha256(source.data).hexdigest()
    migrated = migrations.migrate(document.kind.name, document.kind.version, target.version, document.value, digest)
    text = as_json(migrated)
    door.loads(text, door.model_of(target), str(file))  # what is written holds what its kind asks, or nothing is
    if target == document.kind:
        click.echo(f"{file} is {target} already.", err=True)
    if not write:
        sys.stdout.write(source.data.decode() if target == document.kind else text)
        return 0
    if target != document.kind:
        write_atomically(file, text.encode())
        click.echo(f"{file}: {document.kind} -> {target}", err=True)
    return 0


def _target(kind: Kind, to: str | None) -> Kind:
    """The kind that is asked for: `v3`, `3` or `adapter-meta/v3`."""
    if to is None:
        return named(f"{kind.name}/v{migrations.newest(kind.name, kind.version)}")
    match = re.fullmatch(rf"(?:{re.escape(kind.name)}/)?v?([1-9][0-9]*)", to)
    if match is None:
        raise UsageError("MENS-M003", f"--to {to!r} is not a version of {kind.name}; write it as v{kind.version + 1}")
    migrations.path(kind.name, kind.version, int(match[1]))
    return named(f"{kind.name}/v{match[1]}")


def as_json(document: JsonObject) -> str:
    """A document as mens writes it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
