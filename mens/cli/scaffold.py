"""`mens families scaffold`: a draft of a family or release file for a checkpoint that nobody has described."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mens.contracts.errors import UsageError
from mens.contracts.writing import write_atomically

if TYPE_CHECKING:
    from mens.checkpoint.drafts.draft import Draft

SHOWN = 12


@click.command()
@click.argument("base", metavar="CONFIG_OR_DIR")
@click.option("--id", "id_", metavar="ID", help="The draft's name; else the model type's or the folder's.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it; else ID.yaml here.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the draft as a JSON document and nothing else; a file only with --out.",
)
def scaffold(base: str, id_: str | None, out: Path | None, as_json: bool) -> int:
    """Draft a family or a release file for a checkpoint that nobody has described.

    Where a family reads every tensor, the draft is a release; else it is a family that begins with what the nearest one
    has in common with the checkpoint. A config.json by itself is enough for a beginning, but then no tensor is
    compared. The draft opens with what a person has to look up, and never replaces a file.
    """
    from mens.checkpoint.drafts.draft import draft, seen

    found = draft(seen(base), id_, datetime.now(UTC).date())
    target = out or (None if as_json else Path(f"{found.id}.yaml"))
    if target is not None:
        if os.path.lexists(target):
            raise UsageError(
                "MENS-C043", "already exists; nothing was written", str(target), "Name another with --out."
            )
        write_atomically(target, found.text.encode())
    if as_json:
        click.echo(json.dumps(found.document, indent=2, ensure_ascii=False))
        return 0
    for line in _report(found):
        click.echo(line)
    click.echo(f"Wrote {target}, a draft of a {found.kind} file.")
    folder = "families" if found.kind == "family" else "releases"
    click.echo(f"Fill in what is marked, put it under schemas/{folder}, then run: nox -s generate")
    return 0


def _report(found: Draft) -> Iterator[str]:
    if found.num_tensors is None:
        verb = "Read by" if found.kind == "release" else "Nearest is"
        yield f"{verb} family '{found.nearest}', by the configuration alone; no tensor was compared."
        return
    if found.kind == "release":
        yield f"Family '{found.nearest}' reads all {found.num_tensors:,} tensors."
        return
    yield f"Nearest is family '{found.nearest}'; {found.matched:,} of {found.num_tensors:,} tensors are as it says."
    new = [f"{key} ({number:,})" for key, number in (found.new or {}).items()]
    yield from _listed("only here", new)
    yield from _listed("not here", list(found.absent))
    yield f"The draft reads all {found.num_tensors:,} tensors."


def _listed(heading: str, names: list[str]) -> Iterator[str]:
    for place, name in enumerate(names[:SHOWN]):
        yield f"  {heading if not place else '':<10} {name}"
    if len(names) > SHOWN:
        yield f"  {'':<10} and {len(names) - SHOWN:,} more"
