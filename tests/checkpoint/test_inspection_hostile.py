"""Whatever the small files hold, an inspection ends in a report or in a refusal with a code, never in a traceback."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from mens_contracts.families import FAMILIES

from mens.checkpoint.inspection.inspect import inspect
from mens.checkpoint.storage.folder import open_checkpoint
from mens.contracts.codes import CODES
from mens.contracts.errors import MensError
from mens.report.inspection import inspection_text
from tests.checkpoint.made import tiny
from tests.checkpoint.test_inspection_files import FILES, ON

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-2, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["default", "yarn", "full_attention", "\u202e\x1b[2J", "x" * 5000])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.json",
)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield above
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*above, key))


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    result = copy.deepcopy(value)
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = new
    return result


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hostile")
    files = {**FILES, "generation_config.json": {"eos_token_id": [250]}, "chat_template.jinja": ON}
    return {id_: tiny(root / id_, id_, files=files) for id_ in FAMILIES}


def outcome(folder: Path) -> str:
    """How an inspection ends: a code, or nothing; the report is one that can be printed."""
    try:
        found = inspect(open_checkpoint(folder))
    except MensError as refusal:
        # Our own document is never what is refused: what goes into it was bounded before.
        return f"own {refusal.what}" if refusal.where.startswith("inspection:") else refusal.code
    text = inspection_text(found.document)
    assert all(line.isprintable() for line in text.splitlines())
    return found.refusal.code if found.refusal else ""


SETTINGS = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(st.data())
def test_a_configuration_with_anything_in_one_place(folders: dict[str, Path], data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(list(FAMILIES)))
    config = FAMILIES[family].tiny_config
    place = data.draw(st.sampled_from(list(places(config))))
    (folders[family] / "config.json").write_text(json.dumps(replaced(config, place, data.draw(VALUES))))
    try:
        code = outcome(folders[family])
        event(code or "a report")
        assert not code or code in CODES
    finally:
        (folders[family] / "config.json").write_text(json.dumps(config))


@SETTINGS
@given(st.sampled_from(NAMES), VALUES, st.data())
def test_a_small_file_with_anything_in_it(folders: dict[str, Path], name: str, value: Any, data: st.DataObject) -> None:
    folder = folders["llama"]
    path = folder / name
    before = path.read_bytes() if path.exists() else None
    known = json.loads(before) if before else {}
    place = data.draw(st.sampled_from(list(places(known))))
    path.write_text(json.dumps(replaced(known, place, value)))
    try:
        code = outcome(folder)
        event(code or "a report")
        assert not code or code in CODES
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


@pytest.mark.parametrize("name", [*NAMES, "chat_template.jinja"])
@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"a": 1e999}', b"[" * 100_000, b"\0", b"{} {}", "{}".encode("utf-16")],
)
def test_a_small_file_that_is_no_text(folders: dict[str, Path], name: str, data: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(folders["llama"], folder)
    (folder / name).write_bytes(data)
    code = outcome(folder)
    assert code in ("MENS-S001", "MENS-V001") or name == "chat_template.jinja"


def test_a_small_file_that_is_no_file(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(folders["llama"], folder)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").mkdir()
    assert outcome(folder) == "MENS-P002"
