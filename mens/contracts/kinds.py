"""Which kind a document is: by its own mark, or by the place it stands in."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePath

from mens_contracts.registry import KINDS, Kind

from mens.contracts.errors import UnsupportedError
from mens.contracts.json_types import JsonValue
from mens.contracts.problems import nearest

__all__ = ["KINDS", "Kind", "kind_of_file", "kind_of_value", "mark_bytes", "named", "names"]

TAG = "mens/"


def names() -> list[str]:
    """Every kind's name with its version, in the registry's order."""
    return [str(kind) for kind in KINDS]


def named(name: str) -> Kind:
    """The kind called `training-preset/v1`; without a version, the newest."""
    bare, _, version = name.removeprefix(TAG).partition("/")
    matching = [kind for kind in KINDS if kind.name == bare and version in ("", f"v{kind.version}")]
    if not matching:
        hint = nearest(name.removeprefix(TAG), [*names(), *(kind.name for kind in KINDS)])
        raise UnsupportedError(
            "MENS-U002", f"'{name}' is not a kind of document.{hint}", "", f"Kinds: {', '.join(names())}"
        )
    return max(matching, key=lambda kind: kind.version)


def kind_of_file(name: str) -> Kind | None:
    """The kind that a file has by its name alone: upstream's configuration files and files of rows."""
    base = PurePath(name).name
    for kind in KINDS:
        if kind.by in ("name", "lines") and any(fnmatchcase(base, pattern) for pattern in kind.files):
            return kind
    return None


def kind_of_value(value: JsonValue) -> Kind | None:
    """The kind that a document says it is; None when it says nothing, UnsupportedError when nothing here knows it."""
    if not isinstance(value, dict):
        return None
    for kind in KINDS:
        if kind.by == "schema" and value.get("schema") == f"{TAG}{kind}":
            return kind
        if kind.by == "mark" and value.get(kind.field) == kind.value and _version_matches(kind, value):
            return kind
    claimed = value.get("schema")
    if isinstance(claimed, str) and claimed.startswith(TAG):
        hint = nearest(claimed, [f"{TAG}{name}" for name in names()])
        raise UnsupportedError("MENS-U002", f"'{claimed}' is not a kind of document known here.{hint}", "/schema")
    _refuse_other_version(value)
    return None


def _version_matches(kind: Kind, value: dict[str, object]) -> bool:
    return not kind.version_field or value.get(kind.version_field) == kind.version


def _refuse_other_version(value: dict[str, object]) -> None:
    """A known mark with a version that no kind has: say which versions there are."""
    for kind in KINDS:
        if kind.by == "mark" and value.get(kind.field) == kind.value:
            written = value.get(kind.version_field, "nothing")
            what = f"`{kind.field}: {kind.value}` goes with `{kind.version_field}: {kind.version}`, not {written!r}"
            raise UnsupportedError("MENS-U002", what, f"/{kind.version_field}" if kind.version_field in value else "")


def mark_bytes() -> tuple[bytes, ...]:
    """What the bytes of any file that says its own kind contain: a cheap test before a folder's file is parsed."""
    marks = {kind.value for kind in KINDS if kind.by == "mark"}
    return (b"mens/", b"mens\\/", *sorted(mark.encode() for mark in marks))
