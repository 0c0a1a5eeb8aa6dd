"""Every field of what a user configures has a reader, or stands in unread_fields.yaml under the command it waits for.

To add a reader, write a probe: a function that changes one field, lets mens work, and returns what came out with the
field as it was and with the field changed. Put it into PROBES and take the field out of the list.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from mens_contracts.families import FAMILIES
from safetensors.numpy import save_file

from mens.checkpoint.keys.keymap import expand
from mens.cli.main import COMMANDS, main
from mens.codegen import tables
from mens.codegen.schemas import KindName, Schemas, bundle, read_schemas
from mens.contracts.json_types import JsonObject

ROOT = Path(__file__).parents[1]
KINDS = ("training-preset", "eval-policy", "corpus-mix", "lane")
OWNERS = {"plan", "train", "corpus", "eval"}
UNREAD: dict[str, dict[str, list[str]]] = (
    yaml.safe_load((ROOT / "tests/unread_fields.yaml").read_text(encoding="utf-8")) or {}
)
Mens = Callable[..., "subprocess.CompletedProcess[str]"]


class Bench(NamedTuple):
    """What a probe works with: a folder of its own, `mens` as a process, and a small checkpoint of a base."""

    folder: Path
    mens: Mens
    base: Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with routed experts, a vocabulary large enough for the loss to matter, and a long reach."""
    folder = tmp_path_factory.mktemp("base")
    family = FAMILIES["qwen3_5_moe"]
    config = json.loads(json.dumps(family.tiny_config))
    config["text_config"] |= {"vocab_size": 20_000, "max_position_embeddings": 4096}
    specs = expand(family, config, family.layouts[0].selection)
    save_file(
        {spec.key: np.zeros(spec.shape, np.float16) for spec in specs if spec.required}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def bench(tmp_path: Path, mens: Mens, base: Path) -> Bench:
    return Bench(tmp_path, mens, base)


Probe = Callable[[Bench], tuple[Any, Any]]
"""Returns what came out as the field was, and what came out once it was changed."""


@cache
def the_schemas() -> Schemas:
    return read_schemas(ROOT / "schemas/kinds")


def fields(kind: str) -> list[str]:
    """Every field of a kind's newest schema, as a JSON pointer with `*` for any entry; inner fields stand for outer."""
    schemas = the_schemas()
    newest = max(name for name in schemas.kinds if name.kind == kind)
    bundled = bundle(newest.file, schemas.files)
    return list(dict.fromkeys(_fields(bundled, bundled, "")))


def _fields(node: JsonObject, root: JsonObject, pointer: str) -> Iterator[str]:
    for key, child in node.get("properties", {}).items():
        below = list(_fields(child, root, f"{pointer}/{key}"))
        yield from below or [f"{pointer}/{key}"]
    if "$ref" in node:
        yield from _fields(root["$defs"][node["$ref"].rpartition("/")[2]], root, pointer)
    for keyword in ("items", "additionalProperties"):
        if isinstance(node.get(keyword), dict):
            yield from _fields(node[keyword], root, f"{pointer}/*")
    for branch in [*node.get("oneOf", []), *node.get("anyOf", [])]:
        yield from _fields(branch, root, pointer)


# The probes.


def recognised_by_mark(kind: str) -> Probe:
    """The `schema` field decides which contract a document is held to."""

    def probe(bench: Bench) -> tuple[Any, Any]:
        fixture = next(iter(sorted((ROOT / f"tests/fixtures/kinds/{kind}.v1/valid").glob("*.json"))))
        document = json.loads(fixture.read_text(encoding="utf-8"))
        path = bench.folder / "document.json"
        seen = []
        for mark in (document["schema"], "mens/findings/v1"):
            path.write_text(json.dumps({**document, "schema": mark}), encoding="utf-8")
            done = bench.mens("validate", "--format", "json", path)
            findings = json.loads(done.stdout)["findings"]
            seen.append((done.returncode, [finding["message"] for finding in findings]))
        assert seen[0] == (0, [])
        return seen[0], seen[1]

    return probe


def looked_up_by(folder: str, old: str, change: Callable[[JsonObject], JsonObject]) -> Probe:
    """The names under which the generated table finds an entry."""

    def probe(bench: Bench) -> tuple[Any, Any]:
        return names_of(bench.folder / "before", folder, old, lambda entry: entry), names_of(
            bench.folder / "after", folder, old, change
        )

    return probe


def names_of(root: Path, folder: str, old: str, change: Callable[[JsonObject], JsonObject]) -> Any:
    """What a table of generated entries is keyed by once one data file has been changed."""
    shutil.copytree(ROOT / "schemas", root / "schemas")
    path = root / "schemas" / folder / f"{old}.yaml"
    entry = change(yaml.safe_load(path.read_text(encoding="utf-8")))
    path.unlink()
    path.with_stem(entry["id"]).write_text(json.dumps(entry), encoding="utf-8")
    schemas = the_schemas()
    kind = next(kind for kind in tables.DATA_KINDS if kind.folder == folder)
    context = tables.table_context(kind, tables.read_data(root, schemas).entries[folder], schemas)
    return dict(context["entries"]), [dict(index["entries"]) for index in context["indexes"]]


SMALL = {"rank": 8, "seq_len": 64, "batch_size": 2, "grad_accum": 2, "epochs": 2, "warmup_steps": 2, "max_steps": 600}
ECHOED = {"configuration", "origins"}
"""Where a plan repeats its settings; to be repeated is not to be read."""


def planned(field: str, value: Any, **given: Any) -> Probe:
    """What a plan works out from a field, given other settings."""

    def probe(bench: Bench) -> tuple[Any, Any]:
        (bench.folder / "rows.jsonl").write_text("{}\n" * 1000, encoding="utf-8")
        settings = SMALL | given
        return plan_of(bench, settings), plan_of(bench, settings | {field: value})

    return probe


def proposed(field: str, value: Any, **given: Any) -> Probe:
    """What a plan that does not fit proposes instead."""

    def probe(bench: Bench) -> tuple[Any, Any]:
        (bench.folder / "rows.jsonl").write_text("{}\n" * 1000, encoding="utf-8")
        settings = SMALL | given
        tight = plan_of(bench, settings)["memory"]["total_bytes"] - 1
        before, after = (plan_of(bench, settings | extra, tight) for extra in ({}, {field: value}))
        assert before["nearest"]
        return before, after

    return probe


def plan_of(bench: Bench, settings: dict[str, Any], vram: int = 1 << 40) -> JsonObject:
    flags = [flag for name, value in settings.items() for flag in ("--set", f"{name}={json.dumps(value)}")]
    rows = ("--data", str(bench.folder / "rows.jsonl"))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(
            ["plan", "--preset", "tiny", "--base", str(bench.base), *rows, *flags, "--vram", f"{vram}", "--json"]
        )
    assert code in (0, 5)
    return {name: value for name, value in json.loads(out.getvalue()).items() if name not in ECHOED}


def requantised(bench: Bench) -> tuple[Any, Any]:
    """A base in 16 bits instead of 4."""
    (bench.folder / "rows.jsonl").write_text("{}\n", encoding="utf-8")
    return plan_of(bench, SMALL), plan_of(bench, SMALL | {"base_quant": "none"})


def looked_for(bench: Bench) -> tuple[Any, Any]:
    """The base that a plan opens when the command line names none, here in a cache that is empty."""
    cache = {"HF_HOME": str(bench.folder), "HF_HUB_CACHE": str(bench.folder)}
    wanted = [bench.mens("plan", "--set", f"base_model={repo}", **cache) for repo in ("Reef/One", "Reef/Two")]
    assert all(done.returncode != 0 and repo in done.stderr for done, repo in zip(wanted, ("One", "Two"), strict=True))
    return wanted[0].stderr, wanted[1].stderr


PROBES: dict[str, dict[str, Probe]] = {
    "training-preset": {
        "/base_model": looked_for,
        "/deployment_target": planned("deployment_target", "mobile_edge", batch_size=1),
        "/base_quant": requantised,
        "/double_quant": planned("double_quant", False),
        "/compute_dtype": planned("compute_dtype", "fp32"),
        "/targets": planned("targets", ["qv"]),
        "/experts": planned("experts", "16bit"),
        "/rank": planned("rank", 4),
        "/alpha": proposed("alpha", 64, rank=64, batch_size=1, optimizer="paged_adamw_8bit", loss_chunk_size=16),
        "/dropout": planned("dropout", 0.1, gradient_checkpointing=False),
        "/seq_len": planned("seq_len", 128),
        "/packing": planned("packing", True),
        "/ce_last_k": planned("ce_last_k", 16),
        "/loss_chunk_size": planned("loss_chunk_size", 8),
        "/batch_size": planned("batch_size", 1),
        "/grad_accum": planned("grad_accum", 4),
        "/epochs": planned("epochs", 1),
        "/max_steps": planned("max_steps", 7),
        "/optimizer": planned("optimizer", "adamw_8bit"),
        "/warmup_steps": planned("warmup_steps", 400),
        "/gradient_checkpointing": planned("gradient_checkpointing", False),
        "/min_rating": planned("min_rating", 0),
        "/validation_split": planned("validation_split", 0.3),
        "/early_stopping_patience": planned("early_stopping_patience", 3, validation_split=0),
        "/checkpoint_every_steps": planned("checkpoint_every_steps", 100_000, checkpoint_every_steps=10),
        "/schema": recognised_by_mark("training-preset"),
        "/id": looked_up_by("presets", "tiny", lambda preset: {**preset, "id": "toy"}),
        "/aliases": looked_up_by("presets", "tiny", lambda preset: {**preset, "aliases": ["toy"]}),
    },
    "eval-policy": {"/schema": recognised_by_mark("eval-policy")},
    "corpus-mix": {"/schema": recognised_by_mark("corpus-mix")},
    "lane": {
        "/schema": recognised_by_mark("lane"),
        "/id": looked_up_by("lanes", "vox_chat", lambda lane: {**lane, "id": "vox_talk"}),
    },
}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in PROBES for field in PROBES[kind]])
def test_changing_a_field_changes_what_comes_out(kind: str, field: str, bench: Bench) -> None:
    before, after = PROBES[kind][field](bench)
    assert before != after


