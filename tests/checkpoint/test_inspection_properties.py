"""For any geometry an inspection gives the geometry back; whatever is done to one tensor is noticed."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1
from mens_contracts.inspection_v1 import InspectionV1

from mens.checkpoint.inspection.inspect import Inspection, inspect
from mens.checkpoint.keys.keymap import count_parameters, expand
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.sources import TensorInfo
from mens.contracts.errors import MensError
from mens.contracts.json_types import JsonObject
from tests.checkpoint.made import tensors_of, write

SIZES: dict[str, st.SearchStrategy[int]] = {
    **dict.fromkeys(("hidden_size", "n_embd"), st.integers(1, 4).map(lambda times: 16 * times)),
    **dict.fromkeys(("num_hidden_layers", "n_layer"), st.integers(1, 6)),
    **dict.fromkeys(("num_attention_heads", "n_head"), st.sampled_from([1, 2, 4, 8])),
    "num_key_value_heads": st.sampled_from([1, 2, 4]),
    "head_dim": st.sampled_from([2, 8, 16]),
    **dict.fromkeys(
        ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size"), st.integers(1, 40)
    ),
    "vocab_size": st.integers(2, 300),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), st.integers(1, 4096)),
    "num_experts": st.integers(1, 9),
    "num_experts_per_tok": st.integers(1, 9),
    "linear_num_key_heads": st.sampled_from([1, 2, 4]),
    "linear_num_value_heads": st.sampled_from([4, 8]),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), st.sampled_from([4, 8, 12])),
    "linear_conv_kernel_dim": st.integers(1, 5),
    "full_attention_interval": st.integers(1, 5),
    "mtp_num_hidden_layers": st.integers(1, 2),
    "decoder_sparse_step": st.integers(1, 1),
}
VISION = {
    "depth": st.integers(1, 3),
    "hidden_size": st.integers(1, 5).map(lambda times: 4 * times),
    "intermediate_size": st.integers(1, 30),
}
FLAGS = ("tie_word_embeddings", "attention_bias", "mlp_bias")


class Case(NamedTuple):
    """One model that could exist."""

    family: FamilyV1
    layout: str
    config: JsonObject
    tensors: list[TensorInfo]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    family = FAMILIES[draw(st.sampled_from(list(FAMILIES)))]
    layout = draw(st.sampled_from(family.layouts))
    config = copy.deepcopy(family.tiny_config)
    text = config.get("text_config", config)
    for name in [name for name in SIZES if name in text]:
        text[name] = draw(SIZES[name])
    for name in [name for name in FLAGS if name in text]:
        text[name] = draw(st.booleans())
    if text is not config:
        config["tie_word_embeddings"] = text["tie_word_embeddings"]
        config["vision_config"] |= {name: draw(size) for name, size in VISION.items()}
    _agree(draw, family, text)
    return Case(family, layout.name, config, tensors_of(family, config, layout.selection))


def _agree(draw: st.DrawFn, family: FamilyV1, text: JsonObject) -> None:
    """Bring numbers together that no model has apart, and write the kinds of layers down or leave them out."""
    heads = text.get("num_attention_heads", text.get("n_head"))
    text["num_key_value_heads"] = min(text.get("num_key_value_heads", heads), heads)
    if "num_experts" in text:
        text["num_experts_per_tok"] = min(text["num_experts_per_tok"], text["num_experts"])
    text.pop("layer_types", None)
    listed = [axis for axis in family.layer_kinds if axis.listed_in]
    if listed and draw(st.booleans()):
        kinds = st.sampled_from([kind.name for kind in listed[0].kinds])
        layers = text["num_hidden_layers"]
        text["layer_types"] = draw(st.lists(kinds, min_size=layers, max_size=layers))


def seen(case: Case, tensors: list[TensorInfo]) -> Inspection:
    with tempfile.TemporaryDirectory() as folder:
        return inspect(open_checkpoint(write(Path(folder) / "c", case.config, tensors)))


def seen_or_refused(case: Case, tensors: list[TensorInfo]) -> tuple[Inspection | None, str]:
    try:
        return seen(case, tensors), ""
    except MensError as refusal:
        return None, refusal.code


SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(cases())
def test_an_inspection_gives_the_geometry_back(case: Case) -> None:
    event(case.family.id)
    found = seen(case, case.tensors)
    report, text = found.document, case.config.get("text_config", case.config)
    assert found.refusal is None
    assert (report.family, report.layout.name) == (case.family.id, case.layout)
    assert report.coverage.model_dump() == {
        "matched": len(case.tensors), "unknown": [], "missing": [], "mismatched": [],
    }  # fmt: skip
    asked = {
        "layers": ("num_hidden_layers", "n_layer"),
        "hidden": ("hidden_size", "n_embd"),
        "heads": ("num_attention_heads", "n_head"),
        "vocab": ("vocab_size",),
        "context": ("max_position_embeddings", "n_positions"),
        "experts": ("num_experts",),
        "top_k": ("num_experts_per_tok",),
    }
    for name, fields in asked.items():
        written = [text[field] for field in fields if field in text]
        assert [report.geometry.get(name)] == (written or [None]), name
    assert report.tied == bool(text["tie_word_embeddings"])
    assert report.parameters.total == count_parameters(expand(case.family, case.config, found.facts.layout.selection))
    for kinds in (found.document.layer_kinds,):
        assert sum(kinds.values()) == text.get("num_hidden_layers", 0) * len(case.family.layer_kinds)


class Change(NamedTuple):
    """What was done to one tensor, and the tensors that came of it."""

    what: str
    info: TensorInfo
    new: list[TensorInfo]
    tensors: list[TensorInfo]


def changes(case: Case, what: str, info: TensorInfo, other: Any) -> Change:
    made = {
        "dropped": [],
        "renamed": [info._replace(name=f"{info.name}{other}")],
        "reshaped": [info._replace(shape=(*info.shape[:-1], (info.shape or (1,))[-1] + 1))],
        "gained a dimension": [info._replace(shape=(*info.shape, 1))],
        "joined by another": [info, info._replace(name=f"{info.name}{other}")],
        "retyped": [info._replace(dtype="I32")],
        "retyped as it may be": [info._replace(dtype="F32" if info.dtype != "F32" else "BF16")],
    }[what]
    return Change(
        what,
        info,
        [one for one in made if one.name != info.name],
        [*(one for one in case.tensors if one is not info), *made],
    )


WHATS = ("dropped", "renamed", "joined by another", "reshaped", "gained a dimension", "retyped", "retyped as it may be")


@SETTINGS
@given(st.data())
def test_whatever_is_done_to_one_tensor_is_noticed(data: st.DataObject) -> None:
    case = data.draw(cases())
    before = seen(case, case.tensors)
    change = changes(
        case,
        data.draw(st.sampled_from(WHATS)),
        data.draw(st.sampled_from(case.tensors)),
        data.draw(st.sampled_from(["x", ".0", "s.weight"])),
    )
    event(change.what)
    after, code = seen_or_refused(case, change.tensors)
    if after is None:
        assert code in {"MENS-K008", "MENS-C030"}, "the tensor that shows the layout; the only tensor"
        assert change.what in ("dropped", "renamed")
        return
    assert after.document.fingerprint != before.document.fingerprint
    if change.what == "retyped as it may be":
        assert after.refusal is None
        assert after.document.dtypes != before.document.dtypes
        assert after.document.warnings != before.document.warnings or _is_alone(case, change.info)
        return
    assert after.refusal is not None
    assert after.refusal.code == "MENS-K001"
    assert_named(change, after.document)


def _is_alone(case: Case, info: TensorInfo) -> bool:
    """Whether the tensor is the only one that it is compared with: both types are then as good."""
    layout = next(layout for layout in case.family.layouts if layout.name == case.layout)
    specs = [spec for spec in expand(case.family, case.config, layout.selection) if spec.required]
    role = next(spec for spec in specs if spec.key == info.name)
    if not role.entry.dtypes:
        return False
    return sum(spec.role == role.role for spec in specs) <= 2


def assert_named(change: Change, report: InspectionV1) -> None:
    """The report names the tensor in the list that fits; one that shows the layout makes others unknown instead."""
    coverage = report.coverage
    assert {info.name for info in change.new} <= set(coverage.unknown)
    lists = {
        "dropped": coverage.missing,
        "renamed": coverage.missing,
        "joined by another": [change.info.name],
        "reshaped": [entry.key for entry in coverage.mismatched if entry.problem == "shape"],
        "gained a dimension": [entry.key for entry in coverage.mismatched if entry.problem == "shape"],
        "retyped": [entry.key for entry in coverage.mismatched if entry.problem == "dtype"],
    }
    shows_layout = len(coverage.unknown) > len(change.new) and change.what in ("dropped", "renamed")
    assert change.info.name in lists[change.what] or shows_layout
