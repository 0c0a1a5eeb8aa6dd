"""Data files and the registry: two that claim one thing are both named, and what is built is what the files say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mens_contracts import defaults
from mens_contracts.families import FAMILIES, NAMES, RECOGNISE
from mens_contracts.lanes import LANES
from mens_contracts.presets import NAMES as PRESET_NAMES
from mens_contracts.presets import PRESETS
from mens_contracts.registry import KINDS
from mens_contracts.releases import RELEASES, REPOS
from syrupy.assertion import SnapshotAssertion

from mens.codegen import tables
from mens.codegen.schemas import Schemas, read_schemas
from mens.contracts.errors import ContractError, MensError

ROOT = Path(__file__).parents[2]
Change = Callable[[Path], object]


def replace(path: str, old: str, new: str) -> Change:
    """Change a text of a file under schemas, once."""

    def change(root: Path) -> None:
        file = root / "schemas" / path
        text = file.read_text(encoding="utf-8")
        assert old in text, (path, old)
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def copied(old: str, new: str, *changes: tuple[str, str]) -> Change:
    """Copy a data file to another name and change the copy."""

    def change(root: Path) -> None:
        shutil.copy(root / "schemas" / old, root / "schemas" / new)
        for before, after in changes:
            replace(new, before, after)(root)

    return change


def both(*changes: Change) -> Change:
    return lambda root: [change(root) for change in changes]


def added(path: str, text: str) -> Change:
    return lambda root: (root / "schemas" / path).write_bytes(text.encode("utf-8", "surrogatepass"))


def schema_changed(kind: str, change: Callable[[dict[str, Any]], object]) -> Change:
    def apply(root: Path) -> None:
        file = root / "schemas/kinds" / f"{kind}.schema.json"
        schema = json.loads(file.read_text(encoding="utf-8"))
        change(schema)
        file.write_text(json.dumps(schema), encoding="utf-8")

    return apply


LANE = "lanes/vox_chat.yaml"
REFUSED: dict[str, tuple[str, Change]] = {
    "an id that is not the file's name": ("MENS-G003", replace(LANE, "id: vox_chat", "id: vox_talk")),
    "two presets with one alias": (
        "MENS-G003",
        copied("presets/tiny.yaml", "presets/toy.yaml", ("id: tiny", "id: toy\naliases: [qwen_small_8g]")),
    ),
    "a preset whose alias is another's id": (
        "MENS-G003",
        copied("presets/tiny.yaml", "presets/toy.yaml", ("id: tiny", "id: toy\naliases: [a100]")),
    ),
    "two default presets": (
        "MENS-G003",
        copied("presets/tiny.yaml", "presets/toy.yaml", ("id: tiny", "id: toy\naliases: [default]")),
    ),
    "no default preset": ("MENS-G003", replace("presets/4080.yaml", "aliases: [default, ", "aliases: [")),
    "two families with one model type": (
        "MENS-G003",
        copied("families/llama.yaml", "families/lama.yaml", ("id: llama", "id: lama")),
    ),
    "two default models": (
        "MENS-G003",
        replace("releases/qwen3.yaml", "  - repo: Qwen/Qwen3-0.6B\n", "  - repo: Qwen/Qwen3-0.6B\n    default: true\n"),
    ),
    "no default model": ("MENS-G003", replace("releases/qwen3_5.yaml", "\n    default: true\n", "\n")),
    "two releases with one repository": (
        "MENS-G003",
        copied("releases/qwen3_next.yaml", "releases/qwen3_then.yaml", ("id: qwen3_next", "id: qwen3_then")),
    ),
    "a family that the default model is not of": (
        "MENS-G003",
        lambda root: (root / "schemas/families/qwen3_5.yaml").unlink(),
    ),
    "an unknown field": ("MENS-G003", replace(LANE, "weight: 1", "wieght: 1")),
    "a broken rule": ("MENS-G003", replace("presets/4080.yaml", "warmup_steps: 80", "warmup_steps: 80\nmax_steps: 80")),
    "a list instead of a mapping": ("MENS-G003", added(LANE, "- a\n")),
    "YAML that is none": ("MENS-S001", added(LANE, "schema: mens/lane/v1\nid: [\n")),
    "a duplicate key": ("MENS-S001", replace(LANE, "weight: 1", "weight: 1\nweight: 2")),
    "an anchor": ("MENS-S001", replace(LANE, "weight: 1", "weight: &w 1")),
    "a byte that is no UTF-8": ("MENS-S001", added(LANE, "id: \ud800\n")),
    "a kind without a schema": (
        "MENS-G002",
        replace(
            "registry.yaml",
            "kinds:",
            "kinds:\n" + "  - {kind: ghost, version: 7, stability: draft, owner: mens, recognise: {by: schema}}",
        ),
    ),
    "a schema without an entry": (
        "MENS-G002",
        lambda root: (root / "schemas/kinds/ghost.v1.schema.json").write_text(ghost(root)),
    ),
    "a kind declared twice": (
        "MENS-G003",
        replace(
            "registry.yaml",
            "kinds:",
            "kinds:\n" + "  - {kind: lane, version: 1, stability: draft, owner: mens, recognise: {by: schema}}",
        ),
    ),
    "a mark that is another kind's": (
        "MENS-G002",
        schema_changed("plan.v1", lambda schema: schema["properties"]["schema"].update(const="mens/plam/v1")),
    ),
    "an open schema that mens owns": (
        "MENS-G002",
        schema_changed("plan.v1", lambda schema: schema.update(additionalProperties=True)),
    ),
    "a closed schema that upstream owns": (
        "MENS-G002",
        schema_changed("hf-config.v1", lambda schema: schema.update(additionalProperties=False)),
    ),
}


def ghost(root: Path) -> str:
    text = (root / "schemas/kinds/lane.v1.schema.json").read_text(encoding="utf-8")
    return text.replace("LaneV1", "GhostV1").replace("mens/lane/v1", "mens/ghost/v1")


def read(root: Path, kinds: Schemas | None = None) -> tables.Data:
    """Read everything under a root; the repository's own schemas save a second where no schema was changed."""
    data = tables.read_data(root, kinds or read_schemas(root / "schemas/kinds"))
    tables.defaults(data)
    return data