@pytest.mark.parametrize(
    ("field", "probe"),
    [
        ("/learning_rate", looked_up_by("presets", "tiny", lambda preset: {**preset, "learning_rate": 0.5})),
        ("/learning_rate", planned("learning_rate", 0.5)),
        ("/adam_beta1", planned("adam_beta1", 0.5)),
    ],
)
def test_a_probe_does_not_see_a_field_that_nothing_reads(field: str, probe: Probe, bench: Bench) -> None:
    """The control: the same observations, of a field that stands in the list."""
    assert field in UNREAD["training-preset"]["train"]
    before, after = probe(bench)
    assert before == after


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_read_or_listed(kind: str) -> None:
    """Both lists together are the schema's fields, exactly: a new field is listed or read, a gone one is in neither."""
    listed = [field for owner in UNREAD.get(kind, {}).values() for field in owner]
    probed = list(PROBES.get(kind, {}))
    declared = fields(kind)
    assert len(declared) >= 8
    assert sorted([*listed, *probed]) == sorted(declared)


def test_the_list_is_about_known_kinds_and_commands() -> None:
    assert set(UNREAD) <= set(KINDS)
    assert {owner for owners in UNREAD.values() for owner in owners} <= OWNERS


def test_a_command_that_exists_has_read_its_fields() -> None:
    """Nothing is listed under a command that there is."""
    late = {
        f"{kind}{field}" for kind in UNREAD for owner in UNREAD[kind].keys() & COMMANDS for field in UNREAD[kind][owner]
    }
    assert late == set()


