"""Reliability class 5: an index that lies is refused before any tensor is read, with all that it says wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mens.checkpoint.storage.faults import FaultyCheckpoint
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.index import NAME, index_text, read_index
from mens.checkpoint.storage.sources import TensorInfo
from mens.contracts.codes import CODES
from mens.contracts.errors import IntegrityError

Folder = Callable[..., Path]
EMBED, Q, NORM, FINAL, HEAD = (
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.input_layernorm.weight",
    "model.norm.weight",
    "lm_head.weight",
)
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(checkpoint: Folder) -> Path:
    """Two shards: the embedding and a projection in one, the rest in the other."""
    return checkpoint(max_shard_bytes=400)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((folder / NAME).read_text())
    change(index)
    (folder / NAME).write_text(json.dumps(index))


def refused(folder: Path) -> FaultyCheckpoint:
    with pytest.raises(FaultyCheckpoint) as error:
        open_checkpoint(folder)
    assert error.value.exit_code == 4
    assert all(CODES[fault.code].exit_code == 4 for fault in error.value.faults)
    return error.value


def test_a_truthful_index_opens(sharded: Path, tensors: list[TensorInfo]) -> None:
    opened = open_checkpoint(sharded)
    assert opened.index is not None
    assert opened.index.total_size == opened.num_bytes == sum(tensor.num_bytes for tensor in tensors)
    assert opened.index.shards == [shard.name for shard in opened.shards] == [FIRST, SECOND]
    assert {name: tensor.file for name, tensor in opened.tensors.items()} == {
        EMBED: FIRST, Q: FIRST, NORM: SECOND, FINAL: SECOND, HEAD: SECOND,
    }  # fmt: skip


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "missing_tensor": (
        lambda index: index["weight_map"].update({"model.ghost.weight": FIRST}),
        "MENS-C023",
        f"tensor 'model.ghost.weight' is listed in '{FIRST}' and lies in no shard",
    ),
    "wrong_shard": (
        lambda index: index["weight_map"].update({EMBED: SECOND}),
        "MENS-C024",
        f"tensor '{EMBED}' is listed in '{SECOND}' and lies in '{FIRST}'",
    ),
    "extra_tensor": (
        lambda index: index["weight_map"].pop(Q),
        "MENS-C025",
        f"tensor '{Q}' lies in '{FIRST}' and is not listed",
    ),
    "total_too_large": (
        lambda index: index["metadata"].update(total_size=10**6),
        "MENS-C027",
        "'total_size' is 1,000,000, and the tensors take 688 bytes",
    ),
    "missing_shard": (
        lambda index: index["weight_map"].update({"a": "model-00003-of-00003.safetensors"}),
        "MENS-C022",
        f"'{NAME}' names 'model-00003-of-00003.safetensors', which is not there",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_every_lie_has_its_own_code(name: str, sharded: Path) -> None:
    change, code, what = LIES[name]
    rewrite(sharded, change)
    error = refused(sharded)
    assert (error.code, error.what) == (code, what)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../outside.safetensors", "leaves the artifact's folder with `..`"),
        ("/etc/passwd", "is absolute; paths are relative to the artifact's folder"),
        ("C:\\model.safetensors", "is absolute; paths are relative to the artifact's folder"),
        ("~/model.safetensors", "begins with `~`, which some programs expand"),
        ("deeper/model.safetensors", "lies in another folder; shards lie beside their index"),
        ("a\0.safetensors", "contains a control character"),
        ("a\u202e.safetensors", "has characters that do not print"),
        ("", "has an empty or `.` step"),
        ("..", "leaves the artifact's folder with `..`"),
        ("x" * 250 + ".safetensors", "has a name of more than 255 bytes"),
        ("model.bin", "is no safetensors file, the only kind that mens reads"),
    ],
)
def test_a_shard_lies_beside_its_index_and_nowhere_else(name: str, reason: str, sharded: Path) -> None:
    rewrite(sharded, lambda index: index["weight_map"].update({EMBED: name}))
    error = refused(sharded)
    assert error.code == "MENS-C021"
    assert error.what.startswith("the shard '")
    assert error.what.endswith(f" {reason}")


def test_a_path_out_of_the_folder_is_not_followed(checkpoint: Folder, sharded: Path) -> None:
    """The file that the path leads to is a good shard with the right tensors; it is refused all the same."""
    other = checkpoint("other", max_shard_bytes=400)
    rewrite(sharded, lambda index: index["weight_map"].update({EMBED: f"../{other.name}/{FIRST}"}))
    assert refused(sharded).code == "MENS-C021"


def test_a_tensor_in_two_shards_is_told_once(sharded: Path) -> None:
    (sharded / "model-00003-of-00003.safetensors").write_bytes((sharded / FIRST).read_bytes())
    rewrite(sharded, lambda index: index["weight_map"].update({EMBED: "model-00003-of-00003.safetensors"}))
    error = refused(sharded)
    assert [fault.code for fault in error.faults] == ["MENS-C026", "MENS-C026", "MENS-C027"]
    assert error.what == (
        "3 things are wrong:\n"
        f"  tensor '{EMBED}' lies in '{FIRST}' and in 'model-00003-of-00003.safetensors'\n"
        f"  tensor '{Q}' lies in '{FIRST}' and in 'model-00003-of-00003.safetensors'\n"
        "  'total_size' is 688, and the tensors take 1,072 bytes"
    )


def test_a_tensor_listed_twice_is_no_json_of_ours(sharded: Path) -> None:
    text = (sharded / NAME).read_text()
    (sharded / NAME).write_text(
        text.replace('"weight_map": {', '"weight_map": {\n    "lm_head.weight": "b.safetensors",')
    )
    error = refused(sharded)
    assert error.code == "MENS-C020"
    assert error.where == f"{sharded / NAME}:7:5"
    assert "lm_head.weight" in error.what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[]", "an index is an object"),
        ("{}", "'weight_map' must map tensor names to file names, and at least one"),
        ('{"weight_map": {}}', "'weight_map' must map tensor names to file names, and at least one"),
        ('{"weight_map": {"a": 1}}', "'weight_map' must map tensor names to file names, and at least one"),
        ('{"weight_map": ["a"]}', "'weight_map' must map tensor names to file names, and at least one"),
        ('{"weight_map": {"a": "b.safetensors"}, "metadata": []}', "'metadata' must be an object"),
        ('{"weight_map": {"a": "b"}, "metadata": {"total_size": -1}}', "'total_size' must be a count of bytes"),
        ('{"weight_map": {"a": "b"}, "metadata": {"total_size": true}}', "'total_size' must be a count of bytes"),
        ('{"weight_map": {"a": "b"}, "metadata": {"total_size": "9"}}', "'total_size' must be a count of bytes"),
        ('{"weight_map": {"a": "b"}, "metadata": {"total_size": 1.5}}', "'total_size' must be a count of bytes"),
    ],
)  # fmt: skip
def test_what_is_no_index_is_refused(text: str, what: str, sharded: Path) -> None:
    (sharded / NAME).write_text(text)
    error = refused(sharded)
    assert (error.code, error.what) == ("MENS-C020", what)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "1:1"),
        (b'{"weight_map": {"a": NaN}}', "1:22"),
        (b"\xef\xbb\xbf{}", "1:1"),
        (b'{"weight_map": {"a\xff": "b"}}', "1:19"),
        (b'{"a":' * 100_000, "1:321"),
        (b'{"weight_map": {"a": "b"}}}', "1:27"),
    ],
)
def test_what_is_no_strict_json_is_refused_with_its_place(data: bytes, place: str, sharded: Path) -> None:
    (sharded / NAME).write_bytes(data)
    error = refused(sharded)
    assert (error.code, error.where) == ("MENS-C020", f"{sharded / NAME}:{place}")


def test_metadata_may_be_missing_and_may_say_more(sharded: Path) -> None:
    rewrite(sharded, lambda index: index.pop("metadata"))
    assert open_checkpoint(sharded).index.total_size is None  # type: ignore[union-attr]
    rewrite(sharded, lambda index: index.update(metadata={"total_parameters": 5, "total_size": 688}))
    assert open_checkpoint(sharded).index.total_size == 688  # type: ignore[union-attr]


def test_lies_are_told_together_and_before_a_tensor_is_read(sharded: Path) -> None:
    def lie(index: dict[str, Any]) -> None:
        index["weight_map"] = {f"ghost.{at}.weight": FIRST for at in range(7)} | {EMBED: SECOND}

    rewrite(sharded, lie)
    error = refused(sharded)
    assert [fault.code for fault in error.faults].count("MENS-C023") == 7
    assert {fault.code for fault in error.faults} == {"MENS-C023", "MENS-C024", "MENS-C025"}
    assert error.what.startswith("12 things are wrong:\n")
    assert error.what.endswith("\n  and 7 more")
    assert error.fix == "Nothing was read but headers and small files."


def test_damaged_shards_are_told_together(sharded: Path) -> None:
    for name in (FIRST, SECOND):
        (sharded / name).write_bytes((sharded / name).read_bytes() + b"x")
    error = refused(sharded)
    assert error.what == (
        "2 things are wrong:\n"
        f"  {sharded / FIRST}: 1 bytes follow the last tensor\n"
        f"  {sharded / SECOND}: 1 bytes follow the last tensor"
    )
    (sharded / FIRST).write_bytes((sharded / FIRST).read_bytes()[:-1])
    single = refused(sharded)
    assert (single.where, single.what) == (str(sharded / SECOND), "1 bytes follow the last tensor")


def test_an_enormous_index_is_refused(sharded: Path) -> None:
    with (sharded / NAME).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(IntegrityError) as error:
        open_checkpoint(sharded)
    assert error.value.code == "MENS-P003"


def test_an_index_is_written_alike_whatever_the_order(tmp_path: Path) -> None:
    files = {"b": "two.safetensors", "a": "one.safetensors"}
    text = index_text(files, 7)
    assert text == index_text(dict(reversed(files.items())), 7)
    (tmp_path / NAME).write_text(text)
    index = read_index(tmp_path / NAME)
    assert (dict(index.weight_map), index.total_size, index.shards) == (
        files,
        7,
        ["one.safetensors", "two.safetensors"],
    )
