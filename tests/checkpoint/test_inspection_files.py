"""What the small files beside weights say: tokenizer, chat template, and where the checkpoint comes from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from mens_contracts.families import FAMILIES
from mens_contracts.inspection_v1 import ChatTemplate, InspectionV1, Tokenizer

from mens.checkpoint.inspection.inspect import Inspection, inspect
from mens.checkpoint.inspection.template_facts import Template
from mens.checkpoint.storage.folder import open_checkpoint
from mens.contracts.errors import ContractError, IntegrityError
from tests.checkpoint.made import published, tensors_of, tiny

VOCAB = {f"t{number}": number for number in range(250)}
ADDED = [{"id": 250, "content": "<|end|>"}, {"id": 251, "content": "<|pad|>"}, {"id": 3, "content": "t3"}]
TOKENIZER = {"version": "1.0", "model": {"type": "BPE", "vocab": VOCAB, "merges": []}, "added_tokens": ADDED}
SETTINGS = {"eos_token": "<|end|>", "pad_token": {"content": "<|pad|>", "lstrip": False}}
FILES: dict[str, Any] = {"tokenizer.json": TOKENIZER, "tokenizer_config.json": SETTINGS}


def seen(tmp_path: Path, files: dict[str, Any]) -> Inspection:
    return inspect(open_checkpoint(tiny(tmp_path / "c", "llama", files=files)))


def report(tmp_path: Path, files: dict[str, Any]) -> InspectionV1:
    found = seen(tmp_path, files)
    assert found.refusal is None
    return found.document


def tokenizer(tmp_path: Path, files: dict[str, Any]) -> tuple[Tokenizer, list[str]]:
    found = report(tmp_path, files)
    assert found.tokenizer is not None
    return found.tokenizer, found.warnings


def test_a_tokenizer_is_counted_beside_the_rows(tmp_path: Path) -> None:
    found, warnings = tokenizer(tmp_path, FILES | {"generation_config.json": {"eos_token_id": [250, 251]}})
    assert warnings == []
    assert (found.num_tokens, found.num_rows) == (252, 256)
    assert (found.eos_token, found.eos_token_ids) == ("<|end|>", [250, 251])
    assert (found.pad_token, found.pad_token_id, found.pad_is_eos) == ("<|pad|>", 251, False)
    assert found.identity is not None
    digests = {file.path: file.sha256 for file in found.identity.files}
    assert digests["tokenizer.json"] == hashlib.sha256(json.dumps(TOKENIZER).encode()).hexdigest()
    assert found.identity.num_tokens == 252


def test_without_generation_settings_the_token_itself_is_looked_up(tmp_path: Path) -> None:
    found, warnings = tokenizer(tmp_path, FILES)
    assert (found.eos_token_ids, warnings) == ([250], [])


def test_padding_that_is_the_end_of_a_turn(tmp_path: Path) -> None:
    found, _ = tokenizer(tmp_path, FILES | {"tokenizer_config.json": SETTINGS | {"pad_token": "<|end|>"}})
    assert found.pad_is_eos
    found, _ = tokenizer(tmp_path / "2", {"tokenizer.json": TOKENIZER, "generation_config.json": {
        "eos_token_id": 250, "pad_token_id": 250}})  # fmt: skip
    assert found.pad_is_eos


def test_special_tokens_that_only_the_map_names(tmp_path: Path) -> None:
    files = {"tokenizer.json": TOKENIZER, "special_tokens_map.json": SETTINGS}
    found, warnings = tokenizer(tmp_path, files)
    assert (found.eos_token, found.pad_token, warnings) == ("<|end|>", "<|pad|>", [])


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        ({"tokenizer_config.json": {"eos_token": "<|end|>"}}, "the tokenizer declares no pad token"),
        (
            {"tokenizer_config.json": SETTINGS | {"eos_token": "<|never|>"}},
            "the eos token <|never|> is not in the vocabulary",
        ),
        (
            {"generation_config.json": {"eos_token_id": 7}},
            "the eos token <|end|> is 250, and the generation settings say 7",
        ),
    ],
)
def test_tokens_that_contradict_each_other(files: dict[str, Any], warning: str, tmp_path: Path) -> None:
    _, warnings = tokenizer(tmp_path, FILES | files)
    assert warnings == [warning]


def test_other_kinds_of_vocabulary(tmp_path: Path) -> None:
    pieces = {
        "model": {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]},
        "added_tokens": [{"id": 2, "content": "c"}],
    }
    found, _ = tokenizer(tmp_path / "1", {"tokenizer.json": pieces})
    assert found.num_tokens == 3
    decoder = {"added_tokens_decoder": {"250": {"content": "<|end|>"}, "x": {"content": "no"}}}
    found, _ = tokenizer(tmp_path / "2", {"vocab.json": VOCAB, "tokenizer_config.json": decoder})
    assert found.num_tokens == 251
    files = {"vocab.json": VOCAB, "added_tokens.json": {"<|end|>": 250, "<|pad|>": 251}}
    found, _ = tokenizer(tmp_path / "4", files)
    assert found.num_tokens == 252
    found, _ = tokenizer(tmp_path / "3", {"tokenizer.model": b"\x0a\x00"})
    assert (found.num_tokens, found.num_rows) == (None, 256)


def test_a_tokenizer_of_another_size_than_published_is_remarked(tmp_path: Path) -> None:
    found = inspect(open_checkpoint(published(tmp_path / "c", "Qwen/Qwen3.5-4B", files=FILES))).document
    assert found.warnings == ["the tokenizer defines 252 tokens; releases record 248,077"]


def test_a_token_without_a_row_is_refused_after_the_report(tmp_path: Path) -> None:
    more = TOKENIZER | {"added_tokens": [*ADDED, {"id": 256, "content": "<|more|>"}]}
    found = seen(tmp_path, FILES | {"tokenizer.json": more})
    assert found.refusal == IntegrityError(
        "MENS-K009",
        "The tokenizer has token 256, and the embedding has 256 rows.",
        str(tmp_path / "c"),
        "Tokenizer and weights are not of one model. Nothing was written.",
    )
    assert {one.code for one in found.document.refusals} == {"MENS-K009"}
    assert found.document.coverage.missing == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", '{"a": 1, "a": 2}', "1:10: the key 'a' is a duplicate; it is first written on line 1"),
        ("tokenizer_config.json", "{", "1:2"),
        ("special_tokens_map.json", '{"x": NaN}', "1:7"),
        ("tokenizer.json", "[" * 100, "1:65: nested deeper than 64 levels"),
        ("generation_config.json", "[]", None),
        ("tokenizer.json", "[1]", "1:1: must be an object"),
    ],
)
def test_small_files_are_read_strictly(name: str, text: str, message: str | None, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "c", "llama", files=FILES | {name: text})
    with pytest.raises(ContractError) as error:
        inspect(open_checkpoint(folder))
    assert error.value.where.startswith(str(folder / name))
    assert (message or "") in str(error.value)


def test_values_of_odd_types_are_nobodys_token(tmp_path: Path) -> None:
    odd = {
        "model": {"vocab": {"a": 0, "b": -1, "c": True, "d": 10**12, "e": "5"}},
        "added_tokens": [1, {"id": 1}, {"id": 1, "content": 2}],
    }
    settings = {"eos_token": 5, "pad_token": {"content": None}, "added_tokens_decoder": [], "chat_template": 7}
    generation = {"eos_token_id": [True, -1, "x", 10**12], "pad_token_id": {}}
    found = report(
        tmp_path, {"tokenizer.json": odd, "tokenizer_config.json": settings, "generation_config.json": generation}
    )
    assert found.tokenizer is not None
    assert (found.tokenizer.num_tokens, found.tokenizer.eos_token, found.tokenizer.eos_token_ids) == (1, None, [])
    assert found.chat_template is None


def test_no_tokenizer_and_no_template(tmp_path: Path) -> None:
    found = report(tmp_path, {})
    assert (found.tokenizer, found.chat_template) == (None, None)


# Chat templates.

PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"
ON = "{%- if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>{%- endif %}"
OFF = "{%- if enable_thinking is defined and enable_thinking is true %}<think>\n{%- else %}<think></think>{%- endif %}"


def template(tmp_path: Path, files: dict[str, Any]) -> tuple[ChatTemplate, list[str]]:
    found = report(tmp_path, files)
    assert found.chat_template is not None
    return found.chat_template, found.warnings


def test_a_template_of_its_own_file_wins(tmp_path: Path) -> None:
    found, warnings = template(
        tmp_path, {"chat_template.jinja": ON, **FILES, "tokenizer_config.json": SETTINGS | {"chat_template": OFF}}
    )
    assert found.sha256 == hashlib.sha256(ON.encode()).hexdigest()
    assert (found.source, found.thinking_default, found.generation_marks) == ("chat_template.jinja", "on", False)
    assert warnings == [
        "tokenizer_config.json has another chat template than chat_template.jinja, which is the one that is used"
    ]


def test_the_same_template_twice_is_no_contradiction(tmp_path: Path) -> None:
    files = {"chat_template.jinja": ON, **FILES, "tokenizer_config.json": SETTINGS | {"chat_template": ON}}
    assert template(tmp_path, files)[1] == []


def test_named_templates_and_the_older_file(tmp_path: Path) -> None:
    listed = [{"name": "tool_use", "template": ON}, {"name": "default", "template": OFF}]
    found, _ = template(tmp_path / "1", {"tokenizer_config.json": {"chat_template": listed}})
    assert (found.source, found.thinking_default) == ("tokenizer_config.json", "off")
    found, _ = template(tmp_path / "2", {"chat_template.json": {"chat_template": PLAIN}})
    assert (found.source, found.thinking_default) == ("chat_template.json", "absent")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN, "absent"),
        (ON, "on"),
        (OFF, "off"),
        ("{% if enable_thinking is false %}<think></think>{% endif %}", "on"),
        ("{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}", "on"),
        ("{% if (enable_thinking is not defined) or enable_thinking %}<think>{% endif %}", "on"),
        ("{% if enable_thinking %}<think>{% endif %}", "off"),
        ("{% if not enable_thinking %}<think></think>{% endif %}", "off"),
        ("{{ '<think>' if enable_thinking is true else '' }}", "off"),
        ("{% if enable_thinking | default(true) %}<think>{% endif %}", "on"),
        ("{% if not enable_thinking|default(False) %}<think></think>{% endif %}", "off"),
        ("{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}<think>", "on"),
        ("<think>", None),
        (f"{ON}{OFF}", None),
        ("{% if enable_thinking == 'maybe' %}<think>{% endif %}", None),
    ],
)
def test_what_a_template_does_when_nobody_says(text: str, expected: str | None) -> None:
    assert Template(text, "chat_template.jinja").thinking_default == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% generation %}x{% endgeneration %}", True),
        ("{%- generation -%}x{%- endgeneration -%}", True),
        ("{{ generation }}", False),
        ("{% if add_generation_prompt %}{% endif %}", False),
    ],
)
def test_generation_marks(text: str, expected: bool) -> None:
    assert Template(text, "chat_template.jinja").generation_marks is expected


def test_a_template_that_shows_nothing_is_judged_by_what_is_recorded(tmp_path: Path) -> None:
    folder = published(tmp_path / "a", "Qwen/Qwen3.5-9B", files={"chat_template.jinja": "<think>"})
    found = inspect(open_checkpoint(folder)).document.chat_template
    assert found is not None
    assert found.thinking_default is None, "the base model of this size has the same configuration and no record"
    folder = published(tmp_path / "b", "Qwen/Qwen3.5-27B", files={"chat_template.jinja": "<think>"})
    found = inspect(open_checkpoint(folder)).document.chat_template
    assert found is not None
    assert found.thinking_default == "on"


def test_a_template_that_contradicts_what_is_recorded_is_remarked(tmp_path: Path) -> None:
    folder = published(tmp_path / "c", "Qwen/Qwen3.5-27B", files={"chat_template.jinja": OFF})
    found = inspect(open_checkpoint(folder)).document
    assert found.chat_template is not None
    assert found.chat_template.thinking_default == "off"
    assert found.warnings == ["releases record that thinking is on by default; this chat template shows: off"]


# Where a checkpoint comes from.

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(tmp_path: Path, repo: str, folder: Path) -> Path:
    """The hub cache as a download leaves it: a snapshot of links to blobs that are named by their digest."""
    cache = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = cache / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for path in folder.iterdir():
        blob = cache / "blobs" / hashlib.sha256(path.name.encode()).hexdigest()
        path.rename(blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_a_download_is_declared_and_never_proven(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "Qwen/Qwen3.5-27B", published(tmp_path / "c", "Qwen/Qwen3.5-27B"))
    found = inspect(open_checkpoint(snapshot)).document
    assert found.base is not None
    assert (found.base.state, found.base.repo, found.base.revision) == ("declared", "Qwen/Qwen3.5-27B", COMMIT)
    assert found.base.source == "hub download metadata"
    assert len(found.base.files) == len(list(snapshot.glob("*.safetensors")))
    assert found.base.fingerprint == found.fingerprint
    assert found.licence is not None
    assert (found.licence.expression, found.licence.evidence) == ("Apache-2.0", ["readme"])
    assert found.evidence["readme"].status == "primary"
    assert found.warnings == [
        "the licence is recorded for Qwen/Qwen3.5-27B; no evidence names the revision that lies here"
    ]
    assert found.series[0].repo == "Qwen/Qwen3.5-27B"


def test_without_a_download_nothing_is_known_of_content_or_licence(tmp_path: Path) -> None:
    found = inspect(open_checkpoint(published(tmp_path / "c", "Qwen/Qwen3.5-27B"))).document
    assert found.base is not None
    assert (found.base.state, found.base.repo, found.base.files) == ("unknown", None, [])
    assert found.licence is not None
    assert found.licence.expression == "NOASSERTION"
    assert found.evidence == {}


def test_the_model_that_a_download_names_comes_first(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "Qwen/Qwen3.8-27B", published(tmp_path / "c", "Qwen/Qwen3.5-27B"))
    assert inspect(open_checkpoint(snapshot)).document.series[0].repo == "Qwen/Qwen3.8-27B"


def test_a_download_of_another_model_is_remarked(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "Qwen/Qwen3.5-9B", published(tmp_path / "c", "Qwen/Qwen3.5-27B"))
    warnings = inspect(open_checkpoint(snapshot)).document.warnings
    assert warnings[-1] == (
        "the download says that this is Qwen/Qwen3.5-9B, and the configuration is not the one recorded for it"
    )


def test_a_repository_that_no_release_lists(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "someone/something", tiny(tmp_path / "c", "llama"))
    found = inspect(open_checkpoint(snapshot)).document
    assert found.licence is not None
    assert found.licence.expression == "NOASSERTION"
    assert found.warnings == []


def test_the_tensors_helper_knows_every_family() -> None:
    assert all(tensors_of(family, family.tiny_config, family.layouts[0].selection) for family in FAMILIES.values())
