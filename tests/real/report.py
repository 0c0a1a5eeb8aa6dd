"""`nox -s real -- DIR`: what mens makes of a real checkpoint, checked against a reading of its own, as one document.

Nobody who wrote the families has seen an official tensor index. Whoever has one settles in a minute whether they are
right: run this, look at what it prints, and send the document back. It holds names, shapes, types, digests of small
files and what the commands said; no weight, no prompt, and no path of your machine.

This module imports nothing of mens: it calls the commands as a user does and reads the headers by itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NUMBER = re.compile(r"(?<=\.)[0-9]+(?=\.|$)")
SMALL = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
         "chat_template.jinja", "tokenizer.json", "model.safetensors.index.json")  # fmt: skip
LATER = {
    "parity": "logits equal to the reference implementation",
    "merge": "a merge of an adapter keeps every other tensor byte for byte",
    "serve": "the engine answers as the reference does",
}
"""What the session will run once the commands exist; until then the document says that it did not."""


class Done(NamedTuple):
    """A command of mens: how it ended, what it said, and how long it took."""

    command: str
    exit_code: int
    seconds: float
    said: str
    document: dict[str, Any] | None


def run(arguments: list[str], base: str) -> Done:
    """Run one command that prints a document; the base's place on this machine is left out of what is kept."""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "mens", *arguments], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    document = json.loads(done.stdout) if done.stdout.strip() else None
    if document is not None and "path" in document:
        document["path"] = None
    shown = " ".join("DIR" if argument == base else argument for argument in ("mens", *arguments))
    return Done(shown, done.returncode, round(seconds, 2), done.stderr.replace(base, "DIR").strip(), document)


def headers(folder: Path) -> dict[str, dict[str, Any]]:
    """Every tensor of every safetensors file that the index names, or of the only one; none where that fails."""
    try:
        return _headers(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # mens says why in its own words; this reading only has to agree with it where both succeed


def _headers(folder: Path) -> dict[str, dict[str, Any]]:
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    tensors: dict[str, dict[str, Any]] = {}
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        tensors.update(header)
    return tensors


def index_in_short(tensors: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The tensors with a star for every running number: which names there are, how many, in which shapes and types."""
    kinds = Counter(
        (NUMBER.sub("*", name), tensor["dtype"], tuple(tensor["shape"])) for name, tensor in tensors.items()
    )
    return [
        {"name": name, "dtype": dtype, "shape": list(shape), "num_tensors": number}
        for (name, dtype, shape), number in sorted(kinds.items())
    ]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the small files, by which two people know whether they have the same model."""
    present = [name for name in SMALL if (folder / name).exists()]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in present}


def checks(inspected: Done, planned: Done, tensors: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What has to hold, each with "holds" or why it does not."""
    report = inspected.document or {}
    coverage = report.get("coverage", {})
    elements = sum(math.prod(tensor["shape"]) for tensor in tensors.values())
    stored = {name: use["num_parameters"] for name, use in report.get("dtypes", {}).items()}
    plan = planned.document or {}
    rules: dict[str, Callable[[], Any]] = {
        "a family reads it": lambda: inspected.document is not None or inspected.said,
        "every tensor is as the family says": lambda: inspected.exit_code == 0 or inspected.said,
        "the layout is a declared one": lambda: bool(report["layout"]["name"]) or "it is not",
        "every tensor of the headers was compared": lambda: (
            coverage["matched"] + len(coverage["unknown"]) + len(coverage["mismatched"]) == len(tensors)
            or f"{len(tensors)} are in the headers"
        ),
        "every element of the headers was counted": lambda: (
            sum(stored.values()) == elements or f"{elements} are in the headers"
        ),
        "a release records this configuration": lambda: (
            any(one["exact"] for one in report["series"])
            or [one["differences"] for one in report["series"][:3]]
            or "none has these shapes"
        ),
        "a plan can be made": lambda: planned.document is not None or planned.said,
        "inspect and plan agree on the parameters": lambda: (
            plan["parameters"] == report["parameters"]["text"] or f"the plan has {plan['parameters']}"
        ),
        "under two seconds": lambda: inspected.seconds < 2 or f"{inspected.seconds} s",
    }
    return {name: _verdict(rule) for name, rule in rules.items()}


def _verdict(rule: Callable[[], Any]) -> str:
    try:
        result = rule()
    except (KeyError, TypeError):
        return "not known: the commands before it made no report"
    return "holds" if result is True else json.dumps(result, ensure_ascii=False)


def made(folder: Path, preset: str) -> dict[str, Any]:
    """Run everything and put it into one document."""
    base = os.path.abspath(folder)
    inspected = run(["inspect", base, "--json"], base)
    planned = run(["plan", "--preset", preset, "--base", base, "--json"], base)
    tensors = headers(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # often a path of the machine that saved it
    return {
        "document": "mens on a real checkpoint, 1",
        "mens": subprocess.run(
            [sys.executable, "-m", "mens", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "python": platform.python_version(),
        "checks": checks(inspected, planned, tensors),
        "not_run_yet": LATER,
        "inspect": inspected._asdict(),
        "plan": planned._asdict(),
        "config": config,
        "tensors": index_in_short(tensors),
        "digests": digests(folder),
    }


def main(arguments: list[str]) -> int:
    """Write the document, print the checks, and end with 0 where all of them hold."""
    parser = argparse.ArgumentParser(prog="nox -s real --", description="What mens makes of a real checkpoint.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the checkpoint's folder")
    parser.add_argument("--preset", default="4080", help="the preset that is planned with")
    parser.add_argument("--out", type=Path, default=Path("real-report.json"), help="where the document is written")
    chosen = parser.parse_args(arguments)
    if not (chosen.folder / "config.json").exists():
        parser.error(f"{chosen.folder} holds no config.json")
    document = made(chosen.folder, chosen.preset)
    chosen.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, verdict in document["checks"].items():
        print(f"{'holds ' if verdict == 'holds' else 'FAILS '} {name}{'' if verdict == 'holds' else f': {verdict}'}")
    for name, what in LATER.items():
        print(f"later  {name}: {what}")
    print(f"\n{os.fspath(chosen.out)} holds names, shapes, types and what the commands said; it is worth sending back.")
    return 0 if set(document["checks"].values()) == {"holds"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
