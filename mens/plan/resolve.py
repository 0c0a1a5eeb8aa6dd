"""The configuration that a run would have: preset, then file, then flags, and where each value came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mens_contracts.defaults import DEFAULT_PRESET
from mens_contracts.presets import NAMES, PRESETS
from mens_contracts.training_preset_v1 import TrainingPresetV1

from mens.contracts import door
from mens.contracts.errors import ContractError, UsageError
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.positions import SyntaxFault
from mens.contracts.problems import Problem, nearest, shown

Origin = Literal["default", "preset", "file", "flag"]
IDENTITY: Final = ("schema", "id", "title", "aliases", "description")
"""Fields that name a preset and set nothing; the configuration leaves them out."""
FIELDS: Final = tuple(
    (field.alias or name)
    for name, field in TrainingPresetV1.model_fields.items()
    if (field.alias or name) not in IDENTITY
)
"""Every field that a run is set by."""


@dataclass(frozen=True)
class Resolved:
    """A configuration in which every field has a value, and each value an origin."""

    name: str | None
    """The preset that it starts from; None where only a file was named."""
    preset: TrainingPresetV1
    origins: Mapping[str, Origin]

    @property
    def values(self) -> JsonObject:
        """Every field and the value that applies."""
        dumped = self.preset.model_dump(mode="json", by_alias=True)
        return {field: dumped[field] for field in FIELDS}


def resolve(
    preset: str | None = None, file: Path | None = None, flags: Mapping[str, JsonValue] | None = None
) -> Resolved:
    """Return the configuration; a flag always wins over the file, the file over the preset, the preset over defaults.

    Raises UsageError for a preset or a field that does not exist, ContractError where the whole does not hold.
    """
    wanted = preset if preset is not None or file is not None else DEFAULT_PRESET
    layers: list[tuple[Origin, JsonObject]] = []
    name = None
    if wanted is not None:
        found = named_preset(wanted)
        name = found.id
        layers.append(("preset", _written(found)))
    if file is not None:
        layers.append(("file", _written(door.load(file, TrainingPresetV1).model)))
    flagged = dict(flags or {})
    _refuse_unknown(flagged)
    layers.append(("flag", flagged))
    return merged(name, layers)


def merged(name: str | None, layers: Iterable[tuple[Origin, JsonObject]]) -> Resolved:
    """Lay layers over one another, the last on top, and hold the result to the contract of presets."""
    written: JsonObject = {}
    origins: dict[str, Origin] = dict.fromkeys(FIELDS, "default")
    for origin, values in layers:
        written |= values
        origins |= dict.fromkeys(values.keys() & set(FIELDS), origin)
    model, problems = door.check(written, door.kind_of_model(TrainingPresetV1))
    if problems:
        raise _refused(problems, origins)
    assert isinstance(model, TrainingPresetV1)
    return Resolved(name, model, origins)


def named_preset(name: str) -> TrainingPresetV1:
    """Return a preset by name, by alias, or by the path of its document."""
    if name in NAMES:
        return PRESETS[NAMES[name]]
    if "/" in name or name.endswith((".yaml", ".yml", ".json")):
        return door.load(Path(name), TrainingPresetV1).model
    aliases = {alias: [other for other in NAMES if NAMES[other] == alias and other != alias] for alias in PRESETS}
    known = ", ".join(f"{id_} ({', '.join(others)})" if others else id_ for id_, others in aliases.items())
    raise UsageError(
        code="MENS-L001",
        what=f"'{name}' is no preset.{nearest(name, NAMES)}",
        fix=f"Presets: {known}. A path with a slash or an ending names a preset document.",
    )


def parse_settings(settings: Iterable[str]) -> dict[str, JsonValue]:
    """Read `field=value` pairs; values are YAML 1.2, and a list may be written without brackets."""
    found: dict[str, JsonValue] = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        name = name.strip()
        if not sign or not name:
            raise UsageError("MENS-L003", f"--set {shown(setting)} is not of the form field=value.")
        _refuse_unknown([name])
        value = _value(name, text)
        if name in found and found[name] != value:
            raise UsageError("MENS-L003", f"--set gives {name} twice, as {shown(found[name])} and as {shown(value)}.")
        found[name] = value
    return found


def _value(name: str, text: str) -> JsonValue:
    from mens.contracts.strict_yaml import parse_yaml

    try:
        value, _ = parse_yaml(text)
    except SyntaxFault as fault:
        raise UsageError("MENS-L003", f"--set {name}: {fault.message}.") from None
    if _takes_list(name) and isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return value


def _takes_list(name: str) -> bool:
    properties = door.schema_of(door.kind_of_model(TrainingPresetV1))["properties"]
    return bool(properties[name].get("type") == "array")


def _refuse_unknown(names: Iterable[str]) -> None:
    wrong = [name for name in names if name not in FIELDS]
    if wrong:
        listed = " ".join(f"'{name}' is not a field of a configuration.{nearest(name, FIELDS)}" for name in wrong)
        raise UsageError("MENS-L002", listed, "", f"Fields: {', '.join(FIELDS)}.")


def _written(preset: TrainingPresetV1) -> JsonObject:
    """What a preset says itself; what it leaves to the defaults is not among it."""
    values: JsonObject = json.loads(preset.model_dump_json(by_alias=True, exclude_unset=True))
    return values


def _refused(problems: Iterable[Problem], origins: Mapping[str, Origin]) -> ContractError:
    listed = list(problems)
    lines = []
    for problem in listed:
        field = problem.pointer.lstrip("/").split("/")[0]
        origin = f" (from the {origins[field]})" if origins.get(field, "default") != "default" else ""
        lines.append(f"  {field or 'configuration'}{origin}: {problem.message}   [{problem.code}]")
    return ContractError(
        code="MENS-L004",
        what="The configuration does not hold what its contract asks:\n" + "\n".join(lines),
        fix="Nothing was planned.",
    )
