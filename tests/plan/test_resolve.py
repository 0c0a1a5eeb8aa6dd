"""The configuration: which value wins, where it came from, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mens_contracts.presets import NAMES, PRESETS

from mens.contracts.errors import ContractError, UsageError
from mens.contracts.json_types import JsonObject
from mens.plan.resolve import FIELDS, IDENTITY, parse_settings, resolve

SETTINGS: JsonObject = {
    "rank": 5,
    "alpha": 7,
    "seq_len": 2048,
    "batch_size": 3,
    "grad_accum": 5,
    "epochs": 9,
    "learning_rate": 3e-5,
    "targets": ["qv"],
    "optimizer": "adamw_8bit",
    "double_quant": False,
    "packing": True,
    "seed": 1,
    "loss_chunk_size": 0,
    "dropout": 0.1,
}
"""Values that no preset has, each allowed beside all the others."""
subsets = st.lists(st.sampled_from(sorted(SETTINGS)), unique=True)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A preset document that says what it must and one thing more."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema: mens/training-preset/v1\nid: mine\ntitle: Mine\nrank: 6\nalpha: 12\nseq_len: 640\nbatch_size: 1\n"
        "grad_accum: 4\nepochs: 2\nlearning_rate: 1e-4\nwarmup_steps: 3\nseed: 7\n"
    )
    return path


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_and_alias(name: str) -> None:
    resolved = resolve(name)
    assert resolved.name == NAMES[name]
    assert resolved.preset == PRESETS[NAMES[name]]
    assert set(resolved.values) == set(FIELDS) == set(resolved.origins)
    assert not set(FIELDS) & set(IDENTITY)


def test_the_default_preset_applies_when_nothing_is_named() -> None:
    assert resolve().name == NAMES["default"]
    assert resolve().origins["rank"] == "preset"
    assert resolve().origins["seed"] == "default"


def test_file_over_preset_and_flag_over_file(document: Path) -> None:
    resolved = resolve("4080", document, {"seq_len": 99})
    assert (resolved.preset.rank, resolved.origins["rank"]) == (6, "file")
    assert (resolved.preset.seed, resolved.origins["seed"]) == (7, "file")
    assert (resolved.preset.seq_len, resolved.origins["seq_len"]) == (99, "flag")
    assert (resolved.preset.base_model, resolved.origins["base_model"]) == ("Qwen/Qwen3.5-4B", "preset")
    assert (resolved.preset.dropout, resolved.origins["dropout"]) == (0, "default")
    assert resolved.name == "4080"


def test_a_file_alone_starts_from_no_preset(document: Path) -> None:
    resolved = resolve(None, document)
    assert resolved.name is None
    assert resolved.preset.base_model is None
    assert "preset" not in resolved.origins.values()


def test_a_preset_may_be_a_path(document: Path) -> None:
    assert resolve(str(document)).name == "mine"
    assert resolve(str(document)).origins["seed"] == "preset"


@given(subsets, st.sampled_from(sorted(PRESETS)))
def test_a_flag_always_wins(names: list[str], preset: str) -> None:
    if preset == "mobile_edge":
        names = [name for name in names if name not in ("seq_len", "batch_size")]
    resolved = resolve(preset, None, {name: SETTINGS[name] for name in names})
    shipped = PRESETS[preset].model_dump(mode="json", by_alias=True)
    for field, value in resolved.values.items():
        flagged = field in names
        assert value == (SETTINGS[field] if flagged else shipped[field])
        assert (resolved.origins[field] == "flag") is flagged


@given(st.permutations(sorted(SETTINGS)).flatmap(lambda names: st.integers(0, len(names)).map(lambda n: names[:n])))
def test_the_order_of_flags_does_not_matter(names: list[str]) -> None:
    written = [f"{name}={json.dumps(SETTINGS[name])}" for name in names]
    there, back = parse_settings(written), parse_settings(reversed(written))
    assert resolve("tiny", None, there) == resolve("tiny", None, back)
    assert there == {name: SETTINGS[name] for name in names}


def test_a_flag_that_repeats_the_preset_is_still_a_flag() -> None:
    assert resolve("4080", None, {"seq_len": 384}).origins["seq_len"] == "flag"


def test_unknown_preset_lists_those_that_exist() -> None:
    with pytest.raises(UsageError) as refused:
        resolve("4090")
    assert refused.value.code == "MENS-L001"
    assert "Did you mean '4080'?" in str(refused.value)
    assert all(name in refused.value.fix for name in NAMES)


@pytest.mark.parametrize(
    ("name", "hint"), [("rnk", " Did you mean 'rank'?"), ("title", ""), ("id", ""), ("schema", ""), ("vram", "")]
)
def test_unknown_field(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_settings([f"{name}=3"])
    assert refused.value.code == "MENS-L002"
    assert f"'{name}' is not a field of a configuration.{hint}" in refused.value.what


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("learning_rate=1e-4", 1e-4),
        ("packing=true", True),
        ("max_steps=null", None),
        ("targets=qv", ["qv"]),
        ("targets=attention, mlp", ["attention", "mlp"]),
        ("targets=[attention, mlp]", ["attention", "mlp"]),
        ("compute_dtype=fp32", "fp32"),
        ("dropout=0.0", 0),
    ],
)
def test_values_are_yaml(written: str, value: object) -> None:
    assert list(parse_settings([written]).values()) == [value]


@pytest.mark.parametrize("written", ["rank", "=3", "targets=[a", "rank=&a 3", "max_steps=", "rank=1\nalpha: 2"])
def test_settings_that_cannot_be_read(written: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_settings([written])
    assert refused.value.code in ("MENS-L002", "MENS-L003")


def test_a_setting_twice() -> None:
    assert parse_settings(["rank=3", "rank=3"]) == {"rank": 3}
    with pytest.raises(UsageError) as refused:
        parse_settings(["rank=3", "rank=4"])
    assert refused.value.what == "--set gives rank twice, as 3 and as 4."


@pytest.mark.parametrize(
    ("preset", "flags", "codes"),
    [
        ("4080", {"rank": 0, "learning_rate": "fast", "packing": 1}, ["MENS-V005", "MENS-V001", "MENS-V001"]),
        ("4080", {"max_steps": 10}, ["MENS-R001"]),
        ("4080", {"seq_len": 32, "ce_last_k": 64}, ["MENS-R002"]),
        ("mobile_edge", {"seq_len": 513, "rank": 33}, ["MENS-R003", "MENS-R003"]),
        ("4080", {"targets": ["qv", "qv"]}, ["MENS-R010"]),
        ("4080", {"rank": True}, ["MENS-V001"]),
    ],
)
def test_the_whole_is_held_to_its_contract(preset: str, flags: JsonObject, codes: list[str]) -> None:
    with pytest.raises(ContractError) as refused:
        resolve(preset, None, flags)
    assert refused.value.code == "MENS-L004"
    assert refused.value.exit_code == 1
    assert sorted(refused.value.what.count(f"[{code}]") for code in set(codes)) == sorted(
        codes.count(code) for code in set(codes)
    )


def test_a_short_sequence_does_not_trip_over_a_default() -> None:
    assert resolve("4080", None, {"seq_len": 32}).preset.ce_last_k == 64
