"""Names and escaping: whatever a data file says, it arrives in the generated code as text and as nothing else."""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mens.codegen import names
from mens.codegen.schemas import KindName, Schemas, bundle
from mens.codegen.sources import _formatted
from mens.codegen.tables import DATA_KINDS, _home
from mens.contracts.json_types import JsonObject
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "",
    '"',
    '""',
    '"""',
    '""""',
    'ends with "',
    'a"""',
    "'''",
    "\\",
    "ends with \\",
    '\\"',
    '\\"""',
    '"""\\',
    '"""; import os; os.system("true"); """',
    "{{ 7 * 7 }} {% raw %} {# note #}",
    "{braces} %s {0}",
    "two\nlines",
    "\r\n\ttab\x00nul\x7f\x85",
    "\u2028 \u2029 \ufeff",
    "\u202e turned round",
    "\ud800 half a pair",
    "naïve 中文 🦀",
    "# no comment",
    "\\N{BULLET} \\u0041 \\x41",
    "a | b || c \\| d \\\\| e",
    "`code` ``double ` inside`` ```",
    "`|` and | and `\\|`",
    "<script>alert(1)</script> `<kept>` </td>",
    "| --- |\n|---|",
)
PIECES = (
    '"',
    '"""',
    "'",
    "\\",
    "\n",
    "\r",
    "\0",
    "`",
    "``",
    "|",
    "<b>",
    "{{",
    "}}",
    "{%",
    "#",
    " ",
    "x",
    "é",
    "\ud800",
    "\u2028",
)
anything = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.sampled_from(HOSTILE),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=12,
)
many = settings(max_examples=400, deadline=None, derandomize=True)


@many
@given(anything)
def test_quoted_text_is_that_text(text: str) -> None:
    source = names.quoted(text)
    assert ast.literal_eval(source) == text
    assert source.isprintable()
    assert source.startswith('"')


@many
@given(plain)
def test_quoted_value_is_that_value(value: Any) -> None:
    assert same(ast.literal_eval(names.quoted(value)), value)
    as_tuple = (value, value)
    assert same(ast.literal_eval(names.quoted(as_tuple)), as_tuple)
    assert same(ast.literal_eval(names.quoted((value,))), (value,))


def same(one: Any, other: Any) -> bool:
    """Equal and of equal types throughout, for 1, 1.0 and True are equal to Python."""
    return repr(one) == repr(other) and one == other


@many
@given(anything)
def test_docstring_is_one_statement_that_says_the_text(text: str) -> None:
    source = f"{names.docstring(text)}\n\nX = {names.quoted(text)}\n"
    source.encode()
    said, assigned = ast.parse(source).body
    assert isinstance(said, ast.Expr)
    assert isinstance(said.value, ast.Constant)
    assert said.value.value == text
    assert isinstance(assigned, ast.Assign)


def test_formatter_keeps_what_was_said() -> None:
    path = Path("generated/mens_contracts")
    files = {
        path / f"m{index}.py": f"{names.docstring(f'Says {text}.')}\nX = {names.quoted(text)}\n"
        for index, text in enumerate(HOSTILE)
    }
    formatted = list(_formatted(files).values())
    assert len(formatted) == len(HOSTILE)
    for source, text in zip(formatted, HOSTILE, strict=True):
        said, assigned = ast.parse(source).body
        assert isinstance(assigned, ast.Assign)
        assert ast.literal_eval(assigned.value) == text
        assert isinstance(said, ast.Expr)
        assert ast.literal_eval(said.value).split() == f"Says {text}.".split()


def rendered_cells(*sources: str) -> list[Token]:
    """The cells of a one-row Markdown table, as a real parser reads them."""
    header = "|" + " h |" * len(sources)
    rule = "|" + "---|" * len(sources)
    row = "| " + " | ".join(sources) + " |"
    tokens = MarkdownIt("commonmark").enable("table").parse(f"{header}\n{rule}\n{row}\n\nafter\n")
    assert [t.type for t in tokens if t.type.endswith("_open")].count("tr_open") == 2, "one row, and the table ends"
    return [t for before, t in pairwise(tokens) if before.type == "td_open"]


# The parser itself replaces what UTF-8 cannot hold, so half a pair is left to the tests of Python source.
markdown = anything.map(lambda text: re.sub("[\0\ud800-\udfff]", "", text))


@many
@given(markdown, markdown)
def test_cells_stay_cells(one: str, other: str) -> None:
    found = rendered_cells(names.cell(one), names.cell(other), "last")
    assert len(found) == 3
    assert found[2].content == "last"
    for token in found:
        assert "html_inline" not in [child.type for child in token.children or []]


@many
@given(markdown)
def test_code_in_a_cell_says_the_text(text: str) -> None:
    found = rendered_cells(names.code(text), "last")
    assert len(found) == 2
    children = [(child.type, child.content) for child in found[0].children or []]
    shown = " ".join(text.split())
    assert children == ([("code_inline", shown)] if shown else [])


prose = st.text(alphabet=st.sampled_from("ab \\<>|\"'{}().,\n\té中"), max_size=30)


