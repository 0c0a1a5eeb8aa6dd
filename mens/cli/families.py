"""`mens families`: what mens knows about models."""

from __future__ import annotations

import json

import click
from mens_contracts.defaults import DEFAULT_FAMILY
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1

from mens.contracts.errors import UnsupportedError
from mens.contracts.problems import nearest
from mens.report.tables import Column, table


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print an array of ids and nothing else.")
@click.pass_context
def families(context: click.Context, as_json: bool) -> None:
    """Show the model families that mens knows; the default is marked."""
    if context.invoked_subcommand is not None:
        return
    if as_json:
        click.echo(json.dumps(list(FAMILIES)))
        return
    rows = [_row(FAMILIES[id_]) for id_ in FAMILIES]
    click.echo(table([Column("family"), Column("tier"), Column("tensors", right=True), Column("covers")], rows))


def _row(family: FamilyV1) -> tuple[str, ...]:
    mark = " *" if family.id == DEFAULT_FAMILY else ""
    return f"{family.id}{mark}", family.tier, str(len(family.tensors)), family.title


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [id_ for id_ in FAMILIES if id_.startswith(incomplete)]


@families.command()
@click.argument("id_", metavar="ID", shell_complete=_complete)
@click.option("--json", "as_json", is_flag=True, help="Print the family document and nothing else.")
def show(id_: str, as_json: bool) -> None:
    """Show one family: how it is recognised, its layouts, and a line per tensor."""
    if id_ not in FAMILIES:
        known = f"Families: {', '.join(FAMILIES)}"
        raise UnsupportedError("MENS-U003", f"'{id_}' is no family known here.{nearest(id_, FAMILIES)}", "", known)
    family = FAMILIES[id_]
    if as_json:
        click.echo(family.model_dump_json(by_alias=True, exclude_defaults=True, indent=2))
        return
    click.echo(f"{family.id}   {family.title}   ({family.tier})")
    click.echo(f"recognised by model type {', '.join(family.recognise.model_types)}")
    for layout in family.layouts:
        choices = ", ".join(f"{axis} {option}" for axis, option in layout.selection.items())
        click.echo(f"layout {layout.name}: {choices or 'the only one'}")
    columns = [Column("role"), Column("key"), Column("shape"), Column("layers"), Column("4-bit"), Column("LoRA")]
    rows = [
        (
            tensor.role,
            tensor.key,
            ", ".join(map(str, tensor.shape)),
            tensor.in_layers or "",
            "nf4" if tensor.nf4 else "",
            tensor.lora or "",
        )
        for tensor in family.tensors
    ]
    click.echo(table(columns, rows))
