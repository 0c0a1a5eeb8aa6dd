"""The reference pages: one per kind, family and release, and tables of presets and lanes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mens.codegen.names import code
from mens.codegen.schemas import Schemas, bundle
from mens.codegen.subset import classes
from mens.codegen.tables import Data, Entry
from mens.contracts.json_types import JsonObject

Page = tuple[str, str, JsonObject]
"""A page's path below docs/reference, its template, and what the template needs."""


def reference_pages(schemas: Schemas, data: Data) -> Iterator[Page]:
    """Every generated page."""
    registry = {(entry["kind"], entry["version"]): entry for entry in data.registry["kinds"]}
    entries = [registry[(name.kind, name.version)] for name in schemas.kinds]
    kinds = [
        {**entry, "summary": entry.get("summary") or schema["description"]}
        for entry, schema in zip(entries, schemas.kinds.values(), strict=True)
    ]
    tables = {folder: [entry.value for entry in found] for folder, found in data.entries.items()}
    yield "README.md", "index.md.jinja", {"kinds": kinds, **tables}
    for name in schemas.kinds:
        context = kind_context(bundle(name.file, schemas.files), registry[(name.kind, name.version)])
        yield f"kinds/{name.kind}.v{name.version}.md", "kind.md.jinja", context
    for entry in data.entries["families"]:
        yield f"families/{entry.id}.md", "family.md.jinja", family_context(entry)
    for entry in data.entries["releases"]:
        yield f"releases/{entry.id}.md", "release.md.jinja", release_context(entry)
    yield "presets.md", "presets.md.jinja", {"presets": [preset_row(entry.value) for entry in data.entries["presets"]]}
    yield "lanes.md", "lanes.md.jinja", {"lanes": [lane_row(entry.value) for entry in data.entries["lanes"]]}
    yield "environment.md", "environment.md.jinja", environment_context(data.environment)


def preset_row(preset: JsonObject) -> JsonObject:
    """A preset as its table shows it."""
    return {**preset, "aliases": ", ".join(preset.get("aliases", []))}


def lane_row(lane: JsonObject) -> JsonObject:
    """A lane as its table shows it."""
    return {**lane, "weight": lane.get("weight", 1), "response_modes": ", ".join(lane["response_modes"])}


def kind_context(schema: JsonObject, entry: JsonObject) -> JsonObject:
    """A kind's page: how it is recognised, then every class with its fields."""
    return {
        "name": f"{entry['kind']}/v{entry['version']}",
        "schema": schema,
        "entry": entry,
        "recognised": recognition(entry),
        "classes": [class_rows(where.rpartition(".$defs.")[2], node, schema) for where, node in classes(schema)],
    }


def family_context(entry: Entry) -> JsonObject:
    """A family's page: recognition, geometry, layouts, and a row per tensor."""
    family = entry.value
    return {
        "family": family,
        "source": entry.source.as_posix(),
        "model_types": fact(family["recognise"]["model_types"]),
        "architectures": fact(family["recognise"]["architectures"]),
        "geometry": list(family["geometry"].items()),
        "layouts": [{**layout, "selection": selection_text(layout["selection"])} for layout in family["layouts"]],
        "rows": [tensor_row(tensor, family["dtypes"]) for tensor in family["tensors"]],
        "evidence": evidence_rows(family),
    }


def selection_text(selection: JsonObject) -> str:
    """The options of a layout, axis by axis."""
    return ", ".join(f"{axis}: {option}" for axis, option in selection.items())


def tensor_row(tensor: JsonObject, dtypes: list[str]) -> JsonObject:
    """One tensor as its table shows it; what is left out in the file is shown as what it means."""
    where = [tensor.get("in_layers"), tensor.get("exists_if")]
    where += [f"{axis}: {' or '.join(options)}" for axis, options in tensor.get("when", {}).items()]
    return {
        "role": tensor["role"],
        "key": tensor["key"],
        "shape": ", ".join(map(str, tensor["shape"])),
        "where": "; ".join(part for part in where if part) or "always",
        "dtypes": ", ".join(tensor.get("dtypes") or dtypes),
        "nf4": "NF4" if tensor.get("nf4") else "kept",
        "lora": tensor.get("lora") or "",
        "vox": tensor.get("vox") or "",
    }


def release_context(entry: Entry) -> JsonObject:
    """A release's page: what the series shares, and a row per repository."""
    release = entry.value
    models = [
        {
            "repo": model["repo"],
            "size": model.get("size") or "",
            "variant": model.get("variant") or "",
            "family": model.get("family") or "not supported",
            "availability": model["availability"].replace("_", " "),
            "licence": model["licence"]["expression"],
            "thinking": {True: "yes", False: "no", None: ""}[model.get("thinking_default")],
            "geometry": "known" if model.get("config") or model.get("config_of") else "not given",
        }
        for model in release["models"]
    ]
    sections = [
        (title, [(name, fact(value)) for name, value in release[field].items()])
        for field, title in SHARED_FACTS.items()
        if release.get(field)
    ]
    evidence, source = evidence_rows(release), entry.source.as_posix()
    return {"release": release, "source": source, "models": models, "evidence": evidence, "sections": sections}


