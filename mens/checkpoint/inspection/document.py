"""An inspection as a document: every fact in its place."""

from __future__ import annotations

import math
from collections import Counter

from mens.checkpoint.inspection.census import Census
from mens.checkpoint.inspection.facts import Facts
from mens.checkpoint.inspection.remarks import remarks
from mens.checkpoint.inspection.series import Candidate
from mens.checkpoint.keys.keymap import bound_prefixes, layer_kinds
from mens.checkpoint.storage.folder import Checkpoint
from mens.checkpoint.storage.quantised import Quantisation
from mens.contracts.errors import MensError
from mens.contracts.json_types import JsonObject

LONGEST = 2000
MOST_REMARKS = 1000
LARGEST = 2**53 - 1


def inspection_document(facts: Facts, named: str | None, refusals: list[MensError]) -> JsonObject:
    """Return the report as its contract says it, not yet held to it."""
    numbers = facts.numbers.known()
    context = numbers.get("context")
    return {
        "schema": "mens/inspection/v1",
        "path": None if named is None else named.encode("utf-8", "backslashreplace").decode()[:4096] or None,
        "family": facts.family.id,
        "series": [_candidate(one) for one in facts.series[:100]],
        "layout": _layout_block(facts),
        "geometry": {name: value for name, value in numbers.items() if type(value) is int and 0 <= value <= LARGEST},
        "layer_kinds": {kind: len(layers) for kind, layers in layer_kinds(facts.family, facts.numbers).items()},
        "parameters": _parameters(facts.census),
        "dtypes": _dtypes(facts.checkpoint),
        "quantisation": _quantisation(facts.quantisation),
        "tied": bool(numbers.get("tied")),
        "context_length": context if type(context) is int and 1 <= context <= 10**9 else None,
        "rope": facts.rope,
        "tokenizer": _tokenizer(facts),
        "chat_template": _template(facts),
        "licence": facts.licence.licence,
        "evidence": facts.licence.evidence,
        "base": _base(facts),
        "coverage": _coverage(facts.census),
        "refusals": [refusal for error in refusals for refusal in _refused(error)],
        "warnings": [remark[:LONGEST] for remark in remarks(facts)][:MOST_REMARKS],
        "fingerprint": facts.fingerprint,
    }


def _candidate(one: Candidate) -> JsonObject:
    return {
        "release": one.release.id,
        "size": one.model.size,
        "repo": one.model.repo,
        "exact": one.exact,
        "num_fields": one.num_fields,
        "differences": list(one.differences),
    }


def _layout_block(facts: Facts) -> JsonObject:
    layout = facts.layout
    prefix = bound_prefixes(facts.family, layout.selection).get("text", "")
    return {
        "prefix": prefix.rstrip("."),
        "experts": layout.experts,
        "mtp": layout.mtp,
        "vision": layout.vision,
        "name": layout.name,
    }


def _parameters(census: Census) -> JsonObject:
    return {
        "total": census.total,
        "active": census.active,
        "text": census.components["text"],
        "vision": census.components["vision"],
        "mtp": census.components["mtp"],
        "groups": dict(census.groups),
    }


def _dtypes(checkpoint: Checkpoint) -> JsonObject:
    kinds = Counter((tensor.dtype, tensor.shape, tensor.end - tensor.start) for tensor in checkpoint.tensors.values())
    used: dict[str, Counter[str]] = {}
    for (dtype, shape, size), number in kinds.items():
        counts = {"num_tensors": number, "num_parameters": number * math.prod(shape), "bytes": number * size}
        used.setdefault(dtype, Counter()).update(counts)
    return {dtype: dict(use) for dtype, use in sorted(used.items(), key=lambda item: -item[1]["bytes"])}


def _quantisation(found: Quantisation | None) -> JsonObject | None:
    return None if found is None else {"method": found.method, "bits": found.bits, "num_tensors": found.num_tensors}


def _tokenizer(facts: Facts) -> JsonObject | None:
    found = facts.tokenizer
    if found is None:
        return None
    template = None if facts.template is None else facts.template.sha256
    return {
        "identity": {"files": list(found.files), "template_sha256": template, "num_tokens": found.num_tokens},
        "eos_token": found.eos_token,
        "eos_token_ids": list(found.eos_token_ids),
        "pad_token": found.pad_token,
        "pad_token_id": found.pad_token_id,
        "pad_is_eos": found.pad_is_eos,
        "num_tokens": found.num_tokens,
        "num_rows": max(1, facts.num_rows),
    }


def _template(facts: Facts) -> JsonObject | None:
    found = facts.template
    if found is None:
        return None
    return {
        "sha256": found.sha256,
        "thinking_default": found.thinking_default or facts.recorded_thinking,
        "generation_marks": found.generation_marks,
        "source": found.source,
    }


def _base(facts: Facts) -> JsonObject:
    shards, known = facts.checkpoint.shards, facts.declared.sha256
    files = [
        {"path": shard.name, "sha256": known[shard.name], "bytes": shard.stamp.size}
        for shard in shards
        if shard.name in known
    ]
    whole = len(files) == len(shards)
    repo = facts.declared.repo
    return {
        "state": "declared" if whole else "unknown",
        "repo": repo if repo and "/" in repo else None,
        "revision": facts.declared.revision,
        "family": facts.family.id,
        "fingerprint": facts.fingerprint,
        "files": files if whole else [],
        "source": "hub download metadata" if whole else None,
    }


def _coverage(census: Census) -> JsonObject:
    return {
        "matched": census.matched,
        "unknown": list(census.unknown),
        "missing": list(census.missing),
        "mismatched": [entry._asdict() for entry in census.mismatched],
    }


def _refused(error: MensError) -> list[JsonObject]:
    uses = ("train", "merge") if error.code == "MENS-L007" else ("train", "merge", "serve")
    reason = error.what[:LONGEST]
    return [{"operation": use, "code": error.code, "reason": reason} for use in uses]
