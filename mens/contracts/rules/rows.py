"""Named rules for training rows: what a chat template would trip over, and what training would silently ignore."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer, shown
from mens.contracts.rules.shared import Path

CONVERSATIONS = ("messages", "turns")
REASONING = ("thinking", "reasoning_content")
FORMS = "a row is prompt|instruction with response|output, or messages|turns, or text"


def _given(row: JsonObject, *fields: str) -> list[str]:
    """Those of the fields that say something; null, [] and absent do not."""
    return [name for name in fields if row.get(name) not in (None, [])]


def _turns(row: JsonObject) -> Iterator[tuple[Path, JsonObject]]:
    for field in CONVERSATIONS:
        for index, turn in enumerate(row.get(field) or []):
            yield (field, index), turn


def one_row_form(row: JsonObject) -> Iterator[Problem]:
    """MENS-R009: a row takes exactly one of the forms that training reads."""
    prompts = _given(row, "prompt", "instruction")
    answers = _given(row, "response", "output")
    whole = _given(row, *CONVERSATIONS, "text")
    conversation = len(whole) == 1 and not prompts and not answers
    pair = len(prompts) == 1 and len(answers) == 1 and not whole
    if not conversation and not pair:
        given = ", ".join(f"`{name}`" for name in [*prompts, *answers, *whole]) or "none of them"
        yield Problem("MENS-R009", "", f"{FORMS}; this has {given}")


def fields_of_the_form(row: JsonObject) -> Iterator[Problem]:
    """MENS-R020: a field beside a form that does not read it would be ignored in silence."""
    forms = _given(row, *CONVERSATIONS, "text")
    if not forms:
        return
    stray = _given(row, "thinking") + (_given(row, "system", "tools", "syntax_spans") if "text" in forms else [])
    for name in stray:
        hint = "; each turn carries its own" if name == "thinking" and forms[0] in CONVERSATIONS else ""
        yield Problem("MENS-R020", pointer(name), f"`{name}` is not read beside `{forms[0]}`{hint}", at_key=True)


def one_system_message(row: JsonObject) -> Iterator[Problem]:
    """MENS-R021: a row has one system message, and it stands first."""
    for (field, index), turn in _turns(row):
        if turn["role"] == "system" and (index != 0 or row.get("system") is not None):
            earlier = "`system` gives one already" if row.get("system") is not None else "it stands before all turns"
            yield Problem("MENS-R021", pointer(field, index, "role"), f"a second or later system message: {earlier}")


def something_to_learn(row: JsonObject) -> Iterator[Problem]:
    """MENS-R022: only what the assistant says is learnt, so a conversation without it teaches nothing."""
    for field in CONVERSATIONS:
        turns = row.get(field) or []
        if turns and all(turn["role"] != "assistant" for turn in turns):
            yield Problem("MENS-R022", pointer(field), f"no turn of `{field}` is the assistant's; nothing is learnt")


def turns_say_something(row: JsonObject) -> Iterator[Problem]:
    """MENS-R023: content is null only where the assistant calls tools or thinks instead."""
    for path, turn in _turns(row):
        if turn.get("content") is None:
            if turn["role"] != "assistant":
                yield Problem("MENS-R023", pointer(*path), f"the {turn['role']} turn has no content")
            elif not _given(turn, "tool_calls", *REASONING):
                message = "the assistant turn has neither content nor tool calls nor thinking"
                yield Problem("MENS-R023", pointer(*path), message)


def reasoning_given_once(row: JsonObject) -> Iterator[Problem]:
    """MENS-R024: `thinking` and `reasoning_content` are two names for one thing."""
    for path, turn in _turns(row):
        if len(_given(turn, *REASONING)) == 2:
            message = "`thinking` and `reasoning_content` are two names for one thing; the turn has both"
            yield Problem("MENS-R024", pointer(*path, "reasoning_content"), message, at_key=True)


def roles_keep_to_their_fields(row: JsonObject) -> Iterator[Problem]:
    """MENS-R025: only the assistant thinks and calls tools, only a tool answers a call."""
    for path, turn in _turns(row):
        if turn["role"] != "assistant":
            for name in _given(turn, "tool_calls", *REASONING):
                message = f"`{name}` belongs to an assistant turn, not to {turn['role']}"
                yield Problem("MENS-R025", pointer(*path, name), message, at_key=True)
        if turn["role"] != "tool" and turn.get("tool_call_id") is not None:
            message = f"`tool_call_id` belongs to a tool turn, not to {turn['role']}"
            yield Problem("MENS-R025", pointer(*path, "tool_call_id"), message, at_key=True)


def answers_match_calls(row: JsonObject) -> Iterator[Problem]:
    """MENS-R026: a tool turn answers a call that an earlier turn made."""
    for field in CONVERSATIONS:
        made: set[str] = set()
        for index, turn in enumerate(row.get(field) or []):
            answered = turn.get("tool_call_id")
            if turn["role"] == "tool" and answered is not None and answered not in made:
                message = f"{shown(answered)} is the id of no earlier tool call"
                yield Problem("MENS-R026", pointer(field, index, "tool_call_id"), message)
            made.update(call["id"] for call in turn.get("tool_calls", []) if call.get("id") is not None)


def calls_take_one_form(row: JsonObject) -> Iterator[Problem]:
    """MENS-R027: a tool call is nested under `function`, or flat with `name` and `arguments`."""
    for path, turn in _turns(row):
        for index, call in enumerate(turn.get("tool_calls", [])):
            flat = _given(call, "name", "arguments")
            nested = call.get("function") is not None
            if flat != ([] if nested else ["name", "arguments"]):
                given = ", ".join(f"`{name}`" for name in [*(["function"] if nested else []), *flat]) or "none of them"
                message = f"a call is `function`, or `name` with `arguments`; this has {given}"
                yield Problem("MENS-R027", pointer(*path, "tool_calls", index), message)


def arguments_parse(row: JsonObject) -> Iterator[Problem]:
    """MENS-R028: arguments written as text are the JSON text of an object."""
    for path, turn in _turns(row):
        for index, call in enumerate(turn.get("tool_calls", [])):
            nested = call.get("function")
            arguments = (nested or call).get("arguments")
            place = (*path, "tool_calls", index, *(["function"] if nested else []), "arguments")
            fault = _arguments_fault(arguments) if isinstance(arguments, str) else ""
            if fault:
                yield Problem(
                    "MENS-R028", pointer(*place), f"the arguments are not the JSON text of an object: {fault}"
                )


def _arguments_fault(text: str) -> str:
    from mens.contracts.positions import SyntaxFault
    from mens.contracts.strict_json import parse_json

    try:
        value = parse_json(text)
    except SyntaxFault as fault:
        return str(fault)
    return "" if isinstance(value, dict) else f"{shown(value)} is none"


def spans_inside_the_answer(row: JsonObject) -> Iterator[Problem]:
    """MENS-R029: a span is a stretch of the answer, not empty and not beyond its end."""
    spans = row.get("syntax_spans") or []
    length = _answer_length(row) if spans else 0
    for index, span in enumerate(spans):
        start, end = span["start"], span["end"]
        if start >= end:
            message = f"the span from {start} to {end} is empty; `end` is the character after its last"
            yield Problem("MENS-R029", pointer("syntax_spans", index, "end"), message)
        elif length is not None and end > length:
            message = f"the span ends at {end}, beyond the answer's {length:,} characters"
            yield Problem("MENS-R029", pointer("syntax_spans", index, "end"), message)


def _answer_length(row: JsonObject) -> int | None:
    """The length of `response` or `output`, or of the last assistant turn; None where there is none."""
    content: Any = row.get("response") or row.get("output")
    for _, turn in _turns(row):
        if turn["role"] == "assistant":
            content = turn.get("content") or ""
    if isinstance(content, list):
        return sum(len(part["text"]) for part in content if part["type"] == "text")
    return len(content) if isinstance(content, str) else None


RULES: dict[str, tuple[Rule, ...]] = {
    "training-row": (
        one_row_form,
        fields_of_the_form,
        one_system_message,
        something_to_learn,
        turns_say_something,
        reasoning_given_once,
        roles_keep_to_their_fields,
        answers_match_calls,
        calls_take_one_form,
        arguments_parse,
        spans_inside_the_answer,
    ),
}
