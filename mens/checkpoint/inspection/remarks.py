"""What a person should know of a checkpoint although nothing is refused for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mens_contracts.releases import REPOS

from mens.checkpoint.inspection.facts import Facts
from mens.checkpoint.inspection.rope import rope_warnings
from mens.checkpoint.inspection.tokenizer_facts import Tokenizer
from mens.checkpoint.keys.geometry import sections
from mens.contracts.json_types import JsonValue

HEAD = "head"
"""How the roles of output heads begin, in every family."""


def remarks(facts: Facts) -> Iterator[str]:
    """Every remark, the gravest first."""
    yield from _tying(facts)
    yield from rope_warnings(facts.rope, facts.config)
    yield from facts.census.mixed
    if facts.layout.name is None:
        options = ", ".join(f"{axis} {option}" for axis, option in facts.layout.selection.items())
        yield f"checkpoints of family '{facts.family.id}' are not known to be written in this combination: {options}"
    if facts.tokenizer is not None:
        yield from facts.tokenizer.warnings
        yield from _recorded_tokens(facts, facts.tokenizer)
    if facts.template is not None:
        yield from facts.template.warnings
        recorded, shown = facts.recorded_thinking, facts.template.thinking_default
        if recorded is not None and shown is not None and recorded != shown:
            yield f"releases record that thinking is {recorded} by default; this chat template shows: {shown}"
    yield from facts.licence.warnings
    repo = facts.declared.repo
    if repo is not None and facts.series and facts.series[0].model.repo != repo and repo in REPOS:
        yield f"the download says that this is {repo}, and the configuration is not the one recorded for it"


def _recorded_tokens(facts: Facts, tokenizer: Tokenizer) -> Iterator[str]:
    """A tokenizer of another size than every model that this may be was published with."""
    releases = [one.release for one in facts.series if one.exact]
    recorded = {release.tokens.num_tokens for release in releases if release.tokens and release.tokens.num_tokens}
    if recorded and tokenizer.num_tokens is not None and tokenizer.num_tokens not in recorded:
        numbers = " or ".join(f"{number:,}" for number in sorted(recorded))
        yield f"the tokenizer defines {tokenizer.num_tokens:,} tokens; releases record {numbers}"


def _tying(facts: Facts) -> Iterator[str]:
    """Where the flag stands decides which class of upstream reads it, so two that differ are two different models."""
    flags: dict[str, JsonValue] = {"top level": facts.config.get("tie_word_embeddings")}
    if sections(facts.config)["text"] is not facts.config:
        flags["text_config"] = sections(facts.config)["text"].get("tie_word_embeddings")
    said = {place: flag for place, flag in flags.items() if flag is not None}
    tied = bool(facts.numbers.known().get("tied"))
    if len({bool(flag) for flag in said.values()}) > 1:
        places = " and ".join(f"{json.dumps(flag)} at {place}" for place, flag in said.items())
        yield f"tie_word_embeddings is {places.replace('at text', 'in text')}; taken as {json.dumps(tied)}"
    elif tied and len(said) < len(flags):
        silent = next(place for place in flags if place not in said)
        yield f"tie_word_embeddings is true, but not said in {silent}: a reader that looks only there makes a new head"
    stored = any(spec.role.startswith(HEAD) and spec.key in facts.checkpoint.tensors for spec in facts.specs)
    if tied and stored:
        yield "the head is stored although it is tied; its values should repeat the embedding's, which was not checked"
