"""`mens families sample` as a process: real folders, real output, real exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mens_contracts.families import FAMILIES
from mens_contracts.inspection_v1 import InspectionV1

from mens.contracts import door

Mens = Callable[..., "subprocess.CompletedProcess[str]"]
FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
HEAVY = ("torch", "transformers", "safetensors", "tokenizers", "jinja2", "huggingface_hub", "jsonschema")
LOADED = """
import json, sys
from mens.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_and_a_folder_are_enough(mens: Mens, tmp_path: Path, family: str) -> None:
    done = mens("families", "sample", family, "--out", "sample", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"Wrote sample: family {family}, layout {FAMILIES[family].layouts[0].name}, seed 0"
    assert " parameters, tokens of " in second
    assert {path.name for path in (tmp_path / "sample").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]
    assert mens("inspect", "sample", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("layout", [layout.name for layout in FAMILIES["qwen3_5_moe"].layouts])
def test_json_is_the_inspection_of_what_was_written(mens: Mens, tmp_path: Path, layout: str) -> None:
    arguments = ("families", "sample", "qwen3_5_moe", "--layout", layout, "--out", "sample", "--json")
    done = mens(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(door.loads(done.stdout, InspectionV1, "stdout").model, InspectionV1)
    report = json.loads(done.stdout)
    assert report["layout"]["name"] == layout
    assert report["coverage"]["missing"] == report["coverage"]["unknown"] == report["coverage"]["mismatched"] == []
    assert json.loads(mens("inspect", "sample", "--json", cwd=tmp_path).stdout) == report


def test_every_option_at_once(mens: Mens, tmp_path: Path) -> None:
    done = mens(
        "families", "sample", "qwen3_5", "--out", "some/where/sample", "--layout", "text_only_mtp",
        "--series", "qwen3_8", "--dtype", "f32", "--state-dtype", "bf16", "--untied", "--set", "layers=8",
        "--set", "text.rms_norm_eps=1e-5", "--seed", "7", "--shard-bytes", "50000",
        cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "some" / "where" / "sample"
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert (config["model_type"], config["num_hidden_layers"], config["rms_norm_eps"]) == ("qwen3_5_text", 8, 1e-5)
    assert (config["tie_word_embeddings"], config["dtype"]) == (False, "float32")
    assert (folder / "model.safetensors.index.json").exists()
    assert "reasoning_effort" in (folder / "chat_template.jinja").read_text("utf-8")
    assert mens("inspect", str(folder)).returncode == 0


def test_the_same_command_writes_the_same_bytes(mens: Mens, tmp_path: Path) -> None:
    for name, seed in (("one", "1"), ("again", "1"), ("other", "2")):
        assert mens("families", "sample", "qwen3", "--seed", seed, "--out", name, cwd=tmp_path).returncode == 0
    one, again, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


def test_full_size_takes_kilobytes(mens: Mens, tmp_path: Path) -> None:
    arguments = ("--series", "Qwen/Qwen3.5-27B", "--full-size", "--sparse", "--out", "sample")
    done = mens("families", "sample", "qwen3_5", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1,199 tensors, 27,781,427,952 parameters, tokens of Qwen/Qwen3.5-27B" in done.stdout
    files = [path.stat() for path in (tmp_path / "sample").iterdir()]
    assert sum(file.st_size for file in files) > 50 * 10**9
    assert sum(file.st_blocks * 512 for file in files) < 10**6


def test_an_existing_folder_is_left_alone(mens: Mens, tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "mine").write_text("mine", encoding="utf-8")
    done = mens("families", "sample", "llama", "--out", "sample", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "already exists; nothing was written   [MENS-C043]" in done.stderr
    assert [path.name for path in (tmp_path / "sample").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("qwen35",), 3, "MENS-U003"),
        (("qwen3_5", "--layout", "fused"), 3, "Layouts: multimodal, multimodal_no_mtp, text_only"),
        (("qwen3_5", "--series", "Qwen/Qwen3.5-4"), 3, "Did you mean 'Qwen/Qwen3.5-4B'?"),
        (("qwen3_5", "--series", "Qwen/Qwen3.5-35B-A3B"), 3, "is no series of family 'qwen3_5'"),
        (("gpt2", "--full-size"), 3, "MENS-U006"),
        (("qwen3_5", "--set", "layers"), 2, "MENS-L003"),
        (("qwen3_5", "--set", "layers=[1"), 2, "MENS-L003"),
        (("qwen3_5", "--set", "layers=1", "--set", "layers=2"), 2, "twice"),
        (("qwen3_5", "--set", "layer=1"), 2, "Did you mean 'layers'?"),
        (("qwen3_5", "--set", "vocab=10"), 2, "MENS-C045"),
        (("qwen3_5", "--set", "text.rope_parameters=1", "--set", "text.rope_parameters.rope_theta=1"), 2, "MENS-C045"),
        (("qwen3_5", "--set", "hidden=null"), 1, "MENS-K005"),
        (("qwen3_5", "--set", "text.layer_types=[full]"), 1, "MENS-K006"),
        (("qwen3_5", "--set", "layers=99999999"), 1, "MENS-K005"),
        (("qwen3_5", "--dtype", "fp8"), 2, "Invalid value"),
    ],
)
def test_refusals_write_nothing(
    mens: Mens, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    done = mens("families", "sample", *arguments, "--out", "sample", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(mens: Mens, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = mens("families", "sample", "llama", "--out", "file/sample", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (5, "")
    assert "MENS-P006" in done.stderr


def test_more_than_the_disk_holds_is_refused_at_once(mens: Mens, tmp_path: Path) -> None:
    sizes = ("--set", "hidden=1000000", "--set", "vocab=1000000000", "--set", "layers=1")
    done = mens("families", "sample", "llama", *sizes, "--out", "sample", cwd=tmp_path)
    assert done.returncode == 5
    assert "bytes are needed" in done.stderr
    assert "--sparse" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("extra", "has_numpy"), [((), True), (("--sparse",), False)])
def test_what_it_imports(
    child_environment: dict[str, str], tmp_path: Path, extra: tuple[str, ...], has_numpy: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "families", "sample", "qwen3_5", "--out", "sample", *extra],
        env=child_environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    assert [module for module in HEAVY if module in modules] == []
    assert ("numpy" in modules) is has_numpy
