"""Drafts for checkpoints that nobody has described: held to their contract, and read back with what they say."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1
from mens_contracts.release_v1 import ReleaseV1

from mens.checkpoint.drafts.draft import Draft, draft, identifier, seen
from mens.checkpoint.drafts.shapes import layers_condition
from mens.checkpoint.drafts.text import yaml_text
from mens.checkpoint.keys.coverage import compare
from mens.checkpoint.keys.keymap import expand
from mens.checkpoint.keys.layout import detect
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.sources import TensorInfo
from mens.contracts import door
from mens.contracts.errors import IntegrityError, UnsupportedError, UsageError
from mens.contracts.expressions import parse
from mens.contracts.json_types import JsonObject
from mens.contracts.strict_yaml import parse_yaml
from tests.checkpoint import made

TODAY = date(2026, 11, 21)
NOVEL = {"model_type": "novel_one", "architectures": ["NovelForCausalLM"]}
LAYOUTS = [(family.id, layout.name) for family in FAMILIES.values() for layout in family.layouts]


def drafted(folder: Path, id_: str | None = None) -> Draft:
    return draft(seen(str(folder)), id_, TODAY)


def novel(folder: Path, family: str, layout: str, *more: TensorInfo, without: str = "", **config: Any) -> Path:
    """A family's tiny model under names that nobody knows, with other tensors than it has."""
    found = FAMILIES[family]
    changed = made.changed(found.tiny_config, {**NOVEL, **config})
    selection = next(entry.selection for entry in found.layouts if entry.name == layout)
    tensors = made.tensors_of(found, changed, selection)
    kept = [tensor for tensor in tensors if not without or without not in tensor.name]
    assert bool(without) == (len(kept) < len(tensors))
    return made.write(folder, changed, [*kept, *more])


def read_back(text: str, folder: Path) -> FamilyV1:
    """The family that a draft's text is, once it reads every tensor of the folder and no other."""
    family = door.loads(text, FamilyV1, "draft.yaml").model
    checkpoint = open_checkpoint(folder)
    layout = detect(family, checkpoint.tensors)
    specs = list(expand(family, checkpoint.config.value, layout.selection))
    coverage = compare(specs, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})
    assert coverage.complete, coverage
    assert coverage.matched == len(checkpoint.tensors)
    return family


def entries(family: FamilyV1) -> dict[str, JsonObject]:
    return {tensor.key: tensor.model_dump(mode="json", exclude_defaults=True) for tensor in family.tensors}


@pytest.mark.parametrize(("family", "layout"), LAYOUTS, ids=[":".join(entry) for entry in LAYOUTS])
def test_known_tensors_under_unknown_names_are_kept_whole(family: str, layout: str, tmp_path: Path) -> None:
    folder = novel(tmp_path / "base", family, layout)
    found = drafted(folder)
    assert (found.kind, found.id, found.new, found.absent) == ("family", "novel_one", {}, ())
    assert found.matched == found.num_tensors
    read = read_back(found.text, folder)
    assert (read.recognise.model_types, read.recognise.architectures) == (["novel_one"], ["NovelForCausalLM"])
    theirs = {tensor.role: tensor for tensor in FAMILIES[found.nearest].tensors}
    assert len(read.tensors) >= 10
    for tensor in read.tensors:
        same = theirs[tensor.role]
        assert (tensor.nf4, tensor.lora, tensor.merge) == (same.nf4, same.lora, same.merge)
    assert parse_yaml(found.text)[0] == found.document


@pytest.mark.parametrize(("family", "layout"), LAYOUTS, ids=[":".join(entry) for entry in LAYOUTS])
def test_known_model_is_drafted_as_a_release(family: str, layout: str, tmp_path: Path) -> None:
    folder = made.tiny(tmp_path / "Some-Model.1", family, layout)
    found = drafted(folder)
    release = door.loads(found.text, ReleaseV1, "draft.yaml").model
    assert (found.kind, release.id, release.models[0].family) == ("release", "some_model_1", family)
    assert release.models[0].licence.expression == "NOASSERTION"
    assert release.models[0].config == json.loads((folder / "config.json").read_text())
    assert release.evidence["checkpoint"].source == "config.json and tensor headers of Some-Model.1"
    assert found.matched == found.num_tensors


