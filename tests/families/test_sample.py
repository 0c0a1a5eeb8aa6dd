"""Samples of every family in every layout: upstream loads them whole, and mens reads back what was asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1, Layout
from mens_contracts.release_v1 import Model, ReleaseV1
from mens_contracts.releases import RELEASES
from safetensors import safe_open

from mens.checkpoint.inspection.inspect import inspect
from mens.checkpoint.inspection.template_facts import Template
from mens.checkpoint.keys.releases import model_config
from mens.checkpoint.samples import sample as samples
from mens.checkpoint.samples.config import parse_settings
from mens.checkpoint.samples.sample import Request, draft, write
from mens.checkpoint.samples.template import behaviour
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.sources import SparseSource
from mens.checkpoint.storage.write import write_checkpoint
from mens.contracts.errors import IntegrityError, MensError, UnsupportedError, UsageError

LAYOUTS = [(family, layout) for family in FAMILIES.values() for layout in family.layouts]
LAYOUT_NAMES = [(family, layout.name) for family, layout in LAYOUTS]
DTYPES: tuple[samples.Dtype, ...] = ("BF16", "F32")
CASES = [pytest.param(*case, dtype, id=f"{case[0].id}-{case[1].name}-{dtype}") for case in LAYOUTS for dtype in DTYPES]
TEXT = "Héllo the wörld, 日本 🎉\n\n    x = 1\tand <b>more</b>"
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello.", "reasoning_content": "A greeting."},
    {"role": "user", "content": "Is it raining?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Look it up.",
        "tool_calls": [{"type": "function", "function": {"name": "rain", "arguments": {"city": "Köln", "days": 3}}}],
    },
    {"role": "tool", "content": "no"},
    {"role": "tool", "content": "still no"},
]
TOOLS = [{"type": "function", "function": {"name": "rain", "description": "Rain", "parameters": {"type": "object"}}}]


def written(folder: Path, request: Request, seed: int = 0, **options: Any) -> samples.Sample:
    drafted = draft(request)
    write(drafted, folder, seed, **options)
    return drafted


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def models() -> Iterator[tuple[FamilyV1, ReleaseV1, Model]]:
    for release in RELEASES.values():
        yield from ((FAMILIES[model.family], release, model) for model in release.models if model.family is not None)


def test_the_number_of_cases() -> None:
    assert len(CASES) == 2 * sum(len(family.layouts) for family in FAMILIES.values()) == 50
    assert len(list(models())) > 50


@pytest.mark.parametrize(("family", "layout", "dtype"), CASES)
def test_upstream_loads_it_whole(tmp_path: Path, family: FamilyV1, layout: Layout, dtype: samples.Dtype) -> None:
    folder = tmp_path / "sample"
    drafted = written(folder, Request(family, layout=layout.name, dtype=dtype), seed=3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = torch.tensor([tokenizer.encode("the rain in <|im_start|> Köln")])
    classes = [memory for memory in family.memory if memory.name in layout.loads_into]
    assert drafted.config["architectures"][0] in [memory.architecture for memory in classes]
    for memory in classes:
        auto = getattr(transformers, memory.auto_class)
        model, info = auto.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), info
        assert model.dtype == {"BF16": torch.bfloat16, "F32": torch.float32}[dtype]
        with torch.no_grad():
            logits = model.eval()(input_ids=prompt).logits.float()
        assert torch.isfinite(logits).all()
        assert 0.01 < logits.std() < 10, "neither blank nor blown up"
        assert logits[0].std(dim=0).mean() > 0.01, "what was read makes a difference"


@pytest.mark.parametrize(("family", "layout", "dtype"), CASES)
def test_inspection_gives_back_what_was_asked(
    tmp_path: Path, family: FamilyV1, layout: Layout, dtype: samples.Dtype
) -> None:
    drafted = written(tmp_path / "sample", Request(family, layout=layout.name, dtype=dtype))
    found = inspect(open_checkpoint(tmp_path / "sample"))
    assert found.refusal is None
    assert found.facts.family is family
    assert found.facts.layout.name == layout.name
    assert found.facts.census.complete
    assert found.facts.census.matched == len(drafted.tensors)
    assert found.facts.census.total == drafted.num_parameters
    stored = {tensor.dtype for tensor in found.facts.checkpoint.tensors.values()}
    assert stored - {"F32"} == {dtype} - {"F32"}
    assert found.document.warnings == []


@pytest.mark.parametrize("id_", FAMILIES)
def test_tokenizer_is_a_real_one(tmp_path: Path, id_: str) -> None:
    drafted = written(tmp_path / "sample", Request(FAMILIES[id_]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "sample")
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert len(ids) < len(TEXT.encode()), "merges are used"
    every_byte = "".join(map(chr, range(0x20, 0x180)))
    assert tokenizer.decode(tokenizer.encode(every_byte)) == every_byte
    special = json.loads(drafted.files["tokenizer.json"])["added_tokens"]
    assert len(special) >= 3
    for token in special:
        text = f"a{token['content']}b"
        assert tokenizer.encode(text) == [*tokenizer.encode("a"), token["id"], *tokenizer.encode("b")]
        assert tokenizer.convert_tokens_to_ids(token["content"]) == token["id"]
        assert tokenizer.decode(tokenizer.encode(text)) == text
    rows = draft(Request(FAMILIES[id_])).specs
    assert len(tokenizer) <= next(spec.shape[0] for spec in rows if spec.role == "embedding")
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "sample")
    assert generation.eos_token_id[0] == tokenizer.eos_token_id
    assert generation.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id


@pytest.mark.parametrize(("owner", "release", "model"), [pytest.param(*entry, id=entry[2].repo) for entry in models()])
def test_template_of_every_model(
    tmp_path_factory: pytest.TempPathFactory, owner: FamilyV1, release: ReleaseV1, model: Model
) -> None:
    drafted = draft(Request(owner, series=model.repo))
    assert (drafted.series.release, drafted.series.model) == (release, model)
    how = behaviour(drafted.series)
    assert how is not None
    text = drafted.files["chat_template.jinja"].decode()
    tokenizer = any_tokenizer(tmp_path_factory)
    tokenizer.chat_template = text
    shown = tokenizer.apply_chat_template(TALK, tools=TOOLS, tokenize=False, add_generation_prompt=True)
    assert shown.count("<|im_start|>") == shown.count("<|im_end|>") + 1
    assert ("A greeting." in shown) == how.keeps_past_thinking
    assert ("Look it up." in shown) == (how.thinking != "absent")
    assert "Köln" in shown
    expected = {"always": None}.get(how.thinking, how.thinking)
    assert Template(text, "chat_template.jinja").thinking_default == expected
    assert model.thinking_default is not True or how.thinking in ("on", "always")
    assert model.thinking_default is not False or how.thinking == "off"
    assert Template(text, "chat_template.jinja").generation_marks is False
    if release.template and release.template.renders_partial is False:
        with pytest.raises(Exception, match="No user query"):
            tokenizer.apply_chat_template(TALK[:1], tokenize=False)


def any_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.getbasetemp() / "any-tokenizer"
    if not folder.exists():
        written(folder, Request(FAMILIES["llama"]))
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_a_conversation_in_full(tmp_path: Path) -> None:
    written(tmp_path / "sample", Request(FAMILIES["qwen3_5"], series="Qwen/Qwen3.5-4B"))
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "sample")
    assert tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nIs it raining?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nLook it up.\n</think>\n\n"
        "<tool_call>\n<function=rain>\n<parameter=city>\nKöln\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nno\n</tool_response>\n"
        "<tool_response>\nstill no\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    )
    closed = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert closed.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    picture = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    seen = tokenizer.apply_chat_template(picture, tokenize=False)
    assert seen == "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n"
    config = json.loads((tmp_path / "sample" / "config.json").read_text("utf-8"))
    assert config["image_token_id"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    request = Request(FAMILIES["qwen3_5_moe"])
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        written(tmp_path / name, request, seed)
    one, again, other = (contents(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert {name for name in one if one[name] != other[name]} == {"model.safetensors"}


def test_values_of_a_tensor_do_not_hang_on_its_neighbours(tmp_path: Path) -> None:
    family = FAMILIES["qwen3_5"]
    written(tmp_path / "whole", Request(family, layout="multimodal"))
    written(tmp_path / "parts", Request(family, layout="multimodal_no_mtp"), max_shard_bytes=20_000)
    whole, parts = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 5
    assert len(parts) == sum(not name.startswith("mtp.") for name in whole) < len(whole)
    assert all(torch.equal(whole[name], value) for name, value in parts.items())


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return found


def test_values_suit_their_roles(tmp_path: Path) -> None:
    drafted = written(tmp_path / "sample", Request(FAMILIES["qwen3_5"], dtype="F32"))
    tensors = tensors_of(tmp_path / "sample")
    means = {"plain": 1.0, "zero_centred": 0.0}
    norms = [spec for spec in drafted.specs if spec.entry.norm]
    assert len(norms) > 10
    assert all(abs(tensors[spec.key].mean() - means[str(spec.entry.norm)]) < 0.05 for spec in norms)
    decays = [tensors[spec.key].exp() for spec in drafted.specs if spec.role == "linear.decay"]
    assert decays
    assert all(1 < value < 17 for decay in decays for value in decay.tolist())
    matrices = [tensors[spec.key] for spec in drafted.specs if spec.role == "mlp.up"]
    assert all(0.018 < matrix.std() < 0.022 for matrix in matrices)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("id_", FAMILIES)
def test_tied_and_untied(tmp_path: Path, id_: str, tied: bool) -> None:
    drafted = written(tmp_path / "sample", Request(FAMILIES[id_], tied=tied, dtype="F32"))
    assert any(spec.role == "head" for spec in drafted.specs) is not tied
    assert inspect(open_checkpoint(tmp_path / "sample")).document.tied is tied
    for memory in FAMILIES[id_].memory:
        if memory.name in drafted.layout.loads_into:
            auto = getattr(transformers, memory.auto_class)
            model, info = auto.from_pretrained(tmp_path / "sample", output_loading_info=True)
            assert not any(info.values()), info
            shared = model.get_output_embeddings().weight is model.get_input_embeddings().weight
            assert shared is tied


def test_state_tensors_have_a_type_of_their_own() -> None:
    def types(state: samples.Dtype | None) -> dict[str, set[str]]:
        drafted = draft(Request(FAMILIES["qwen3_5"], state_dtype=state))
        roles = {spec.key: spec.role for spec in drafted.specs}
        own = {name for name, role in roles.items() if role in ("linear.decay", "linear.norm")}
        return {
            "own": {info.dtype for info in drafted.tensors if info.name in own},
            "others": {info.dtype for info in drafted.tensors if info.name not in own},
        }

    assert types(None) == types("F32") == {"own": {"F32"}, "others": {"BF16"}}
    assert types("BF16") == {"own": {"BF16"}, "others": {"BF16"}}


def test_settings(tmp_path: Path) -> None:
    family = FAMILIES["qwen3_5"]
    chosen = parse_settings(["layers=6", "hidden=64", "text.rms_norm_eps=1e-5", "vision.depth=1", "vocab=512"])
    drafted = written(tmp_path / "sample", Request(family, settings=chosen))
    text = drafted.config["text_config"]
    assert (text["num_hidden_layers"], text["hidden_size"], text["rms_norm_eps"]) == (6, 64, 1e-5)
    assert "layer_types" not in text
    assert drafted.config["vision_config"]["out_hidden_size"] == 64
    assert text["vocab_size"] == 512
    assert inspect(open_checkpoint(tmp_path / "sample")).refusal is None
    auto: Any = transformers.AutoModelForImageTextToText
    _, info = auto.from_pretrained(tmp_path / "sample", output_loading_info=True)
    assert not any(info.values()), info
    mistral = draft(Request(FAMILIES["llama"], settings={"model_type": "mistral"}))
    assert mistral.config["architectures"] == ["MistralForCausalLM"]


@pytest.mark.parametrize(
    ("request_", "error", "code"),
    [
        (Request(FAMILIES["gpt2"], layout="fused"), UnsupportedError, "MENS-U004"),
        (Request(FAMILIES["qwen3_5"], series="Qwen/Qwen3.5-35B-A3B"), UnsupportedError, "MENS-U005"),
        (Request(FAMILIES["qwen3_5"], series="Qwen/Qwen3.8-Flash-Next"), UnsupportedError, "MENS-U005"),
        (Request(FAMILIES["gpt2"], full_size=True), UnsupportedError, "MENS-U006"),
        (Request(FAMILIES["gpt2"], state_dtype="F32"), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen2"], settings={"vocab": 256}), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen3_next"], settings={"key_dim": 16}), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen2"], settings={"vision.depth": 16}), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen3_5"], layout="hybrid", settings={"vision.depth": 1}), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen3_5"], layout="hybrid", settings={"image_token_id": 7}), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen3_5"], settings={"config.dtype": "float16"}), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen2"], settings={"model_type": "bert"}), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen2"], settings={"tied": True}, tied=False), UsageError, "MENS-C045"),
        (Request(FAMILIES["qwen2"], settings={"hiden": 16}), UsageError, "MENS-L002"),
        (Request(FAMILIES["qwen2"], settings={"hidden": "wide"}), MensError, "MENS-K005"),
        (Request(FAMILIES["qwen2"], settings={"layers": -1}), MensError, "MENS-K005"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("MENS") else "",
)
def test_refusals(request_: Request, error: type[MensError], code: str) -> None:
    with pytest.raises(error) as raised:
        draft(request_)
    assert raised.value.code == code


FULL = [
    pytest.param(family, model, id=model.repo)
    for family, release, model in models()
    if model_config(release, model) is not None and model.config_of is None
]


@pytest.mark.parametrize(("owner", "model"), FULL)
def test_full_size_in_kilobytes(tmp_path: Path, owner: FamilyV1, model: Model) -> None:
    folder = tmp_path / "sample"
    drafted = written(folder, Request(owner, series=model.repo, full_size=True), sparse=True)
    occupied = sum(os.stat(path).st_blocks * 512 for path in folder.iterdir())
    headers = sum(len(spec.key) + 200 for spec in drafted.specs)
    assert occupied < 2 * headers + 200_000
    found = inspect(open_checkpoint(folder))
    assert found.refusal is None
    assert found.facts.census.total == drafted.num_parameters > 10**8
    assert model.repo in [candidate.model.repo for candidate in found.facts.series]
    tokens = json.loads(drafted.files["tokenizer.json"])["added_tokens"]
    recorded = next(release for release in RELEASES.values() if model in release.models).tokens
    assert recorded is not None
    assert {token["content"]: token["id"] for token in tokens} == recorded.special


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_geometry_is_given_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    family, layout = data.draw(st.sampled_from(LAYOUTS))
    sizes = {"layers": (1, 9), "hidden": (8, 72), "ffn": (1, 40), "experts": (1, 9), "expert_ffn": (1, 40)}
    chosen: dict[str, Any] = {
        name: data.draw(st.integers(*bounds), label=name)
        for name, bounds in sizes.items()
        if "." in str(family.geometry.get(name, "")) and (name != "ffn" or family.id != "gpt2")
    }
    if family.id == "gpt2":
        chosen["hidden"] = 4 * chosen["hidden"]
    if "experts" in chosen:
        chosen["top_k"] = data.draw(st.integers(1, chosen["experts"]))
    tied = data.draw(st.booleans())
    folder = tmp_path_factory.mktemp("geometry") / "sample"
    written(folder, Request(family, layout=layout.name, tied=tied, settings=chosen), sparse=True)
    found = inspect(open_checkpoint(folder))
    assert found.refusal is None
    assert {name: found.facts.numbers[name] for name in chosen} == chosen
    assert found.document.tied is tied
    assert found.facts.layout.name == layout.name


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_change_to_any_one_tensor_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    drafted = draft(Request(*LAYOUT_NAMES[data.draw(st.integers(0, len(LAYOUT_NAMES) - 1))]))
    at = data.draw(st.integers(0, len(drafted.tensors) - 1), label="tensor")
    tensor = drafted.tensors[at]
    changed = {
        "dropped": [],
        "renamed": [tensor._replace(name=f"{tensor.name}s")],
        "reshaped": [tensor._replace(shape=(tensor.shape[0] + 1, *tensor.shape[1:]))],
        "flattened": [tensor._replace(shape=(*tensor.shape, 1))],
        "retyped": [tensor._replace(dtype="I32")],
        "doubled": [tensor, tensor._replace(name=f"{tensor.name}.again")],
    }
    change = data.draw(st.sampled_from(sorted(changed)), label="change")
    folder = tmp_path_factory.mktemp("changed") / "sample"
    tensors = [*drafted.tensors[:at], *changed[change], *drafted.tensors[at + 1 :]]
    write_checkpoint(folder, SparseSource(tensors), drafted.files)
    assert noticed(folder) in ("MENS-K001", "MENS-K008")


def noticed(folder: Path) -> str | None:
    try:
        refusal = inspect(open_checkpoint(folder)).refusal
    except IntegrityError as error:
        return error.code
    return None if refusal is None else refusal.code