def environment_context(entry: Entry) -> JsonObject:
    """The page of what a machine needs: packages, then versions that do wrong, then drivers."""
    facts = entry.value
    packages = [
        {**package, "floor": package.get("floor") or "", "needed_by": ", ".join(package.get("needed_by", []))}
        for package in facts["packages"]
    ]
    faults = [fault_row(fault) for package in facts["packages"] for fault in package.get("faults", [])]
    return {
        "facts": facts,
        "source": entry.source.as_posix(),
        "packages": packages,
        "faults": faults,
        "drivers": facts.get("drivers", []),
        "evidence": evidence_rows(facts),
    }


def fault_row(fault: JsonObject) -> JsonObject:
    """One fault as its table shows it."""
    when = [f"{condition['package']} {condition['versions']}" for condition in fault["when"]]
    capability = fault.get("compute_capability")
    return {
        "when": " with ".join([*when, *([f"compute capability {capability}"] if capability else [])]),
        "effect": fault["effect"].replace("_", " "),
        "spoils": ", ".join(fault["spoils"]),
        "says": fault["says"],
        "evidence": ", ".join(fault["evidence"]),
    }


SHARED_FACTS = {"tokens": "Tokens", "template": "Chat template", "tool_calls": "Tool calls"}


def fact(value: Any) -> str:
    """A plain value for people, ready for a cell: words for truth, code for texts, lists and maps on one line."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, list):
        return ", ".join(map(fact, value))
    if isinstance(value, dict):
        return ", ".join(f"{code(key)} {fact(item)}" for key, item in value.items())
    return code(value)


def evidence_rows(document: JsonObject) -> list[JsonObject]:
    """Each source that a document's facts rest on."""
    return [
        {"name": name, **evidence, "revision": evidence.get("revision") or ""}
        for name, evidence in document["evidence"].items()
    ]


def recognition(entry: JsonObject) -> str:
    """One sentence: how a document of this kind is told from others."""
    how = entry["recognise"]
    if how["by"] == "schema":
        return f"by `schema: mens/{entry['kind']}/v{entry['version']}` at its top level"
    if how["by"] == "mark":
        also = f" with `{how['version_field']}: {entry['version']}`" if how.get("version_field") else ""
        return f"by `{how['field']}: {how['value']}` at its top level{also}"
    files = " or ".join(f"`{name}`" for name in how["files"])
    return f"as each line of {files}" if how["by"] == "lines" else f"by the file name {files}"


def class_rows(name: str, node: JsonObject, schema: JsonObject) -> JsonObject:
    """One table: a class's name, its description, and a row per field."""
    fields = [
        {
            "name": key,
            "type": type_text(child),
            "default": default_text(child, required=key in node["required"]),
            "description": child["description"],
        }
        for key, child in node["properties"].items()
    ]
    shown = schema["title"] if name == "$" else name
    return {"name": shown, "description": node["description"], "fields": fields}


def default_text(node: JsonObject, *, required: bool) -> str:
    """`required`, or the default as it would be written."""
    return "required" if required else json.dumps(node.get("default"))


def type_text(node: JsonObject) -> str:
    """A field's type and bounds in one short phrase."""
    if "$ref" in node:
        return str(node["$ref"].rpartition("/")[2])
    for keyword in ("oneOf", "anyOf"):
        if keyword in node:
            return " or ".join(type_text(branch) for branch in node[keyword])
    if "const" in node:
        return f'"{node["const"]}"'
    if "enum" in node:
        return " or ".join("null" if value is None else f'"{value}"' for value in node["enum"])
    declared = node["type"]
    names = [declared] if isinstance(declared, str) else declared
    return " or ".join(_plain_type(name, node) for name in names)


def _plain_type(name: str, node: JsonObject) -> str:
    if name in ("integer", "number"):
        return f"{name} {_bound(node['minimum'])}..{_bound(node['maximum'])}"
    if name == "array":
        return f"list of {type_text(node['items'])}"
    if name == "object":
        values = node.get("additionalProperties")
        return f"map to {type_text(values)}" if isinstance(values, dict) else "mapping"
    return name


def _bound(value: Any) -> str:
    huge = 9007199254740991
    return {huge: "2^53-1", -huge: "-(2^53-1)"}.get(value, f"{value}")
