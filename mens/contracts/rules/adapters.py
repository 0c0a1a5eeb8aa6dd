"""Named rules for adapter metas."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, nearest, pointer, shown
from mens.contracts.rules.receipts import RECEIPT_RULES
from mens.contracts.rules.shared import method_and_quantisation, no_repeats, repeats


def layers_have_base_keys(meta: JsonObject) -> Iterator[Problem]:
    """MENS-R080: an adapted tensor without a base tensor would be skipped, and its training lost."""
    known = meta["base_key_map"]
    for index, name in enumerate(meta["layer_order"]):
        if name not in known:
            message = f"{shown(name)} has no entry in `base_key_map`.{nearest(name, known)}"
            yield Problem("MENS-R080", pointer("layer_order", index), message)


def base_keys_have_layers(meta: JsonObject) -> Iterator[Problem]:
    """MENS-R081: a base tensor for something that is not adapted means that something is missing."""
    layers = set(meta["layer_order"])
    for name in meta["base_key_map"]:
        if name not in layers:
            message = f"{shown(name)} is not in `layer_order`.{nearest(name, layers)}"
            yield Problem("MENS-R081", pointer("base_key_map", name), message, at_key=True)


def targets_listed_once(meta: JsonObject) -> Iterator[Problem]:
    """MENS-R010: a module is adapted once."""
    targets = meta.get("targets", [])
    yield from repeats((("targets", index, "module"), target["module"]) for index, target in enumerate(targets))


def targets_agree_with_map(meta: JsonObject) -> Iterator[Problem]:
    """MENS-R082: a target and the map name one base tensor for one module."""
    for index, target in enumerate(meta.get("targets", [])):
        key = meta["base_key_map"].get(target["module"], target["base_key"])
        if key != target["base_key"]:
            message = f"{shown(target['module'])} is {shown(key)} in `base_key_map`, not {shown(target['base_key'])}"
            yield Problem("MENS-R082", pointer("targets", index, "base_key"), message)


def scales_follow_ranks(meta: JsonObject) -> Iterator[Problem]:
    """MENS-R083: a scale is alpha over the rank, or over its square root."""
    for index, target in enumerate(meta.get("targets", [])):
        alpha, rank, scale = target["alpha"], target["rank"], target["scale"]
        if not any(math.isclose(scale, alpha / by, rel_tol=1e-6) for by in (rank, math.sqrt(rank))):
            message = f"scale {scale} is neither alpha / rank, {alpha / rank:g}, nor alpha / sqrt(rank), "
            message += f"{alpha / math.sqrt(rank):g}"
            yield Problem("MENS-R083", pointer("targets", index, "scale"), message)


def method_agrees(meta: JsonObject) -> Iterator[Problem]:
    """MENS-R006: qlora means a quantised base, lora a base that is not; version 2 knew qlora only."""
    if "adapter_method" in meta:
        yield from method_and_quantisation(meta["adapter_method"], meta["quant"]["base_quant"], "/quant/base_quant")


RULES: dict[str, tuple[Rule, ...]] = {
    "adapter-meta": (
        layers_have_base_keys,
        base_keys_have_layers,
        no_repeats("layer_order"),
        targets_listed_once,
        targets_agree_with_map,
        scales_follow_ranks,
        method_agrees,
        *RECEIPT_RULES,
    ),
}
