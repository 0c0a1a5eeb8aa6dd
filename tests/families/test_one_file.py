"""Adding a model is one file: a series and an architecture that nobody has are read without a line of Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

FAMILY = """\
schema: mens/family/v1
id: marlin
title: "Marlin, which nobody has built: cubes for attention, a swarm for experts"
tier: supported
recognise: {model_types: [marlin_swarm], architectures: [MarlinForNothing]}
evidence:
  made_up: {source: this test, checked_on: 2026-11-21, status: inferred}

geometry:
  layers: config.depth
  hidden: config.width
  vocab: config.lexicon.words + config.lexicon.signs
  context: config.reach
  tied: config.mirror or False
  eyes: config.eyes
  eye: config.eye or hidden // eyes
  whirls: config.whirls
  experts: config.swarm.bees
  top_k: config.swarm.visits
  bee: config.swarm.inner
layer_kinds:
  - axis: motion
    listed_in: config.motions
    kinds: [{name: gaze, holds_if: i % 3 == 2}, {name: whirl, holds_if: "True"}]
  - axis: memory
    kinds: [{name: swarm, holds_if: i >= config.swarm.first}, {name: solo, holds_if: "True"}]
indices: {i: layers, e: experts, k: config.keels}

variants:
  - axis: prefix
    options:
      - {name: netted, probe: net.lookup.table, bind: {text: net.}}
      - {name: bare, probe: lookup.table, bind: {text: ""}}
  - axis: experts
    options:
      - {name: hive, probe: "{text}cells.{i}.hive.into"}
      - {name: bees, probe: "{text}cells.{i}.swarm.bee{e}.into"}
layouts:
  - {name: published, title: As published, selection: {prefix: netted, experts: bees}, loads_into: [held]}
  - {name: packed, title: Packed, selection: {prefix: bare, experts: hive}, loads_into: [held]}
memory:
  - name: held
    auto_class: AutoModelForCausalLM
    architecture: MarlinForNothing
    model_type: marlin_swarm
    config_section: root
    selection: {prefix: netted, experts: hive}
dtypes: [F32, F16]
lora: {default: [gaze, bees], sets: {eyes: [gaze.cube]}}

