"""Layouts told from names, configurations told from exact names, and expansions that refuse rather than guess."""

from __future__ import annotations

import copy
import itertools
import random
from typing import Any

import pytest
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1

from mens.checkpoint.keys.coverage import compare
from mens.checkpoint.keys.geometry import Geometry
from mens.checkpoint.keys.keymap import count_by_component, count_parameters, expand, layer_kinds
from mens.checkpoint.keys.layout import DetectedLayout, detect, generic
from mens.checkpoint.keys.recognition import recognise
from mens.contracts.errors import ContractError, IntegrityError, MensError, UnsupportedError
from mens.contracts.json_types import JsonObject


def selections(family: FamilyV1) -> list[dict[str, str]]:
    """Every combination of options, declared or not."""
    axes = [[(axis.axis, option.name) for option in axis.options] for axis in family.variants]
    return [dict(choice) for choice in itertools.product(*axes)]


def test_every_combination_is_told_from_names(family: FamilyV1) -> None:
    config = family.tiny_config
    for selection in selections(family):
        keys = [spec.key for spec in expand(family, config, selection)]
        random.Random(1).shuffle(keys)
        found = detect(family, keys)
        assert found.selection == selection
        declared = [layout.name for layout in family.layouts if dict(layout.selection) == selection]
        assert found.name == (declared[0] if declared else None)


def test_every_geometry_and_layout_covers_itself(all_geometries: list[tuple[str, FamilyV1, JsonObject]]) -> None:
    """What is spelled out for a layout is read back as that layout, with nothing left over, for every known size."""
    checked = 0
    for name, family, config in all_geometries:
        for layout in family.layouts:
            if layout.selection.get("vision") == "present" and "vision_config" not in config:
                continue
            specs = list(expand(family, config, layout.selection))
            found = {spec.key: spec.shape for spec in specs if spec.required}
            assert len({spec.key for spec in specs}) == len(specs), name
            assert detect(family, found).name == layout.name, name
            assert compare(specs, found).complete, name
            assert sum(count_by_component(specs).values()) == count_parameters(specs)
            checked += 1
    assert checked == 109


def test_no_name_shows_a_layout(family: FamilyV1) -> None:
    with pytest.raises(IntegrityError) as error:
        detect(family, ["something.else.weight"])
    assert error.value.code == "MENS-K008"
    assert f"prefix of family '{family.id}'" in error.value.what


def test_what_a_detected_layout_says() -> None:
    moe = DetectedLayout({"prefix": "multimodal", "vision": "present", "experts": "fused", "mtp": "packed"}, None)
    assert (moe.prefix, moe.vision, moe.experts, moe.mtp) == ("multimodal", True, "fused", "packed")
    plain = DetectedLayout({"prefix": "text_only"}, "text_only")
    assert (plain.prefix, plain.vision, plain.experts, plain.mtp) == ("text_only", False, "none", "absent")


def test_generic_names() -> None:
    assert generic("model.layers.12.mlp.experts.3.up.weight") == "model.layers.*.mlp.experts.*.up.weight"
    assert generic("0.conv1d.7") == "*.conv1d.*"
    assert generic("a1.b2c.weight") == "a1.b2c.weight"


# Layer kinds.


def test_missing_layer_types_are_derived_not_defaulted(family: FamilyV1) -> None:
    """Without a list of kinds the same tensors come out, where the list follows the rule."""
    listed = [axis.listed_in for axis in family.layer_kinds if axis.listed_in]
    if not listed:
        return
    (layout, *_) = family.layouts
    config = copy.deepcopy(family.tiny_config)
    section = config.get("text_config", config)
    with_list = [spec.key for spec in expand(family, config, layout.selection)]
    section.pop("layer_types", None)
    assert [spec.key for spec in expand(family, config, layout.selection)] == with_list
    section["layer_types"] = None
    assert [spec.key for spec in expand(family, config, layout.selection)] == with_list


def test_derived_kinds_differ_from_all_alike() -> None:
    hybrid = [family for family in FAMILIES.values() if len(kinds_of(family, family.tiny_config)) > 1]
    assert len(hybrid) == 4
    for family in hybrid:
        members = kinds_of(family, {**family.tiny_config, "layer_types": None})
        assert all(layers for layers in members.values())


def kinds_of(family: FamilyV1, config: JsonObject) -> dict[str, list[int]]:
    return layer_kinds(family, Geometry(family, config))


