"""`python -m tests.docs.refresh [PAGE ...]`: run every example of the documentation and write down what it prints."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.examples import ROOT, play, sections

PAGES = {"README.md": "##", "docs/errors.md": "###", "docs/editors.md": "##", "docs/cli.md": "##"}
"""Each page with examples, and the mark of the headings that part its sections."""


def main(names: list[str]) -> None:
    """Rewrite the pages that changed and name them."""
    for name in names or list(PAGES):
        page = ROOT / name
        before = after = page.read_text(encoding="utf-8")
        for _, section in sections(before, PAGES[name]):
            with tempfile.TemporaryDirectory() as folder:
                after = after.replace(section, play(section, Path(folder)).text)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"rewrote {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
