"""A draft of a release file: a published model that a family reads already, with what its own files say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mens.checkpoint.inspection.template_facts import Template, chat_template
from mens.checkpoint.inspection.tokenizer_facts import Tokenizer, tokenizer_facts
from mens.checkpoint.storage import hub
from mens.checkpoint.storage.folder import Checkpoint
from mens.contracts.json_types import JsonObject, JsonValue

REPO: Final = "FILL-IN/FILL-IN"
CHATML: Final = re.compile(r"<\|im_start\|>")
TOKEN: Final = re.compile(r"[!-~]{1,64}")


def release_document(
    id_: str,
    family: str,
    checkpoint: Checkpoint | None,
    config: JsonObject,
    numbers: Mapping[str, JsonValue],
    evidence: JsonObject,
    written: JsonObject,
) -> JsonObject:
    """Return the draft; what the files do not say is absent or a placeholder."""
    context = numbers.get("context")
    tokenizer = template = None
    repo = None
    if checkpoint is not None:
        tokenizer = tokenizer_facts(checkpoint.folder, written)
        template = chat_template(checkpoint.folder)
        repo = hub.declared(checkpoint.folder, [shard.name for shard in checkpoint.shards]).repo
    model: JsonObject = {
        "repo": repo if repo and "/" in repo else REPO,
        "size": "FILL-IN",
        "variant": "base",
        "family": family,
        "availability": "announced",
        "licence": {"expression": "NOASSERTION"},
        "config": config,
        "context": {"native": context, "evidence": ["checkpoint"]} if type(context) is int and context > 0 else None,
        "evidence": ["checkpoint"],
    }
    document = {
        "schema": "mens/release/v1",
        "id": id_,
        "title": "FILL IN: the series",
        "evidence": {"checkpoint": evidence},
        "tokens": _tokens(tokenizer),
        "template": _template(template),
        "models": [{key: value for key, value in model.items() if value is not None}],
    }
    return {key: value for key, value in document.items() if value is not None}


def _tokens(found: Tokenizer | None) -> JsonObject | None:
    """The tokens that end and pad, under their numbers."""
    if found is None:
        return None
    names: dict[int, str] = {}
    wanted = {*found.eos_token_ids, *([] if found.pad_token_id is None else [found.pad_token_id])}
    for name, number in found.ids.items():
        if number in wanted and TOKEN.fullmatch(name):
            names.setdefault(number, name)
    if not names:
        return None
    tokens: JsonObject = {
        "num_tokens": found.num_tokens,
        "special": {names[number]: number for number in sorted(names)},
        "stop": [names[number] for number in found.eos_token_ids if number in names][:10],
        "pad": names.get(found.pad_token_id) if found.pad_token_id is not None else None,
        "evidence": ["checkpoint"],
    }
    return {key: value for key, value in tokens.items() if value is not None}


def _template(found: Template | None) -> JsonObject | None:
    """What the template's text shows; a form of turn that the contract does not know is left out."""
    if found is None or CHATML.search(found.text) is None:
        return None
    return {
        "format": "chatml",
        "has_thinking": "think" in found.text.lower(),
        "generation_marks": found.generation_marks,
        "evidence": ["checkpoint"],
    }