tensors:
  - {role: embedding, component: text, key: "{text}lookup.table", shape: [vocab, hidden], lora: lookup, merge: delta}
  - role: gaze.cube
    component: text
    key: "{text}cells.{i}.gaze.cube"
    in_layers: gaze
    shape: [3, eyes * eye, hidden]
    nf4: true
    lora: gaze
    merge: delta
    parts: {axis: 0, groups: 1, pieces: [{name: query, size: 1}, {name: key, size: 1}, {name: value, size: 1}]}
  - {role: gaze.out, component: text, key: "{text}cells.{i}.gaze.out", in_layers: gaze, shape: [hidden, eyes * eye]}
  - role: whirl.spin
    component: text
    key: "{text}cells.{i}.whirl.spin"
    in_layers: whirl
    shape: [whirls, hidden // whirls, hidden // whirls]
  - role: whirl.phase
    component: text
    key: "{text}cells.{i}.whirl.phase"
    in_layers: whirl
    shape: [whirls]
    dtypes: [F32]
  - {role: taper, component: text, key: "{text}cells.{i}.taper", shape: [hidden - 2 * i]}
  - {role: solo, component: text, key: "{text}cells.{i}.solo", in_layers: solo, shape: [hidden, hidden]}
  - {role: queen, component: text, key: "{text}cells.{i}.queen", in_layers: swarm, shape: [experts, hidden]}
  - role: bee.into
    component: text
    key: "{text}cells.{i}.swarm.bee{e}.into"
    in_layers: swarm
    when: {experts: [bees]}
    shape: [2 * bee, hidden]
    nf4: true
    lora: bees
    merge: delta
    routed: true
  - role: hive.into
    component: text
    key: "{text}cells.{i}.hive.into"
    in_layers: swarm
    when: {experts: [hive]}
    shape: [experts, 2 * bee, hidden]
    nf4: true
    lora: bees
    merge: delta
    routed: true
    built_from: {roles: [bee.into], steps: [{op: stack, axis: 0, over: e}]}
  - {role: keel, component: text, key: "{text}keel.{k}", shape: [hidden]}
  - role: head
    component: text
    key: "{text}say"
    exists_if: not tied
    shape: [vocab, hidden]
    lora: head
    merge: delta

tiny_config:
  model_type: marlin_swarm
  architectures: [MarlinForNothing]
  depth: 5
  width: 24
  lexicon: {words: 90, signs: 6}
  reach: 64
  eyes: 3
  eye: 10
  whirls: 4
  keels: 2
  swarm: {bees: 3, visits: 1, inner: 7, first: 3}
"""

RELEASE = """\
schema: mens/release/v1
id: marlin_one
title: Marlin One
evidence:
  made_up: {source: this test, checked_on: 2026-11-21, status: inferred}
models:
  - repo: Reef/Marlin-1-Tiny
    size: tiny
    variant: base
    family: marlin
    availability: open_weights
    licence: {expression: NOASSERTION}
    config: {model_type: marlin_swarm, architectures: [MarlinForNothing], depth: 4, width: 16, eyes: 2, whirls: 2,
      keels: 1, lexicon: {words: 30, signs: 2}, reach: 32, mirror: true, motions: [gaze, gaze, whirl, gaze],
      swarm: {bees: 2, visits: 1, inner: 5, first: 2}}
    evidence: [made_up]
"""

READER = '''
import json, sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from mens.checkpoint.keys.coverage import compare
from mens.checkpoint.keys.keymap import count_active, count_parameters, expand, geometry
from mens.checkpoint.keys.layout import detect
from mens.checkpoint.keys.recognition import recognise
from mens.checkpoint.keys.releases import model_config
from mens.contracts.errors import MensError
from mens_contracts.families import FAMILIES
from mens_contracts.releases import RELEASES, REPOS
import mens_contracts

NUMPY = {"F32": np.float32, "F16": np.float16}


def write(folder, config, tensors):
    """A checkpoint as one finds it: two shards, an index, a configuration."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    shards = {f"model-{n + 1:05}-of-00002.safetensors": names[n::2] for n in range(2)}
    for file, keys in shards.items():
        save_file({key: tensors[key] for key in keys}, folder / file, metadata={"format": "np"})
    weight_map = {key: file for file, keys in shards.items() for key in keys}
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def read(folder):
    """What stands in a folder: its configuration, and every tensor's shape out of the files themselves."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shapes = {}
    for file in sorted(set(index["weight_map"].values())):
        with safe_open(folder / file, framework="numpy") as shard:
            shapes |= {key: tuple(shard.get_slice(key).get_shape()) for key in shard.keys()}
    assert shapes.keys() == index["weight_map"].keys()
    return json.loads((folder / "config.json").read_text()), shapes


def judged(folder):
    """Recognise, detect and compare, from what is on disk alone."""
    config, shapes = read(folder)
    family = recognise(config)
    layout = detect(family, shapes)
    specs = list(expand(family, config, layout.selection))
    coverage = compare(specs, shapes)
    sizes = sum(int(np.prod(shape)) for shape in shapes.values())
    return {
        "family": family.id, "layout": layout.name, "complete": coverage.complete, "matched": coverage.matched,
        "tensors": len(shapes), "missing": coverage.missing, "unknown": coverage.unknown,
        "mismatched": [[m.key, m.expected, m.found] for m in coverage.mismatched],
        "parameters": count_parameters(specs), "sizes": sizes,
        "active": count_active(specs, geometry(family, config)),
    }


def case(name, config, selection, spoil=None):
    family = recognise(config)
    rng = np.random.default_rng(7)
    tensors = {
        spec.key: rng.standard_normal(spec.shape).astype(NUMPY[spec.dtypes[0]])
        for spec in expand(family, config, selection)
    }
    if spoil is not None:
        spoil(tensors)
    write(Path(sys.argv[1]) / name, config, tensors)
    try:
        return judged(Path(sys.argv[1]) / name)
    except MensError as error:
        return {"code": error.code, "said": str(error)}


def renamed(tensors):
    tensors["net.cells.3.swarm.wasp1.into"] = tensors.pop("net.cells.3.swarm.bee1.into")


def loaded(tensors):
    tensors["ballast"] = np.zeros(3, np.float32)


def reshaped(tensors):
    tensors["net.cells.2.gaze.cube"] = tensors["net.cells.2.gaze.cube"].reshape(90, 24)


family = FAMILIES["marlin"]
layouts = {layout.name: layout.selection for layout in family.layouts}
series = RELEASES[REPOS["Reef/Marlin-1-Tiny"]]
released = model_config(series, series.models[0])
published = layouts["published"]
print(json.dumps({
    "package": mens_contracts.__file__,
    "torch": "torch" in sys.modules,
    "tiny": case("tiny", family.tiny_config, published),
    "packed": case("packed", family.tiny_config, layouts["packed"]),
    "released": case("released", released, published),
    "dropped": case("dropped", family.tiny_config, published, lambda tensors: tensors.pop("net.cells.4.taper")),
    "renamed": case("renamed", family.tiny_config, published, renamed),
    "reshaped": case("reshaped", family.tiny_config, published, reshaped),
    "stranger": case("stranger", family.tiny_config, published, loaded),
    "headless": case("headless", family.tiny_config, published, lambda tensors: tensors.pop("net.lookup.table")),
}))
'''


@pytest.fixture(scope="module")
def sea(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's schemas and two files more, generated into a package of their own."""
    root = tmp_path_factory.mktemp("sea")
    for folder in ("schemas", "templates"):
        shutil.copytree(ROOT / folder, root / folder)
    (root / "schemas/families/marlin.yaml").write_text(FAMILY, encoding="utf-8")
    (root / "schemas/releases/marlin_one.yaml").write_text(RELEASE, encoding="utf-8")
    done = python(root, "-m", "mens.codegen", "--root", str(root), packages=ROOT / "generated")
    assert (done.returncode, done.stderr) == (0, "")
    return root


@pytest.fixture(scope="module")
def found(sea: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process that has the new package says of checkpoints of the new architecture."""
    done = python(sea, "-c", READER, str(tmp_path_factory.mktemp("checkpoints")))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def python(root: Path, *arguments: str, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the package generated under this root before any other."""
    paths = os.pathsep.join([str(packages or root / "generated"), str(ROOT)])
    variables = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=root, env=variables
    )


def test_the_new_package_is_the_one_in_use(sea: Path, found: Any) -> None:
    assert Path(found["package"]).is_relative_to(sea)
    assert found["torch"] is False


# Counted by hand from the tiny configuration: 5 layers, of which layer 2 gazes and layers 3 and 4 have a swarm of 3.
TINY_TENSORS = 1 + 2 * 1 + 2 * 4 + 5 + 3 + 2 + 2 * 3 + 2 + 1
TINY_PARAMETERS = (
    96 * 24  # lookup
    + 3 * 30 * 24 + 24 * 30  # the cube of layer 2 and its way out
    + 4 * (4 * 6 * 6 + 4)  # four whirls
    + sum(24 - 2 * layer for layer in range(5))  # tapers, each narrower than the last
    + 3 * 24 * 24  # solo layers
    + 2 * (3 * 24 + 3 * 14 * 24)  # two queens and their bees
    + 2 * 24  # keels
    + 96 * 24  # head
)  # fmt: skip


def test_a_checkpoint_of_it_is_covered_both_ways(found: Any) -> None:
    tiny = found["tiny"]
    assert (tiny["family"], tiny["layout"], tiny["complete"]) == ("marlin", "published", True)
    assert tiny["matched"] == tiny["tensors"] == TINY_TENSORS
    assert tiny["parameters"] == tiny["sizes"] == TINY_PARAMETERS
    assert tiny["active"] == TINY_PARAMETERS - 2 * 2 * 14 * 24, "a token visits one bee of three in each swarm"


def test_another_layout_of_it_is_told_apart(found: Any) -> None:
    packed = found["packed"]
    assert (packed["layout"], packed["complete"]) == ("packed", True)
    assert packed["matched"] == packed["tensors"] == TINY_TENSORS - 2 * 3 + 2
    assert packed["parameters"] == packed["sizes"] == TINY_PARAMETERS


def test_a_released_size_of_it_is_read(found: Any) -> None:
    """Listed kinds of layers win over derived ones, a head width is derived, and the head is shared."""
    released = found["released"]
    assert (released["family"], released["complete"]) == ("marlin", True)
    assert released["matched"] == released["tensors"] == 1 + 3 * 2 + 2 + 4 + 2 + 2 + 2 * 2 + 1
    assert released["parameters"] == released["sizes"]


def test_one_tensor_less_is_noticed(found: Any) -> None:
    assert found["dropped"]["complete"] is False
    assert found["dropped"]["missing"] == ["net.cells.4.taper"]
    assert found["dropped"]["unknown"] == found["dropped"]["mismatched"] == []


def test_one_name_changed_is_noticed_on_both_sides(found: Any) -> None:
    assert found["renamed"]["complete"] is False
    assert found["renamed"]["missing"] == ["net.cells.3.swarm.bee1.into"]
    assert found["renamed"]["unknown"] == ["net.cells.3.swarm.wasp1.into"]


def test_one_shape_changed_is_noticed(found: Any) -> None:
    assert found["reshaped"]["complete"] is False
    assert found["reshaped"]["mismatched"] == [["net.cells.2.gaze.cube", [3, 30, 24], [90, 24]]]
    assert found["reshaped"]["missing"] == found["reshaped"]["unknown"] == []


def test_one_tensor_more_is_noticed(found: Any) -> None:
    assert found["stranger"]["complete"] is False
    assert found["stranger"]["unknown"] == ["ballast"]


def test_no_layout_is_guessed(found: Any) -> None:
    assert found["headless"]["code"] == "MENS-K008"
    assert "schemas/families/marlin.yaml" in found["headless"]["said"]


def test_the_commands_know_it(sea: Path) -> None:
    listed = python(sea, "-m", "mens", "families", "--json")
    assert "marlin" in json.loads(listed.stdout)
    shown = python(sea, "-m", "mens", "families", "show", "marlin")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "{text}cells.{i}.swarm.bee{e}.into" in shown.stdout
    checked = python(sea, "-m", "mens", "validate", "schemas/families/marlin.yaml", "schemas/releases/marlin_one.yaml")
    assert checked.returncode == 0, checked.stdout
    page = (sea / "docs/reference/families/marlin.md").read_text(encoding="utf-8")
    assert "| gaze.cube | `{text}cells.{i}.gaze.cube` | 3, eyes * eye, hidden | gaze |" in page


def test_the_repository_does_not_know_it() -> None:
    listed = python(ROOT, "-m", "mens", "families", "--json")
    assert "marlin" not in json.loads(listed.stdout)


def test_only_the_two_files_were_written(sea: Path) -> None:
    """No Python changed: beside the generated files, the new root differs by the two documents alone."""
    for folder in ("schemas", "templates"):
        ours, theirs = digests(ROOT / folder), digests(sea / folder)
        new = {"families/marlin.yaml", "releases/marlin_one.yaml"} if folder == "schemas" else set()
        assert theirs.keys() - ours.keys() == new
        assert {name: theirs[name] for name in ours} == ours
    assert not (sea / "mens").exists()


def test_nothing_under_mens_changes(tmp_path: Path) -> None:
    """Generating and reading leave the package as it was, file by file."""
    before = digests(ROOT / "mens")
    assert len(before) > 30
    for folder in ("schemas", "templates"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "schemas/families/marlin.yaml").write_text(FAMILY, encoding="utf-8")
    assert python(tmp_path, "-m", "mens.codegen", "--root", str(tmp_path), packages=ROOT / "generated").returncode == 0
    assert python(tmp_path, "-m", "mens", "families", "show", "marlin").returncode == 0
    assert digests(ROOT / "mens") == before


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
