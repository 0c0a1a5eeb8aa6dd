"""`mens validate` as people and CI jobs run it: real processes over real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from syrupy.assertion import SnapshotAssertion

from mens.contracts.findings import Finding

Done = subprocess.CompletedProcess[str]
Mens = Callable[..., Done]

PRESET = """\
schema: mens/training-preset/v1
id: {id}
title: A run
rank: 16
alpha: 32
seq_len: 512
batch_size: 1
grad_accum: 8
epochs: 3
warmup_steps: 80
learning_rate: 0.00015
"""
WRONG = PRESET.format(id="wrong").replace("rank:", "rnk:").replace("epochs: 3", 'epochs: "3"')
ROW = '{"prompt": "Two and two?", "response": "Four."}\n'
HANDOFF = {
    "schema": "mens/serving-handoff/v2",
    "backend_family": "vllm",
    "base_model": "Qwen/Qwen3.5-4B",
    "base_family": "qwen3_5",
    "tokenizer_source": "Qwen/Qwen3.5-4B",
    "artifact_dir": "out",
    "prompt_format": "qwen_chatml_im_start",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with documents that hold, one that does not, and files that are none of mens' business."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "day.yaml").write_text(PRESET.format(id="day"))
    (tmp_path / "presets" / "night.yml").write_text(PRESET.format(id="night"))
    (tmp_path / "presets" / "wrong.yaml").write_text(WRONG)
    (tmp_path / "handoff.json").write_text(json.dumps(HANDOFF, indent=2))
    (tmp_path / "rows.jsonl").write_text(ROW * 3)
    (tmp_path / "package.json").write_text('{"name": "something else"}')
    (tmp_path / "compose.yaml").write_text("services: {a: &x {b: *x}}\n")
    (tmp_path / "notes.txt").write_text("schema: mens/training-preset/v1\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "wrong.yaml").write_text(WRONG)
    return tmp_path


def _json(done: Done) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout)
    assert list(document) == ["schema", "documents", "findings"]
    assert document["schema"] == "mens/findings/v1"
    assert all(list(finding) == list(Finding._fields) for finding in document["findings"])
    return document


def _codes(done: Done) -> list[tuple[str, str]]:
    return [(Path(finding["path"]).name, finding["code"]) for finding in _json(done)["findings"]]


def test_documents_that_hold(mens: Mens, folder: Path) -> None:
    done = mens("validate", "presets/day.yaml", "handoff.json", "rows.jsonl", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 documents, no findings\n", "")


def test_a_folder(mens: Mens, folder: Path, snapshot: SnapshotAssertion) -> None:
    done = mens("validate", ".", cwd=folder)
    assert done.returncode == 1
    assert done.stdout == snapshot
    assert done.stderr == "2 files of no kind were skipped.\n"
    assert mens("validate", cwd=folder).stdout == done.stdout, "the current folder when none is named"


def test_json_is_the_interface(mens: Mens, folder: Path) -> None:
    done = mens("validate", ".", "--format", "json", cwd=folder)
    document = _json(done)
    assert document["documents"] == 7
    assert document["findings"] == [
        {
            "path": "presets/wrong.yaml", "line": 1, "column": 1, "pointer": "", "code": "MENS-V002",
            "severity": "error", "message": "the required field 'rank' is missing from mens/training-preset/v1",
        },
        {
            "path": "presets/wrong.yaml", "line": 4, "column": 1, "pointer": "/rnk", "code": "MENS-V003",
            "severity": "error",
            "message": "'rnk' is not a field of mens/training-preset/v1. Did you mean 'rank'?",
        },
        {
            "path": "presets/wrong.yaml", "line": 9, "column": 9, "pointer": "/epochs", "code": "MENS-V001",
            "severity": "error", "message": "'3' is not a whole number",
        },
    ]  # fmt: skip


def test_the_report_is_a_document_itself(mens: Mens, folder: Path) -> None:
    report = mens("validate", ".", "--format", "json", cwd=folder).stdout
    done = mens("validate", "-", "--format", "json", cwd=folder, stdin=report)
    assert _json(done) == {"schema": "mens/findings/v1", "documents": 1, "findings": []}


def test_every_format_can_be_read(mens: Mens, folder: Path) -> None:
    def of(name: str) -> str:
        done = mens("validate", "presets", "--format", name, cwd=folder)
        assert done.returncode == 1
        return done.stdout

    assert of("text").endswith("3 findings in 3 documents\n")
    lines = of("github").splitlines()
    assert [line.split(" ")[0] for line in lines[:-1]] == ["::error"] * 3
    assert lines[-1] == "3 findings in 3 documents"
    [run] = json.loads(of("sarif"))["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["MENS-V002", "MENS-V003", "MENS-V001"]
    assert run["properties"] == {"documents": 3, "findings": 3}
    suite = ElementTree.fromstring(of("junit"))
    assert (suite.get("tests"), suite.get("failures"), len(suite.findall(".//failure"))) == ("3", "3", 3)
    issues = json.loads(of("gitlab"))
    assert [issue["location"] for issue in issues] == [
        {"path": "presets/wrong.yaml", "lines": {"begin": line}} for line in (1, 4, 9)
    ]
    assert len(_json(mens("validate", "presets", "--format", "json", cwd=folder))["findings"]) == 3


@pytest.mark.parametrize("name", ["text", "json", "github", "sarif", "junit", "gitlab"])
def test_every_format_without_findings(mens: Mens, folder: Path, name: str) -> None:
    done = mens("validate", "handoff.json", "--format", name, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    if name in ("json", "sarif", "gitlab"):
        json.loads(done.stdout)


def test_globs(mens: Mens, folder: Path) -> None:
    assert _json(mens("validate", "presets/*.yaml", "--format", "json", cwd=folder))["documents"] == 2
    assert _json(mens("validate", "**/[dnw]*.y*ml", "--format", "json", cwd=folder))["documents"] == 3
    nothing = mens("validate", "presets/*.toml", "--format", "json", cwd=folder)
    assert (nothing.returncode, _codes(nothing)) == (2, [("*.toml", "MENS-P004")])
    odd = folder / "odd[1].json"
    odd.write_text(json.dumps(HANDOFF))
    assert mens("validate", "odd[1].json", cwd=folder).returncode == 0


def test_standard_input(mens: Mens, folder: Path) -> None:
    assert mens("validate", "-", stdin=PRESET.format(id="day")).stdout == "1 document, no findings\n"
    wrong = mens("validate", "-", stdin=WRONG, cwd=folder)
    assert wrong.returncode == 1
    assert wrong.stdout.splitlines()[1] == (
        "<stdin>:4:1: 'rnk' is not a field of mens/training-preset/v1. Did you mean 'rank'?   [MENS-V003]"
    )
    rows = mens("validate", "-", "--kind", "training-row", "--format", "json", stdin=ROW * 2 + '{"text": 3}\n')
    assert _json(rows)["documents"] == 3
    assert [(finding["line"], finding["column"]) for finding in _json(rows)["findings"]] == [(3, 10)]
    assert mens("validate", "-", stdin="").returncode == 1


def test_no_standard_input(child_environment: dict[str, str]) -> None:
    command = ["sh", "-c", 'exec "$0" -m mens validate - <&-', sys.executable]
    done = subprocess.run(command, env=child_environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("-:1:1: there is no standard input   [MENS-P004]\n")


def test_a_kind_that_is_told(mens: Mens, folder: Path) -> None:
    untold = {name: value for name, value in HANDOFF.items() if name != "schema"}
    (folder / "untold.json").write_text(json.dumps(untold))
    assert _codes(mens("validate", "untold.json", "--format", "json", cwd=folder)) == [("untold.json", "MENS-U001")]
    told = mens("validate", "untold.json", "--kind", "serving-handoff/v2", "--format", "json", cwd=folder)
    assert (told.returncode, _codes(told)) == (1, [("untold.json", "MENS-V002")])
    other = mens("validate", "handoff.json", "--kind", "serving-handoff/v1", "--format", "json", cwd=folder)
    assert {code for _, code in _codes(other)} == {"MENS-V002", "MENS-V003", "MENS-V004"}


def test_rows_in_documents_and_documents_in_lines(mens: Mens, folder: Path) -> None:
    (folder / "row.json").write_text(json.dumps(json.loads(ROW), indent=2))
    (folder / "handoffs.jsonl").write_text((json.dumps(HANDOFF) + "\n") * 2)
    assert mens("validate", "row.json", "--kind", "training-row", cwd=folder).stdout == "1 document, no findings\n"
    several = mens("validate", "handoffs.jsonl", "--kind", "serving-handoff", cwd=folder)
    assert several.stdout == "2 documents, no findings\n"


def test_a_kind_that_nobody_knows(mens: Mens, folder: Path) -> None:
    done = mens("validate", "handoff.json", "--kind", "serving-handof", cwd=folder)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("'serving-handof' is not a kind of document. Did you mean 'serving-handoff'?")
    claimed = mens("validate", "-", "--format", "json", stdin="schema: mens/training-preset/v2\n")
    assert (claimed.returncode, _codes(claimed)) == (3, [("<stdin>", "MENS-U002")])


def test_a_named_file_of_no_kind(mens: Mens, folder: Path) -> None:
    done = mens("validate", "package.json", cwd=folder)
    assert (done.returncode, done.stdout) == (
        3,
        "package.json:1:1: no kind of document is recognised in it; --kind says which is meant   [MENS-U001]\n"
        "1 finding in 0 documents\n",
    )
    skipped = mens("validate", "package.json", "handoff.json", "--skip-unknown", cwd=folder)
    assert (skipped.returncode, skipped.stdout) == (0, "1 document, no findings\n")
    assert skipped.stderr == "1 file of no kind was skipped.\n"


def test_a_folder_without_documents_has_not_passed(mens: Mens, tmp_path: Path) -> None:
    done = mens("validate", tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith(f"{tmp_path}:1:1: no document of any kind was found here   [MENS-U001]\n")
    (tmp_path / "package.json").write_text("{}")
    assert mens("validate", tmp_path).returncode == 3
    assert mens("validate", tmp_path, "--skip-unknown").returncode == 0


def test_usage(mens: Mens, folder: Path) -> None:
    assert mens("validate", "missing.json", cwd=folder).returncode == 2
    assert mens("validate", "--format", "xml", cwd=folder).returncode == 2
    assert mens("validate", "--nope", cwd=folder).returncode == 2
    assert mens("nope").returncode == 2


def test_the_highest_exit_code_wins(mens: Mens, folder: Path) -> None:
    done = mens("validate", "presets/wrong.yaml", "missing.json", "package.json", "/dev/null", cwd=folder)
    assert done.returncode == 4
    assert done.stdout.endswith("6 findings in 1 document\n")


def test_two_presets_that_claim_one_name(mens: Mens, folder: Path) -> None:
    (folder / "presets" / "again.yaml").write_text(PRESET.format(id="night"))
    done = mens("validate", "presets/again.yaml", "presets/night.yml", cwd=folder)
    assert done.stdout == (
        "presets/night.yml:2:5: 'night' is already claimed by night in presets/again.yaml   [MENS-R004]\n"
        "1 finding in 2 documents\n"
    )


def test_files_that_are_none(mens: Mens, folder: Path) -> None:
    os.mkfifo(folder / "pipe.json")
    (folder / "dangling.json").symlink_to("nowhere")
    (folder / "circle.json").symlink_to("circle.json")
    (folder / "again").symlink_to(".")
    (folder / "presets" / "up").symlink_to("..")
    done = mens("validate", ".", "--format", "json", cwd=folder, timeout=20)  # a FIFO or a circle is not waited for
    document = _json(done)
    assert document["documents"] == 7, "links to folders are not followed"
    assert [pair for pair in _codes(done) if not pair[1].startswith("MENS-V")] == [
        ("circle.json", "MENS-P005"),
        ("dangling.json", "MENS-P004"),
        ("pipe.json", "MENS-P002"),
    ]
    assert done.returncode == 5
    for path in ("pipe.json", "/dev/zero", "/dev/stdin", "/proc/self/mem"):
        refused = mens("validate", path, "--format", "json", cwd=folder, timeout=20)
        assert refused.returncode in (4, 5), path
        assert refused.stderr == ""


def test_a_link_to_a_document_is_followed(mens: Mens, folder: Path) -> None:
    (folder / "link.json").symlink_to("handoff.json")
    assert mens("validate", "link.json", cwd=folder).returncode == 0


def test_a_file_that_may_not_be_read(child_environment: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(HANDOFF))
    secret.chmod(0)
    program = (
        "import os, sys\nfrom mens.cli.main import main\nmain(['validate', '-', '--kind', 'plan'])\n"
        "os.chdir(os.path.dirname(sys.argv[1]))\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main(['validate', 'secret.json', '--format', 'json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(secret)],
        env=child_environment, input="{}", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert '"code": "MENS-P005", "severity": "error", "message": "cannot be read: Permission denied"' in done.stdout


def test_odd_file_names(mens: Mens, tmp_path: Path) -> None:
    for name in (b"a b.yaml", b"-x.yaml", b"n\nl.yaml", b"\xff.yaml", "grüße.yaml".encode()):
        with open(os.fsencode(tmp_path) + b"/" + name, "w") as file:
            file.write(WRONG)
    text = mens("validate", ".", cwd=tmp_path)
    assert text.returncode == 1
    assert text.stdout.splitlines()[-1] == "15 findings in 5 documents"
    assert len(text.stdout.splitlines()) == 16, "a name with a line break does not make two lines"
    assert (
        len({finding["path"] for finding in _json(mens("validate", ".", "--format", "json", cwd=tmp_path))["findings"]})
        == 5
    )


def test_what_a_document_says_cannot_drive_a_terminal(mens: Mens) -> None:
    done = mens("validate", "-", stdin='{"schema": "mens/plan/v1", "\\u001b[31m\\u202e": "::error::x"}')
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_text_of_several_documents(mens: Mens, folder: Path, snapshot: SnapshotAssertion) -> None:
    (folder / "meta.json").write_text(
        json.dumps(
            {
                "format": "vox_mens_adapter", "version": 3, "adapter_method": "qlora", "base_quant": "nf4",
                "base_key_map": {"l0.q": "a"}, "layer_order": ["l0.q"], "vocab": 8, "d_model": 4, "rank": 0, "alpha": 1,
            },
            indent=2,
        )
    )  # fmt: skip
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "new_magic": true}')
    (folder / "rows.jsonl").write_text(ROW + '{"prompt": "a"}\n{"text": "a", "txt": 1}\n\n{"text": 1e999}\n')
    (folder / "plan.yaml").write_text("schema: mens/plan/v1\ntrainable_parameters: 1\nmemory: {a: 1\n")
    assert mens("validate", ".", cwd=folder).stdout == snapshot


def test_help(mens: Mens, snapshot: SnapshotAssertion) -> None:
    assert mens("--help").stdout == snapshot(name="mens")
    assert mens("validate", "--help").stdout == snapshot(name="mens validate")
    assert mens("validate", "-h").stdout == mens("validate", "--help").stdout
