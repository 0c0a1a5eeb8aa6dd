"""A migrated document is valid, says everything that the old one said, and nothing that it did not."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mens.codegen.schemas import bundle, read_schemas
from mens.contracts import migrations
from mens.contracts.errors import ContractError, UnsupportedError
from mens.contracts.migrations import STEPS, migrate, newest, path
from mens.contracts.strict_json import parse_json

REPO = Path(__file__).parents[2]
DIGEST = "9f" * 32
EXISTING = "These exist: adapter-meta v2 -> v3, serving-handoff v1 -> v2."


@cache
def validator(kind: str, version: int) -> Draft202012Validator:
    schemas = read_schemas(REPO / "schemas/kinds")
    return Draft202012Validator(bundle(f"{kind}.v{version}.schema.json", schemas.files))


def fixtures(kind: str, version: int) -> list[Any]:
    folder = REPO / f"tests/fixtures/kinds/{kind}.v{version}/valid"
    return [parse_json(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def text(most: int, least: int = 1) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=least, max_size=min(most, 30))


def documents(required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]) -> Any:
    """Documents with optional fields absent, null or said."""
    nullable = {name: st.none() | value for name, value in optional.items()}
    return st.fixed_dictionaries(required, optional=nullable)


ADAPTERS_V2 = documents(
    {
        "format": st.just("vox_mens_qlora_lora_only_v2"),
        "version": st.just(2),
        "embed_key": text(500),
        "vocab": st.integers(1, 100_000_000),
        "d_model": st.integers(1, 10_000_000),
        "rank": st.integers(1, 65536),
        "alpha": st.integers(0, 1_000_000),
        "layer_order": st.lists(text(200), max_size=6),
        "base_key_map": st.dictionaries(text(200), text(500), max_size=6),
    },
    {"base_model": text(1024)},
)
HANDOFFS_V1 = documents(
    {
        "schema": st.just("vox_external_serving_handoff_v1"),
        "schema_version": st.just(1),
        "backend_family": st.sampled_from(["vllm", "ollama", "hf-transformers", "openai-compatible", "other"]),
        "base_model": text(1024),
        "tokenizer_source": text(4096),
        "artifact_dir": text(4096),
        "prompt_format": st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True),
    },
    {"adapter_path": text(4096), "openai_base_url": text(2048), "notes": text(2000, least=0)},
)


def said(document: Any) -> dict[str, Any]:
    """What a document says: its fields without those that are null, which say no more than absent ones."""
    return {name: value for name, value in document.items() if value is not None}


def adapter_facts(v3: Any) -> dict[str, Any]:
    """The v2 document that a migrated v3 came from, read back from it alone."""
    shared = ("vocab", "d_model", "rank", "alpha", "layer_order", "base_key_map", "base_model")
    origin = {name: v3["migrated_from"][name] for name in ("format", "version", "embed_key")}
    return said(origin | {name: v3.get(name) for name in shared})


def handoff_facts(v2: Any) -> dict[str, Any]:
    """The v1 document that a migrated v2 came from, read back from it alone."""
    original = {"schema": "vox_external_serving_handoff_v1", "schema_version": 1}
    return said({name: value for name, value in v2.items() if name not in ("schema", "base_family")} | original)


def holds(kind: str, version: int, document: Any, facts: Any) -> Any:
    """Migrate one step and check what every migration promises; return the result."""
    assert not list(validator(kind, version).iter_errors(document)), "the test's own document is valid"
    before = deepcopy(document)
    result = migrate(kind, version, version + 1, document, DIGEST)
    assert document == before, "the input stays as it was"
    assert [error.message for error in validator(kind, version + 1).iter_errors(result)] == []
    assert facts(result) == said(document), "nothing known is lost"
    assert migrate(kind, version, version + 1, document, DIGEST) == result
    assert list(migrate(kind, version, version + 1, document, DIGEST)) == list(result), "the order of fields is fixed"
    assert migrate(kind, version + 1, version + 1, result) is result, "what is there already stays"
    assert migrate(kind, version, version + 1, document, DIGEST) == result
    return result


@pytest.mark.parametrize(
    ("kind", "version", "facts"), [("adapter-meta", 2, adapter_facts), ("serving-handoff", 1, handoff_facts)]
)
def test_every_fixture_migrates(kind: str, version: int, facts: Any) -> None:
    found = fixtures(kind, version)
    assert len(found) >= 5
    for document in found:
        holds(kind, version, document, facts)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ADAPTERS_V2)
def test_any_adapter_meta_v2_becomes_a_v3(document: Any) -> None:
    result = holds("adapter-meta", 2, document, adapter_facts)
    assert (result["format"], result["version"], result["adapter_method"]) == ("vox_mens_adapter", 3, "qlora")
    assert result["quant"] == {"base_quant": "nf4", "double_quant": True}
    assert result["migrated_from"]["sha256"] == DIGEST
    assert ("base_model" in result) == (document.get("base_model") is not None)
    invented = {"provenance", "base", "weights", "targets", "tokenizer", "receipts", "obligations", "mens_version"}
    assert not invented & result.keys()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(HANDOFFS_V1)
def test_any_serving_handoff_v1_becomes_a_v2(document: Any) -> None:
    result = holds("serving-handoff", 1, document, handoff_facts)
    assert result["schema"] == "mens/serving-handoff/v2"
    assert result["base_family"] is None


def containers(value: Any) -> Iterator[int]:
    if isinstance(value, dict | list):
        yield id(value)
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


def test_the_result_shares_nothing_with_the_input() -> None:
    for kind, version in STEPS:
        for document in fixtures(kind, version):
            result = migrate(kind, version, version + 1, document)
            assert not set(containers(document)) & set(containers(result))


def test_a_value_without_bytes_has_no_digest() -> None:
    document = fixtures("adapter-meta", 2)[0]
    assert migrate("adapter-meta", 2, 3, document)["migrated_from"] == {
        "format": "vox_mens_qlora_lora_only_v2",
        "version": 2,
        "embed_key": document["embed_key"],
    }


def test_a_migrated_fixture_word_for_word() -> None:
    document = {
        "format": "vox_mens_qlora_lora_only_v2",
        "version": 2,
        "embed_key": "model.embed_tokens.weight",
        "vocab": 32,
        "d_model": 8,
        "rank": 4,
        "alpha": 8,
        "layer_order": ["l0.q"],
        "base_key_map": {"l0.q": "model.layers.0.self_attn.q_proj.weight"},
        "base_model": None,
    }
    assert migrate("adapter-meta", 2, 3, document, DIGEST) == {
        "format": "vox_mens_adapter",
        "version": 3,
        "adapter_method": "qlora",
        "quant": {"base_quant": "nf4", "double_quant": True},
        "base_key_map": {"l0.q": "model.layers.0.self_attn.q_proj.weight"},
        "layer_order": ["l0.q"],
        "vocab": 32,
        "d_model": 8,
        "rank": 4,
        "alpha": 8,
        "migrated_from": {
            "format": "vox_mens_qlora_lora_only_v2",
            "version": 2,
            "embed_key": "model.embed_tokens.weight",
            "sha256": DIGEST,
        },
    }


@pytest.mark.parametrize(
    ("kind", "start", "end", "what"),
    [
        ("adapter-meta", 3, 2, "adapter-meta v3 -> v2: no migration goes back to an older version"),
        ("adapter-meta", 2, 4, "adapter-meta v2 -> v4: no migration leads from v3 to v4"),
        ("adapter-meta", 1, 3, "adapter-meta v1 -> v3: no migration leads from v1 to v2"),
        ("lane", 1, 2, "lane v1 -> v2: no migration leads from v1 to v2"),
    ],
)
def test_a_way_that_does_not_exist_is_refused_by_name(kind: str, start: int, end: int, what: str) -> None:
    with pytest.raises(UnsupportedError) as refusal:
        path(kind, start, end)
    assert refusal.value == UnsupportedError("MENS-M001", what, fix=EXISTING)
    assert refusal.value.exit_code == 3
    with pytest.raises(UnsupportedError) as refusal:
        migrate(kind, start, end, {})
    assert refusal.value.what == what


def test_the_way_is_the_steps_in_order() -> None:
    assert path("adapter-meta", 2, 3) == (migrations.adapter_v2_to_v3,)
    assert path("serving-handoff", 1, 2) == (migrations.handoff_v1_to_v2,)
    assert path("adapter-meta", 3, 3) == ()
    assert (newest("adapter-meta", 2), newest("adapter-meta", 3), newest("lane", 1)) == (3, 3, 1)


def test_a_document_that_would_lose_or_lack_a_field_is_refused() -> None:
    document = fixtures("adapter-meta", 2)[0]
    lacking = {name: value for name, value in document.items() if name != "embed_key"}
    with pytest.raises(ContractError) as refusal:
        migrate("adapter-meta", 2, 3, lacking | {"surprise": 1})
    fix = "Run `mens validate` on it; only a valid document is migrated. Nothing was written."
    what = "this adapter-meta/v2 lacks 'embed_key', has the unknown field 'surprise'"
    assert refusal.value == ContractError("MENS-M002", what, fix=fix)
