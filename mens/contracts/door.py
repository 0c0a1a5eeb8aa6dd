"""contracts.load: bytes in, a checked document of generated types out. Nothing else turns bytes into a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from mens.contracts.claims import CLAIMS, Claims
from mens.contracts.codes import exit_code
from mens.contracts.errors import ContractError, MensError, UnsupportedError
from mens.contracts.findings import Finding
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.kinds import Kind, kind_of_file, kind_of_value, named
from mens.contracts.paths import path_problems
from mens.contracts.positions import Positions, SyntaxFault, decode
from mens.contracts.problems import Problem, shown
from mens.contracts.rules import RULES, say_misplaced
from mens.contracts.source import LARGEST, Source, read, syntax_of

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")
FIRST_FEW = 5


@dataclass(frozen=True)
class Document(Generic[M]):
    """A document that holds what its contract asks: its kind, its model, and the value as it was written."""

    name: str
    kind: Kind
    model: M
    value: JsonObject


class Examined(NamedTuple):
    """What came of one document: its kind if it has one, the document if it is valid, else findings."""

    kind: Kind | None
    document: Document[Any] | None
    findings: list[Finding]


class InvalidDocument(ContractError):
    """A document that its contract refuses, with every finding; it ends with the highest of their exit codes."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        first, *others = findings
        lines = [f"{f.path}:{f.line}:{f.column}: {f.message}   [{f.code}]" for f in others[: FIRST_FEW - 1]]
        total = [f"{len(findings):,} findings in all."] if len(findings) > FIRST_FEW else []
        place = f"{first.path}:{first.line}:{first.column}"
        super().__init__(first.code, first.message, place, "\n".join([*lines, *total]))
        self.findings = tuple(findings)
        self.exit_code = exit_code({finding.code for finding in findings})


@overload
def load(path: Path | str) -> Document[Any]: ...
@overload
def load(path: Path | str, model: type[M]) -> Document[M]: ...
def load(path: Path | str, model: type[M] | None = None) -> Document[Any]:
    """Load a document from a file; with a model, only a document of that kind."""
    return accept(read(Path(path)), model)


def loads(text: str, model: type[M], name: str = "<memory>") -> Document[M]:
    """Load a document of a known kind from text."""
    data = text.encode()
    return accept(Source(name, data, syntax_of(name, data)), model)


def accept(source: Source, model: type[BaseModel] | None = None) -> Document[Any]:
    """The document that these bytes hold; InvalidDocument with every finding when they hold none."""
    examined = examine(source, kind_of_model(model) if model else None)
    if examined.kind is None and not examined.findings:
        raise UnsupportedError("MENS-U001", "no kind of document is recognised in it", source.name)
    if examined.document is None:
        raise InvalidDocument(examined.findings)
    return examined.document


def kind_of_model(model: type[BaseModel]) -> Kind:
    """The registered kind that a generated model class stands for."""
    from mens.contracts.kinds import KINDS

    return next(kind for kind in KINDS if kind.title == model.__name__)


def examine(source: Source, expected: Kind | None = None, claims: Claims | None = None) -> Examined:
    """Everything there is to say about one document. No kind and no findings: it is not a document of ours."""
    try:
        text = decode(source.data)
        value, positions = _parse(text, source.syntax)
    except SyntaxFault as fault:
        found = Finding(source.name, fault.line, fault.column, fault.pointer, "MENS-S001", "error", fault.message)
        return Examined(expected, None, [found])
    try:
        kind = expected or kind_of_value(value) or kind_of_file(source.name)
    except UnsupportedError as error:
        problem = Problem(error.code, error.where, error.what)
        return Examined(None, None, _findings([problem], source.name, text, positions))
    if kind is None:
        return Examined(None, None, [])
    model, problems = check(value, kind)
    if not problems and claims is not None and kind.name in CLAIMS and isinstance(value, dict):
        problems = list(claims.problems(kind.name, value, source.name))
    if problems or not isinstance(value, dict):
        return Examined(kind, None, _findings(problems, source.name, text, positions))
    return Examined(kind, Document(source.name, kind, model, value), [])


def _parse(text: str, syntax: str) -> tuple[JsonValue, Positions | None]:
    if syntax == "json":
        from mens.contracts.strict_json import parse_json

        return parse_json(text), None
    from mens.contracts.strict_yaml import parse_yaml

    return parse_yaml(text)


