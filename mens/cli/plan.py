"""`mens plan`: what training would do and need, from headers alone."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import click
from mens_contracts.defaults import DEFAULT_PRESET
from mens_contracts.presets import NAMES

from mens.contracts.errors import UsageError
from mens.contracts.json_types import JsonValue

UNITS: Final = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kmgt]i?)?b?", re.IGNORECASE)
FUSED: Final = ("fla", "causal_conv1d")
"""The packages whose kernels linear attention runs on; looked for, never imported."""
DOES_NOT_FIT: Final = 5


class Size(click.ParamType[int]):
    """A number of bytes: 16GiB, 16G, 17179869184."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the size."""
        if isinstance(value, int):
            return value
        match = SIZE.fullmatch(value.strip())
        size = int(float(match[1]) * UNITS[(match[2] or "").lower()]) if match else 0
        if not 0 < size < 2**53:
            self.fail(f"{value!r} is not a size; write it as 16GiB, 16GB or a number of bytes", param, ctx)
        return size


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in NAMES if name.startswith(incomplete)]


@click.command()
@click.option(
    "--preset", metavar="NAME", shell_complete=_complete, help=f"The preset to start from; {DEFAULT_PRESET} by default."
)
@click.option("--base", metavar="BASE", help="A folder, or repo[@revision] in the hub cache; the preset's by default.")
@click.option(
    "--config", "file", metavar="FILE", type=click.Path(path_type=Path), help="A preset document laid over the preset."
)
@click.option(
    "--data", metavar="FILE", type=click.Path(path_type=Path), help="Rows to train on, counted for the number of steps."
)
@click.option("--vram", metavar="SIZE", type=Size(), help="Memory of one device, such as 16GiB.")
@click.option(
    "--set", "settings", metavar="FIELD=VALUE", multiple=True, help="Set any field; wins over everything else."
)
@click.option(
    "--devices", type=click.IntRange(1, 1024), default=1, show_default=True, help="Devices that train side by side."
)
@click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="The kind of device."
)
@click.option(
    "--kernels",
    type=click.Choice(["auto", "fused", "reference"]),
    default="auto",
    show_default=True,
    help="How linear attention runs; auto looks for flash-linear-attention and causal-conv1d here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan document and nothing else.")
def plan(
    preset: str | None,
    base: str | None,
    file: Path | None,
    data: Path | None,
    vram: int | None,
    settings: tuple[str, ...],
    devices: int,
    device: str,
    kernels: str,
    as_json: bool,
) -> int:
    """Show what training would do and need, without loading weights.

    Settings come from the preset, then --config, then --set, and a flag always wins. Exit code 0 when the plan fits
    or no --vram was named, 5 when it does not fit; the plan is printed either way.
    """
    from mens.plan.activations import Situation
    from mens.plan.base import open_base
    from mens.plan.build import Request, make_plan
    from mens.plan.resolve import parse_settings, resolve
    from mens.plan.rows import count_rows
    from mens.report.plan import plan_text

    flags: dict[str, JsonValue] = parse_settings(settings)
    resolved = resolve(preset, file, flags)
    found = open_base(base or resolved.preset.base_model or _no_base())
    request = Request(
        resolved=resolved,
        family=found.family,
        config=found.config,
        stored=found.stored,
        base=found.identity,
        rows=None if data is None else count_rows(data),
        situation=Situation("cpu" if device == "cpu" else "cuda", devices, _fused(kernels, device)),
        available=vram,
    )
    made = make_plan(request)
    sys.stdout.write(made.model_dump_json(by_alias=True, indent=2) + "\n" if as_json else plan_text(made))
    return 0 if made.fits else DOES_NOT_FIT


def _no_base() -> NoReturn:
    what = "--base is missing, and the configuration names no base_model."
    raise UsageError("MENS-L008", what, "", "Name a folder, or a model in the local hub cache.")


def _fused(kernels: str, device: str) -> bool:
    if kernels == "auto":
        return device == "cuda" and all(find_spec(package) is not None for package in FUSED)
    return kernels == "fused"
