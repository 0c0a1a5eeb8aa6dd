"""`mens doctor`: what this machine offers to training, merging and serving, and what each absence costs."""

from __future__ import annotations

import shutil
import sys
from typing import Final

import click

NOT_SOUND: Final = 5


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the environment document and nothing else.")
def doctor(as_json: bool) -> int:
    """Show what this machine offers and what each absence costs. Nothing that is looked for is imported.

    Exit code 0 when training could run, on a CPU at least, and nothing that is installed is known to compute wrong
    results here; else 5. The report is printed either way.
    """
    from mens_contracts.environment import ENVIRONMENT

    from mens.plan.environment import judge, packages_of, sound
    from mens.plan.observe import observe
    from mens.report.environment import environment_text

    report = judge(ENVIRONMENT, observe(packages_of(ENVIRONMENT)))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(
        report.model_dump_json(by_alias=True, indent=2) + "\n" if as_json else environment_text(report, width), nl=False
    )
    return 0 if sound(report) else NOT_SOUND
