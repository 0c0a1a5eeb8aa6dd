"""`mens schema`: the contracts themselves."""

from __future__ import annotations

import json

import click

from mens.contracts import door
from mens.contracts.kinds import KINDS, named, names


@click.group()
def schema() -> None:
    """Show the contracts themselves."""


@schema.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print an array of names and nothing else.")
def list_(as_json: bool) -> None:
    """List every kind of document with its version."""
    if as_json:
        click.echo(json.dumps(names()))
        return
    width = max(len(name) for name in names())
    for kind in KINDS:
        click.echo(f"{kind!s:<{width}}  {kind.stability:<6}  {kind.summary}")


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in names() if name.startswith(incomplete)]


@schema.command()
@click.argument("kind", shell_complete=_complete)
def show(kind: str) -> None:
    """Print the self-contained JSON Schema of KIND, such as adapter-meta/v3; without a version, the newest."""
    click.echo(door.schema_text(named(kind)), nl=False)


@schema.command()
def editor() -> None:
    """Print one draft-07 schema for editors: each document's `schema` line decides which kind it is held to."""
    click.echo(door.editor_schema_text(), nl=False)
