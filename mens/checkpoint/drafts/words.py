"""What a draft says to the person who finishes it: the checklist, and what to look at where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mens.checkpoint.drafts.shapes import REQUIRED
from mens.contracts.json_types import JsonObject, JsonValue

Notes = dict[tuple[str | int, ...], list[str]]
LONGEST: Final = 1000
CHECKLIST: Final = (
    ("model card", "what the publisher says it is"),
    ("licence", "of this repository at this revision; NOASSERTION stands until somebody has read it"),
    ("model_type and key layout", "upstream's configuration and modelling code"),
    ("attention layout", "which layers attend how; heads, gates, windows, rotary part"),
    ("special tokens", "names, numbers, which of them end an answer, which pads"),
    ("tool format", "how calls and results are written, and the parsers of serving engines"),
    ("context advertised", "what the publisher claims, and with which scaling"),
    ("context practical", "what was measured to work"),
)
"""What a person has to look up, and what is meant."""


def heading(kind: str, source: str, nearest: str, numbers: Mapping[str, JsonValue]) -> str:
    """The lines above a draft."""
    whose = f"a model that family '{nearest}' reads" if kind == "release" else f"nearest is family '{nearest}'"
    context = numbers.get("context")
    lines = [
        f"DRAFT of a {kind} file, from {source}: {whose}.",
        "What stands here was read from those files. FILL IN marks what a person has to replace; what is not known is",
        "left out, not guessed. Each line below takes a link, a revision and a date, and a name under `evidence`.",
        "",
        *(f"[ ] {what}: FILL IN link, revision, date ({meaning})" for what, meaning in CHECKLIST),
        "",
        f"Put it under schemas/{'families' if kind == 'family' else 'releases'}, then: mens validate, nox -s generate,"
        " mens inspect DIR.",
        f"config.json says: {context} positions." if type(context) is int else "config.json names no context.",
    ]
    return "".join(f"# {' '.join(line.split())}".rstrip() + "\n" for line in lines)


def release_comments(document: JsonObject, unclaimed_by: str | None, model_type: str) -> Notes:
    """Remarks on a release; one more where the family does not claim the model type yet."""
    model = ("models", 0)
    notes: Notes = {
        (*model, "size"): ["FILL IN: the size as the series names it, such as 4B."],
        (*model, "variant"): ["FILL IN: base, chat, instruct, thinking, coder or coder_base; the files do not say."],
        (*model, "availability"): ["FILL IN: open_weights once the repository was seen; announced says nothing."],
        (*model, "licence"): ["FILL IN: an SPDX expression, with evidence."],
        ("title",): ["FILL IN: the series in words."],
    }
    if document["models"][0]["repo"].startswith("FILL-IN"):
        notes[*model, "repo"] = ["FILL IN: owner/name."]
    missing = [part for part in ("tokens", "template", "tool_calls") if part not in document]
    if missing:
        notes["models",] = [f"FILL IN: {', '.join(missing)}, as other releases have them; null until then."]
    if "template" in document:
        notes["template",] = ["FILL IN: keeps_past_thinking, reasoning_effort, renders_partial, and both parsers."]
    if unclaimed_by is not None:
        notes[*model, "family"] = [
            f"FILL IN: every tensor is as family '{unclaimed_by}' says, and the class is one of its own. If upstream",
            f"computes the same, add {model_type} to recognise.model_types of schemas/families/{unclaimed_by}.yaml.",
        ]
    return notes


def family_comments(document: JsonObject, numbers: Mapping[str, JsonValue], nearest: str) -> Notes:
    """Remarks on a family; those on single tensors come from whoever wrote the tensors."""
    notes: Notes = {
        ("tier",): ["supported, once the proofs of tests/families pass."],
        ("recognise",): ["Exact values of config.json; upstream's code may know more that share these tensors."],
        ("layouts",): ["FILL IN: loads_into, and the other ways in which checkpoints of this family are written."],
        ("memory",): ["FILL IN: the classes that upstream builds, each with the model_type it is built from."],
        ("lora",): ["FILL IN: what adapters train. Tensors that are new here are neither trained nor quantised."],
        ("tiny_config",): ["FILL IN: the same with small numbers, and every kind of layer in it."],
    }
    if type(document["geometry"].get("layers")) is int:
        notes["geometry", "layers"] = ["FILL IN: counted from the tensor names; a field of the configuration says it."]
    for name in REQUIRED:
        if name not in numbers:
            notes["geometry", name] = [f"FILL IN: this configuration does not give it as family '{nearest}' spells it."]
    return notes


def fact(nearest: str, matched: int, total: int, new: Mapping[str, int], absent: Sequence[str]) -> str:
    """What the nearest family has in common with the checkpoint, and what not."""
    said = [f"{matched:,} of {total:,} tensors are as family '{nearest}' says."]
    if new:
        said.append(f"It does not have {_named(list(new))}.")
    if absent:
        said.append(f"It has, and this has not, {_named(absent)}.")
    return " ".join(said)[:LONGEST]


def _named(names: Sequence[str], shown: int = 6) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"