def reachable() -> dict[str, ast.Module]:
    """Every module of mens that a command can come to import; not named rules: they judge a field, and act on none."""
    waiting = ["mens.cli.main", *(f"mens.cli.{command}" for command in COMMANDS)]
    found: dict[str, ast.Module] = {}
    while waiting:
        name = waiting.pop()
        path = ROOT / f"{name.replace('.', '/')}.py"
        if name in found or not path.exists() or name.startswith(("mens.contracts.rules", "mens.contracts.claims")):
            continue
        found[name] = tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
    return found


def attributes_read(tree: ast.Module, kind: str) -> set[str]:
    """What a module takes from objects, if it knows the generated class or table of a kind at all."""
    homes = {KindName(kind, 1).module, {"training-preset": "presets", "lane": "lanes"}.get(kind, "")} - {""}
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    if not imported & {f"mens_contracts.{home}" for home in homes}:
        return set()
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_nothing_that_is_listed_is_read_by_a_command() -> None:
    """Where a command reaches code that takes the field from a generated model, the field has a reader and no probe."""
    modules = reachable()
    assert len(modules) > 15
    for kind in UNREAD:
        listed = {field.rpartition("/")[2] for owner in UNREAD[kind].values() for field in owner}
        for name, tree in modules.items():
            read = attributes_read(tree, kind) & listed
            assert read == set(), f"{name} reads {', '.join(sorted(read))} of {kind}: write a probe"


def test_reading_would_be_detected() -> None:
    source = "from mens_contracts.training_preset_v1 import TrainingPresetV1\ndef f(p): return p.rank\n"
    assert "rank" in attributes_read(ast.parse(source), "training-preset")
    assert attributes_read(ast.parse("def f(p): return p.rank"), "training-preset") == set()
