"""`mens plan` as a process: real folders, real output, real exit codes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mens_contracts.families import FAMILIES
from mens_contracts.plan_v1 import PlanV1

from mens.contracts import door
from tests.plan.sparse import released, sparse_checkpoint

Mens = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default base's shape, in a few kilobytes."""
    return sparse_checkpoint(tmp_path_factory.mktemp("bases"), "Qwen/Qwen3.5-4B")


def planned(mens: Mens, *arguments: Any, code: int = 0) -> Any:
    done = mens("plan", *arguments, "--json")
    assert (done.returncode, done.stderr) == (code, "")
    assert door.loads(done.stdout, PlanV1).model.schema_ == "mens/plan/v1"
    return json.loads(done.stdout)


def test_the_interface(mens: Mens, four: Path) -> None:
    plan = planned(mens, "--preset", "4080", "--base", four)
    assert plan["trainable_parameters"] == 30_474_240
    assert plan["memory"]["total_bytes"] == sum(plan["memory"]["components"].values())
    assert plan["fits"] is True
    assert plan["preset"] == "4080"
    assert plan["parameters"] == 4_205_751_296
    assert plan["base"]["state"] == "unknown"
    assert plan["base"]["fingerprint"].startswith("arch:")


def test_a_plan_validates_itself(mens: Mens, four: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(mens("plan", "--base", four, "--vram", "16GiB", "--json").stdout)
    done = mens("validate", path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [*FAMILIES, "Qwen/Qwen3.5-27B", "Qwen/Qwen3.5-35B-A3B"])
def test_every_family(mens: Mens, tmp_path: Path, name: str) -> None:
    folder = sparse_checkpoint(tmp_path, name)
    plan = planned(mens, "--base", folder, "--set", "experts=16bit")
    assert plan["trainable_parameters"] == sum(target["trainable_parameters"] for target in plan["targets"]) > 0


@pytest.mark.parametrize("layout", [layout.name for layout in FAMILIES["qwen3_5_moe"].layouts])
def test_the_layout_on_disk_changes_nothing(mens: Mens, tmp_path: Path, layout: str) -> None:
    plan = planned(mens, "--base", sparse_checkpoint(tmp_path, "qwen3_5_moe", layout))
    first = planned(mens, "--base", sparse_checkpoint(tmp_path, "qwen3_5_moe"))
    for name in ("parameters", "targets", "memory", "trainable_parameters"):
        assert plan[name] == first[name]


def test_four_hundred_billion_parameters(mens: Mens, tmp_path: Path) -> None:
    """A made-up geometry, every expert by itself on disk: a hundred thousand tensors in one header."""
    _, config = released("Qwen/Qwen3.5-35B-A3B")
    text = config["text_config"] | {"hidden_size": 4096, "num_hidden_layers": 60, "num_experts": 512}
    text |= {"moe_intermediate_size": 1024, "shared_expert_intermediate_size": 1024, "num_attention_heads": 32}
    config = config | {"text_config": text}
    folder = sparse_checkpoint(tmp_path, "qwen3_5_moe", "text_only_per_expert", config)
    plan = planned(mens, "--base", folder, "--vram", "80GiB", code=5)
    assert plan["parameters"] > 390e9
    assert plan["longest_sequence"] == 0
    assert plan["nearest"] == []
    assert (folder / "model.safetensors").stat().st_blocks * 512 < 32 << 20


def test_it_fits_or_not(mens: Mens, four: Path) -> None:
    fits = mens("plan", "--base", four, "--vram", "16GiB")
    tight = mens("plan", "--base", four, "--vram", "4GiB", "--set", "seq_len=2048")
    assert (fits.returncode, tight.returncode) == (0, 5)
    assert "of 16.00 GiB   fits · longest sequence that fits: " in fits.stdout
    assert "of 4.00 GiB   does not fit" in tight.stdout
    assert tight.stderr == ""


def test_without_a_limit_nothing_is_said_about_fitting(mens: Mens, four: Path) -> None:
    plan = planned(mens, "--base", four)
    assert (plan["fits"], plan["longest_sequence"], plan["memory"]["available_bytes"]) == (True, None, None)


def test_proposals_hold_when_they_are_followed(mens: Mens, four: Path) -> None:
    wanted = {"seq_len": 8192, "ce_last_k": 0, "loss_chunk_size": 0}
    place = ("--base", four, "--vram", "6GiB")
    plan = planned(mens, *place, *flags_of(wanted), code=5)
    assert plan["nearest"]
    for other in plan["nearest"]:
        followed = planned(mens, *place, *flags_of(wanted | other["changes"]))
        assert followed["memory"]["total_bytes"] == other["total_bytes"]


def flags_of(settings: dict[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]


def test_the_longest_sequence_fits_and_one_step_more_does_not(mens: Mens, four: Path) -> None:
    longest = planned(mens, "--base", four, "--vram", "8GiB")["longest_sequence"]
    assert longest > 384
    planned(mens, "--base", four, "--vram", "8GiB", "--set", f"seq_len={longest}")
    planned(mens, "--base", four, "--vram", "8GiB", "--set", f"seq_len={longest + 8}", code=5)


def test_flags_files_and_presets(mens: Mens, four: Path, tmp_path: Path) -> None:
    document = tmp_path / "mine.yaml"
    document.write_text(
        "schema: mens/training-preset/v1\nid: mine\ntitle: Mine\nrank: 6\nalpha: 12\nseq_len: 640\nbatch_size: 1\n"
        "grad_accum: 4\nepochs: 2\nlearning_rate: 1e-4\nwarmup_steps: 3\n"
    )
    plan = planned(mens, "--base", four, "--preset", "a100", "--config", document, "--set", "seq_len=99")
    assert plan["configuration"]["seq_len"] == 99
    assert plan["origins"]["seq_len"] == "flag"
    assert (plan["configuration"]["rank"], plan["origins"]["rank"]) == (6, "file")
    assert plan["origins"]["seed"] == "default"
    text = mens("plan", "--base", four, "--preset", "a100", "--config", document, "--set", "seq_len=99").stdout
    assert "· flags (1: seq_len) · defaults" in text


def test_rows_are_counted_and_not_tokenised(mens: Mens, four: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "response": "b"}\n' * 200)
    plan = planned(mens, "--base", four, "--data", rows)
    assert (plan["data"]["num_rows"], plan["data"]["num_tokens"]) == (200, None)
    assert plan["optimizer_steps"] == 3 * -(-190 // 8)
    assert "200 rows (not tokenised) · 72 steps in 3 epochs" in mens("plan", "--base", four, "--data", rows).stdout


@pytest.mark.parametrize("size", ["17179869184", "16GiB", "16 GiB", "16gi", "16Gi", "16384MiB"])
def test_sizes(mens: Mens, four: Path, size: str) -> None:
    assert planned(mens, "--base", four, "--vram", size)["memory"]["available_bytes"] == 16 << 30


def test_decimal_sizes(mens: Mens, four: Path) -> None:
    assert planned(mens, "--base", four, "--vram", "24GB")["memory"]["available_bytes"] == 24 * 10**9


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--preset", "4090"], 2, "'4090' is no preset. Did you mean '4080'?   [MENS-L001]"),
        (["--set", "rnk=3"], 2, "'rnk' is not a field of a configuration. Did you mean 'rank'?   [MENS-L002]"),
        (["--set", "rank"], 2, "[MENS-L003]"),
        (["--set", "rank=0"], 1, "rank (from the flag): 0 is below the minimum, 1   [MENS-V005]"),
        (["--set", "max_steps=10"], 1, "[MENS-R001]"),
        (["--vram", "lots"], 2, "'lots' is not a size"),
        (["--vram", "0"], 2, "'0' is not a size"),
        (["--preset", "tiny"], 2, "[MENS-L008]"),
        (["--base", "/nowhere/at/all"], 2, "/nowhere/at/all"),
        (["--data", "/nowhere/at/all", "--base", "FOUR"], 2, "no such file or folder"),
        (["--base", "FOUR", "--preset", "/nowhere.yaml"], 2, "no such file or folder"),
    ],
)
def test_refusals(mens: Mens, four: Path, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = mens("plan", *[str(four) if part == "FOUR" else part for part in arguments], HF_HOME=str(tmp_path))
    assert done.returncode == code
    assert said in done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)


def test_a_hole_in_coverage(mens: Mens, tmp_path: Path) -> None:
    done = mens("plan", "--base", sparse_checkpoint(tmp_path, "llama"), "--set", "targets=linear")
    assert done.returncode == 4
    assert "choose no matrix of family 'llama'; nothing would train.   [MENS-L005]" in done.stderr


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header of a sparse checkpoint and leave its length consistent."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    end = 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = entry["data_offsets"][1] - entry["data_offsets"][0]
            entry["data_offsets"] = [end, end + size]
            end += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header: header.pop("model.norm.weight"), "model.norm.weight is missing"),
        (
            lambda header: header.update({"model.layers.0.self_attn.sinks": header["model.norm.weight"] | {}}),
            "  model.layers.0.self_attn.sinks   [MENS-K001]",
        ),
    ],
)
def test_a_base_that_is_not_what_it_says(mens: Mens, tmp_path: Path, change: Any, said: str) -> None:
    folder = sparse_checkpoint(tmp_path, "llama")
    rewrite(folder, change)
    done = mens("plan", "--base", folder)
    assert done.returncode == 4
    assert said in done.stderr
    assert done.stdout == ""