@pytest.mark.parametrize(
    "listed",
    [
        [],
        ["full_attention"],
        ["full_attention"] * 5,
        ["full", "linear", "full", "linear"],
        "full_attention",
        [1, 2, 3, 4],
        4,
    ],
)
def test_a_wrong_list_of_kinds_is_refused(listed: Any) -> None:
    family = FAMILIES["qwen3_5"]
    config = copy.deepcopy(family.tiny_config)
    config["text_config"]["layer_types"] = listed
    with pytest.raises(ContractError) as error:
        expand(family, config, family.layouts[0].selection)
    assert error.value.code == "MENS-K006"
    assert error.value.what == (
        "'text.layer_types' must list one of full_attention, linear_attention for each of 4 layers."
    )


# What does not fit is refused at once.


def test_a_selection_that_does_not_fit() -> None:
    family = FAMILIES["qwen3_5"]
    with pytest.raises(ContractError) as error:
        expand(family, family.tiny_config, {"prefix": "multimodal", "vision": "maybe", "experts": "fused"})
    assert error.value.code == "MENS-K007"
    assert error.value.what == (
        "Not a layout of family 'qwen3_5': mtp is not chosen; vision: maybe (vision has present, absent); "
        "experts: fused (experts is not an axis)."
    )


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("hidden_size", None, "hidden"),
        ("hidden_size", "32", "hidden"),
        ("hidden_size", 0, "hidden"),
        ("hidden_size", -4, "hidden"),
        ("hidden_size", 1.5, "hidden"),
        ("hidden_size", True, "hidden"),
        ("hidden_size", 2**60, "beyond"),
        ("num_hidden_layers", None, "layers"),
        ("num_hidden_layers", 10**9, "layers"),
        ("num_attention_heads", [4], "heads"),
        ("linear_num_key_heads", None, "text.linear_num_key_heads"),
    ],
)
def test_an_impossible_number_is_refused_and_named(field: str, value: Any, named: str) -> None:
    family = FAMILIES["qwen3_5"]
    config = copy.deepcopy(family.tiny_config)
    config["text_config"] |= {field: value, "layer_types": None}
    with pytest.raises(MensError) as error:
        for _ in expand(family, config, family.layouts[0].selection):
            pass
    assert error.value.code == "MENS-K005"
    assert named in error.value.what


def test_a_family_that_goes_in_a_circle_is_refused() -> None:
    family = FAMILIES["llama"]
    circular = family.model_copy(update={"geometry": {**family.geometry, "hidden": "ffn", "ffn": "hidden"}})
    with pytest.raises(ContractError) as error:
        expand(circular, family.tiny_config, family.layouts[0].selection)
    assert "goes in a circle" in error.value.what


def test_shapes_may_follow_the_layer() -> None:
    """An architecture whose layers widen with depth, and one that has a tensor in every other layer only."""
    family = FAMILIES["llama"]
    wide = next(entry for entry in family.tensors if entry.role == "mlp.up")
    odd = wide.model_copy(update={"shape": ["hidden + 2 * i", "hidden"], "exists_if": "i % 2 == 0"})
    changed = family.model_copy(update={"tensors": [odd]})
    specs = list(expand(changed, family.tiny_config, {"prefix": "text_only"}))
    assert [(spec.layer, spec.shape) for spec in specs] == [(0, (32, 32)), (2, (36, 32))]


def test_geometry_says_what_it_knows() -> None:
    family = FAMILIES["qwen3_5"]
    known = Geometry(family, family.tiny_config["text_config"]).known()
    assert known["hidden"] == 32
    assert known["vision_depth"] == 0
    assert "vision_hidden" not in known
    assert "vision_merged" not in known


# Recognition.


def test_every_recorded_configuration_is_recognised(all_geometries: list[tuple[str, FamilyV1, JsonObject]]) -> None:
    for name, family, config in all_geometries:
        assert recognise(config) is family, name


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({}, "MENS-K002"),
        ({"model_type": None}, "MENS-K002"),
        ({"model_type": ["qwen3_5"]}, "MENS-K002"),
        ({"model_type": "qwen4_exp"}, "MENS-K002"),
        ({"model_type": "qwen3_5_vision"}, "MENS-K002"),
        ({"model_type": "qwen3_50"}, "MENS-K002"),
        ({"model_type": "Qwen3"}, "MENS-K002"),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForSequenceClassification"]}, "MENS-K003"),
    ],
)
def test_no_family_by_prefix_or_likeness(config: JsonObject, code: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        recognise(config)
    assert error.value.code == code


def test_a_large_expert_layout_is_lazy() -> None:
    """A hundred thousand names one after another: the first is there before the last is made."""
    family = FAMILIES["qwen3_moe"]
    config = {**family.tiny_config, "num_hidden_layers": 94, "num_experts": 512, "mlp_only_layers": []}
    specs = expand(family, config, {"prefix": "text_only", "experts": "per_expert"})
    assert next(specs).role == "embedding"
    assert sum(1 for _ in specs) > 144_000
