"""`python -m mens.codegen [--check] [--root DIR]`: what `nox -s generate` runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mens.codegen.sources import Drift, drift, generated_sources, write
from mens.contracts.errors import MensError


def main(argv: list[str] | None = None) -> int:
    """Write what the sources say, or with --check say where the disk differs."""
    parser = argparse.ArgumentParser(prog="python -m mens.codegen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything is stale")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository (default: here)")
    arguments = parser.parse_args(argv)
    try:
        files = generated_sources(arguments.root)
    except MensError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    found = drift(arguments.root, files) if arguments.check else write(arguments.root, files)
    _report(found, len(files), check=arguments.check)
    return 1 if arguments.check and found else 0


def _report(found: Drift, total: int, *, check: bool) -> None:
    verbs = ("changed", "missing", "orphan") if check else ("rewrote", "wrote", "deleted")
    for verb, paths in zip(verbs, found, strict=True):
        for path in paths:
            print(f"{verb}: {path.as_posix()}")
    print(f"{total} generated files, {sum(map(len, found))} {'stale' if check else 'written or deleted'}.")
    if check and found:
        print("Run: nox -s generate")


if __name__ == "__main__":
    sys.exit(main())
