"""Older documents as newer ones: pure functions over plain JSON, one per step, chained by a table.

A step copies what it knows, leaves unsaid what the old document does not say, and loses nothing: a field that
the new version has no place for goes into `migrated_from`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Final

from mens.contracts.errors import ContractError, UnsupportedError
from mens.contracts.json_types import JsonObject

Step = Callable[[JsonObject, str | None], JsonObject]
"""A document and the SHA-256 of the bytes it was read from, where there were any; returns the next version."""

ADAPTER_V2_FIELDS: Final = ("embed_key", "vocab", "d_model", "rank", "alpha", "layer_order", "base_key_map")
HANDOFF_V1_FIELDS: Final = ("backend_family", "base_model", "tokenizer_source", "artifact_dir", "prompt_format")
HANDOFF_V1_OPTIONAL: Final = ("adapter_path", "openai_base_url", "notes")


def adapter_v2_to_v3(document: JsonObject, source_sha256: str | None) -> JsonObject:
    """Turn an adapter meta v2 into a v3: what v2 always meant is said, and no provenance is invented."""
    _holds("adapter-meta/v2", document, ("format", "version", *ADAPTER_V2_FIELDS), ("base_model",))
    origin = {"format": document["format"], "version": document["version"], "embed_key": document["embed_key"]}
    return {
        "format": "vox_mens_adapter",
        "version": 3,
        "adapter_method": "qlora",
        "quant": {"base_quant": "nf4", "double_quant": True},
        **_copied(document, ("base_key_map", "layer_order", "vocab", "d_model", "rank", "alpha")),
        **_known(document, ("base_model",)),
        "migrated_from": origin | ({} if source_sha256 is None else {"sha256": source_sha256}),
    }


def handoff_v1_to_v2(document: JsonObject, _: str | None) -> JsonObject:
    """Turn a serving handoff v1 into a v2, whose tag carries the version; v1 never knew the base's family."""
    _holds("serving-handoff/v1", document, ("schema", "schema_version", *HANDOFF_V1_FIELDS), HANDOFF_V1_OPTIONAL)
    return {
        "schema": "mens/serving-handoff/v2",
        **_copied(document, ("backend_family", "base_model")),
        "base_family": None,
        **_copied(document, ("tokenizer_source", "artifact_dir")),
        **_known(document, ("adapter_path",)),
        **_copied(document, ("prompt_format",)),
        **_known(document, ("openai_base_url", "notes")),
    }


STEPS: Final[Mapping[tuple[str, int], Step]] = {
    ("adapter-meta", 2): adapter_v2_to_v3,
    ("serving-handoff", 1): handoff_v1_to_v2,
}
"""From a kind and version to the step that makes the next version of it."""


def path(kind: str, from_version: int, to_version: int) -> tuple[Step, ...]:
    """Return the steps from one version to another, none when they are the same; there is no way back."""
    if from_version > to_version:
        what = f"{kind} v{from_version} -> v{to_version}: no migration goes back to an older version"
        raise UnsupportedError("MENS-M001", what, fix=_existing())
    steps: list[Step] = []
    for version in range(from_version, to_version):
        step = STEPS.get((kind, version))
        if step is None:
            what = f"{kind} v{from_version} -> v{to_version}: no migration leads from v{version} to v{version + 1}"
            raise UnsupportedError("MENS-M001", what, fix=_existing())
        steps.append(step)
    return tuple(steps)


def migrate(kind: str, version: int, to: int, document: JsonObject, source_sha256: str | None = None) -> JsonObject:
    """Return the document as version `to` of its kind; one that is there already comes back as it is."""
    for step in path(kind, version, to):
        document = step(document, source_sha256)
        source_sha256 = None  # the digest is of the file, and only the first step reads the file
    return document


def newest(kind: str, version: int) -> int:
    """Return the newest version that a document of this kind and version can be brought to."""
    while (kind, version) in STEPS:
        version += 1
    return version


def _existing() -> str:
    return "These exist: " + ", ".join(f"{kind} v{version} -> v{version + 1}" for kind, version in STEPS) + "."


def _copied(document: JsonObject, fields: tuple[str, ...]) -> JsonObject:
    return {name: deepcopy(document[name]) for name in fields}


def _known(document: JsonObject, fields: tuple[str, ...]) -> JsonObject:
    """Copy optional fields that say something; null and absent both say nothing."""
    return {name: deepcopy(document[name]) for name in fields if document.get(name) is not None}


def _holds(name: str, document: JsonObject, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    """Refuse a document that lacks a field, or has one that the step would silently drop."""
    missing = [field for field in required if field not in document]
    foreign = [field for field in document if field not in required and field not in optional]
    if missing or foreign:
        said = [f"lacks '{field}'" for field in missing] + [f"has the unknown field '{field}'" for field in foreign]
        fix = "Run `mens validate` on it; only a valid document is migrated. Nothing was written."
        raise ContractError("MENS-M002", f"this {name} {', '.join(said)}", fix=fix)
