"""`mens completion`: the script a shell needs to complete mens' commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script; in bash: eval "$(mens completion bash)"."""
    from mens.cli.main import mens

    kind = get_completion_class(shell)
    assert kind is not None, "every choice is a shell that click knows"
    click.echo(kind(mens, {}, "mens", "_MENS_COMPLETE").source())
