"""The draft of a family: it holds together from the start, and nothing that exists is overwritten."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from mens_contracts.family_v1 import FamilyV1
from syrupy.assertion import SnapshotAssertion

from mens.codegen.scaffold import main, scaffold
from mens.contracts.door import load
from mens.contracts.errors import UsageError

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DAY = date(2026, 11, 21)


@pytest.fixture
def new_family(sources: Path, child_environment: dict[str, str]) -> Run:
    """What `nox -s new_family` runs, as a process of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mens.codegen.scaffold", *arguments, "--root", str(sources)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment)

    return run


def test_the_draft_and_what_is_said(sources: Path, new_family: Run, snapshot: SnapshotAssertion) -> None:
    done = new_family("marlin_2", "--date", "2026-11-21")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == snapshot(name="said")
    assert (sources / "schemas/families/marlin_2.yaml").read_text(encoding="utf-8") == snapshot(name="draft")


def test_the_draft_passes_validate_and_generates(sources: Path, mens: Run, generate: Run) -> None:
    path = scaffold(sources, "marlin", DAY)
    checked = mens("validate", path)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
    family = load(path, FamilyV1).model
    assert (family.id, family.tier, family.recognise.model_types) == ("marlin", "frozen", ["marlin"])
    assert {evidence.status for evidence in family.evidence.values()} == {"inferred"}
    assert {evidence.checked_on for evidence in family.evidence.values()} == {"2026-11-21"}
    done = generate(sources)
    assert (done.returncode, done.stderr) == (0, "")
    assert (sources / "generated/mens_contracts/families/marlin.py").exists()
    assert "FILL IN" in (sources / "docs/reference/families/marlin.md").read_text(encoding="utf-8")


def test_the_draft_describes_its_own_tiny_model(sources: Path) -> None:
    """Its tensors can be spelled out and counted; the number is that of a decoder of this size."""
    from mens.checkpoint.keys.coverage import compare
    from mens.checkpoint.keys.keymap import count_parameters, expand
    from mens.checkpoint.keys.layout import detect

    family = load(scaffold(sources, "marlin", DAY), FamilyV1).model
    specs = list(expand(family, family.tiny_config, family.layouts[0].selection))
    layer = 2 * 32 + 32 * (32 + 16 + 16) + 32 * 32 + 3 * 32 * 48
    assert count_parameters(specs) == 2 * 128 * 32 + 2 * layer + 32
    shapes = {spec.key: spec.shape for spec in specs if spec.required}
    assert detect(family, shapes).name == "text_only"
    assert compare(specs, shapes).complete


@pytest.mark.parametrize(
    ("id_", "where", "what"),
    [
        ("qwen3", "schemas/families/qwen3.yaml", "'qwen3' is taken; nothing was written"),
        ("mistral", "schemas/families/llama.yaml", "'mistral' is taken; nothing was written"),
        ("Marlin", "", "'Marlin' is no name for a family"),
        ("3marlin", "", "'3marlin' is no name for a family"),
        ("mar-lin", "", "'mar-lin' is no name for a family"),
        ("../marlin", "", "'../marlin' is no name for a family"),
        ("marlin\n", "", "'marlin\\n' is no name for a family"),
        ("", "", "'' is no name for a family"),
        ("m" * 65, "", f"'{'m' * 65}' is no name for a family"),
    ],
)
def test_names_that_will_not_do(
    id_: str, where: str, what: str, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in (sources / "schemas").rglob("*.yaml")}
    with pytest.raises(UsageError) as refusal:
        scaffold(sources, id_, DAY)
    assert (refusal.value.code, refusal.value.where, refusal.value.what) == ("MENS-G006", where, what)
    assert main([id_, "--root", str(sources)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{refusal.value}\n"
    assert {path: path.read_bytes() for path in (sources / "schemas").rglob("*.yaml")} == before


def test_usage(new_family: Run, tmp_path: Path) -> None:
    assert new_family().returncode == 2
    assert new_family("marlin", "--date", "yesterday").returncode == 2
    with pytest.raises(UsageError) as refusal:
        scaffold(tmp_path / "elsewhere", "marlin", DAY)
    assert refusal.value.code == "MENS-P004"


def test_a_second_draft_of_one_name_is_refused(new_family: Run, sources: Path) -> None:
    assert new_family("marlin").returncode == 0
    draft = sources / "schemas/families/marlin.yaml"
    draft.write_text(draft.read_text(encoding="utf-8").replace("FILL IN: the series", "The series"), encoding="utf-8")
    written = draft.read_bytes()
    done = new_family("marlin")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "schemas/families/marlin.yaml: 'marlin' is taken; nothing was written   [MENS-G006]\nEdit that file.\n"
    )
    assert draft.read_bytes() == written