def test_new_tensors_become_conservative_templates(tmp_path: Path) -> None:
    prefix = "model.language_model.layers"
    folder = novel(
        tmp_path / "base",
        "qwen3_5",
        "multimodal",
        *(TensorInfo(f"{prefix}.{i}.hyper.{k}.mix", "BF16", (5, 32)) for i in range(4) for k in range(3)),
        TensorInfo(f"{prefix}.3.self_attn.sinks", "F32", (37,)),
        *(TensorInfo(f"{prefix}.{i}.early", "BF16", (32, 32)) for i in (0, 1)),
        *(TensorInfo(f"model.visual.deepstack.{at}.norm.weight", "BF16", (24,)) for at in (5, 11)),
        *(TensorInfo(f"ngram.{n}.table", "BF16", (256, 32)) for n in range(2)),
        without="in_proj_z",
    )
    found = drafted(folder)
    read = entries(read_back(found.text, folder))
    new = {key: read[key] for key in found.new or {}}
    assert new == {
        "{text}.layers.{i}.hyper.{j}.mix": {
            "role": "hyper.mix", "component": "text", "key": "{text}.layers.{i}.hyper.{j}.mix", "shape": [5, "hidden"]},
        "{text}.layers.{i}.self_attn.sinks": {
            "role": "self_attn.sinks", "component": "text", "key": "{text}.layers.{i}.self_attn.sinks",
            "in_layers": "full_attention", "shape": [37]},
        "{text}.layers.{i}.early": {
            "role": "early", "component": "text", "key": "{text}.layers.{i}.early", "exists_if": "i <= 1",
            "shape": ["hidden", "hidden"]},
        "{vision}.deepstack.5.norm.weight": {
            "role": "deepstack.n5.norm", "component": "vision", "key": "{vision}.deepstack.5.norm.weight",
            "shape": ["vision_hidden"]},
        "{vision}.deepstack.11.norm.weight": {
            "role": "deepstack.n11.norm", "component": "vision", "key": "{vision}.deepstack.11.norm.weight",
            "shape": ["vision_hidden"]},
        "ngram.{k}.table": {
            "role": "ngram.table", "component": "text", "key": "ngram.{k}.table", "shape": ["vocab", "hidden"]},
    }  # fmt: skip
    assert found.absent == ("model.language_model.layers.*.linear_attn.in_proj_z.weight",)
    assert "# FILL IN: nothing known here is 37." in found.text


def test_name_with_another_shape_loses_its_role_and_policies(tmp_path: Path) -> None:
    more = [TensorInfo(f"model.layers.{i}.self_attn.q_proj.weight", "BF16", (7, 32)) for i in range(3)]
    folder = novel(tmp_path / "base", "llama", "text_only", *more, without="self_attn.q_proj.weight")
    found = drafted(folder)
    entry = entries(read_back(found.text, folder))["{text}.layers.{i}.self_attn.q_proj.weight"]
    assert set(entry) == {"role", "component", "key", "shape"}
    assert entry["role"] == "self_attn.q_proj"
    assert "has this name with other numbers or in other layers." in found.text


def test_layers_of_an_unknown_kind_are_taken_from_the_configuration(tmp_path: Path) -> None:
    base = tmp_path / "base"
    found = FAMILIES["qwen3_5"]
    kinds = ["windowed", "full_attention", "windowed", "full_attention"]
    config = made.changed(found.tiny_config, {**NOVEL, "text_config": {"layer_types": kinds}})
    tensors = [TensorInfo(f"model.layers.{i}.{kind}.weight", "BF16", (32, 32)) for i, kind in enumerate(kinds)]
    made.write(base, config, [*tensors, TensorInfo("model.embed_tokens.weight", "BF16", (256, 32))])
    result = drafted(base)
    read = read_back(result.text, base)
    (axis,) = read.layer_kinds
    assert axis.listed_in == "text.layer_types"
    assert {kind.name: kind.holds_if for kind in axis.kinds} == {"full_attention": "i % 2 == 1", "windowed": "True"}
    assert entries(read)["{text}.layers.{i}.windowed.weight"]["in_layers"] == "windowed"


def test_names_that_no_family_shares(tmp_path: Path) -> None:
    config = {**NOVEL, "hidden_size": 12, "vocab_size": 40, "num_hidden_layers": 9, "max_position_embeddings": 64}
    tensors = [TensorInfo(f"net.{i}.w", "F32", (12, 12)) for i in range(2)]
    folder = made.write(tmp_path / "base", config, [*tensors, TensorInfo("words", "F32", (40, 12))])
    found = drafted(folder)
    assert (found.matched, found.new) == (0, {"net.{i}.w": 2, "words": 1})
    read = read_back(found.text, folder)
    assert [tensor.shape for tensor in read.tensors] == [["hidden", "hidden"], ["vocab", "hidden"]]
    assert (read.rope, set(read.geometry)) == (None, {"layers", "hidden", "vocab", "context", "tied"})
    assert read.lora.default == ["draft"]


