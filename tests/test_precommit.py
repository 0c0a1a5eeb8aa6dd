"""The hooks that other repositories use do what their description says, and ours call sessions that exist."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
OWN = [hook for repo in CONFIG["repos"] for hook in repo["hooks"]]

PRESET = """\
schema: mens/training-preset/v1
id: night_run
title: Overnight run on one card
rank: 16
alpha: 32
seq_len: 512
batch_size: 1
grad_accum: 8
epochs: 3
warmup_steps: 80
learning_rate: 1.5e-4
"""
FOREIGN = {
    "package.json": '{"name": "something-else"}\n',
    "workflow.yaml": "on: push\njobs: {}\n",
    "list.json": "[1, 2, 3]\n",
}


def _hook(id_: str) -> dict[str, Any]:
    return next(hook for hook in HOOKS if hook["id"] == id_)


def _run(hook: dict[str, Any], files: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a hook as pre-commit does: its entry, its arguments, then the files that matched."""
    program, *rest = shlex.split(hook["entry"])
    assert program == "mens"
    command = [sys.executable, "-m", "mens", *rest, *hook.get("args", []), *files]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _write(folder: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(files)


def test_hooks_are_declared_as_pre_commit_wants_them() -> None:
    assert [hook["id"] for hook in HOOKS] == ["mens-validate", "mens-validate-rows"]
    known = {"id", "name", "description", "entry", "args", "language", "types_or", "require_serial", "files"}
    for hook in HOOKS:
        assert hook.keys() <= known
        assert hook["language"] == "python"
    assert _hook("mens-validate")["types_or"] == ["json", "yaml"]


def test_valid_documents_and_foreign_files_pass(tmp_path: Path, child_environment: dict[str, str]) -> None:
    files = _write(tmp_path, {**FOREIGN, "preset.yaml": PRESET})
    code, output = _run(_hook("mens-validate"), files, tmp_path, child_environment)
    assert (code, output) == (0, "1 document, no findings\n3 files of no kind were skipped.\n")


def test_a_commit_without_documents_passes(tmp_path: Path, child_environment: dict[str, str]) -> None:
    code, _ = _run(_hook("mens-validate"), _write(tmp_path, FOREIGN), tmp_path, child_environment)
    assert code == 0


def test_a_broken_document_stops_the_commit(tmp_path: Path, child_environment: dict[str, str]) -> None:
    files = _write(tmp_path, {**FOREIGN, "preset.yaml": PRESET.replace("rank: 16", "rank: many")})
    code, output = _run(_hook("mens-validate"), files, tmp_path, child_environment)
    assert code == 1
    assert "preset.yaml:4:7: 'many' is not a whole number   [MENS-V001]\n" in output


def test_rows_are_checked_line_by_line(tmp_path: Path, child_environment: dict[str, str]) -> None:
    rows = [{"prompt": "Say hello.", "response": "Hello."}, {"prompt": "Say hello."}]
    files = _write(tmp_path, {"rows.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows)})
    code, output = _run(_hook("mens-validate-rows"), files, tmp_path, child_environment)
    assert code == 1
    assert output.startswith("rows.jsonl:2:1: a row is ")


def test_our_own_hooks_call_sessions_that_exist() -> None:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in noxfile.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    assert {"tests", "generate", "breaking"} <= sessions
    called = [shlex.split(hook["entry"]) for hook in OWN]
    assert len(called) >= 4
    for words in called:
        assert words[:2] == ["nox", "-s"]
        assert words[2] in sessions
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in OWN)


@pytest.mark.skipif(importlib.util.find_spec("pre_commit") is None, reason="pre-commit is not installed here")
def test_pre_commit_itself_runs_the_hook(tmp_path: Path, child_environment: dict[str, str]) -> None:
    """With the hook's own words; only its language is changed, so that nothing has to be downloaded."""
    hook = {**_hook("mens-validate"), "language": "system", "entry": f"{sys.executable} -m mens validate"}
    del hook["description"]
    config = {"repos": [{"repo": "local", "hooks": [hook]}]}
    broken = PRESET.replace("rank: 16", "rank: many")
    _write(tmp_path, {**FOREIGN, "good.yaml": PRESET, "bad.yaml": broken.replace("night_run", "day_run")})
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = child_environment | {"PRE_COMMIT_HOME": str(tmp_path / "home"), "GIT_CONFIG_GLOBAL": os.devnull}
    for words in (["git", "init", "--quiet"], ["git", "add", "--", *FOREIGN, "good.yaml", ".pre-commit-config.yaml"]):
        subprocess.run(words, cwd=tmp_path, env=environment, check=True)
    command = [sys.executable, "-m", "pre_commit", "run", "--color", "never"]
    passed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    subprocess.run(["git", "add", "bad.yaml"], cwd=tmp_path, env=environment, check=True)
    failed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "bad.yaml:4:7: 'many' is not a whole number   [MENS-V001]" in failed.stdout
