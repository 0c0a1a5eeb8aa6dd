"""What a command never imports, and that every module can be imported first."""

from __future__ import annotations

import ast
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
PRESET = FIXTURES / "training-preset.v1" / "valid" / "minimal.yaml"
META = FIXTURES / "adapter-meta.v2" / "valid" / "lm_head_only.json"
HEAVY = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors", "numpy", "rich",
    "datamodel_code_generator", "jinja2", "hypothesis", "pytest", "mens.codegen",
)  # fmt: skip
JUDGE = ("jsonschema", "referencing", "rpds", "mens.contracts.judge")

LOADED = """
import json, sys
from mens.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""

COMMANDS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "help": (("--help",), 0, (*JUDGE, "pydantic", "yaml")),
    "help of validate": (("validate", "--help"), 0, JUDGE),
    "a valid document": (("validate", str(PRESET)), 0, (*JUDGE, "difflib")),
    "a valid JSON document": (("validate", str(META)), 0, (*JUDGE, "yaml")),
    "an invalid document": (("validate", str(PRESET), "--kind", "plan"), 1, ()),
    "as JSON": (("validate", str(PRESET), "--format", "json"), 0, JUDGE),
    "schema list": (("schema", "list", "--json"), 0, (*JUDGE, "pydantic", "yaml")),
    "schema show": (("schema", "show", "plan"), 0, (*JUDGE, "pydantic", "yaml")),
    "migrate": (("migrate", str(META)), 0, (*JUDGE, "yaml")),
    "families": (("families",), 0, (*JUDGE, "yaml")),
    "a family": (("families", "show", "llama"), 0, (*JUDGE, "yaml")),
    "completion": (("completion", "bash"), 0, JUDGE),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_never_imports(name: str, child_environment: dict[str, str]) -> None:
    arguments, expected, unwanted = COMMANDS[name]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        env=child_environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == expected
    assert "click" in modules, "the list of modules is real"
    assert [module for module in (*HEAVY, *unwanted) if module in modules] == []


def test_an_invalid_document_does_import_the_judge(child_environment: dict[str, str]) -> None:
    """The list above can say something: what is imported for an invalid document shows up in it."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "validate", str(PRESET), "--kind", "plan"],
        env=child_environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, modules = json.loads(done.stderr.splitlines()[-1])
    assert set(JUDGE) <= set(modules)


EACH_ALONE = """
import os, sys, warnings
warnings.simplefilter("error")
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:  # nothing of ours is imported yet, and nothing stays
        try:
            __import__(name)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    os.waitpid(child, 0)
"""


def _modules(root: Path, package: str) -> list[str]:
    folder = root if package == "mens" else root / "generated"
    found = pkgutil.walk_packages([str(folder / package)], f"{package}.", onerror=lambda name: None)
    return [package, *(module.name for module in found if not module.name.endswith("__main__"))]


def test_every_module_imports_on_its_own(root: Path, child_environment: dict[str, str]) -> None:
    names = [*_modules(root, "mens"), *_modules(root, "mens_contracts")]
    assert len(names) >= 100
    done = subprocess.run(
        [sys.executable, "-c", EACH_ALONE, *names],
        env=child_environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == ""
    assert done.stderr == ""


def test_an_import_that_fails_is_seen(child_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("from mens.contracts import no_such_name\n")
    environment = child_environment | {"PYTHONPATH": os.pathsep.join([child_environment["PYTHONPATH"], str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, "-c", EACH_ALONE, "broken_module"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("broken_module: ImportError: cannot import name 'no_such_name'")


def test_generated_modules_need_pydantic_alone(root: Path) -> None:
    """typing_extensions comes with pydantic, which cannot be imported without it."""
    allowed = {"pydantic", "typing_extensions", "mens_contracts", *sys.stdlib_module_names}
    seen = 0
    for path in sorted((root / "generated" / "mens_contracts").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            assert {name.partition(".")[0] for name in names} <= allowed, path.name
            seen += len(names)
    assert seen >= 100
