"""Filters that templates use: names, escaping and literals. All of a template's logic lives here, tested."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from mens.contracts.json_types import JsonObject

WIDTH = 120


def python_identifier(text: str) -> str:
    """A module or variable name for any text: `4080` becomes `_4080`."""
    name = re.sub(r"[^a-zA-Z0-9]+", "_", text).strip("_").lower() or "_"
    return f"_{name}" if name[0].isdigit() else name


def quoted(value: Any) -> str:
    """A Python literal of a plain value, with double quotes and every control character escaped."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\x7f")
    if isinstance(value, list | tuple):
        inner = ", ".join(quoted(item) for item in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {quoted(item)}" for key, item in value.items()) + "}"
    return repr(value)


def docstring(text: str) -> str:
    """A docstring literal of any text, safe inside triple quotes."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = escaped[:-1] + '\\"'
    return f'"""{escaped}"""'


def cell(text: Any) -> str:
    """Text inside a cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(text)).replace("\\", "\\\\").replace("|", "\\|").strip()


def code(text: Any) -> str:
    """Inline code inside a cell of a Markdown table."""
    shown = cell(text)
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def construct(value: Any, node: JsonObject, root: JsonObject) -> str:
    """Python source that builds a document's value from the generated classes, leaving defaults out."""
    node, class_name = resolve(node, root, value)
    if class_name is not None and isinstance(value, dict):
        return f"{class_name}({', '.join(_arguments(value, node, root))})"
    if isinstance(value, list) and "items" in node:
        return "[" + ", ".join(construct(item, node["items"], root) for item in value) + "]"
    if isinstance(value, dict) and isinstance(node.get("additionalProperties"), dict):
        items = node["additionalProperties"]
        return "{" + ", ".join(f"{quoted(key)}: {construct(item, items, root)}" for key, item in value.items()) + "}"
    return quoted(value)


def _arguments(value: JsonObject, node: JsonObject, root: JsonObject) -> Iterable[str]:
    for key, child in node["properties"].items():
        if key in value and ("default" not in child or value[key] != child["default"]):
            yield f"{field_name(key)}={construct(value[key], child, root)}"


def field_name(key: str) -> str:
    """The attribute a property becomes: names that pydantic's BaseModel already uses get an underscore."""
    return f"{key}_" if key in {"schema", "json", "copy", "dict", "validate", "construct", "model_config"} else key


def resolve(node: JsonObject, root: JsonObject, value: Any) -> tuple[JsonObject, str | None]:
    """Follow references and unions to the node that describes this value, and the class it becomes if it is one."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        target = root["$defs"][name]
        found, inner = resolve(target, root, value)
        return found, inner or (name if "properties" in found else None)
    for branch in [*node.get("oneOf", []), *node.get("anyOf", [])]:
        found, name_or_none = resolve(branch, root, value)
        if _describes(found, value):
            return found, name_or_none
    return node, node["title"] if "properties" in node and "title" in node else None


def _describes(node: JsonObject, value: Any) -> bool:
    """Whether a union's branch is the one meant: by its JSON type, and for objects by its constant tag."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    wanted = names.get(type(value), "null")
    declared = node.get("type", [])
    declared = [declared] if isinstance(declared, str) else declared
    if wanted not in declared and not (wanted == "integer" and "number" in declared):
        return False
    tags = {key: child["const"] for key, child in node.get("properties", {}).items() if "const" in child}
    return all(value.get(key) == tag for key, tag in tags.items()) if isinstance(value, dict) else True


def classes_used(source: str, names: Iterable[str]) -> list[str]:
    """Which of these class names a piece of generated source calls."""
    return sorted(name for name in names if re.search(rf"(?<![\w\"]){name}\(", source))
