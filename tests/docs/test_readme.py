"""The README says what is so: its examples run, its tree exists, its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mens_contracts import defaults
from mens_contracts.presets import PRESETS

from mens.cli.main import COMMANDS
from mens.contracts import errors
from tests.docs.examples import ROOT, play, sections

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
SECTIONS = [(heading, text) for heading, text in sections(README, "##") if "```console" in text]
TREE_LINE = re.compile(r"(?P<indent> *)(?P<name>\S+) {2,}\S.*|(?P<bare>\S+)")


def _tree() -> list[str]:
    """Every path in the captioned tree."""
    _, section = next(pair for pair in sections(README, "##") if pair[0] == "Where things are")
    above: list[str] = []
    paths = []
    for line in section.split("```")[1].strip("\n").splitlines():
        match = TREE_LINE.fullmatch(line)
        assert match, line
        depth = len(match["indent"] or "") // 2
        above = [*above[:depth], (match["name"] or match["bare"]).rstrip("/")]
        paths.append("/".join(above))
    return paths


@pytest.mark.parametrize(("heading", "section"), SECTIONS, ids=[heading for heading, _ in SECTIONS])
def test_examples_print_what_the_page_says(heading: str, section: str, tmp_path: Path) -> None:
    played = play(section, tmp_path)
    assert played.text == section
    assert all("Traceback" not in done.output for done in played.commands)


def test_examples_are_found() -> None:
    assert {"First success", "Checking documents", "Models are data"} <= {heading for heading, _ in SECTIONS}


def test_every_path_of_the_tree_exists() -> None:
    paths = _tree()
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_package_and_every_kind_of_source_stands_in_the_tree() -> None:
    paths = set(_tree())
    packages = {f"mens/{path.parent.name}" for path in (ROOT / "mens").glob("*/__init__.py")}
    folders = {f"schemas/{path.name}" for path in (ROOT / "schemas").iterdir() if path.is_dir()} - {"schemas/released"}
    assert len(packages) >= 4
    assert packages | folders <= paths


def test_default_model_and_preset_are_those_of_the_data() -> None:
    assert f"default model, `{defaults.DEFAULT_MODEL}`" in README.replace("\n", " ")
    assert f"default preset, `{defaults.DEFAULT_PRESET}`" in README.replace("\n", " ")
    assert (defaults.DEFAULT_MODEL, defaults.DEFAULT_PRESET) == ("Qwen/Qwen3.5-4B", "4080")
    preset = PRESETS[defaults.DEFAULT_PRESET]
    assert preset.base_model == defaults.DEFAULT_MODEL
    assert "default" in preset.aliases


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| ([0-9]) \| ", README, re.MULTILINE)
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MensError)]
    assert len(classes) > 5
    assert rows == ["0", *(str(code) for code in sorted({kind.exit_code for kind in classes}))]


def test_every_command_is_in_the_command_line_reference() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"## mens {command}\n" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
