"""The developer's loop: `nox --list` is the manual, and CI calls nothing else."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2025.10.16"

PINS = ("-c", "constraints.txt")


def _install(session: nox.Session, *extras: str) -> None:
    """Install mens as a developer has it, at the pinned versions."""
    session.install(*PINS, "-e", f".[{','.join(extras)}]")


def _install_for_tests(session: nox.Session) -> None:
    """The test environment: everything that a test compares mens with, on a CPU."""
    session.install(*PINS, "torch==2.13.0")
    session.install(*PINS, "-e", ".[dev]", "bitsandbytes", "peft", "safetensors", "transformers")
    session.install(*PINS, "check-jsonschema", "packaging", "pre-commit", "pytest-xdist")


@nox.session
def tests(session: nox.Session) -> None:
    """Run every check: lint, types, layers, staleness, breaking changes, then every test. What CI runs."""
    _install_for_tests(session)
    _lint(session)
    _check_types(session)
    session.run("python", "-m", "mens.codegen", "--check")
    session.run("python", "-m", "mens.codegen.breaking")
    session.run("pytest", *(session.posargs or ("-n", "2", "--dist", "worksteal")))


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that need no torch, for the inner loop."""
    _install_for_tests(session)
    session.run("pytest", "-x", "--ignore", "tests/families", *session.posargs)


@nox.session
def generate(session: nox.Session) -> None:
    """Generate models, tables and reference pages from schemas/; with `-- --check`, only say what is stale."""
    _install(session, "dev")
    session.run("python", "-m", "mens.codegen", *session.posargs)


@nox.session
def breaking(session: nox.Session) -> None:
    """Compare schemas/kinds with what was last released and name every breaking change."""
    _install(session, "dev")
    session.run("python", "-m", "mens.codegen.breaking", *session.posargs)


@nox.session
def release_schemas(session: nox.Session) -> None:
    """Freeze the stable kinds into schemas/released; refuses while a breaking change is not waived."""
    _install(session, "dev")
    session.run("python", "-m", "mens.codegen.breaking", "--freeze", *session.posargs)


@nox.session
def new_family(session: nox.Session) -> None:
    """Write the draft of a family file to fill in: `nox -s new_family -- ID`."""
    _install(session, "dev")
    session.run("python", "-m", "mens.codegen.scaffold", *session.posargs)


@nox.session
def real(session: nox.Session) -> None:
    """Inspect and plan a checkpoint that you have and write a report worth sending back: `nox -s real -- DIR`."""
    session.install(*PINS, "-e", ".")
    session.run("python", "-m", "tests.real.report", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and import layers; with `-- --fix`, mend what can be mended."""
    _install(session, "dev")
    _lint(session, *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly, over mens and what is generated."""
    _install(session, "dev")
    _check_types(session)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Time the command line beside check-jsonschema on the same files and print ratios."""
    _install(session, "dev")
    session.install(*PINS, "check-jsonschema")
    session.run("python", "benchmarks/validate.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it without the sources, and validate with it."""
    session.install(*PINS, "build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", folder, silent=True)
    session.install(*PINS, *(str(path) for path in Path(folder).glob("mens-*.whl")))
    presets = Path("schemas/presets").resolve()
    with session.chdir(folder):
        session.run("mens", "validate", str(presets))


def _lint(session: nox.Session, *arguments: str) -> None:
    session.run("ruff", "check", *arguments)
    session.run("ruff", "format", *(() if "--fix" in arguments else ("--check",)))
    session.run("lint-imports", "--no-cache")


def _check_types(session: nox.Session) -> None:
    session.run("mypy")
