"""The house rules that no linter knows: layout, layers, sizes, names, and templates without logic."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, nodes
from mens_contracts.defaults import DEFAULT_FAMILY, DEFAULT_MODEL, DEFAULT_PRESET
from mens_contracts.families import FAMILIES
from mens_contracts.presets import PRESETS
from mens_contracts.releases import RELEASES, REPOS

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400
LONGEST_FUNCTION = 55
DESIGNED = {
    *("contracts", "codegen", "checkpoint", "data", "report", "adapters", "plan", "provenance"),
    *("model", "train", "merge", "serve", "evaluate", "cli"),
}
"""The packages of the design; each is created when it has something to hold."""


def files(folder: str) -> list[Path]:
    found = sorted(p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert found, f"{folder} is empty"
    return found


def packages() -> set[str]:
    found = {path.parent.name for path in (ROOT / "mens").glob("*/__init__.py")}
    assert len(found) >= 5
    return found


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in files("mens"):
        if path.suffix == ".py":
            yield path, ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "path",
    [
        *("noxfile.py", "pyproject.toml", "constraints.txt", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"),
        *("schemas/kinds", "schemas/families", "schemas/releases", "schemas/presets", "schemas/lanes"),
        *("templates", "generated/mens_contracts", "docs/reference", "docs/errors.md", "benchmarks", ".ci/run"),
        *("mens/contracts", "mens/codegen", "mens/checkpoint", "mens/report", "mens/cli"),
        ".pre-commit-config.yaml",
        ".pre-commit-hooks.yaml",
    ],
)
def test_the_layout_of_the_design_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_mens_holds_the_packages_of_the_design_and_no_others() -> None:
    assert packages() <= DESIGNED
    folders = {path.name for path in (ROOT / "mens").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == packages()
    assert {path.name for path in (ROOT / "mens").glob("*.py")} == {"__init__.py", "__main__.py"}
    assert not list((ROOT / "mens").rglob("utils.py"))


def contracts() -> list[dict[str, Any]]:
    return list(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    )


def test_every_package_of_the_design_stands_on_a_floor() -> None:
    """import-linter refuses a package without a floor; here the floors are those of the design."""
    layers = next(contract for contract in contracts() if contract["type"] == "layers")
    assert layers["exhaustive"] is True
    floors = [re.findall(r"[a-z_]+", floor) for floor in layers["layers"]]
    assert sorted(name for floor in floors for name in floor) == sorted(DESIGNED)
    above = {name: index for index, floor in enumerate(floors) for name in floor}
    for higher, lower in (
        ("cli", "evaluate"),
        ("model", "adapters"),
        ("adapters", "checkpoint"),
        ("codegen", "contracts"),
    ):
        assert above[higher] < above[lower]


def test_no_package_may_import_the_generator() -> None:
    forbidden = next(contract for contract in contracts() if contract.get("forbidden_modules") == ["mens.codegen"])
    assert set(forbidden["source_modules"]) >= {f"mens.{name}" for name in packages() - {"codegen"}}


def family_words() -> set[str]:
    names = {"qwen", "llama", "mistral", "gpt2", "gpt-2"}
    for family in FAMILIES.values():
        names |= {family.id, *family.recognise.model_types, *family.recognise.architectures}
    return {name.lower() for name in names}


def test_mens_names_no_family() -> None:
    """What mens knows of an architecture is data; code that names one has a branch that data cannot reach."""
    words = re.compile("|".join(sorted(map(re.escape, family_words()), key=len, reverse=True)))
    assert words.search("a qwen3_5 model") is not None
    searched = 0
    for path in files("mens"):
        found = words.findall(path.read_text(encoding="utf-8").lower())
        assert found == [], f"{path.relative_to(ROOT)} names {', '.join(found)}"
        assert words.search(path.relative_to(ROOT).as_posix().lower()) is None
        searched += 1
    assert searched > 30


def test_files_are_short_enough_to_read() -> None:
    long = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files("mens")}
    assert {path: length for path, length in long.items() if length > LONGEST_FILE} == {}


def test_functions_are_short_enough_to_see() -> None:
    lengths: dict[str, int] = {}
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = (
                    (node.end_lineno or 0) - node.lineno + 1
                )
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 15, "functions are mostly short"


def test_modules_and_public_things_say_what_they_are() -> None:
    """One line each: a module, and every class and function that others may use."""
    silent = []
    for path, tree in modules():
        if tree.body and ast.get_docstring(tree) is None:
            silent.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                overload = [decorator for decorator in node.decorator_list if ast.unparse(decorator) == "overload"]
                if ast.get_docstring(node) is None and not overload:
                    silent.append(f"{path.relative_to(ROOT)} {node.name}")
    assert silent == []


def test_every_nox_session_has_one_line_of_manual() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(d).startswith("nox.session") for d in node.decorator_list)
    ]
    names = {session.name for session in sessions}
    assert names >= {"tests", "generate", "breaking", "release_schemas", "new_family", "lint", "types"}
    for session in sessions:
        said = ast.get_docstring(session)
        assert said is not None, session.name
        assert "\n" not in said, session.name
        assert said.endswith("."), session.name


def test_ci_runs_what_developers_run() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "python -m nox -s tests" in script


PLACING: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.For,
    nodes.If,
    nodes.Name,
    nodes.Getattr,
    nodes.Tuple,
    nodes.Filter,
    nodes.Const,
)
FILTERS = {"quoted", "docstring", "line", "cell", "code", "join", "length"}


def test_templates_place_and_loop_and_nothing_else() -> None:
    """No macro, no set, no arithmetic, no call, no default: what a template shows is decided and tested in Python."""
    templates = [path for path in files("templates") if path.suffix == ".jinja"]
    assert len(templates) >= 12
    filters = set()
    for path in templates:
        tree = Environment(autoescape=False).parse(path.read_text(encoding="utf-8"))
        for node in tree.find_all(nodes.Node):
            assert isinstance(node, PLACING), f"{path.name}:{node.lineno}: {type(node).__name__}"
            if isinstance(node, nodes.Filter):
                filters.add(node.name)
            if isinstance(node, nodes.If):
                assert isinstance(node.test, nodes.Name | nodes.Getattr), (
                    f"{path.name}:{node.lineno}: a condition is a name"
                )
            if isinstance(node, nodes.For):
                assert node.test is None, f"{path.name}:{node.lineno}: a loop chooses nothing"
                assert not node.recursive
    assert filters <= FILTERS


@pytest.mark.parametrize(
    "source",
    [
        "{% set x = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{{ a + 1 }}",
        "{{ a == 1 }}",
        "{{ a or b }}",
        "{{ a.b() }}",
        "{{ 'x' if a }}",
        "{{ [a] }}",
        "{% include 'x' %}",
    ],
)
def test_logic_in_a_template_would_be_seen(source: str) -> None:
    assert not all(
        isinstance(node, PLACING) for node in Environment(autoescape=False).parse(source).find_all(nodes.Node)
    )


def test_the_default_model_and_preset_are_one_fact() -> None:
    """Declared once in the data; the README, the preset, the release and the family say the same."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert DEFAULT_MODEL in readme
    assert re.search(rf"\b{re.escape(DEFAULT_PRESET)}\b", readme)
    assert PRESETS[DEFAULT_PRESET].base_model == DEFAULT_MODEL
    model = next(model for model in RELEASES[REPOS[DEFAULT_MODEL]].models if model.repo == DEFAULT_MODEL)
    assert model.default
    assert model.family == DEFAULT_FAMILY
    assert FAMILIES[DEFAULT_FAMILY].tier == "supported"
    assert (DEFAULT_MODEL, DEFAULT_PRESET, DEFAULT_FAMILY) == ("Qwen/Qwen3.5-4B", "4080", "qwen3_5")


def test_every_repository_that_a_preset_or_the_readme_names_is_in_a_release() -> None:
    presets = {preset.base_model for preset in PRESETS.values() if preset.base_model}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = presets | set(re.findall(r"\bQwen/[A-Za-z0-9.-]*[A-Za-z0-9]", readme))
    assert DEFAULT_MODEL in named
    assert named <= set(REPOS)
