"""The named rules of families and releases: each one is seen firing, with its place and its words."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem
from mens.contracts.rules.families import FAMILY_RULES, RELEASE_RULES, RULES
from mens.contracts.strict_yaml import parse_yaml

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "kinds"


def read(path: Path) -> JsonObject:
    text = path.read_text(encoding="utf-8")
    value = json.loads(text) if path.suffix == ".json" else parse_yaml(text)[0]
    assert isinstance(value, dict)
    return value


def problems(kind: str, document: JsonObject) -> list[Problem]:
    return [problem for rule in RULES[kind] for problem in rule(document)]


def changed(document: JsonObject, place: str, value: Any) -> JsonObject:
    """The document with another value at one place, written like a/0/b."""
    result = copy.deepcopy(document)
    *path, last = [int(token) if token.isdigit() else token for token in place.split("/")]
    node: Any = result
    for token in path:
        node = node[token]
    node[last] = value
    return result


@pytest.mark.parametrize("kind", ["family", "release"])
def test_data_and_fixtures_break_no_rule(kind: str) -> None:
    folder = {"family": "families", "release": "releases"}[kind]
    paths = [*(ROOT / "schemas" / folder).glob("*.yaml"), *(FIXTURES / f"{kind}.v1" / "valid").iterdir()]
    assert len(paths) >= 13
    for path in paths:
        assert problems(kind, read(path)) == [], path.name


FAMILY_SLIPS = [
    ("heron.yaml", "tensors/0/shape/1", "hiden", "MENS-K020", "/tensors/0/shape/1",
     "'hiden' is not a geometry name of this family. Did you mean 'hidden'?"),
    ("heron.yaml", "geometry/hidden", "open('x')", "MENS-K020", "/geometry/hidden",
     "'open('x')' is not allowed in an expression"),
    ("otter.yaml", "tensors/1/parts/groups", "i", "MENS-K020", "/tensors/1/parts/groups",
     "'i' is not a geometry name of this family."),
    ("otter.yaml", "layer_kinds/0/kinds/0/holds_if", "j > 1", "MENS-K020", "/layer_kinds/0/kinds/0/holds_if",
     "'j' is not a geometry name of this family."),
    ("otter.yaml", "indices/b", "eye", "MENS-K020", "/indices/b",
     "'eye' is not a geometry name of this family. Did you mean 'eyes'?"),
    ("wren.yaml", "rope/theta", "base", "MENS-K020", "/rope/theta", "'base' is not a geometry name of this family."),
    ("moth.json", "geometry/hidden", "hidden + 1", "MENS-K021", "/geometry/hidden", "'hidden' rests on itself"),
    ("moth.json", "geometry", {"layers": 1, "hidden": 2, "vocab": 3, "tied": "False"}, "MENS-K021", "/geometry",
     "the geometry lacks 'context', which commands ask for"),
    ("heron.yaml", "layouts/0/selection/experts", "fuzed", "MENS-K022", "/layouts/0/selection/experts",
     "'fuzed' is no option of experts. Did you mean 'fused'?"),
    ("moth.json", "memory/0/selection", {}, "MENS-K022", "/memory/0/selection", "the axis 'prefix' is not chosen"),
    ("heron.yaml", "layouts/1/loads_into/0", "causal", "MENS-K022", "/layouts/1/loads_into/0",
     "'causal' is no memory class of this family. Did you mean 'causal_lm'?"),
    ("moth.json", "memory/0/architecture", "MothForCausalLm", "MENS-K033", "/memory/0/architecture",
     "'MothForCausalLm' is not among recognise.architectures. Did you mean 'MothForCausalLM'?"),
    ("moth.json", "tensors/2/key", "{txt}.out", "MENS-K023", "/tensors/2/key",
     "'txt' is no index and no prefix that is bound anywhere. Did you mean 'text'?"),
    ("moth.json", "tensors/2/key", "out}", "MENS-K023", "/tensors/2/key", "a brace is left over"),
    ("otter.yaml", "tensors/2/key", "thin", "MENS-K023", "/tensors/2/key",
     "a tensor of some layers has {i} in its name"),
    ("otter.yaml", "tensors/3/when", {}, "MENS-K023", "/tensors/3/key",
     "'vision' is no index and no prefix that is bound in every layout that has the tensor"),
    ("otter.yaml", "tensors/1/in_layers", "wild", "MENS-K025", "/tensors/1/in_layers",
     "'wild' is no layer kind of this family. Did you mean 'wide'?"),
    ("otter.yaml", "layer_kinds/0/kinds/1/name", "wide", "MENS-K025", "/layer_kinds/0/kinds/1/name",
     "the kind 'wide' is declared twice"),
    ("wren.yaml", "tensors/6/same_as", "embeding", "MENS-K026", "/tensors/6/same_as",
     "'embeding' is no role here. Did you mean 'embedding'?"),
    ("heron.yaml", "lora/default/0", "expert", "MENS-K026", "/lora/default/0",
     "'expert' is no group of adapter targets here. Did you mean 'experts'?"),
    ("heron.yaml", "lora/sets/up/0", "embedding", "MENS-K026", "/lora/sets/up/0",
     "'embedding' is no role that adapters train here."),
    ("moth.json", "tensors/1/merge", "copy", "MENS-K027", "/tensors/1", "`lora` and `merge: delta` go together"),
    ("moth.json", "tensors/1/shape", ["hidden"], "MENS-K027", "/tensors/1/shape",
     "only a matrix, or a stack of them, is trained or quantised"),
    ("otter.yaml", "tensors/1/parts/axis", 2, "MENS-K027", "/tensors/1/parts/axis", "the tensor has 2 axes"),
    ("heron.yaml", "tensors/2/built_from/steps/1/over", "x", "MENS-K027", "/tensors/2/built_from/steps/1/over",
     "'x' is no running index"),
    ("wren.yaml", "facts/0/evidence/0", "papers", "MENS-K028", "/facts/0/evidence/0",
     "'papers' is no entry of evidence. Did you mean 'paper'?"),
]  # fmt: skip
RELEASE_SLIPS = [
    ("pika.json", "models/0/evidence/0", "papers", "MENS-K028", "/models/0/evidence/0",
     "'papers' is no entry of evidence. Did you mean 'paper'?"),
    ("pika.json", "models/0/licence/expression", "MIT", "MENS-K029", "/models/0/licence/expression",
     "a licence without evidence is NOASSERTION"),
    ("pika.json", "models/0/family", None, "MENS-K030", "/models/0",
     "a model has either a family or a reason for having none"),
    ("pika.json", "models/0/unsupported", "No.", "MENS-K030", "/models/0",
     "a model has either a family or a reason for having none"),
    ("pika.json", "models/0/default", True, "MENS-K030", "/models/0/default",
     "the default model needs a family, open weights and a configuration"),
    ("marmot.yaml", "models/1/config_of", "Nobody/Marmot-3B", "MENS-K031", "/models/1/config_of",
     "'Nobody/Marmot-3B' has no configuration in this release. Did you mean 'Nobody/Marmot-2B'?"),
    ("marmot.yaml", "models/1/config", {"depth": 1}, "MENS-K031", "/models/1/config",
     "a model has its own configuration or shares one"),
    ("marmot.yaml", "models/1/repo", "Nobody/Marmot-2B", "MENS-K031", "/models/1/repo",
     "'Nobody/Marmot-2B' is listed twice"),
    ("marmot.yaml", "tokens/pad", "<|pat|>", "MENS-K032", "/tokens/pad",
     "'<|pat|>' is no special token here. Did you mean '<|pad|>'?"),
    ("marmot.yaml", "tokens/special/<call>", 1, "MENS-K032", "/tokens/special/<call>", "1 is already '<|end|>'"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "place", "value", "code", "pointer", "message"), FAMILY_SLIPS)
def test_family_rules(file: str, place: str, value: Any, code: str, pointer: str, message: str) -> None:
    document = changed(read(FIXTURES / "family.v1" / "valid" / file), place, value)
    assert Problem(code, pointer, message) in problems("family", document)


@pytest.mark.parametrize(("file", "place", "value", "code", "pointer", "message"), RELEASE_SLIPS)
def test_release_rules(file: str, place: str, value: Any, code: str, pointer: str, message: str) -> None:
    document = changed(read(FIXTURES / "release.v1" / "valid" / file), place, value)
    assert problems("release", document) == [Problem(code, pointer, message)]


def test_one_name_for_two_tensors() -> None:
    moth = read(FIXTURES / "family.v1" / "valid" / "moth.json")
    twice = changed(moth, "tensors", [*moth["tensors"], {**moth["tensors"][0], "role": "again"}])
    assert problems("family", twice) == [
        Problem("MENS-K024", "/tensors/3/key", "only already has this name for tensor 0"),
        Problem("MENS-K024", "/tensors/3/key", "causal_lm already has this name for tensor 0"),
    ]


def test_every_rule_has_been_seen_firing() -> None:
    seen = {slip[3] for slip in [*FAMILY_SLIPS, *RELEASE_SLIPS]} | {"MENS-K024"}
    written = {(rule.__doc__ or "").partition(":")[0] for rule in [*FAMILY_RULES, *RELEASE_RULES]}
    assert seen == written
