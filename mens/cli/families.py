"""`mens families`: what mens knows about models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from mens_contracts.defaults import DEFAULT_FAMILY
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1

from mens.cli.scaffold import scaffold
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


def _named(id_: str) -> FamilyV1:
    if id_ not in FAMILIES:
        known = f"Families: {', '.join(FAMILIES)}"
        raise UnsupportedError("MENS-U003", f"'{id_}' is no family known here.{nearest(id_, FAMILIES)}", "", known)
    return FAMILIES[id_]


@families.command()
@click.argument("id_", metavar="ID", shell_complete=_complete)
@click.option("--json", "as_json", is_flag=True, help="Print the family document and nothing else.")
def show(id_: str, as_json: bool) -> None:
    """Show one family: how it is recognised, its layouts, and a line per tensor."""
    family = _named(id_)
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


@families.command()
@click.argument("id_", metavar="FAMILY", shell_complete=_complete)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True, help="A folder yet to be made.")
@click.option("--layout", metavar="NAME", help="One of the family's layouts; its first by default.")
@click.option("--series", metavar="NAME", help="A release or a repository whose tokens and template it gets.")
@click.option(
    "--dtype", type=click.Choice(["bf16", "f32"]), default="bf16", show_default=True, help="The type of tensors."
)
@click.option(
    "--state-dtype",
    type=click.Choice(["bf16", "f32"]),
    help="The type of tensors that have types of their own; as the family names it first by default.",
)
@click.option("--tied/--untied", default=None, help="Whether embedding and head are one; as configured by default.")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Set a size or any field of config.json.")
@click.option("--full-size", is_flag=True, help="The sizes and token numbers of the series' model; see --sparse.")
@click.option("--sparse", is_flag=True, help="Zeros that take no space on disk instead of random values.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="What values follow from."
)
@click.option(
    "--shard-bytes", metavar="N", type=click.IntRange(min=1), help="The most that a shard holds; 5 GB by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print the inspection of what was written and nothing else.")
def sample(
    id_: str,
    out: Path,
    layout: str | None,
    series: str | None,
    dtype: str,
    state_dtype: str | None,
    tied: bool | None,
    settings: tuple[str, ...],
    full_size: bool,
    sparse: bool,
    seed: int,
    shard_bytes: int | None,
    as_json: bool,
) -> int:
    """Write a tiny random checkpoint of a family, complete with tokenizer and chat template.

    It loads like a published one and says nothing of worth. The same options give the same bytes. What was written is
    inspected before the command ends well.
    """
    from mens.checkpoint.inspection.inspect import inspect
    from mens.checkpoint.samples import sample as samples
    from mens.checkpoint.samples.config import parse_settings
    from mens.checkpoint.storage.folder import open_checkpoint
    from mens.checkpoint.storage.write import SHARD_BYTES

    types: dict[str, samples.Dtype] = {"bf16": "BF16", "f32": "F32"}
    request = samples.Request(
        family=_named(id_),
        layout=layout,
        series=series,
        dtype=types[dtype],
        state_dtype=types[state_dtype] if state_dtype else None,
        tied=tied,
        settings=parse_settings(settings),
        full_size=full_size,
    )
    drafted = samples.draft(request)
    samples.write(drafted, out, seed, sparse=sparse, max_shard_bytes=shard_bytes or SHARD_BYTES)
    found = inspect(open_checkpoint(out), str(out))
    if found.refusal is not None:
        raise found.refusal
    if as_json:
        sys.stdout.write(found.document.model_dump_json(by_alias=True, indent=2) + "\n")
        return 0
    values = "zeros, as holes" if sparse else f"seed {seed}"
    click.echo(f"Wrote {out}: family {drafted.family.id}, layout {drafted.layout.name}, {values}")
    click.echo(
        f"{len(drafted.tensors):,} tensors, {drafted.num_parameters:,} parameters, tokens of {drafted.series.name}"
    )
    return 0


families.add_command(scaffold)
