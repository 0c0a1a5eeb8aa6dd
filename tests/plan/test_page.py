"""docs/plan.md says what is so, and the benchmark that would fill its table runs nowhere but on a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mens.plan import activations, memory, weights
from mens.plan.activations import Situation
from mens.plan.graph import graph_of
from mens.plan.resolve import resolve
from mens.plan.search import Case, longest_sequence
from mens.plan.targets import targets, trainable
from tests.plan.sparse import released

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
GIB = 1 << 30
SHAPES = ["0.8B", "2B", "4B", "9B", "27B", "35B-A3B"]


def row(size: str) -> str:
    """One published shape as the page shows it."""
    family, config = released(f"Qwen/Qwen3.5-{size}")
    graph, preset = graph_of(family, config), resolve("4080", None, {"experts": "16bit"}).preset
    found = targets(graph, preset)
    cells = [f"Qwen3.5-{size}", f"{graph.parameters / 1e9:.2f} B", f"{trainable(found, preset.rank):,}"]
    for fused in (True, False):
        case = Case(graph, found, preset, Situation(fused_kernels=fused))
        cells.append(f"{case.memory.total / GIB:.2f}")
        cells.append(" / ".join(f"{longest_sequence(case, card * GIB):,}" for card in (16, 24, 80)))
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("size", SHAPES)
def test_the_table_of_published_shapes(size: str) -> None:
    assert row(size) in PAGE.splitlines()


def test_every_component_has_its_line() -> None:
    family, config = released("Qwen/Qwen3.5-4B")
    graph, preset = graph_of(family, config), resolve("4080").preset
    plan = memory.plan_memory(graph, targets(graph, preset), preset, Situation())
    assert len(plan.components) == 11
    for component in plan.components:
        assert f"`{component}`" in PAGE or f"`{component}`," in PAGE, component


def test_constants_on_the_page() -> None:
    assert f"{memory.OVERHEAD['cuda'] >> 20} MiB on CUDA" in PAGE
    assert f"below {memory.MIN_8BIT:,} values" in PAGE
    assert f"states of {memory.MIN_PAGED:,} values" in PAGE
    assert (weights.BLOCK, weights.NESTED_BLOCK, activations.CHUNK, memory.STATE_BLOCK) == (64, 256, 64, 256)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device: the benchmark would measure")
def test_without_a_device_nothing_is_measured() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "plan_memory.py"), "--docs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (5, "")
    assert "No CUDA device is here: nothing was measured." in done.stderr
    assert (ROOT / "docs" / "plan.md").read_text(encoding="utf-8") == PAGE
    assert "**No GPU has run it yet.**" in PAGE
