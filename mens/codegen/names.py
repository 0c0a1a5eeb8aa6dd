"""Filters that templates use: names, escaping and literals. All of a template's logic lives here, tested."""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Iterable
from typing import Any

from mens.contracts.json_types import JsonObject

WIDTH = 120
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")
"""Inline code as Markdown finds it: from a run of backticks to the next that is as long."""


def python_identifier(text: str) -> str:
    """A module or variable name for any text: `4080` becomes `_4080`, `class` becomes `class_`."""
    name = re.sub(r"[^a-zA-Z0-9]+", "_", text).strip("_").lower() or "_"
    if keyword.iskeyword(name):
        return f"{name}_"
    return f"_{name}" if name[0].isdigit() else name


def quoted(value: Any) -> str:
    """A Python literal of a plain value, with double quotes and every character that cannot be seen spelt out."""
    if isinstance(value, str):
        return _visible(json.dumps(value, ensure_ascii=False))
    if isinstance(value, list | tuple):
        inner = ", ".join(quoted(item) for item in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {quoted(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _visible(source: str) -> str:
    """Spell out what an editor would hide or a reader misread: controls, lone surrogates, marks that turn text."""
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in source)


def _escape(code_point: int) -> str:
    width, letter = (2, "x") if code_point < 0x100 else (4, "u") if code_point < 0x10000 else (8, "U")
    return f"\\{letter}{code_point:0{width}x}"


def docstring(text: str) -> str:
    """A docstring literal of any text, safe inside triple quotes; only line feeds stay as they are."""
    escaped = re.sub(r'"(?="|\Z)', r'\\"', text.replace("\\", "\\\\"))
    return '"""' + "\n".join(map(_visible, escaped.split("\n"))) + '"""'


def line(text: Any) -> str:
    """Markdown prose on one line, in a heading, say: inline code stays code, and no tag begins elsewhere."""
    shown, parts, end = _one_line(text), [], 0
    for span in CODE_SPAN.finditer(shown):
        parts += [_literal(shown[end : span.start()]), span[0]]
        end = span.end()
    return "".join([*parts, _literal(shown[end:])])


def _literal(prose: str) -> str:
    return prose.replace("\\", "\\\\").replace("<", "\\<")


def cell(text: Any) -> str:
    """Markdown prose inside a cell of a table: on one line, no pipe ends it."""
    return line(text).replace("|", "\\|")


def code(text: Any) -> str:
    """Inline code inside a cell of a Markdown table; a fence is longer than any run of backticks within."""
    shown = _one_line(text).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{shown}{space}{fence}" if shown else ""


def _one_line(text: Any) -> str:
    return re.sub(r"\s+", " ", str(text)).strip()


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
    """Which of these class names a piece of generated source uses."""
    used = {node.id for node in ast.walk(ast.parse(source, mode="eval")) if isinstance(node, ast.Name)}
    return sorted(used & set(names))