@many
@given(prose)
def test_prose_in_a_cell_says_the_text(text: str) -> None:
    """Where no inline markup is meant, every character arrives."""
    cell, _ = rendered_cells(names.cell(text), "last")
    assert "".join(child.content for child in cell.children or []) == " ".join(text.split())


@many
@given(prose, prose)
def test_heading_is_one_line_and_says_the_text(text: str, code: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"# x {names.line(f'{text} `c{code}c`')}\n")
    assert [token.type for token in tokens] == ["heading_open", "inline", "heading_close"]
    children = tokens[1].children or []
    assert children[-1].type == "code_inline"
    assert children[-1].content == " ".join(f"c{code}c".split())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("4080", "_4080"),
        ("qwen3_5", "qwen3_5"),
        ("A-b c", "a_b_c"),
        ("class", "class_"),
        ("", "_"),
        ("__init__", "init"),
        ("../../evil", "evil"),
        ("é", "_"),
    ],
)
def test_python_identifier(text: str, name: str) -> None:
    assert names.python_identifier(text) == name


@many
@given(anything)
def test_python_identifier_is_one_for_any_text(text: str) -> None:
    name = names.python_identifier(text)
    assert name.isidentifier()
    assert name.isascii()
    assert not keyword.iskeyword(name)


def test_field_names_are_those_of_the_models(kinds: Schemas) -> None:
    """Every property of every class of every kind, as the generated models spell it."""
    checked = 0
    for name in kinds.kinds:
        bundled = bundle(name.file, kinds.files)
        for title, node in [(bundled["title"], bundled), *bundled.get("$defs", {}).items()]:
            if "properties" in node:
                fields = class_of(title, name, kinds).model_fields
                aliases = {field.alias or key: key for key, field in fields.items()}
                assert aliases == {key: names.field_name(key) for key in node["properties"]}, f"{name} {title}"
                checked += len(aliases)
    assert checked > 500


def class_of(title: str, kind: KindName, kinds: Schemas) -> Any:
    return getattr(import_module(f"mens_contracts.{_home(title, kind, kinds)}"), title)


def documents(folder: str, kind: KindName) -> Iterator[tuple[str, JsonObject]]:
    """Every data file of a kind and every valid fixture of it."""
    fixtures = ROOT / "tests/fixtures/kinds" / kind.file.removesuffix(".schema.json") / "valid"
    for path in sorted([*(ROOT / "schemas" / folder).glob("*.yaml"), *fixtures.iterdir()]):
        text = path.read_text(encoding="utf-8")
        value = parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]
        assert isinstance(value, dict)
        yield path.name, value


@pytest.mark.parametrize("data_kind", DATA_KINDS, ids=lambda data_kind: data_kind.folder)
def test_constructed_source_is_the_validated_document(data_kind: Any, kinds: Schemas) -> None:
    """Two ways to a document: the source that `construct` writes, and the model that validates what was written."""
    root = bundle(data_kind.kind.file, kinds.files)
    found = list(documents(data_kind.folder, data_kind.kind))
    files = len(list((ROOT / "schemas" / data_kind.folder).glob("*.yaml")))
    assert files > 0
    assert len(found) >= files + 5, "each kind has five valid fixtures"
    model = class_of(root["title"], data_kind.kind, kinds)
    for name, value in found:
        source = names.construct(value, root, root)
        used = names.classes_used(source, [root["title"], *root["$defs"]])
        built = eval(source, {used_name: class_of(used_name, data_kind.kind, kinds) for used_name in used})
        expected = model.model_validate(value, by_alias=True, by_name=False)
        assert built == expected, name
        assert same(built.model_dump(), expected.model_dump()), name


def test_construct_leaves_defaults_out_and_follows_unions() -> None:
    root: JsonObject = {
        "title": "ThingV1",
        "properties": {
            "schema": {"type": "string", "const": "mens/thing/v1"},
            "count": {"type": "integer", "default": 0},
            "step": {"oneOf": [{"$ref": "#/$defs/Up"}, {"$ref": "#/$defs/Down"}]},
            "maybe": {"anyOf": [{"$ref": "#/$defs/Up"}, {"type": "null"}], "default": None},
            "by_name": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Down"}},
            "free": {"type": "object", "additionalProperties": True},
        },
        "$defs": {
            "Up": {"type": "object", "properties": {"op": {"const": "up"}}},
            "Down": {"type": "object", "properties": {"op": {"const": "down"}}},
        },
    }
    value = {
        "schema": "mens/thing/v1",
        "count": 0,
        "step": {"op": "down"},
        "maybe": {"op": "up"},
        "by_name": {'a"': {"op": "down"}},
        "free": {"Down(": [True, None, 1.5]},
    }
    source = names.construct(value, root, root)
    assert source == (
        'ThingV1(schema_="mens/thing/v1", step=Down(op="down"), maybe=Up(op="up"), '
        'by_name={"a\\"": Down(op="down")}, free={"Down(": [True, None, 1.5]})'
    )
    assert names.classes_used(source, ["Down", "ThingV1", "Up", "Other"]) == ["Down", "ThingV1", "Up"]
    assert names.classes_used(json.dumps("Up() and Down()"), ["Up", "Down"]) == []
