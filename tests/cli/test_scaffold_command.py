"""`mens families scaffold`: how a model is added. A copy of the schemas forgets one, and the draft brings it back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkpoint import made

ROOT = Path(__file__).resolve().parents[2]
Mens = Callable[..., "subprocess.CompletedProcess[str]"]


def python(packages: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the contracts generated under `packages` before any other."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]), "COLUMNS": "100"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=variables, timeout=120)


def generate(root: Path, packages: Path) -> None:
    done = python(packages, "-m", "mens.codegen", "--root", root, cwd=root)
    assert (done.returncode, done.stderr) == (0, "")


def without_family(schemas: Path, family: str) -> None:
    """Forget a family and every model of it; another model becomes the default."""
    (schemas / "families" / f"{family}.yaml").unlink()
    documents = {path: yaml.safe_load(path.read_text("utf-8")) for path in sorted((schemas / "releases").iterdir())}
    for document in documents.values():
        document["models"] = [model for model in document["models"] if model.get("family") != family]
    models = [model for document in documents.values() for model in document["models"]]
    next(model for model in models if model.get("config") and model["availability"] == "open_weights")["default"] = True
    for path, document in documents.items():
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        if not document["models"]:
            path.unlink()


@pytest.fixture
def forgetful(tmp_path: Path) -> Path:
    """A copy of the sources, nothing generated from them yet."""
    for folder in ("schemas", "templates"):
        shutil.copytree(ROOT / folder, tmp_path / "copy" / folder)
    return tmp_path / "copy"


def added(copy: Path, base: Path, drafts: str, id_: str) -> tuple[str, Any, dict[str, Any]]:
    """Scaffold with the copy's own package, validate, put the draft in, generate again, inspect: three reports."""
    packages = copy / "generated"
    generate(copy, ROOT / "generated")
    draft = copy / f"{id_}.yaml"
    said = python(packages, "-m", "mens", "families", "scaffold", base, "--id", id_, "--out", draft, cwd=copy)
    assert (said.returncode, said.stderr) == (0, "")
    valid = python(packages, "-m", "mens", "validate", draft, cwd=copy)
    assert (valid.returncode, valid.stdout) == (0, "1 document, no findings\n")
    text = draft.read_text("utf-8")
    draft.rename(copy / "schemas" / drafts / draft.name)
    generate(copy, packages)
    report = python(packages, "-m", "mens", "inspect", base, "--json", cwd=copy)
    assert report.returncode == 0, report.stderr
    return said.stdout, yaml.safe_load(text), json.loads(report.stdout)


def test_this_is_how_a_release_would_have_been_added(forgetful: Path, tmp_path: Path) -> None:
    (forgetful / "schemas" / "releases" / "qwen3_6.yaml").unlink()
    base = made.published(tmp_path / "Qwen3.6-27B", "Qwen/Qwen3.6-27B")
    said, draft, report = added(forgetful, base, "releases", "qwen3_6")
    assert said.startswith("Family 'qwen3_5' reads all 1,199 tensors.\nWrote ")
    assert draft["schema"] == "mens/release/v1"
    assert draft["evidence"]["checkpoint"]["status"] == "primary"
    candidate = next(one for one in report["series"] if one["release"] == "qwen3_6")
    assert (candidate["exact"], candidate["size"]) == (True, "FILL-IN")
    coverage = report["coverage"]
    assert (coverage["matched"], coverage["unknown"], coverage["missing"]) == (1199, [], [])


@pytest.mark.parametrize(
    ("repo", "layout", "hidden"),
    [("Qwen/Qwen3.5-27B", "multimodal", "hidden"), ("Qwen/Qwen3.5-9B", "text_only_mtp", 4096)],
)
def test_this_is_how_a_family_would_have_been_added(
    forgetful: Path, tmp_path: Path, repo: str, layout: str, hidden: str | int
) -> None:
    without_family(forgetful / "schemas", "qwen3_5")
    base = made.published(tmp_path / "base", repo, layout)
    family, config = made.released(repo)
    layers = config["text_config"]["num_hidden_layers"]
    selection = next(entry.selection for entry in family.layouts if entry.name == layout)
    said, draft, report = added(forgetful, base, "families", "qwen3_5")
    total = len(made.tensors_of(family, config, selection))
    first, *lines = said.splitlines()
    assert (
        first == f"Nearest is family 'qwen3_5_moe'; {total - 3 * (layers + 1):,} of {total:,} tensors are as it says."
    )
    assert lines[0] == f"  only here  {{text}}.layers.{{i}}.mlp.down_proj.weight ({layers})"
    assert f"The draft reads all {total:,} tensors." in lines
    assert (report["family"], report["coverage"]["matched"]) == ("qwen3_5", total)
    assert (report["layout"]["experts"], report["layout"]["mtp"]) == ("none", "dense")
    assert report["layout"]["vision"] is (layout == "multimodal")
    assert report["layer_kinds"] == {"full_attention": layers // 4, "linear_attention": layers // 4 * 3}
    new = {entry["key"]: entry for entry in draft["tensors"] if "down_proj" in entry["key"]}
    assert new["{text}.layers.{i}.mlp.down_proj.weight"]["shape"] == [
        hidden,
        "ffn",
    ]  # 4096 is also the width of all value heads
    assert all(not {"nf4", "lora", "merge"} & set(entry) for entry in new.values())


def test_draft_lies_where_the_command_was_called(mens: Mens, tmp_path: Path) -> None:
    made.tiny(tmp_path / "My-Model", "llama")
    done = mens("families", "scaffold", "My-Model", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "Family 'llama' reads all 30 tensors.\n"
        "Wrote my_model.yaml, a draft of a release file.\n"
        "Fill in what is marked, put it under schemas/releases, then run: nox -s generate\n"
    )
    assert mens("validate", tmp_path / "my_model.yaml").returncode == 0


def test_nothing_is_replaced(mens: Mens, tmp_path: Path) -> None:
    made.tiny(tmp_path / "base", "llama")
    (tmp_path / "mine.yaml").write_text("mine")
    done = mens("families", "scaffold", "base", "--out", "mine.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mine.yaml: already exists; nothing was written   [MENS-C043]\nName another with --out.\n"
    assert (tmp_path / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize("with_headers", [True, False])
def test_json_is_the_draft_itself(mens: Mens, tmp_path: Path, with_headers: bool) -> None:
    base = made.tiny(tmp_path / "base", "qwen3", config={"model_type": "novel", "architectures": ["Novel"]})
    done = mens("families", "scaffold", "--json", base if with_headers else base / "config.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["schema"], document["id"]) == ("mens/family/v1", "novel")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]
    written = tmp_path / "draft.json"
    written.write_text(done.stdout)
    assert mens("validate", written).returncode == 0


@pytest.mark.parametrize(("name", "code"), [("nowhere", 3), ("../nowhere", 2), ("broken", 1)])
def test_what_is_no_checkpoint(mens: Mens, tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "broken").write_text("{")
    done = mens("families", "scaffold", name, cwd=tmp_path, HF_HUB_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr


def test_headers_of_a_large_model_take_no_time(mens: Mens, tmp_path: Path) -> None:
    names = {"model_type": "novel", "architectures": ["Novel"]}
    base = made.published(tmp_path / "base", "Qwen/Qwen3.5-35B-A3B", "multimodal_per_expert", config=names)
    done = mens("families", "scaffold", base, cwd=tmp_path, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nearest is family 'qwen3_5_moe'; 32,451 of 32,451 tensors")
