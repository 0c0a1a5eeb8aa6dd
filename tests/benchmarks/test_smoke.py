"""The benchmark runs and measures what it says; how fast anything is, no test asks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None,
    reason="check-jsonschema is installed by `nox -s benchmarks`, not for the tests",
)
def test_benchmark_times_every_case(tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    script = ROOT / "benchmarks" / "validate.py"
    command = [sys.executable, str(script), "--runs", "1", "--documents", "4", "--json", str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(times.read_text())
    compared = {case["name"] for case in result["compared"]}
    assert compared >= {"--help, beside one file", "one YAML file", "one JSON file", "4 files, named"}
    assert all(len(case["mens"]) == len(case["other"]) == 1 for case in result["compared"])
    assert set(result["alone"]) == {"mens schema list", "python -m mens.codegen"}
    shown = done.stdout.splitlines()[1:]
    assert len(shown) == len(result["compared"]) + len(result["alone"])
