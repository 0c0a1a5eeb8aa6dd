"""The plan document: complete, consistent, and honest about what was not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mens_contracts.families import FAMILIES
from mens_contracts.plan_v1 import PlanV1

from mens.contracts import door
from mens.contracts.errors import UsageError
from mens.plan.activations import Situation
from mens.plan.build import Request, make_plan
from mens.plan.resolve import FIELDS, resolve
from mens.plan.rows import PIECE, count_rows
from mens.plan.schedule import optimizer_steps, training_rows
from mens.report.plan import plan_text
from tests.plan.sparse import released


def plan(name: str = "Qwen/Qwen3.5-4B", flags: dict[str, Any] | None = None, **more: Any) -> PlanV1:
    family, config = (FAMILIES[name], FAMILIES[name].tiny_config) if name in FAMILIES else released(name)
    return make_plan(Request(resolve("4080", None, flags or {}), family, config, **more))


@pytest.mark.parametrize("name", [*FAMILIES, "Qwen/Qwen3.5-9B", "Qwen/Qwen3.5-35B-A3B", "Qwen/Qwen3-Coder-Next"])
@pytest.mark.parametrize("available", [None, 1 << 20, 16 << 30, 1 << 45])
def test_a_document_of_its_kind(name: str, available: int | None) -> None:
    made = plan(name, available=available)
    text = made.model_dump_json(by_alias=True)
    assert door.loads(text, PlanV1).model == made
    assert set(made.configuration) == set(FIELDS) == set(made.origins)
    assert sum(target.trainable_parameters for target in made.targets) == made.trainable_parameters > 0
    assert made.memory.total_bytes == sum(made.memory.components.values())
    assert made.fits is (available is None or made.memory.total_bytes <= available)
    assert (made.longest_sequence is None) is (available is None)
    assert plan_text(made).count("total") >= 1


def test_several_devices() -> None:
    one, four = plan(available=16 << 30), plan(available=16 << 30, situation=Situation(num_devices=4))
    assert [device.device for device in four.devices] == [f"cuda:{index}" for index in range(4)]
    assert four.memory.available_bytes == 64 << 30
    assert four.tokens_per_optimizer_step == 4 * (one.tokens_per_optimizer_step or 0) == 4 * 384 * 8
    assert four.devices[0].total_bytes > one.devices[0].total_bytes  # gradients are exchanged in buckets


def test_a_paged_optimizer_is_in_host_memory() -> None:
    made = plan(flags={"optimizer": "paged_adamw"})
    assert made.host_memory is not None
    assert made.host_memory.total_bytes == made.host_memory.components["optimizer"] > 100 << 20
    assert "  host        optimizer" in plan_text(made)
    assert plan().host_memory is None


def test_routed_experts_are_said_to_stay_as_they_are() -> None:
    notes = plan("Qwen/Qwen3.5-35B-A3B").warnings
    share = "32,212,254,720 of 34,660,610,688 parameters stay as they are and take 60.00 GiB"
    assert any(share in note for note in notes)
    assert any(note.startswith("experts is 'refuse': training refuses this base") for note in notes)
    kept = plan("Qwen/Qwen3.5-35B-A3B", {"experts": "16bit"}).warnings
    assert len(kept) == len(notes) - 1


@pytest.mark.parametrize(
    ("flags", "note"),
    [
        ({"targets": ["qv"]}, "24 of 32 layers get no adapter."),
        ({"seq_len": 300_000}, "seq_len 300,000 is beyond the 262,144 positions that the base knows."),
    ],
)
def test_what_a_person_should_know(flags: dict[str, Any], note: str) -> None:
    assert note in plan(flags=flags).warnings


def test_a_set_that_chooses_nothing_is_said_only_where_somebody_asked_for_it() -> None:
    assert plan("llama").warnings == []
    asked = plan("llama", {"targets": ["attention", "linear"]}).warnings
    assert asked == ["Target set 'linear' chooses nothing in family 'llama'."]


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"", 0),
        (b"\n\n  \n", 0),
        (b"{}", 1),
        (b"{}\n", 1),
        (b"{}\n\n{}\r\n{}", 3),
        (b"{" + b" " * PIECE + b"}\n" + b" " * PIECE + b"\n{}", 2),
        (b"x" * (PIECE - 1) + b"\n" + b"y" * PIECE + b"\n", 2),
    ],
)
def test_rows_are_counted(tmp_path: Path, data: bytes, rows: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    assert count_rows(path).num_rows == rows


def test_no_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        count_rows(tmp_path / "none.jsonl")


def test_rows_make_steps(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "a", "response": str(i)}) + "\n" for i in range(1000)))
    made = plan(rows=count_rows(path))
    assert made.data is not None
    assert (made.data.num_rows, made.data.num_tokens) == (1000, None)
    assert made.optimizer_steps == 3 * -(-950 // 8)
    assert any(note.startswith("Rows were counted, not read") for note in made.warnings)
    assert "The warm-up of 80 steps is capped at a tenth of 357 steps, 35." in made.warnings
    assert plan(rows=count_rows(path), situation=Situation(num_devices=2)).optimizer_steps == 3 * -(-950 // 16)
    assert plan(flags={"packing": True}, rows=count_rows(path)).optimizer_steps is None


def test_the_schedule() -> None:
    preset = resolve("4080", None, {"validation_split": 0.05, "max_steps": 100}).preset
    assert [training_rows(rows, preset) for rows in (0, 1, 19, 20, 1000)] == [0, 1, 19, 19, 950]
    assert optimizer_steps(0, preset, 1) == 0
    assert optimizer_steps(1, preset, 1) == 3
    assert optimizer_steps(10_000, preset, 1) == 100
