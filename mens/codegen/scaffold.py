"""`python -m mens.codegen.scaffold ID [--root DIR] [--date YYYY-MM-DD]`: what `nox -s new_family` runs."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from mens.codegen.schemas import read_object
from mens.codegen.sources import template_environment
from mens.contracts.errors import MensError, UsageError

ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
TEMPLATE = "new_family.yaml.jinja"


def main(argv: list[str] | None = None) -> int:
    """Write the draft of a family file and say what comes next; nothing that exists is touched."""
    parser = argparse.ArgumentParser(prog="python -m mens.codegen.scaffold", description=__doc__)
    parser.add_argument("id", metavar="ID", help="the family's name, as upstream's model_type spells it")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository (default: here)")
    parser.add_argument(
        "--date", type=date.fromisoformat, default=None, help="when the facts are checked (default: today)"
    )
    arguments = parser.parse_args(argv)
    try:
        path = scaffold(arguments.root, arguments.id, arguments.date or datetime.now(UTC).date())
    except MensError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(next_steps(path.relative_to(arguments.root).as_posix()))
    return 0


def scaffold(root: Path, id_: str, checked_on: date) -> Path:
    """Write schemas/families/ID.yaml and return its path; UsageError for a bad name or one that is taken."""
    folder = root / "schemas" / "families"
    if ID.fullmatch(id_) is None:
        fix = "A family is called as upstream's model_type is: small letters, digits and _, a letter first."
        raise UsageError("MENS-G006", f"{id_!r} is no name for a family", "", fix)
    if not folder.is_dir():
        raise UsageError("MENS-P004", "there is no schemas/families here", str(root))
    path = folder / f"{id_}.yaml"
    for claimed, claimant in _claimed(folder, root):
        if claimed == id_:
            raise _taken(id_, claimant, root)
    class_name = "".join(part.capitalize() for part in id_.split("_")) + "ForCausalLM"
    template = template_environment(root / "templates").get_template(TEMPLATE)
    text = template.render(id=id_, architecture=class_name, checked_on=checked_on.isoformat())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise _taken(id_, path, root) from None
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return path


def _taken(id_: str, by: Path, root: Path) -> UsageError:
    where = by.relative_to(root).as_posix()
    return UsageError("MENS-G006", f"{id_!r} is taken; nothing was written", where, "Edit that file.")


def _claimed(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Names that a family file has already: its own, and the model types that it recognises."""
    for path in sorted(folder.glob("*.yaml")):
        yield path.stem, path
        recognise = read_object(path, root).get("recognise")
        for name in recognise.get("model_types", []) if isinstance(recognise, dict) else []:
            yield name, path


def next_steps(path: str) -> str:
    """What to do with the draft."""
    return "\n".join(
        [
            f"Wrote {path}, a draft that holds together but describes no real model.",
            "  1. Replace every line marked FILL IN; remove the marks.",
            f"  2. mens validate {path}",
            "  3. nox -s generate, and look at the page under docs/reference/families",
            "  4. nox -s tests: names, shapes and parameter counts are compared with upstream's own model",
            "  5. Set the tier to supported once that holds, and commit the file with what was generated.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
