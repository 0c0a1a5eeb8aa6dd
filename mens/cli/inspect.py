"""`mens inspect`: what a checkpoint is, from its headers and small files alone."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("base", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print the inspection document and nothing else.")
def inspect(base: str, as_json: bool) -> int:
    """Show what a checkpoint is, from its headers and small files alone.

    DIR is a folder, or REPO[@REVISION] in the local hub cache; nothing is downloaded. The whole report is printed
    even where it ends in a refusal: exit code 0 when every tensor is as its family says, 3 for an architecture that no
    family describes and for quantised weights, 4 for tensors that are unknown, missing or different, and for files
    that are corrupt or not to be trusted.
    """
    from mens.checkpoint.inspection.inspect import inspect as examine
    from mens.checkpoint.storage import hub
    from mens.checkpoint.storage.folder import open_checkpoint
    from mens.report.inspection import inspection_text

    found = examine(open_checkpoint(hub.resolve(base).folder), base)
    document = found.document
    sys.stdout.write(document.model_dump_json(by_alias=True, indent=2) + "\n" if as_json else inspection_text(document))
    sys.stdout.flush()
    if found.refusal is not None:
        raise found.refusal
    return 0