def check(value: JsonValue, kind: Kind) -> tuple[Any, list[Problem]]:
    """The model of a value of this kind, or what its schema and its named rules have against it."""
    from pydantic import ValidationError

    try:
        model = model_of(kind).model_validate(value, by_alias=True, by_name=False)
    except ValidationError as refusal:
        return None, _schema_problems(value, kind, refusal)
    assert isinstance(value, dict), "every kind's root is an object"
    problems = [problem for rule in RULES.get(kind.name, ()) for problem in rule(value)]
    if kind.paths:
        problems += path_problems(value, kind.paths)
    return model, problems


def _schema_problems(value: JsonValue, kind: Kind, refusal: Any) -> list[Problem]:
    """jsonschema's words for what pydantic refused; it is imported only now, when a document needs its judgement."""
    from mens.contracts.judge import judge

    problems = [say_misplaced(str(kind), problem) for problem in judge(value, validator_of(kind), f"mens/{kind}")]
    if problems:
        return problems
    # The two judges never differ by construction; if they ever do, the stricter one holds and says so.
    reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in refusal.errors()[:3])
    return [Problem("MENS-V099", "", f"the schema accepts this document and its model does not: {shown(reasons)}")]


@cache
def model_of(kind: Kind) -> type[BaseModel]:
    """The generated class of a kind."""
    model: type[BaseModel] = getattr(import_module(f"mens_contracts.{kind.module}"), kind.title)
    return model


@cache
def validator_of(kind: Kind) -> Draft202012Validator:
    """jsonschema's judge for a kind."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema_of(kind))


def schema_of(kind: Kind) -> JsonObject:
    """The self-contained JSON Schema of a kind."""
    import json

    schema: JsonObject = json.loads(schema_text(kind))
    return schema


def schema_text(kind: Kind) -> str:
    """The self-contained JSON Schema of a kind, as text."""
    return _shipped(f"{kind.name}.v{kind.version}.schema.json")


def editor_schema_text() -> str:
    """One draft-07 schema over every kind that tags itself, for editors."""
    return _shipped("editor.schema.json")


def _shipped(file: str) -> str:
    from importlib.resources import files

    return (files("mens_contracts") / "schemas" / file).read_text("utf-8")


def _findings(problems: Iterable[Problem], name: str, text: str, positions: Positions | None) -> list[Finding]:
    ordered = list(problems)
    if not ordered:
        return []
    if positions is None:
        from mens.contracts.strict_json import json_positions

        positions = json_positions(text)
    found = [_placed(problem, name, positions) for problem in ordered]
    return sorted(found, key=lambda finding: (finding.line, finding.column))


def _placed(problem: Problem, name: str, positions: Positions) -> Finding:
    place = positions.key(problem.pointer) if problem.at_key else positions.value(problem.pointer)
    return Finding(name, place.line, place.column, problem.pointer, problem.code, "error", problem.message)


def rows(name: str, lines: Iterable[bytes], kind: Kind) -> Iterator[Examined]:
    """Each line of a JSONL file as one document; an empty line is a finding, for a row was meant to stand there."""
    for number, line in enumerate(lines, start=1):
        if len(line) > LARGEST:
            message = f"the line is larger than {LARGEST >> 20} MiB, which no row is; nothing behind it was read"
            yield Examined(kind, None, [Finding(name, number, 1, "", "MENS-P003", "error", message)])
            return
        examined = examine(Source(name, line.rstrip(b"\r\n"), "json"), kind)
        if examined.findings:
            moved = [finding._replace(line=number) for finding in examined.findings]
            examined = examined._replace(findings=moved)
        yield examined


def shipped_claims() -> Claims:
    """Claims that begin with what mens ships, so that a new document cannot take a shipped name."""
    return Claims(_shipped_names)


def _shipped_names(kind: str) -> Mapping[str, str]:
    """The names of one kind that mens ships, and who has each."""
    tables = {"training-preset": "presets", "family": "families"}
    if kind not in tables:
        return {}
    names: Mapping[str, str] = import_module(f"mens_contracts.{tables[kind]}").NAMES
    return names


__all__ = ["Document", "Examined", "InvalidDocument", "MensError", "check", "examine", "load", "loads", "named", "rows"]
