"""Named rules: what crosses the fields of a document, each with its code.

A rule judges what was written, after the schema has accepted it. Every rule has a heading in docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, pointer, shown

Rule = Callable[[JsonObject], Iterator[Problem]]

MOBILE_EDGE_LIMITS = {"seq_len": 512, "rank": 32, "batch_size": 1}


def warmup_within_training(preset: JsonObject) -> Iterator[Problem]:
    """MENS-R001: a warm-up that never ends is no warm-up."""
    steps, warmup = preset.get("max_steps"), preset["warmup_steps"]
    if steps is not None and warmup >= steps:
        yield Problem(
            "MENS-R001", "/warmup_steps", f"the warm-up of {warmup} steps is not shorter than training, {steps}"
        )


def last_k_within_sequence(preset: JsonObject) -> Iterator[Problem]:
    """MENS-R002: the loss cannot be restricted to more positions than a sequence has."""
    last_k, length = preset.get("ce_last_k", 0), preset["seq_len"]
    if last_k > length:
        yield Problem("MENS-R002", "/ce_last_k", f"ce_last_k {last_k} reaches beyond the sequence, {length}")


def mobile_edge_limits(preset: JsonObject) -> Iterator[Problem]:
    """MENS-R003: what is trained for mobile_edge must fit there."""
    if preset.get("deployment_target") == "mobile_edge":
        for field, limit in MOBILE_EDGE_LIMITS.items():
            if preset[field] > limit:
                yield Problem(
                    "MENS-R003",
                    f"/{field}",
                    f"deployment_target mobile_edge allows {field} up to {limit}, not {preset[field]}",
                )


def quantised_method_has_quantised_base(preset: JsonObject) -> Iterator[Problem]:
    """MENS-R006: qlora means a quantised base, lora a base that is not."""
    method, quant = preset.get("method", "qlora"), preset.get("base_quant", "nf4")
    if (method == "qlora") == (quant == "none"):
        field = "/base_quant" if "base_quant" in preset else "/method"
        yield Problem("MENS-R006", field, f"method {method} does not go with base_quant {quant}")


def unknown_adapter_fields(config: JsonObject) -> Iterator[Problem]:
    """MENS-R007: an adapter configuration's unknown field may change what the adapter means."""
    from mens_contracts.peft_adapter_config_v1 import PeftAdapterConfigV1

    for key, value in config.items():
        if key not in PeftAdapterConfigV1.model_fields and value is not None:
            message = (
                f"{shown(key)} is a field that mens does not know; with a value it may change what the adapter does"
            )
            yield Problem("MENS-R007", pointer(key), message, at_key=True)


CODE_FIELDS = ("auto_map", "trust_remote_code", "custom_generate", "_attn_implementation_internal", "custom_pipelines")


def no_code_by_configuration(config: JsonObject) -> Iterator[Problem]:
    """MENS-R008: a configuration that names code to run is refused wherever it does so."""
    yield from _code_fields(config, ())


def _code_fields(value: Any, above: tuple[str | int, ...]) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in CODE_FIELDS and item:
                message = f"{shown(key)} makes a loader run code that came with the checkpoint; mens never does"
                yield Problem("MENS-R008", pointer(*above, key), message, at_key=True)
            yield from _code_fields(item, (*above, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _code_fields(item, (*above, index))


def one_row_form(row: JsonObject) -> Iterator[Problem]:
    """MENS-R009: a row takes exactly one of the forms that training reads."""
    prompts = [name for name in ("prompt", "instruction") if row.get(name) is not None]
    answers = [name for name in ("response", "output") if row.get(name) is not None]
    whole = [name for name in ("messages", "turns", "text") if row.get(name) is not None]
    if len(whole) == 1 and not prompts and not answers:
        return
    if not whole and len(prompts) == 1 and len(answers) == 1:
        return
    given = ", ".join(f"`{name}`" for name in [*prompts, *answers, *whole]) or "none of them"
    yield Problem(
        "MENS-R009",
        "",
        f"a row is prompt|instruction with response|output, or messages|turns, or text; this has {given}",
    )


RULES: dict[str, tuple[Rule, ...]] = {
    "training-preset": (
        warmup_within_training,
        last_k_within_sequence,
        mobile_edge_limits,
        quantised_method_has_quantised_base,
    ),
    "peft-adapter-config": (unknown_adapter_fields, no_code_by_configuration),
    "hf-config": (no_code_by_configuration,),
    "training-row": (one_row_form,),
}

MISPLACED: dict[str, dict[str, str]] = {
    "adapter-meta/v3": {
        "base_quant": "`base_quant` stands at top level; it belongs under `quant`, as quant.base_quant"
    },
}
"""Fields known to be written at the wrong level (MENS-R005), by kind: said instead of `is not a field of`."""


def say_misplaced(kind: str, problem: Problem) -> Problem:
    """Name the known mistake behind an unknown field."""
    known = MISPLACED.get(kind, {}).get(problem.pointer.removeprefix("/"))
    if known is None or problem.code != "MENS-V003":
        return problem
    return problem._replace(code="MENS-R005", message=known)
