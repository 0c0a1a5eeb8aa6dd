"""A JSON Schema's verdict on a value, in words for the person who has to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from mens.contracts.json_types import JsonValue
from mens.contracts.problems import Problem, nearest, pointer, shown

CODES = {
    "type": "MENS-V001",
    "required": "MENS-V002",
    "additionalProperties": "MENS-V003",
    "enum": "MENS-V004",
    "const": "MENS-V004",
    "minimum": "MENS-V005",
    "maximum": "MENS-V005",
    "minLength": "MENS-V006",
    "maxLength": "MENS-V006",
    "pattern": "MENS-V007",
    "minItems": "MENS-V008",
    "maxItems": "MENS-V008",
}
BAD_KEY = "MENS-V009"
STRICT_END = "(?!\\n)$"  # how schemas write `$`; people know it as `$`
JSON_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
Path = tuple[str | int, ...]


def judge(value: JsonValue, validator: Draft202012Validator, label: str) -> list[Problem]:
    """Everything that a schema has against a value, in the order of the document's fields; empty when nothing."""
    found = dict.fromkeys(problem for error in validator.iter_errors(value) for problem in _problems(error, label))
    listed = {problem.pointer for problem in found if problem.code == CODES["enum"]}
    # Where the values that may stand are listed, their type need not be said as well.
    return [problem for problem in found if problem.code != CODES["type"] or problem.pointer not in listed]


def _problems(error: ValidationError, label: str, above: Path = ()) -> Iterator[Problem]:
    path = (*above, *error.relative_path)
    if "propertyNames" in list(error.relative_schema_path)[-2:-1]:
        key = str(error.instance)
        yield Problem(BAD_KEY, pointer(*path, key), f"{shown(key)} cannot be a key here: {_leaf(error)}", at_key=True)
    elif error.validator == "additionalProperties":
        yield from _unknown_fields(error, path, label)
    elif error.validator == "required":
        yield from _missing_fields(error, path, label)
    elif error.validator in ("oneOf", "anyOf"):
        yield from _no_branch(error, path, label)
    else:
        yield Problem(CODES[str(error.validator)], pointer(*path), _leaf(error))


def _schema(error: ValidationError) -> dict[str, Any]:
    """The schema that the error comes from: always an object, for `true` and `false` are outside the subset."""
    assert isinstance(error.schema, dict)
    return error.schema


def _unknown_fields(error: ValidationError, path: Path, label: str) -> Iterator[Problem]:
    known = _schema(error)["properties"]
    instance: Any = error.instance
    for key in instance:
        if key not in known:
            missing = [name for name in known if name not in instance]
            message = f"{shown(key)} is not a field of {_owner(path, label)}.{nearest(key, missing)}"
            yield Problem(CODES["additionalProperties"], pointer(*path, key), message, at_key=True)


def _missing_fields(error: ValidationError, path: Path, label: str) -> Iterator[Problem]:
    instance: Any = error.instance
    required: Any = error.validator_value
    for key in required:
        if key not in instance:
            message = f"the required field {shown(key)} is missing from {_owner(path, label)}"
            yield Problem(CODES["required"], pointer(*path), message)


def _owner(path: Path, label: str) -> str:
    return f"`{'.'.join(map(str, path))}` in {label}" if path else label


def _no_branch(error: ValidationError, path: Path, label: str) -> Iterator[Problem]:
    """Report the branch that was meant: by its tag for objects, by its JSON type otherwise."""
    tag = _schema(error).get("discriminator", {}).get("propertyName")
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    meant = [found for found in branches.values() if not any(_other_kind(inner, tag) for inner in found)]
    if len(meant) == 1:
        for inner in meant[0]:
            yield from _problems(inner, label, above=path)
    elif tag is not None and isinstance(error.instance, dict):
        yield _bad_tag(error, path, tag, label)
    else:
        yield Problem(CODES["type"], pointer(*path), f"{shown(error.instance)} is not {_branch_types(error)}")


def _other_kind(inner: ValidationError, tag: str | None) -> bool:
    """Whether this error says that another branch was meant: the value's type, or its tag, is another's."""
    here = list(inner.relative_path)
    instance: Any = inner.instance
    return (inner.validator == "type" and not here) or (
        tag is not None and (here == [tag] or (not here and inner.validator == "required" and tag not in instance))
    )


def _bad_tag(error: ValidationError, path: Path, tag: str, label: str) -> Problem:
    instance: Any = error.instance
    tags = [
        inner.validator_value
        for inner in error.context or ()
        if inner.validator == "const" and list(inner.relative_path) == [tag]
    ]
    if tag not in instance:
        return Problem(
            CODES["required"], pointer(*path), f"the required field {shown(tag)} is missing from {_owner(path, label)}"
        )
    written = instance[tag]
    return Problem(
        CODES["const"], pointer(*path, tag), f"{shown(written)} is not one of {_listed(tags)}.{nearest(written, tags)}"
    )


def _branch_types(error: ValidationError) -> str:
    """What JSON types the branches take, where it is the type that is wrong."""
    declared: list[Any] = [
        inner.validator_value for inner in error.context or () if inner.validator == "type" and not inner.relative_path
    ]
    names = [name for value in declared for name in ([value] if isinstance(value, str) else value)]
    return " or ".join(dict.fromkeys(JSON_TYPES[name] for name in names)) or "any of the forms that may stand here"


def _leaf(error: ValidationError) -> str:
    """What one keyword has against one value."""
    keyword = str(error.validator)
    wanted: Any = error.validator_value
    value: Any = error.instance
    if keyword == "type":
        names = [wanted] if isinstance(wanted, str) else wanted
        return f"{shown(value)} is not {' or '.join(JSON_TYPES[name] for name in names)}"
    if keyword == "enum":
        return f"{shown(value)} is not one of {_listed(wanted)}.{nearest(value, wanted)}"
    if keyword == "const":
        return f"{shown(value)} must be {shown(wanted)}"
    if keyword in ("minimum", "maximum"):
        return f"{shown(value)} is {'below' if keyword == 'minimum' else 'above'} the {keyword}, {shown(wanted)}"
    if keyword == "pattern":
        return f"{shown(value)} does not have the form {str(wanted).replace(STRICT_END, '$')}"
    if keyword in ("minLength", "maxLength", "minItems", "maxItems"):
        things = "characters" if keyword.endswith("Length") else "entries"
        bound = "at least" if keyword.startswith("min") else "at most"
        return f"{len(value):,} {things}, where {bound} {wanted:,} may stand"
    return str(error.message)[:300]


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(shown(value) for value in values)
