"""Inspections of every family and layout, of large models as sparse files, and of everything that is to be noticed."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from mens_contracts.families import FAMILIES
from mens_contracts.inspection_v1 import InspectionV1
from mens_contracts.releases import RELEASES

from mens.checkpoint.inspection.inspect import Inspection, inspect
from mens.checkpoint.keys.keymap import count_active, count_by_component, count_parameters, expand, geometry
from mens.checkpoint.keys.releases import configured_models
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.sources import TensorInfo
from mens.contracts import door
from mens.contracts.errors import ContractError, IntegrityError, MensError, UnsupportedError
from tests.checkpoint.made import changed, published, released, tensors_of, tiny, write

LAYOUTS = [(id_, layout.name) for id_, family in FAMILIES.items() for layout in family.layouts]


def seen(folder: Path) -> Inspection:
    return inspect(open_checkpoint(folder), str(folder))


def refused(folder: Path) -> tuple[InspectionV1, MensError]:
    found = seen(folder)
    assert found.refusal is not None
    return found.document, found.refusal


def test_the_cases_are_all_there() -> None:
    assert len(LAYOUTS) == 25


@pytest.mark.parametrize(("family", "layout"), LAYOUTS)
def test_every_declared_layout_is_read_back(family: str, layout: str, tmp_path: Path) -> None:
    known = FAMILIES[family]
    chosen = next(entry for entry in known.layouts if entry.name == layout)
    found = seen(tiny(tmp_path / "c", family, layout))
    report = found.document
    specs = list(expand(known, known.tiny_config, chosen.selection))
    required = [spec for spec in specs if spec.required]
    assert found.refusal is None
    assert (report.family, report.layout.name) == (family, layout)
    assert found.facts.layout.selection == chosen.selection
    assert report.layout.experts == chosen.selection.get("experts", "none")
    assert report.layout.mtp == chosen.selection.get("mtp", "absent")
    assert report.layout.vision == (chosen.selection.get("vision") == "present")
    assert (report.coverage.matched, report.coverage.unknown, report.coverage.missing, report.coverage.mismatched) == (
        len(required), [], [], [],
    )  # fmt: skip
    counts = report.parameters
    by_component = count_by_component(specs)
    assert counts.total == count_parameters(specs) == sum(counts.groups.values())
    assert {"text": counts.text, "vision": counts.vision, "mtp": counts.mtp} == by_component
    text = [spec for spec in specs if spec.component == "text"]
    assert counts.active == count_active(text, geometry(known, known.tiny_config))
    assert sum(use.num_tensors for use in report.dtypes.values()) == len(required)
    assert report.fingerprint.startswith("arch:")
    assert report.refusals == []
    assert door.loads(report.model_dump_json(by_alias=True), InspectionV1).model == report


MODELS = [model.repo for release in RELEASES.values() for model, _ in configured_models(release)]


@pytest.mark.parametrize("repo", MODELS)
def test_every_published_model_is_among_its_own_candidates(repo: str, tmp_path: Path) -> None:
    report = seen(published(tmp_path / "c", repo)).document
    mine = [one for one in report.series if one.repo == repo]
    assert [one.exact for one in mine] == [True]
    assert mine[0].num_fields >= 10
    assert all(one.differences == [] for one in report.series if one.exact)
    assert [one.exact for one in report.series] == sorted((one.exact for one in report.series), reverse=True)


@pytest.mark.parametrize(
    ("repo", "total", "active", "vision", "mtp"),
    [
        ("Qwen/Qwen3.5-27B", 27_781_427_952, 26_895_998_464, 460_730_096, 424_699_392),
        ("Qwen/Qwen3.5-35B-A3B", 35_951_822_704, 3_454_988_928, 446_571_248, 844_640_768),
        ("Qwen/Qwen3-8B", 8_190_735_360, 8_190_735_360, 0, 0),
    ],
)
def test_exact_counts_of_large_models(
    repo: str, total: int, active: int, vision: int, mtp: int, tmp_path: Path
) -> None:
    folder = published(tmp_path / "c", repo)
    counts = seen(folder).document.parameters
    assert (counts.total, counts.active, counts.vision, counts.mtp) == (total, active, vision, mtp)
    assert counts.text == total - vision - mtp
    routed = counts.groups.get("experts", 0)
    assert counts.active == counts.text - routed + routed * 8 // 256
    assert sum(path.stat().st_blocks for path in folder.iterdir()) * 512 < 2_000_000, "the files are holes"


def test_headers_of_400_billion_parameters(tmp_path: Path) -> None:
    family = FAMILIES["qwen3_moe"]
    config = changed(
        family.tiny_config,
        {
            "num_hidden_layers": 64, "hidden_size": 4096, "num_experts": 512, "num_experts_per_tok": 10,
            "moe_intermediate_size": 1024, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128,
            "vocab_size": 151_936, "mlp_only_layers": [], "tie_word_embeddings": False,
        },
    )  # fmt: skip
    layout = next(entry for entry in family.layouts if entry.selection["experts"] == "per_expert")
    folder = write(tmp_path / "c", config, tensors_of(family, config, layout.selection))
    assert len(list(folder.glob("*.safetensors"))) > 100
    report = seen(folder).document
    assert report.parameters.total > 400_000_000_000
    assert report.parameters.active < 20_000_000_000
    assert report.coverage.matched == 98_883


# Tensors that are not what the family says.


def one_tensor_changed(folder: Path, key: str, **change: Any) -> Path:
    family = FAMILIES["qwen3_5"]
    tensors = {info.name: info for info in tensors_of(family, family.tiny_config, family.layouts[0].selection)}
    if change:
        tensors[key] = tensors[key]._replace(**change)
    else:
        del tensors[key]
    return write(folder, family.tiny_config, tensors.values())


KEY = "model.language_model.layers.1.mlp.up_proj.weight"


def test_unknown_tensors_are_listed_and_refused_after_the_report(tmp_path: Path) -> None:
    family = FAMILIES["qwen3_5"]
    sinks = [TensorInfo(f"model.language_model.layers.{i}.self_attn.sinks", "BF16", (4,)) for i in (0, 1)]
    tensors = tensors_of(family, family.tiny_config, family.layouts[0].selection)
    folder = write(tmp_path / "ckpt", family.tiny_config, [*tensors, *sinks])
    report, refusal = refused(folder)
    assert report.coverage.unknown == [sink.name for sink in sinks]
    assert report.parameters.total == sum(report.parameters.groups.values()) + 8
    assert refusal == IntegrityError(
        "MENS-K001",
        f"Cannot read {folder} as family 'qwen3_5': 2 of {len(tensors) + 2} tensors match no rule.\n"
        "  model.language_model.layers.0.self_attn.sinks\n"
        "  model.language_model.layers.1.self_attn.sinks",
        fix="Nothing was written. Declare them in schemas/families/qwen3_5.yaml, then run: nox -s generate",
    )
    assert [one.operation for one in report.refusals] == ["train", "merge", "serve"]
    assert {one.code for one in report.refusals} == {"MENS-K001"}


def test_a_missing_tensor(tmp_path: Path) -> None:
    report, refusal = refused(one_tensor_changed(tmp_path / "c", KEY))
    assert report.coverage.missing == [KEY]
    assert refusal.code == "MENS-K001"
    assert refusal.what.endswith(f"as family 'qwen3_5': 1 is missing.\n  {KEY} is missing")
    assert refusal.fix == "Nothing was written."


def test_a_tensor_of_another_shape(tmp_path: Path) -> None:
    report, refusal = refused(one_tensor_changed(tmp_path / "c", KEY, shape=(3, 4)))
    (wrong,) = report.coverage.mismatched
    assert (wrong.key, wrong.found, wrong.problem) == (KEY, "[3, 4]", "shape")
    assert refusal.what.endswith(f"1 is of another shape.\n  {KEY} is [3, 4], not {wrong.expected}")


def test_a_tensor_of_another_type(tmp_path: Path) -> None:
    report, refusal = refused(one_tensor_changed(tmp_path / "c", KEY, dtype="I32"))
    (wrong,) = report.coverage.mismatched
    assert (wrong.found, wrong.problem) == ("I32", "dtype")
    assert refusal.what.endswith(f"1 is of another type.\n  {KEY} is I32, not BF16 or F16 or F32")


def test_many_faults_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    extra = [TensorInfo(f"model.layers.{i}.more.weight", "BF16", (2,)) for i in range(3000)]
    tensors = tensors_of(family, family.tiny_config, family.layouts[0].selection)
    report, refusal = refused(write(tmp_path / "c", family.tiny_config, [*tensors, *extra]))
    assert len(report.coverage.unknown) == 3000
    assert refusal.what.endswith("\n  and 2,995 more")


def test_a_configuration_of_a_model_without_end_is_not_followed(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "c", "gpt2")
    (folder / "config.json").write_text(json.dumps(FAMILIES["gpt2"].tiny_config | {"n_layer": 500_000}))
    with pytest.raises(IntegrityError) as error:
        seen(folder)
    assert error.value == IntegrityError(
        "MENS-K001",
        f"Cannot read {folder} as family 'gpt2': "
        "the configuration describes more than 10,080 tensors, and 40 are here.",
        fix="Configuration and weights are not of one model. Nothing was written.",
    )


def test_one_tensor_of_an_allowed_but_unusual_type_is_remarked(tmp_path: Path) -> None:
    found = seen(one_tensor_changed(tmp_path / "c", KEY, dtype="F32"))
    assert found.refusal is None
    assert found.document.warnings == [f"1 tensor is stored as F32, where most of the text part are BF16: {KEY}"]


def test_types_that_the_family_leaves_open_are_compared_within_their_role(tmp_path: Path) -> None:
    decay = "model.language_model.layers.1.linear_attn.A_log"
    assert seen(tiny(tmp_path / "plain", "qwen3_5")).document.warnings == []
    (warning,) = seen(one_tensor_changed(tmp_path / "c", decay, dtype="BF16")).document.warnings
    assert warning == f"1 tensor is stored as BF16, where most of role 'linear.decay' are F32: {decay}"


def test_a_layout_that_is_not_declared_is_remarked(tmp_path: Path) -> None:
    family = FAMILIES["qwen3_5"]
    declared = [dict(layout.selection) for layout in family.layouts]
    axes = [[(axis.axis, option.name) for option in axis.options] for axis in family.variants]
    other = next(dict(choice) for choice in itertools.product(*axes) if dict(choice) not in declared)
    found = seen(write(tmp_path / "c", family.tiny_config, tensors_of(family, family.tiny_config, other)))
    assert found.refusal is None
    assert found.document.layout.name is None
    assert "not known to be written in this combination" in found.document.warnings[0]


def test_a_part_of_which_there_is_one_stray_tensor(tmp_path: Path) -> None:
    """It shows a layout of which everything else is missing, and counts for nothing; the report stands all the same."""
    family = FAMILIES["qwen3_5_moe"]
    layout = next(entry for entry in family.layouts if entry.name == "text_only")
    stray = TensorInfo("mtp.layers.7.mlp.experts.0.gate_proj.weight", "BF16", (20, 32))
    tensors = tensors_of(family, family.tiny_config, layout.selection)
    report, refusal = refused(write(tmp_path / "c", family.tiny_config, [*tensors, stray]))
    assert (report.layout.mtp, report.parameters.mtp) == ("per_expert", 0)
    assert report.coverage.unknown == [stray.name]
    assert all(name.startswith("mtp.") for name in report.coverage.missing)
    assert refusal.code == "MENS-K001"


# What cannot be recognised, and what is quantised.


def test_an_unknown_architecture_names_the_nearest_family_and_the_differences(tmp_path: Path) -> None:
    family, config = released("Qwen/Qwen3.5-4B")
    tensors = [
        info
        for info in tensors_of(family, config, family.layouts[0].selection)
        if not info.name.startswith("mtp.") and "conv1d" not in info.name
    ]
    tensors += [TensorInfo(f"model.language_model.layers.{i}.hc.alpha", "F32", (4, 4)) for i in range(32)]
    del config["text_config"]["linear_num_key_heads"]
    config = changed(config, {"model_type": "qwen4_exp", "architectures": ["Any"], "text_config": {"hc_mult": 4}})
    with pytest.raises(UnsupportedError) as error:
        seen(write(tmp_path / "c", config, tensors))
    assert error.value == UnsupportedError(
        "MENS-K002",
        "No family reads model_type 'qwen4_exp'. Known: gpt2, llama, mistral, qwen2, qwen3, qwen3_5, qwen3_5_moe, "
        "qwen3_5_moe_text, qwen3_5_text, qwen3_moe, qwen3_next.\n"
        "Qwen/Qwen3.8-Flash-Next: Its architecture, qwen4_exp, has hyper-connections, indexed attention and an n-gram "
        "table that no family describes.\n"
        "Nearest is family 'qwen3_5', which shares 42 of its 43 tensor names with it:\n"
        "  not here   model.language_model.layers.*.linear_attn.conv1d.weight\n"
        "  only here  model.language_model.layers.*.hc.alpha\n"
        "  not given  key_heads (text.linear_num_key_heads), key_dim (text.linear_num_key_heads * "
        "text.linear_key_head_dim)\n"
        "  not read   hc_mult",
        "config.json",
        "Declare it in a file under schemas/families, then run: nox -s generate",
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_under_another_name_is_its_own_nearest(family: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        seen(tiny(tmp_path / "c", family, config={"model_type": "unheard_of"}))
    assert f"Nearest is family '{family}', which shares" in error.value.what
    assert "only here" not in error.value.what
    assert "not read" not in error.value.what


def test_nothing_is_near_to_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "c", {"model_type": "unheard_of"}, [TensorInfo("a", "F32", (2,))])
    with pytest.raises(UnsupportedError) as error:
        seen(folder)
    assert "Nearest" not in error.value.what


def test_another_class_of_a_known_family(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        seen(tiny(tmp_path / "c", "qwen3", config={"architectures": ["Qwen3ForSequenceClassification"]}))
    assert error.value.code == "MENS-K003"


def fp8(folder: Path) -> Path:
    """Weights in 8 bits with a scale for each block, as publishers store them."""
    family = FAMILIES["qwen3_5"]
    tensors = []
    for info in tensors_of(family, family.tiny_config, family.layouts[0].selection):
        if info.name.endswith("_proj.weight") and "mlp" in info.name:
            tensors.append(TensorInfo(f"{info.name}_scale_inv", "BF16", (1, 1)))
            info = info._replace(dtype="F8_E4M3")
        tensors.append(info)
    return write(folder, family.tiny_config | {"quantization_config": {"quant_method": "fp8"}}, tensors)


def test_quantised_weights_are_reported_and_refused_for_training_and_merging(tmp_path: Path) -> None:
    folder = fp8(tmp_path / "c")
    report, refusal = refused(folder)
    assert refusal == UnsupportedError(
        "MENS-L007",
        "The weights are stored quantised (fp8, 8 bits); training and merging start from 16 or 32 bits.",
        str(folder),
        "Take the repository that this one was quantised from. Nothing was written.",
    )
    assert report.quantisation is not None
    assert (report.quantisation.method, report.quantisation.bits) == ("fp8", 8)
    assert [one.operation for one in report.refusals] == ["train", "merge"]
    assert len(report.coverage.unknown) == len(report.coverage.mismatched) == report.quantisation.num_tensors


def test_quantised_weights_whose_names_show_no_layout_are_refused_for_that(tmp_path: Path) -> None:
    family = FAMILIES["qwen3_moe"]
    layout = next(entry for entry in family.layouts if entry.selection["experts"] == "per_expert")
    tensors = []
    for info in tensors_of(family, family.tiny_config, layout.selection):
        stem = info.name.removesuffix(".weight")
        if stem.endswith("_proj"):
            tensors += [TensorInfo(f"{stem}.{part}", "I32", (2, 2)) for part in ("qweight", "qzeros", "g_idx")]
        else:
            tensors.append(info)
    config = changed(family.tiny_config, {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(UnsupportedError) as error:
        seen(write(tmp_path / "c", config, tensors))
    assert error.value.code == "MENS-L007"
    assert "(gptq, 4 bits)" in error.value.what


def test_names_that_show_no_layout(tmp_path: Path) -> None:
    folder = write(tmp_path / "c", FAMILIES["qwen3"].tiny_config, [TensorInfo("embed.weight", "F32", (2,))])
    with pytest.raises(IntegrityError) as error:
        seen(folder)
    assert error.value.code == "MENS-K008"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"text_config": {"hidden_size": None}}, "MENS-K005"),
        ({"text_config": {"layer_types": ["full_attention"]}}, "MENS-K006"),
        ({"text_config": {"rope_parameters": {"rope_theta": "large"}}}, "MENS-K005"),
        ({"text_config": {"rope_parameters": {"rope_theta": -1}}}, "MENS-K005"),
        ({"text_config": {"rope_parameters": {"partial_rotary_factor": 2}}}, "MENS-K005"),
        ({"text_config": {"rope_parameters": {"mrope_section": [1.5]}}}, "MENS-K005"),
        ({"text_config": {"rope_parameters": {"rope_type": "Y a r n"}}}, "MENS-K005"),
        ({"text_config": {"rope_parameters": {"rope_type": "yarn", "factor": 0}}}, "MENS-K005"),
    ],
)
def test_a_configuration_that_does_not_give_a_number(change: dict[str, Any], code: str, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "c", "qwen3_5")
    config = changed(FAMILIES["qwen3_5"].tiny_config, change)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ContractError) as error:
        seen(folder)
    assert error.value.code == code


# Flags and settings that upstream reads in two places.


def flags(tmp_path: Path, top: bool | None, text: bool | None, stored: bool) -> InspectionV1:
    family = FAMILIES["qwen3_5"]
    config = copy.deepcopy(family.tiny_config)
    for section, flag in ((config, top), (config["text_config"], text)):
        section.pop("tie_word_embeddings", None)
        if flag is not None:
            section["tie_word_embeddings"] = flag
    untied = changed(config, {"tie_word_embeddings": not stored, "text_config": {"tie_word_embeddings": not stored}})
    folder = write(tmp_path / "c", config, tensors_of(family, untied, family.layouts[0].selection))
    found = seen(folder)
    assert found.refusal is None
    return found.document


def test_tied_and_said_twice(tmp_path: Path) -> None:
    report = flags(tmp_path, top=True, text=True, stored=False)
    assert (report.tied, report.warnings) == (True, [])


def test_not_tied_and_said_nowhere(tmp_path: Path) -> None:
    report = flags(tmp_path, top=None, text=None, stored=True)
    assert (report.tied, report.warnings) == (False, [])


def test_flags_that_contradict_each_other(tmp_path: Path) -> None:
    report = flags(tmp_path, top=True, text=False, stored=False)
    assert report.tied
    assert report.warnings == ["tie_word_embeddings is true at top level and false in text_config; taken as true"]


def test_a_flag_that_only_one_class_reads(tmp_path: Path) -> None:
    report = flags(tmp_path, top=None, text=True, stored=False)
    assert report.warnings == [
        "tie_word_embeddings is true, but not said in top level: a reader that looks only there makes a new head"
    ]


def test_a_tied_head_that_is_stored_all_the_same(tmp_path: Path) -> None:
    report = flags(tmp_path, top=True, text=True, stored=True)
    assert report.tied
    assert report.parameters.groups.get("head") is None
    assert report.warnings == [
        "the head is stored although it is tied; its values should repeat the embedding's, which was not checked"
    ]


def test_rope_settings_and_where_they_stand(tmp_path: Path) -> None:
    report = seen(tiny(tmp_path / "a", "qwen3_5")).document
    assert report.rope is not None
    assert report.rope.model_dump() == {
        "theta": 10_000_000, "partial_factor": 0.5, "mrope_section": [2, 1, 1], "mrope_interleaved": True,
        "scaling": None, "inv_freq": "synthesised",
    }  # fmt: skip
    twice = seen(tiny(tmp_path / "b", "qwen3_5", config={"text_config": {"partial_rotary_factor": 0.25}})).document
    assert twice.warnings == [
        "'partial_rotary_factor' is 0.5 in rope_parameters and 0.25 outside it; the first is taken"
    ]
    same = seen(tiny(tmp_path / "c", "qwen3_5", config={"text_config": {"partial_rotary_factor": 0.5}})).document
    assert same.warnings == []


def test_scaling_in_the_older_spelling(tmp_path: Path) -> None:
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    changes = {"rope_parameters": None, "rope_theta": 5000, "rope_scaling": scaling}
    report = seen(tiny(tmp_path / "c", "qwen3", config=changes)).document
    assert report.rope is not None
    assert report.rope.theta == 5000
    assert report.rope.scaling is not None
    assert report.rope.scaling.model_dump() == {"method": "yarn", "factor": 4, "original_context_length": 128}


def test_a_base_of_frequencies_that_nobody_says(tmp_path: Path) -> None:
    report = seen(tiny(tmp_path / "c", "qwen3_5", config={"text_config": {"rope_parameters": None}})).document
    assert report.rope is not None
    assert report.rope.theta is None
    assert report.warnings == [
        "the configuration does not say the base of the rotary frequencies; readers take defaults of their own"
    ]


def test_stored_frequencies_are_said_to_be_stored(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    specs = expand(family, family.tiny_config, family.layouts[0].selection)
    tensors = [TensorInfo(spec.key, spec.dtypes[0], spec.shape) for spec in specs if spec.role != "head.shared"]
    report = seen(write(tmp_path / "c", family.tiny_config, tensors)).document
    assert any("inv_freq" in info.name for info in tensors)
    assert report.rope is not None
    assert report.rope.inv_freq == "stored"
    assert report.coverage.unknown == []


def test_an_architecture_without_rotation(tmp_path: Path) -> None:
    report = seen(tiny(tmp_path / "c", "gpt2")).document
    assert report.rope is None
    assert report.context_length == 64
    assert report.layout.prefix == ""


# Series.


def test_a_text_model_by_itself_is_a_candidate_too(tmp_path: Path) -> None:
    family, config = released("Qwen/Qwen3.5-27B")
    text = config["text_config"] | {"architectures": ["Qwen3_5ForCausalLM"]}
    layout = next(entry for entry in family.layouts if entry.name == "text_only")
    report = seen(write(tmp_path / "c", text, tensors_of(family, text, layout.selection))).document
    assert report.layout.prefix == "model"
    assert [one.repo for one in report.series if one.exact] == ["Qwen/Qwen3.5-27B", "Qwen/Qwen3.8-27B"]


def test_a_difference_in_the_configuration_is_named(tmp_path: Path) -> None:
    changes = {"text_config": {"max_position_embeddings": 4096}}
    report = seen(published(tmp_path / "c", "Qwen/Qwen3.5-4B", config=changes)).document
    (first, *_) = report.series
    assert (first.repo, first.exact) == ("Qwen/Qwen3.5-4B", False)
    assert first.differences == ["text_config.max_position_embeddings is 4096 here and 262144 as recorded"]


def test_other_shapes_are_no_candidate(tmp_path: Path) -> None:
    assert seen(tiny(tmp_path / "c", "qwen3_5")).document.series == []
