"""`mens` beside check-jsonschema on the same files: whole processes, taking turns, medians and ratios.

    python benchmarks/validate.py [--runs N] [--documents N] [--json FILE]

Both judge the same documents against the same schema; check-jsonschema is given what `mens schema show` prints.
Bytecode caches are warm: each command runs once before anything is timed. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
MENS = (sys.executable, "-m", "mens")
KIND = "training-preset/v1"


class Case(NamedTuple):
    """Two commands that are timed side by side, how they end, and what their ratio should not exceed."""

    name: str
    ours: Sequence[str]
    other: Sequence[str]
    limit: float | None = None
    exit_code: int = 0


class Timed(NamedTuple):
    """Seconds of every run of both commands of a case."""

    case: Case
    ours: list[float]
    other: list[float]

    @property
    def ratio(self) -> float:
        """Median by median."""
        return statistics.median(self.ours) / statistics.median(self.other)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every case and print a line for each."""
    options = _options(arguments)
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    other = shutil.which("check-jsonschema", path=beside)
    if other is None:
        raise SystemExit("check-jsonschema is not installed; nox -s benchmarks installs it")
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(Path(scratch), options.documents)
        timed = [time_case(case, options.runs, Path(scratch)) for case in cases(Path(scratch), prepared, other)]
        alone = {name: time_alone(command, options.runs, Path(scratch)) for name, command in ALONE.items()}
    print("\n".join(table(timed, alone)))
    if options.json:
        options.json.write_text(json.dumps(as_json(timed, alone), indent=2) + "\n", encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="how often each command runs (default: 15)")
    parser.add_argument("--documents", type=int, default=1000, help="how many documents make many (default: 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every time to FILE")
    return parser.parse_args(arguments)


ALONE = {
    "mens schema list": (*MENS, "schema", "list"),
    "python -m mens.codegen": (sys.executable, "-m", "mens.codegen"),
}
"""Commands that have no counterpart."""


def cases(folder: Path, documents: list[str], other: str) -> list[Case]:
    """What is compared."""
    judge = (other, "--schemafile", str(folder / "schema.json"))
    one_json, one_yaml = str(folder / "one.json"), str(folder / "one.yaml")
    bad = str(folder / "bad.yaml")
    many = len(documents)
    return [
        Case("--help, beside one file", (*MENS, "--help"), (*judge, one_yaml), 0.4),
        Case("one YAML file", (*MENS, "validate", one_yaml), (*judge, one_yaml), 0.8),
        Case("one JSON file", (*MENS, "validate", one_json), (*judge, one_json), 0.8),
        Case("one file with findings", (*MENS, "validate", bad), (*judge, bad), exit_code=1),
        Case(f"{many:,} files, named", (*MENS, "validate", *documents), (*judge, *documents), 1.0),
        Case(f"{many:,} files, as a folder", (*MENS, "validate", str(folder / "many")), (*judge, *documents), 1.0),
    ]


def prepare(folder: Path, number: int) -> list[str]:
    """Write the schema and the documents: every shipped preset, varied, by turns as YAML and as JSON."""
    schema = subprocess.run([*MENS, "schema", "show", KIND], env=environment(), capture_output=True, check=True)
    (folder / "schema.json").write_bytes(schema.stdout)
    sources = sorted((ROOT / "schemas" / "presets").glob("*.yaml"))
    presets = [yaml.safe_load(path.read_text("utf-8")) for path in sources]
    for shared in ("schemas", "templates"):  # what is generated from, so that the generator writes into the scratch
        shutil.copytree(ROOT / shared, folder / shared)
    (folder / "many").mkdir()
    names = []
    for index in range(number):
        preset = varied(presets[index % len(presets)], index)
        path = folder / "many" / f"preset_{index:05}{'.json' if index % 2 else '.yaml'}"
        path.write_text(json.dumps(preset, indent=2) if index % 2 else _yaml(preset), encoding="utf-8")
        names.append(str(path))
    first = varied(presets[0], number)
    (folder / "one.yaml").write_text(_yaml(first), encoding="utf-8")
    (folder / "one.json").write_text(json.dumps(first, indent=2), encoding="utf-8")
    (folder / "bad.yaml").write_text(_yaml(first | {"rank": 0, "seq_len": "long"}), encoding="utf-8")
    return names


def varied(preset: dict[str, Any], index: int) -> dict[str, Any]:
    """A preset of its own: no two documents of a run may claim one name."""
    floats = {key: float(value) for key, value in preset.items() if key == "learning_rate"}
    return {**preset, **floats, "id": f"varied_{index}", "aliases": [], "seed": index, "warmup_steps": index % 50}


def _yaml(value: dict[str, Any]) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def environment() -> dict[str, str]:
    """The children's environment: these sources, and bytecode caches as anyone has them."""
    paths = [str(ROOT), str(ROOT / "generated"), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def time_case(case: Case, runs: int, scratch: Path) -> Timed:
    """Both commands by turns, after one run of each that is not timed."""
    timed = Timed(case, [], [])
    for run in range(runs + 1):
        ours = seconds(case.ours, scratch, case.exit_code)
        other = seconds(case.other, scratch, case.exit_code)
        if run:
            timed.ours.append(ours)
            timed.other.append(other)
    return timed


def time_alone(command: Sequence[str], runs: int, scratch: Path) -> list[float]:
    """One command, after one run that is not timed; at most five runs, for generating takes seconds."""
    return [seconds(command, scratch) for _ in range(min(runs, 5) + 1)][1:]


def seconds(command: Sequence[str], folder: Path, exit_code: int = 0) -> float:
    """How long a whole process takes; one that does not end as it should ends the benchmark."""
    begun = time.perf_counter()
    done = subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - begun
    if done.returncode != exit_code or "Traceback" in done.stderr:
        raise SystemExit(
            f"{' '.join(command[:4])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return taken


def table(timed: Sequence[Timed], alone: dict[str, list[float]]) -> list[str]:
    """Medians in milliseconds, ratios, and the limits that they are meant to stay under."""
    lines = [f"{'':32}{'mens':>9}{'check-jsonschema':>18}{'ratio':>8}{'limit':>8}"]
    for case, ours, other in timed:
        ratio = statistics.median(ours) / statistics.median(other)
        limit = f"{case.limit:.1f}" if case.limit else ""
        lines.append(f"{case.name:32}{_ms(ours):>9}{_ms(other):>18}{ratio:>8.2f}{limit:>8}")
    lines += [f"{name:32}{_ms(times):>9}" for name, times in alone.items()]
    return lines


def _ms(times: Sequence[float]) -> str:
    return f"{statistics.median(times) * 1000:,.0f} ms"


def as_json(timed: Sequence[Timed], alone: dict[str, list[float]]) -> dict[str, Any]:
    """Every time, for whoever wants to look closer."""
    compared = [
        {"name": one.case.name, "limit": one.case.limit, "ratio": one.ratio, "mens": one.ours, "other": one.other}
        for one in timed
    ]
    return {"python": sys.version.split()[0], "compared": compared, "alone": alone}


if __name__ == "__main__":
    main()
