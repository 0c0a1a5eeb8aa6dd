"""The reference pages: everything that a schema or a data file says is there, in words and not in Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from mens_contracts.families import FAMILIES
from mens_contracts.lanes import LANES
from mens_contracts.presets import PRESETS
from mens_contracts.registry import KINDS
from mens_contracts.releases import RELEASES
from syrupy.assertion import SnapshotAssertion

from mens.codegen import pages
from mens.codegen.schemas import Schemas, bundle

REFERENCE = Path(__file__).parents[2] / "docs/reference"


def read(path: str) -> str:
    return (REFERENCE / path).read_text(encoding="utf-8")


def every_page() -> list[Path]:
    found = sorted(REFERENCE.rglob("*.md"))
    wanted = {f"kinds/{kind.name}.v{kind.version}.md" for kind in KINDS}
    wanted |= {f"families/{id_}.md" for id_ in FAMILIES} | {f"releases/{id_}.md" for id_ in RELEASES}
    wanted |= {"README.md", "presets.md", "lanes.md"}
    assert {path.relative_to(REFERENCE).as_posix() for path in found} >= wanted
    return found


def test_every_kind_lists_every_field(kinds: Schemas) -> None:
    fields = 0
    for name in kinds.kinds:
        page = read(f"kinds/{name.kind}.v{name.version}.md")
        bundled = bundle(name.file, kinds.files)
        for title, node in [(bundled["title"], bundled), *bundled.get("$defs", {}).items()]:
            if "properties" in node:
                assert f"\n## {title}\n" in page, f"{name} {title}"
                for key in node["properties"]:
                    assert f"\n| `{key}` | " in page, f"{name} {title}.{key}"
                    fields += 1
    assert fields > 500


def test_every_family_lists_every_tensor() -> None:
    for family in FAMILIES.values():
        page = read(f"families/{family.id}.md")
        for tensor in family.tensors:
            assert f"\n| {tensor.role} | `{tensor.key}` |" in page
        for layout in family.layouts:
            assert f"\n| {layout.name} | " in page
        for name in (*family.recognise.model_types, *family.recognise.architectures, *family.geometry):
            assert f"`{name}`" in page


def test_every_release_lists_every_repository() -> None:
    for release in RELEASES.values():
        page = read(f"releases/{release.id}.md")
        for model in release.models:
            assert f"\n| {model.repo} | " in page
        for name in release.evidence:
            assert f"\n| {name} | " in page


def test_the_index_leads_to_every_page() -> None:
    links = re.findall(r"\]\(([^)]+)\)", read("README.md"))
    assert {REFERENCE / link for link in links} == set(every_page()) - {REFERENCE / "README.md"}
    assert len(links) == len(set(links))


def test_tables_of_presets_and_lanes() -> None:
    for page, table in (("presets.md", PRESETS), ("lanes.md", LANES)):
        rows = [line for line in read(page).splitlines() if line.startswith("| ")][1:]
        assert len(rows) == len(table)
        for id_ in table:
            assert any(row.startswith(f"| {id_} | ") for row in rows), id_


def test_tables_are_tables() -> None:
    """A real parser finds as many cells in each row as the heading has, no raw HTML, and no Python."""
    parser = MarkdownIt("commonmark").enable("table")
    rows = 0
    for path in every_page():
        text = path.read_text(encoding="utf-8")
        tokens = parser.parse(text)
        cells = [token.type for token in tokens]
        assert cells.count("html_block") == 1, f"{path}: the header alone"
        assert "html_inline" not in {child.type for token in tokens for child in token.children or []}, path
        source_rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
        assert cells.count("tr_open") == len(source_rows), path
        for token in tokens:
            if token.type == "inline":
                assert (
                    re.search(r"\bNone\b(?! )|\bUndefined\b|\['|\{'|<[a-z]+ object", token.content) is None
                    or "expression" in token.content
                ), path
        rows += len(source_rows)
    assert rows > 1000


@pytest.mark.parametrize("page", ["presets.md", "lanes.md", "kinds/lane.v1.md", "families/gpt2.md"])
def test_pages_as_they_are(page: str, snapshot: SnapshotAssertion) -> None:
    assert read(page) == snapshot


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (None, ""),
        (151645, "`151645`"),
        ("<|im_end|>", "`<\\|im_end\\|>`"),
        (["a", "b"], "`a`, `b`"),
        ({"<a>": 1, "b": False}, "`<a>` `1`, `b` no"),
        ("back`tick", "`` back`tick ``"),
        ([], ""),
    ],
)
def test_facts_are_in_words(value: Any, text: str) -> None:
    assert pages.fact(value) == text


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"type": "string", "maxLength": 3}, "string"),
        ({"type": ["string", "null"], "maxLength": 3}, "string or null"),
        ({"type": "integer", "minimum": 0, "maximum": 9007199254740991}, "integer 0..2^53-1"),
        ({"type": "number", "minimum": -9007199254740991, "maximum": 0.5}, "number -(2^53-1)..0.5"),
        ({"type": "string", "const": "a"}, '"a"'),
        ({"type": ["string", "null"], "enum": ["a", None]}, '"a" or null'),
        ({"$ref": "common.v1.schema.json#/$defs/Sha256"}, "Sha256"),
        ({"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}, "A or null"),
        ({"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}, "A or B"),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, "list of boolean"),
        ({"type": "object", "additionalProperties": {"$ref": "#/$defs/A"}}, "map to A"),
        ({"type": "object", "additionalProperties": True}, "mapping"),
    ],
)
def test_types_in_one_phrase(node: dict[str, Any], text: str) -> None:
    assert pages.type_text(node) == text


@pytest.mark.parametrize(
    ("recognise", "text"),
    [
        ({"by": "schema"}, "by `schema: mens/thing/v2` at its top level"),
        (
            {"by": "mark", "field": "format", "value": "x", "version_field": "version"},
            "by `format: x` at its top level with `version: 2`",
        ),
        ({"by": "name", "files": ["config.json"]}, "by the file name `config.json`"),
        ({"by": "lines", "files": ["*.jsonl", "x.log"]}, "as each line of `*.jsonl` or `x.log`"),
    ],
)
def test_recognition_in_one_sentence(recognise: dict[str, Any], text: str) -> None:
    assert pages.recognition({"kind": "thing", "version": 2, "recognise": recognise}) == text
