"""Kinds become pydantic models: the schemas as the generator needs them, and what it returns."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datamodel_code_generator import InputFileType, LiteralType, PythonVersion, generate
from datamodel_code_generator.enums import DataModelType

from mens.codegen.schemas import FILE_NAME, Schemas, kind_name
from mens.contracts.json_types import JsonObject

# Python's `$` matches before a final newline, so schemas say `(?!\n)$`; the models' Rust regex has a strict `$` and no
# lookahead.
STRICT_END = "(?!\\n)$"


def model_sources(schemas: Schemas) -> dict[str, str]:
    """One module per schema file, unformatted and without header, by module name."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "kinds"
        folder.mkdir()
        for name, schema in schemas.files.items():
            (folder / f"{_module(name)}.json").write_text(json.dumps(for_generator(schema)), encoding="utf-8")
        modules = _generate(folder)
    names = {path: path[0].removesuffix(".py") for path in modules if path != ("__init__.py",)}
    of_definitions = {_module(file) for file, schema in schemas.files.items() if "properties" not in schema}
    return {name: _tidy(modules[path], alias=name in of_definitions) for path, name in names.items()}


def _module(file: str) -> str:
    return kind_name(Path(file)).module


def _generate(folder: Path) -> Mapping[tuple[str, ...], str]:
    result = generate(
        folder,
        input_file_type=InputFileType.JsonSchema,
        output_model_type=DataModelType.PydanticV2BaseModel,
        target_python_version=PythonVersion.PY_311,
        base_class="mens_contracts.base.Contract",
        use_annotated=True,
        field_constraints=True,
        strict_nullable=True,
        use_type_alias=True,
        use_exact_imports=True,
        use_standard_collections=True,
        use_union_operator=True,
        enum_field_as_literal=LiteralType.All,
        use_title_as_name=True,
        use_schema_description=True,
        use_field_description=True,
        use_inline_field_description=True,
        use_single_line_docstring=True,
        use_default_kwarg=True,
        use_double_quotes=True,
        disable_timestamp=True,
        strict_refs=True,
        allow_remote_refs=False,
        formatters=[],
    )
    assert isinstance(result, dict), "a folder in gives modules out"
    return result


def for_generator(node: Any) -> Any:
    """The schema as the generator reads it: its file names, its regex dialect, closed by the base class."""
    if isinstance(node, list):
        return [for_generator(item) for item in node]
    if not isinstance(node, dict):
        return node
    copied: JsonObject = {key: for_generator(value) for key, value in node.items()}
    if isinstance(node.get("pattern"), str):
        copied["pattern"] = node["pattern"].replace(STRICT_END, "$")
    if isinstance(node.get("$ref"), str):
        copied["$ref"] = FILE_NAME.sub(lambda match: f"{_module(match[0])}.json", node["$ref"])
    if "properties" in node and node.get("additionalProperties") is False:
        del copied["additionalProperties"]
    if "number" in node.get("type", ()) and isinstance(node.get("default"), int):
        copied["default"] = float(node["default"])  # a field is a float whether its value was written or not
    return copied


def _tidy(source: str, *, alias: bool) -> str:
    """Drop the generator's own header, and the alias that it emits for a file of definitions alone."""
    body = re.sub(r"\A(?:#.*\n)*", "", source)
    return (
        re.sub(r'^Model = TypeAliasType\("Model".*\n(?:""".*"""\n)?', "", body, flags=re.MULTILINE) if alias else body
    )