def test_configuration_alone_is_a_beginning(tmp_path: Path) -> None:
    known, unknown = FAMILIES["qwen3_5"].tiny_config, {**FAMILIES["qwen3_5"].tiny_config, **NOVEL}
    for name, config, kind in (("known", known, "release"), ("unknown", unknown, "family")):
        path = tmp_path / name / "config.json"
        path.parent.mkdir()
        path.write_text(json.dumps(config))
        found = drafted(path)
        assert drafted(path.parent) == found
        assert (found.kind, found.nearest, found.num_tensors) == (kind, "qwen3_5", None)
        assert found.document["evidence"]["checkpoint"]["source"] == f"config.json of {name}"
    assert "No tensor was seen" in found.text


def test_class_of_a_known_family_under_an_unknown_model_type(tmp_path: Path) -> None:
    folder = made.tiny(tmp_path / "base", "llama", config={"model_type": "novel_one"})
    found = drafted(folder)
    assert (found.kind, found.nearest) == ("release", "llama")
    assert "add novel_one to recognise.model_types of schemas/families/llama.yaml" in found.text


def test_every_draft_asks_for_the_sources_of_truth(tmp_path: Path) -> None:
    texts = [
        drafted(novel(tmp_path / "novel", "llama", "text_only")).text,
        drafted(made.tiny(tmp_path / "known", "llama")).text,
    ]
    for text in texts:
        for what in ("model card", "licence", "model_type and key layout", "attention layout", "special tokens",
                     "tool format", "context advertised", "context practical"):  # fmt: skip
            assert f"# [ ] {what}: FILL IN link, revision, date" in text


def test_tensors_that_their_own_family_does_not_have_are_refused(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    tensors = made.tensors_of(family, family.tiny_config, family.layouts[0].selection)
    folder = made.write(tmp_path / "base", family.tiny_config, [*tensors, TensorInfo("extra", "BF16", (3,))])
    with pytest.raises(IntegrityError) as caught:
        drafted(folder)
    assert caught.value.code == "MENS-K001"


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    folder = novel(tmp_path / "base", "llama", "text_only", quantization_config={"quant_method": "fp8"})
    with pytest.raises(UnsupportedError) as caught:
        drafted(folder)
    assert caught.value.code == "MENS-L007"


def test_what_no_family_can_say_is_refused(tmp_path: Path) -> None:
    folder = novel(tmp_path / "base", "llama", "text_only", TensorInfo("with-a-dash", "BF16", (3, 3)))
    with pytest.raises(UnsupportedError) as caught:
        drafted(folder)
    assert caught.value.code == "MENS-K034"


@pytest.mark.parametrize("id_", ["llama", "LlamaForCausalLM", "3x", "../x", "x" * 65, ""])
def test_names_that_cannot_be_given(id_: str, tmp_path: Path) -> None:
    folder = novel(tmp_path / "base", "llama", "text_only")
    if not id_:
        assert drafted(folder, id_).id == "novel_one"
        return
    with pytest.raises(UsageError) as caught:
        drafted(folder, id_)
    assert caught.value.code == "MENS-G006"


def test_identifiers() -> None:
    names = ("Some-Model.1", "3B", "a" * 80, "ünder", "__")
    assert [identifier(name) for name in names] == ["some_model_1", "m_3b", "a" * 64, "nder", "m"]


@pytest.mark.parametrize(
    "layers", [{0}, {3}, {0, 1}, {2, 3, 4}, {1, 3, 5, 7}, {0, 2, 3, 5, 6}, {0, 5}, {7}, {0, 1, 2, 4, 5, 6}]
)
def test_conditions_hold_for_their_layers_and_no_other(layers: set[int]) -> None:
    text = layers_condition(frozenset(layers), 8)
    assert text is not None
    assert {i for i in range(8) if parse(text).evaluate({"i": i})} == layers


def test_yaml_reads_back_as_it_was() -> None:
    odd = ["1e-4", "no", "true", "null", "~", "", " x", "a: b", "a #b", "{i}.q", "<|im_end|>", "12", "0x1f", "-"]
    document: JsonObject = {
        "plain": "2 * heads * head_dim",
        "quoted": [*odd, "\x85\u2028\ufeff\x00\x7f", "\u00fc", "\U0001d11e", "line\nbreak"],
        "numbers": [1e-06, 3, 1e300, 0.5],
        "others": [True, None, {}, []],
        "nested": {"a": [{"b": [1, [2, {"c": None}]]}], "d: e": {"f": {"g": "h"}}},
    }
    comments = {("nested",): ["above"], ("nested", "a", 0): ["on an entry"], ("nested", "a", 0, "b"): ["below it"]}
    text = yaml_text(document, comments, frozenset({"nested"}))
    assert parse_yaml(text)[0] == document
    assert text.count("#") == 4
