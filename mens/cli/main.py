"""The command line: parses, calls, renders. The only place that prints or exits."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from mens import __version__
from mens.contracts.errors import MensError, ResourceError

COMMANDS = {
    "validate": "Check documents against their contracts.",
    "migrate": "Bring a document of an older version up to date.",
    "schema": "Show the contracts themselves.",
    "families": "Show the model families that mens knows.",
    "inspect": "Show what a checkpoint is, from its headers alone.",
    "plan": "Show what training would do and need, without loading weights.",
    "doctor": "Show what this machine offers and what each absence costs.",
    "completion": "Print a script that completes commands in your shell.",
}
"""Each command and its one line; the command's module, of the same name, is imported when it is called."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"mens.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mens")
def mens() -> None:
    """Contract-first fine-tuning: every document is checked, every step is proven, nothing is done silently."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and say how it ended: the exit code. Nothing here leaves a traceback."""
    try:
        result = mens.main(args=argv, prog_name="mens", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except MensError as error:
        click.echo(error, err=True)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; there is nobody to tell
        return 141
    except OSError as error:
        refusal = ResourceError("MENS-P007", f"the system refused: {error.strerror}", str(error.filename or ""))
        click.echo(refusal, err=True)
        _discard_output()
        return refusal.exit_code
    return result if isinstance(result, int) else 0


def _discard_output() -> None:
    """Let the interpreter's last flush succeed: what could not be written has been said already."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