def test_a_base_of_no_family(mens: Mens, tmp_path: Path) -> None:
    folder = sparse_checkpoint(tmp_path, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "unheard_of"}))
    assert mens("plan", "--base", folder).returncode == 3


def test_a_quantised_base(mens: Mens, tmp_path: Path) -> None:
    folder = sparse_checkpoint(tmp_path, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "fp8"}}))
    done = mens("plan", "--base", folder)
    assert done.returncode == 3
    assert "The weights are stored quantised (fp8" in done.stderr


HEAVY = ["torch", "transformers", "peft", "bitsandbytes", "accelerate", "numpy", "safetensors", "jsonschema"]


def test_torch_is_never_imported(four: Path, child_environment: dict[str, str]) -> None:
    program = (
        "import sys; from mens.cli.main import main; "
        f"code = main(['plan', '--base', {str(four)!r}, '--vram', '16GiB', '--json']); "
        f"heavy = set({HEAVY!r}); "
        "sys.exit(f'{code} {sorted(heavy & set(sys.modules))}')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=child_environment, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "0 []"


def test_help_and_place_among_commands(mens: Mens) -> None:
    assert "Show what training would do and need, without loading weights." in mens("--help").stdout
    told = mens("plan", "--help").stdout
    for option in ("--preset", "--base", "--config", "--data", "--vram", "--set", "--devices", "--kernels", "--json"):
        assert option in told


def test_how_a_plan_looks(mens: Mens, four: Path) -> None:
    """Whole, because people read it whole."""
    done = mens("plan", "--base", four, "--vram", "16GiB", "--set", "seq_len=1024", "--kernels", "fused")
    lines = done.stdout.splitlines()
    trained = "30.5 M trainable (0.72 %)"
    assert lines[0].strip() == f"seq 1024 · batch 1 × 8 · rank 16 on attention, linear, mlp      {trained}"
    assert lines[1] == "  weights     NF4 1.66 · constants 0.05 · 16-bit rest 1.19   (GiB)"
    assert lines[2] == "  adapter     weights 0.11 · bf16 copies 0.06 · gradients 0.11 · optimizer 0.23"
    assert [line[2:12].strip() for line in lines[3:7]] == ["step", "total", "run", "from"]
    assert lines[6] == "  from        preset 4080 (8 fields) · flags (1: seq_len) · defaults (27)"
    assert "linear_attention  linear.query_key_value       24    16  4,128,768" in done.stdout


def cached(home: Path, repo: str) -> tuple[Path, str]:
    """A sparse base where huggingface_hub would have put it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = home / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    written = sparse_checkpoint(home, repo)
    (folder / "snapshots").mkdir()
    written.rename(folder / "snapshots" / commit)
    return folder, commit


def test_a_base_in_the_hub_cache(mens: Mens, tmp_path: Path) -> None:
    """By name, by name and revision, and by nothing at all where the preset names it."""
    _, commit = cached(tmp_path, "Qwen/Qwen3.5-4B")
    places = {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": ""}
    for arguments in (["--base", "Qwen/Qwen3.5-4B"], ["--base", f"Qwen/Qwen3.5-4B@{commit}"], []):
        done = mens("plan", *arguments, "--json", **places)
        assert done.returncode == 0, done.stderr
        base = json.loads(done.stdout)["base"]
        assert (base["state"], base["repo"], base["revision"]) == ("declared", "Qwen/Qwen3.5-4B", commit)


def test_what_the_base_stores_decides_what_is_held(mens: Mens, tmp_path: Path) -> None:
    """Decay and norm of linear attention: in F32 as one release stores them, in BF16 as another does."""
    sizes = []
    for index, dtype in enumerate(["F32", "BF16"]):
        folder = sparse_checkpoint(tmp_path / str(index), "Qwen/Qwen3.5-4B", linear_decay=dtype, linear_norm=dtype)
        sizes.append(planned(mens, "--base", folder)["memory"]["components"]["remainder"])
    assert sizes[0] - sizes[1] == 24 * 2 * (32 + 128)


def test_devices_and_kinds_of_devices(mens: Mens, four: Path) -> None:
    two = planned(mens, "--base", four, "--devices", "2", "--vram", "16GiB")
    assert [device["device"] for device in two["devices"]] == ["cuda:0", "cuda:1"]
    assert two["situation"]["num_devices"] == 2
    alone = planned(mens, "--base", four, "--device", "cpu")
    assert [device["device"] for device in alone["devices"]] == ["cpu"]
    assert alone["memory"]["components"]["overhead"] == 0
    assert alone["situation"]["kernels"] == "reference"


def test_kernels_can_be_taken_for_granted(mens: Mens, four: Path) -> None:
    fused = planned(mens, "--base", four, "--kernels", "fused", "--set", "seq_len=8192")
    plain = planned(mens, "--base", four, "--kernels", "reference", "--set", "seq_len=8192")
    assert fused["memory"]["total_bytes"] < plain["memory"]["total_bytes"]
    assert len(plain["warnings"]) == len(fused["warnings"]) + 1