def test_the_sources_as_they_are_are_accepted(sources: Path) -> None:
    assert len(read(sources).registry["kinds"]) == len(KINDS)


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_is_refused(name: str, sources: Path, kinds: Schemas, snapshot: SnapshotAssertion) -> None:
    code, change = REFUSED[name]
    change(sources)
    with pytest.raises(MensError) as refusal:
        read(sources, None if code == "MENS-G002" else kinds)
    assert refusal.value.code == code
    assert refusal.value.exit_code == 1
    assert str(sources) not in str(refusal.value)
    assert str(refusal.value) == snapshot


@pytest.mark.parametrize(
    ("name", "culprits"),
    [
        ("two presets with one alias", ("presets/safe.yaml", "presets/toy.yaml", "qwen_small_8g")),
        ("two default presets", ("presets/4080.yaml", "presets/toy.yaml", "default")),
        ("two families with one model type", ("families/lama.yaml", "families/llama.yaml", "llama")),
        ("two default models", ("releases/qwen3.yaml", "releases/qwen3_5.yaml", "default model")),
        ("two releases with one repository", ("releases/qwen3_next.yaml", "releases/qwen3_then.yaml", "Qwen/")),
    ],
)
def test_both_culprits_are_named(name: str, culprits: tuple[str, ...], sources: Path, kinds: Schemas) -> None:
    REFUSED[name][1](sources)
    with pytest.raises(ContractError) as refusal:
        read(sources, kinds)
    for culprit in culprits:
        assert culprit in str(refusal.value)


def test_two_names_may_not_become_one_module(sources: Path, kinds: Schemas) -> None:
    """`4080` and `_4080` would both be written to _4080.py, and the second would win in silence."""
    copied("presets/tiny.yaml", "presets/4081.yaml", ("id: tiny", 'id: "4081"'))(sources)
    assert "4081" in [entry.id for entry in tables.read_data(sources, kinds).entries["presets"]]
    assert {tables.python_identifier(name) for name in ("4080", "_4080")} == {"_4080"}


def documents(folder: str) -> dict[str, Any]:
    found = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (ROOT / "schemas" / folder).glob("*.yaml")
    }
    assert found
    return found


def test_tables_hold_every_data_file() -> None:
    for folder, table in (("families", FAMILIES), ("releases", RELEASES), ("presets", PRESETS), ("lanes", LANES)):
        assert set(table) == set(documents(folder)), folder
        assert len(table) == len(set(table))
        for id_ in table:
            assert table[id_].id == id_
        with pytest.raises(KeyError):
            table["no such entry"]


def test_indexes_lead_to_what_the_files_say() -> None:
    families = documents("families")
    assert {
        name: family["id"] for family in families.values() for name in family["recognise"]["model_types"]
    } == RECOGNISE
    for id_, family in families.items():
        for name in (id_, *family["recognise"]["model_types"], *family["recognise"]["architectures"]):
            assert NAMES[name] == id_
    presets = documents("presets")
    assert {name: id_ for id_, preset in presets.items() for name in (id_, *preset.get("aliases", []))} == PRESET_NAMES
    releases = documents("releases")
    assert {model["repo"]: id_ for id_, release in releases.items() for model in release["models"]} == REPOS
    assert len(REPOS) > 20


def test_the_defaults_are_those_of_the_data() -> None:
    chosen = [
        model for release in documents("releases").values() for model in release["models"] if model.get("default")
    ]
    assert [(model["repo"], model["family"]) for model in chosen] == [(defaults.DEFAULT_MODEL, defaults.DEFAULT_FAMILY)]
    presets = [id_ for id_, preset in documents("presets").items() if "default" in preset.get("aliases", [])]
    assert presets == [defaults.DEFAULT_PRESET]
    assert PRESETS[defaults.DEFAULT_PRESET].base_model == defaults.DEFAULT_MODEL


def test_the_registry_module_is_the_registry() -> None:
    entries = yaml.safe_load((ROOT / "schemas/registry.yaml").read_text(encoding="utf-8"))["kinds"]
    assert [(kind.name, kind.version, kind.stability, kind.owner, kind.by) for kind in KINDS] == [
        (entry["kind"], entry["version"], entry["stability"], entry["owner"], entry["recognise"]["by"])
        for entry in entries
    ]
    for kind in KINDS:
        schema = json.loads(
            (ROOT / f"schemas/kinds/{kind.name}.v{kind.version}.schema.json").read_text(encoding="utf-8")
        )
        assert kind.title == schema["title"]
        assert kind.summary
