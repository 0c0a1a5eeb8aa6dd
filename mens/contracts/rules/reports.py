"""Named rules for plans and inspections."""

from __future__ import annotations

from collections.abc import Iterator

from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, nearest, pointer, shown
from mens.contracts.rules.shared import adds_up, licence_evidenced, repeats, within


def plan_adds_up(plan: JsonObject) -> Iterator[Problem]:
    """MENS-R011: totals are the sums of what they total."""
    memory, devices, targets = plan["memory"], plan.get("devices", []), plan.get("targets", [])
    yield from adds_up(
        memory["total_bytes"], memory["components"].values(), ("memory", "total_bytes"), "the components"
    )
    host = plan.get("host_memory")
    if host:
        yield from adds_up(
            host["total_bytes"], host["components"].values(), ("host_memory", "total_bytes"), "the components"
        )
    for index, device in enumerate(devices):
        where = ("devices", index, "total_bytes")
        yield from adds_up(device["total_bytes"], device["components"].values(), where, "the components")
    if devices:
        totals = [device["total_bytes"] for device in devices]
        yield from adds_up(memory["total_bytes"], totals, ("memory", "total_bytes"), "the devices")
    if targets:
        parts = [target["trainable_parameters"] for target in targets]
        yield from adds_up(plan["trainable_parameters"], parts, ("trainable_parameters",), "the targets")


def fits_follows_memory(plan: JsonObject) -> Iterator[Problem]:
    """MENS-R040: a plan fits exactly when nothing needs more memory than it has."""
    places = [plan["memory"], *plan.get("devices", [])]
    short = [
        place.get("device", "the whole")
        for place in places
        if place.get("available_bytes") is not None and place["total_bytes"] > place["available_bytes"]
    ]
    if plan["fits"] and short:
        yield Problem("MENS-R040", "/fits", f"fits is true, but {', '.join(short)} needs more than is available")
    if not plan["fits"] and not short:
        yield Problem("MENS-R040", "/fits", "fits is false, but nothing needs more than is available")
    if plan["fits"] and plan.get("nearest"):
        yield Problem("MENS-R040", "/nearest", "a plan that fits needs no nearest settings that would")


def origins_name_settings(plan: JsonObject) -> Iterator[Problem]:
    """MENS-R041: only a value of the configuration comes from somewhere."""
    configuration = plan.get("configuration", {})
    for name in plan.get("origins", {}):
        if name not in configuration:
            message = f"{shown(name)} is not a field of `configuration`.{nearest(name, configuration)}"
            yield Problem("MENS-R041", pointer("origins", name), message, at_key=True)


def devices_listed_once(plan: JsonObject) -> Iterator[Problem]:
    """MENS-R010: a device is listed once."""
    devices = plan.get("devices", [])
    yield from repeats((("devices", index, "device"), device["device"]) for index, device in enumerate(devices))


def parameters_add_up(inspection: JsonObject) -> Iterator[Problem]:
    """MENS-R011: what is on disk is text, vision and multi-token prediction, unless some of it is unknown."""
    counts = inspection["parameters"]
    if not inspection["coverage"]["unknown"]:
        parts = [counts[name] for name in ("text", "vision", "mtp")]
        yield from adds_up(counts["total"], parts, ("parameters", "total"), "text, vision and mtp")
    yield from within(counts["active"], counts["text"], ("parameters", "active"), "the active parameters exceed `text`")


def parameters_follow_layout(inspection: JsonObject) -> Iterator[Problem]:
    """MENS-R042: a part has parameters exactly when the layout has the part."""
    counts, layout, coverage = inspection["parameters"], inspection["layout"], inspection["coverage"]
    present = {"vision": layout["vision"], "mtp": layout["mtp"] != "absent"}
    # One tensor shows a part; where others are missing or deformed, it may be all that there is of it.
    damaged = bool(coverage["missing"] or coverage["mismatched"])
    for name, there in present.items():
        if there != (counts[name] > 0) and not (there and damaged):
            message = f"{counts[name]:,} parameters, but the layout says {name} is {'there' if there else 'absent'}"
            yield Problem("MENS-R042", pointer("parameters", name), message)
    if layout["experts"] == "none" and counts["active"] != counts["text"]:
        message = f"without routed experts every parameter of `text` is active, {counts['text']:,}"
        yield Problem("MENS-R042", "/parameters/active", message)


def inspection_evidence(inspection: JsonObject) -> Iterator[Problem]:
    """MENS-R014: the licence of the report rests on evidence that the report has."""
    yield from licence_evidenced(inspection.get("licence"), inspection.get("evidence", {}), ("licence",))


RULES: dict[str, tuple[Rule, ...]] = {
    "plan": (plan_adds_up, fits_follows_memory, origins_name_settings, devices_listed_once),
    "inspection": (parameters_add_up, parameters_follow_layout, inspection_evidence),
}
