"""Named rules for the configuration files that upstream writes beside weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, pointer, shown

CODE_FIELDS = ("auto_map", "trust_remote_code", "custom_generate", "_attn_implementation_internal", "custom_pipelines")


def unknown_adapter_fields(config: JsonObject) -> Iterator[Problem]:
    """MENS-R007: an adapter configuration's unknown field may change what the adapter means."""
    from mens_contracts.peft_adapter_config_v1 import PeftAdapterConfigV1

    for key, value in config.items():
        if key not in PeftAdapterConfigV1.model_fields and value is not None:
            message = (
                f"{shown(key)} is a field that mens does not know; with a value it may change what the adapter does"
            )
            yield Problem("MENS-R007", pointer(key), message, at_key=True)


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


RULES: dict[str, tuple[Rule, ...]] = {
    "hf-config": (no_code_by_configuration,),
    "peft-adapter-config": (unknown_adapter_fields, no_code_by_configuration),
}
