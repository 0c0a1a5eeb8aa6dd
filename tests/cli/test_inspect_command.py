"""`mens inspect` as a process: what it prints, how it ends, what it never imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from mens_contracts.families import FAMILIES
from mens_contracts.inspection_v1 import InspectionV1
from syrupy.assertion import SnapshotAssertion

from mens.checkpoint.storage.sources import TensorInfo
from mens.contracts import door
from mens.contracts.kinds import named
from tests.checkpoint.made import published, tensors_of, tiny, write
from tests.checkpoint.test_inspection_files import COMMIT, FILES, ON, cached

Mens = Callable[..., subprocess.CompletedProcess[str]]


def with_sinks(folder: Path, number: int = 2) -> Path:
    """A checkpoint with tensors that no rule of its family names."""
    family = FAMILIES["qwen3_5"]
    tensors = tensors_of(family, family.tiny_config, family.layouts[0].selection)
    sinks = [TensorInfo(f"model.language_model.layers.{i}.self_attn.sinks", "BF16", (4,)) for i in range(number)]
    return write(folder, family.tiny_config, [*tensors, *sinks])


def test_the_interface_of_the_document(mens: Mens, tmp_path: Path) -> None:
    done = mens("inspect", published(tmp_path / "c", "Qwen/Qwen3.5-27B"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    Draft202012Validator(door.schema_of(named("inspection"))).validate(value)
    report = door.loads(done.stdout, InspectionV1).model
    assert report.model_dump_json(by_alias=True, indent=2) + "\n" == done.stdout
    assert value["schema"] == "mens/inspection/v1"
    assert value["family"] == "qwen3_5"
    assert value["layout"] == {
        "prefix": "model.language_model", "experts": "none", "mtp": "dense", "vision": True, "name": "multimodal",
    }  # fmt: skip
    assert {name: value["parameters"][name] for name in ("total", "active", "text", "vision", "mtp")} == {
        "total": 27_781_427_952, "active": 26_895_998_464, "text": 26_895_998_464, "vision": 460_730_096,
        "mtp": 424_699_392,
    }  # fmt: skip
    assert value["tied"] is False
    assert value["coverage"] == {"matched": 1199, "unknown": [], "missing": [], "mismatched": []}
    assert value["fingerprint"].startswith("arch:")


def test_text_of_a_multimodal_model(mens: Mens, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    published(tmp_path / "Qwen3.5-4B", "Qwen/Qwen3.5-4B", files={**FILES, "chat_template.jinja": ON})
    done = mens("inspect", "Qwen3.5-4B", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == snapshot


def test_text_of_a_mixture_of_experts(mens: Mens, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    folder = published(tmp_path / "c", "Qwen/Qwen3.5-35B-A3B")
    cached(tmp_path, "Qwen/Qwen3.5-35B-A3B", folder)
    done = mens("inspect", f"Qwen/Qwen3.5-35B-A3B@{COMMIT}", HF_HUB_CACHE=str(tmp_path / "hub"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == snapshot


def test_the_whole_report_stands_before_the_refusal(mens: Mens, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    with_sinks(tmp_path / "ckpt")
    done = mens("inspect", "ckpt", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stdout == snapshot
    assert done.stderr == (
        "Cannot read ckpt as family 'qwen3_5': 2 of 105 tensors match no rule.\n"
        "  model.language_model.layers.0.self_attn.sinks\n"
        "  model.language_model.layers.1.self_attn.sinks   [MENS-K001]\n"
        "Nothing was written. Declare them in schemas/families/qwen3_5.yaml, then run: nox -s generate\n"
    )
    as_json = mens("inspect", "ckpt", "--json", cwd=tmp_path)
    assert (as_json.returncode, as_json.stderr) == (4, done.stderr)
    assert len(json.loads(as_json.stdout)["coverage"]["unknown"]) == 2


def test_quantised_weights_end_in_three(mens: Mens, tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    tiny(tmp_path / "c", "llama", config=config)
    done = mens("inspect", "c", "--json", cwd=tmp_path)
    assert done.returncode == 3
    assert json.loads(done.stdout)["quantisation"]["method"] == "bitsandbytes"
    assert "[MENS-L007]" in done.stderr


@pytest.mark.parametrize(
    ("files", "code", "exit_code"),
    [
        ({"training.bin": b"x"}, "MENS-C031", 4),
        ({"modeling.py": b"raise SystemExit"}, "MENS-C032", 4),
        ({"adapter_config.json": {}}, "MENS-C033", 3),
        ({"tokenizer_config.json": {"auto_map": {"AutoTokenizer": "x.Y"}}}, "MENS-R008", 4),
        ({"config.json": {"model_type": "llama", "auto_map": {"AutoModel": "x.Y"}}}, "MENS-R008", 4),
        ({"config.json": {"model_type": "unheard_of"}}, "MENS-K002", 3),
        ({"config.json": {}}, "MENS-V002", 1),
        ({"config.json": "{"}, "MENS-S001", 1),
        ({"model.safetensors.index.json": {"weight_map": {"a": "../b.safetensors"}}}, "MENS-C021", 4),
    ],
)
def test_refusals_print_no_report(
    files: dict[str, bytes], code: str, exit_code: int, mens: Mens, tmp_path: Path
) -> None:
    folder = tiny(tmp_path / "c", "llama")
    for name, data in files.items():
        (folder / name).write_bytes(
            data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else json.dumps(data).encode()
        )
    done = mens("inspect", folder, "--json")
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("reference", "code", "exit_code"),
    [("nowhere", "MENS-C050", 3), ("some/model", "MENS-C050", 3), ("a b", "MENS-C052", 2), ("", "MENS-C052", 2)],
)
def test_a_base_that_is_not_there(reference: str, code: str, exit_code: int, mens: Mens, tmp_path: Path) -> None:
    done = mens("inspect", reference, cwd=tmp_path, HF_HUB_CACHE=str(tmp_path / "hub"))
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert f"[{code}]" in done.stderr


def test_what_a_file_holds_does_nothing_to_the_terminal(mens: Mens, tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07\u202e"
    tiny(tmp_path / "c", "llama", files={"tokenizer_config.json": {"eos_token": hostile, "pad_token": hostile}})
    done = mens("inspect", "c", cwd=tmp_path)
    assert done.returncode == 0
    assert "U+001B]0;ownedU+0007U+202E" in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_a_folder_whose_name_is_not_text(mens: Mens, tmp_path: Path) -> None:
    tiny(tmp_path / "c", "llama")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.rename(tmp_path / "c", odd)
    done = mens("inspect", odd, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["path"].endswith("/\\udcff")


HEAVY = ("torch", "transformers", "safetensors", "numpy", "rich", "jsonschema", "yaml", "mens.codegen", "mens.plan")
LOADED = """
import json, sys
from mens.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


def test_what_it_never_imports(child_environment: dict[str, str], tmp_path: Path) -> None:
    folder = published(tmp_path / "c", "Qwen/Qwen3.5-4B", files=FILES)
    for arguments in (("inspect", str(folder)), ("inspect", str(folder), "--json")):
        done = subprocess.run(
            [sys.executable, "-c", LOADED, *arguments],
            env=child_environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        code, modules = json.loads(done.stderr.splitlines()[-1])
        assert code == 0
        assert "mens.checkpoint.inspection.inspect" in modules, "the list of modules is real"
        assert [name for name in HEAVY if name in modules] == []
