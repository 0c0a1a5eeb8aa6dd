"""Reliability class 4: every malformed safetensors header is refused for its own reason, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mens.checkpoint.storage.faults import FaultyCheckpoint
from mens.checkpoint.storage.headers import TensorHeader, read_header
from mens.contracts.codes import CODES
from mens.contracts.errors import IntegrityError, MensError, ResourceError, UnsupportedError, UsageError

Pack = Callable[..., bytes]
TOO_LARGE = "tensor 'a.weight' has a shape whose size exceeds 63 bits"
DEEP = '{"a":' * 100_000


class Case(NamedTuple):
    """A malformed file, and how it is refused."""

    header: Any
    data: int
    code: str
    what: str


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def one(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"a.weight": entry(dtype, shape, offsets)}


CASES = {
    "not_json": Case(
        "{'a': 1}",
        0,
        "MENS-C002",
        "the header is not JSON: Expecting property name enclosed in double quotes, at character 1",
    ),
    "not_an_object": Case("[1, 2]", 0, "MENS-C002", "the header does not begin with '{'"),
    "leading_space": Case(" {}", 0, "MENS-C002", "the header does not begin with '{'"),
    "byte_order_mark": Case("\ufeff{}", 0, "MENS-C002", "the header does not begin with '{'"),
    "padded_with_nul": Case("{}\0\0", 0, "MENS-C002", "the header is not JSON: Extra data, at character 2"),
    "cut_text": Case('{"a', 0, "MENS-C002", "the header is not JSON: Unterminated string starting at, at character 1"),
    "bad_utf8": Case(b'{"a\xff":1}', 0, "MENS-C002", "byte 0xFF at 3 of the header is not UTF-8"),
    "overlong_utf8": Case(b'{"a\xc0\x80":1}', 0, "MENS-C002", "byte 0xC0 at 3 of the header is not UTF-8"),
    "surrogate_utf8": Case(b'{"a\xed\xa0\x80":1}', 0, "MENS-C002", "byte 0xED at 3 of the header is not UTF-8"),
    "fraction": Case(
        one(shape=[2.0]),
        8,
        "MENS-C002",
        "'2.0' stands in the header, which holds texts and whole numbers only",
    ),
    "not_a_number": Case(
        '{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}',
        8,
        "MENS-C002",
        "'NaN' stands in the header, which holds texts and whole numbers only",
    ),
    "endless_number": Case(
        '{"a":' + "9" * 5000 + "}", 0, "MENS-C002", "the header holds a number of thousands of digits"
    ),
    "deep": Case(DEEP, 0, "MENS-C002", "the header nests too deep"),
    "control_character": Case(
        '{"a\n":1}', 0, "MENS-C002", "the header is not JSON: Invalid control character at, at character 3"
    ),
    "name_twice": Case(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        2,
        "MENS-C003",
        "'a' stands twice in the header",
    ),
    "name_twice_by_escape": Case(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        2,
        "MENS-C003",
        "'a' stands twice in the header",
    ),
    "metadata_twice": Case(
        '{"__metadata__":{},"__metadata__":{}}', 0, "MENS-C003", "'__metadata__' stands twice in the header"
    ),
    "metadata_key_twice": Case(
        '{"__metadata__":{"a":"b","a":"c"}}', 0, "MENS-C003", "a name stands twice in '__metadata__'"
    ),
    "field_twice": Case(
        '{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
        "MENS-C004",
        "tensor 'a' has a field twice",
    ),
    "field_twice_of_three": Case(
        '{"a":{"dtype":"U8","shape":[1],"shape":[1]}}', 1, "MENS-C004", "tensor 'a' has a field twice"
    ),
    "field_missing": Case({"a": {"dtype": "U8", "shape": [1]}}, 1, "MENS-C004", "tensor 'a' lacks data_offsets"),
    "fields_missing": Case({"a": {}}, 1, "MENS-C004", "tensor 'a' lacks dtype, shape, data_offsets"),
    "field_unknown": Case(
        {"a": {**entry(), "strides": [1]}}, 8, "MENS-C004", "tensor 'a' has the unknown field 'strides'"
    ),
    "entry_is_a_list": Case({"a": [1]}, 0, "MENS-C004", "tensor 'a' is described by no object"),
    "entry_is_null": Case({"a": None}, 0, "MENS-C004", "tensor 'a' is described by no object"),
    "header_is_an_entry": Case(entry(), 8, "MENS-C004", "the header is one tensor's entry, not a map of tensors"),
    "dtype_is_a_number": Case(one(dtype=3), 8, "MENS-C004", "tensor 'a.weight' has a dtype that is not a text"),
    "shape_is_a_number": Case(
        one(shape=2), 8, "MENS-C004", "tensor 'a.weight' has a shape that is not a list of whole numbers"
    ),
    "shape_holds_true": Case(
        one(shape=[True]), 4, "MENS-C004", "tensor 'a.weight' has a shape that is not a list of whole numbers"
    ),
    "shape_holds_text": Case(
        one(shape=["2"]), 8, "MENS-C004", "tensor 'a.weight' has a shape that is not a list of whole numbers"
    ),
    "one_offset": Case(
        one(offsets=[0]), 8, "MENS-C004", "tensor 'a.weight' has a data_offsets that is not a list of two whole numbers"
    ),
    "three_offsets": Case(
        one(offsets=[0, 4, 8]),
        8,
        "MENS-C004",
        "tensor 'a.weight' has a data_offsets that is not a list of two whole numbers",
    ),
    "dtype_unknown": Case(one(dtype="BF17"), 8, "MENS-C005", "tensor 'a.weight' has the unknown type 'BF17'"),
    "dtype_in_lower_case": Case(one(dtype="f32"), 8, "MENS-C005", "tensor 'a.weight' has the unknown type 'f32'"),
    "sub_byte": Case(
        one(dtype="F4"),
        1,
        "MENS-C006",
        "tensor 'a.weight' is stored as F4, several elements to a byte, which mens does not read",
    ),
    "negative_dimension": Case(one(shape=[-2]), 8, "MENS-C007", "tensor 'a.weight' has a negative dimension: -2"),
    "very_negative_dimension": Case(
        one(shape=[-(10**4000)]), 8, "MENS-C007", "tensor 'a.weight' has a negative dimension: a number beyond 63 bits"
    ),
    "shape_overflow": Case(one(shape=[2**32, 2**32]), 8, "MENS-C007", TOO_LARGE),
    "shape_overflow_by_item": Case(one(shape=[2**62]), 8, "MENS-C007", TOO_LARGE),
    "shape_overflow_to_zero": Case(one(shape=[2**63, 2], offsets=(0, 0)), 0, "MENS-C007", TOO_LARGE),
    "shape_overflow_beside_zero": Case(
        one(shape=[0, 2**40, 2**40], offsets=(0, 0)),
        0,
        "MENS-C007",
        TOO_LARGE,
    ),
    "too_many_dimensions": Case(
        one(shape=[1] * 65, offsets=(0, 4)), 4, "MENS-C007", "tensor 'a.weight' has 65 dimensions; 64 are the most"
    ),
    "dtype_mismatch": Case(one(dtype="F16"), 8, "MENS-C008", "tensor 'a.weight' has 8 bytes where F16 [2] takes 4"),
    "shape_mismatch": Case(one(shape=[3]), 8, "MENS-C008", "tensor 'a.weight' has 8 bytes where F32 [3] takes 12"),
    "offsets_reversed": Case(
        one(offsets=[8, 0]), 8, "MENS-C008", "tensor 'a.weight' lies at 8 to 0, which is no range"
    ),
    "offset_negative": Case(
        one(offsets=[-8, 0]), 8, "MENS-C008", "tensor 'a.weight' lies at -8 to 0, which is no range"
    ),
    "offset_beyond_63_bits": Case(
        one(offsets=[2**63, 2**63 + 8]),
        8,
        "MENS-C008",
        "tensor 'a.weight' lies at a number beyond 63 bits to a number beyond 63 bits, which is no range",
    ),
    "offset_of_4000_digits": Case(
        {"a": entry(), "b": entry(offsets=[10**4000, 10**4000 + 8])},
        8,
        "MENS-C008",
        "tensor 'b' lies at a number beyond 63 bits to a number beyond 63 bits, which is no range",
    ),
    "overlap": Case({"a": entry(), "b": entry(offsets=(4, 12))}, 12, "MENS-C009", "tensors 'a' and 'b' overlap"),
    "same_place": Case({"a": entry(), "b": entry()}, 8, "MENS-C009", "tensors 'a' and 'b' overlap"),
    "inside_another": Case(
        {"a": entry(shape=[4], offsets=(0, 16)), "b": entry(offsets=(4, 12))},
        16,
        "MENS-C009",
        "tensors 'a' and 'b' overlap",
    ),
    "hole": Case(
        {"a": entry(), "b": entry(offsets=(12, 20))}, 20, "MENS-C009", "4 bytes before tensor 'b' belong to none"
    ),
    "hole_at_the_start": Case(one(offsets=(4, 12)), 12, "MENS-C009", "4 bytes before tensor 'a.weight' belong to none"),
    "trailing_bytes": Case(one(), 11, "MENS-C010", "3 bytes follow the last tensor"),
    "data_without_tensors": Case({}, 8, "MENS-C010", "8 bytes follow the last tensor"),
    "truncated": Case(one(), 5, "MENS-C010", "the file ends 3 bytes before its last tensor does"),
    "no_data": Case(one(), 0, "MENS-C010", "the file ends 8 bytes before its last tensor does"),
    "empty_name": Case({"": entry()}, 8, "MENS-C011", "a tensor has no name"),
    "name_with_nul": Case({"a\0b": entry()}, 8, "MENS-C011", "the name 'aU+0000b' has characters that do not print"),
    "name_with_escape_sequence": Case(
        {"\x1b[2J": entry()}, 8, "MENS-C011", "the name 'U+001B[2J' has characters that do not print"
    ),
    "name_that_reverses": Case(
        {"a\u202eb": entry()}, 8, "MENS-C011", "the name 'aU+202Eb' has characters that do not print"
    ),
    "name_with_half_a_character": Case(
        '{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        8,
        "MENS-C011",
        "the name 'U+D800' has characters that do not print",
    ),
    "name_too_long": Case({"é" * 257: entry()}, 8, "MENS-C011", f"the name '{'é' * 200}...' takes more than 512 bytes"),
    "metadata_is_a_list": Case({"__metadata__": ["a"]}, 0, "MENS-C012", "'__metadata__' must map names to texts"),
    "metadata_is_null": Case({"__metadata__": None}, 0, "MENS-C012", "'__metadata__' must map names to texts"),
    "metadata_holds_a_number": Case(
        {"__metadata__": {"a": 1}}, 0, "MENS-C012", "'__metadata__' must map names to texts"
    ),
    "metadata_is_a_tensor": Case({"__metadata__": entry()}, 8, "MENS-C012", "'__metadata__' must map names to texts"),
    "wasteful": Case(
        '{"a":[' + "[]," * 1_500_000 + "[]]}", 0, "MENS-C013", "the header has more parts than 500,000 tensors need"
    ),
    "wasteful_list": Case(
        '{"a":[' + "0," * 8_000_001 + "0]}", 0, "MENS-C013", "the header has more parts than 500,000 tensors need"
    ),
}


def refused(path: Path, data: bytes) -> MensError:
    path.write_bytes(data)
    with pytest.raises(MensError) as error:
        read_header(path)
    return error.value


@pytest.mark.parametrize("name", CASES)
def test_every_malformed_header_is_refused_for_its_own_reason(name: str, tmp_path: Path, pack: Pack) -> None:
    case = CASES[name]
    path = tmp_path / "model.safetensors"
    error = refused(path, pack(case.header, case.data))
    assert (error.code, error.what, error.where) == (case.code, case.what, str(path))
    assert error.exit_code == CODES[case.code].exit_code
    assert isinstance(error, UnsupportedError if case.code == "MENS-C006" else FaultyCheckpoint)


def test_every_code_of_a_header_has_a_case() -> None:
    found = {case.code for case in CASES.values()}
    assert found == {f"MENS-C{number:03d}" for number in range(2, 14)}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "0 bytes are too few for a safetensors file"),
        (bytes(7), "7 bytes are too few for a safetensors file"),
        (bytes(8), "a header of 0 bytes holds nothing"),
        ((1).to_bytes(8, "little") + b"{", "a header of 1 bytes holds nothing"),
        ((3).to_bytes(8, "little") + b"{}", "the header claims 3 bytes, and 2 follow"),
        ((100_000_000).to_bytes(8, "little") + b"{}", "the header claims 100,000,000 bytes, and 2 follow"),
        ((100_000_001).to_bytes(8, "little"), "the header claims 100,000,001 bytes; the format allows 100,000,000"),
        (
            (2**63).to_bytes(8, "little") + b"{}",
            "the header claims 9,223,372,036,854,775,808 bytes; the format allows 100,000,000",
        ),
        (b"\xff" * 8, "the header claims 18,446,744,073,709,551,615 bytes; the format allows 100,000,000"),
    ],
)
def test_an_impossible_length_is_refused_before_memory_is_taken(data: bytes, what: str, tmp_path: Path) -> None:
    error = refused(tmp_path / "a.safetensors", data)
    assert (error.code, error.what, error.exit_code) == ("MENS-C001", what, 4)


def test_all_faults_are_told_and_the_first_few_are_shown(tmp_path: Path, pack: Pack) -> None:
    header = {f"t{number}": entry(dtype="F99") for number in range(9)} | {"": entry(shape=[-1])}
    error = refused(tmp_path / "a.safetensors", pack(header, 8))
    assert error.what == (
        "11 things are wrong:\n"
        "  tensor 't0' has the unknown type 'F99'\n"
        "  tensor 't1' has the unknown type 'F99'\n"
        "  tensor 't2' has the unknown type 'F99'\n"
        "  tensor 't3' has the unknown type 'F99'\n"
        "  tensor 't4' has the unknown type 'F99'\n"
        "  and 6 more"
    )
    assert isinstance(error, FaultyCheckpoint)
    assert [fault.code for fault in error.faults] == ["MENS-C005"] * 9 + ["MENS-C011", "MENS-C007"]
    assert error.fix == "Nothing was read but headers and small files."


def test_damage_comes_before_what_is_merely_unsupported(tmp_path: Path, pack: Pack) -> None:
    header = {"a": entry(dtype="F4"), "b": entry(dtype="F99")}
    error = refused(tmp_path / "a.safetensors", pack(header, 8))
    assert (error.code, error.exit_code) == ("MENS-C005", 4)


def test_a_good_header_gives_every_tensor_its_place(tmp_path: Path, pack: Pack) -> None:
    header = {
        "__metadata__": {"format": "pt", "dtype": "F32"},
        "scalar": {"data_offsets": [8, 16], "shape": [], "dtype": "I64"},
        "first": entry(),
        "empty": entry(shape=[0, 5], offsets=(8, 8)),
        "dtype": entry(shape=[1], offsets=(16, 20)),
        "spaß {[,": entry(shape=[1], offsets=(20, 24)),
    }
    path = tmp_path / "model.safetensors"
    raw = json.dumps(header) + "   \n"
    path.write_bytes(pack(raw, 24))
    shard = read_header(path)
    start = shard.data_start
    assert start == 8 + len(raw.encode())
    assert shard.metadata == {"format": "pt", "dtype": "F32"}
    assert shard.tensors["scalar"] == TensorHeader("scalar", "I64", (), "model.safetensors", start + 8, start + 16)
    assert (shard.tensors["scalar"].num_bytes, shard.tensors["scalar"].num_elements) == (8, 1)
    assert list(shard.tensors) == ["scalar", "first", "empty", "dtype", "spaß {[,"]
    assert shard.tensors["empty"].num_bytes == 0


def test_three_tensors_called_like_an_entrys_fields_are_tensors(tmp_path: Path, pack: Pack) -> None:
    names = ("dtype", "shape", "data_offsets")
    header = {name: entry(offsets=(8 * at, 8 * at + 8)) for at, name in enumerate(names)}
    (tmp_path / "a.safetensors").write_bytes(pack(header, 24))
    assert tuple(read_header(tmp_path / "a.safetensors").tensors) == names


def test_a_name_may_take_512_bytes(tmp_path: Path, pack: Pack) -> None:
    (tmp_path / "a.safetensors").write_bytes(pack({"é" * 256: entry()}, 8))
    assert [len(name) for name in read_header(tmp_path / "a.safetensors").tensors] == [256]


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(IntegrityError) as error:
        read_header(tmp_path / "pipe.safetensors")
    assert error.value.code == "MENS-P002"
    with pytest.raises(IntegrityError) as error:
        read_header(tmp_path)
    assert error.value.code == "MENS-P002"
    with pytest.raises(UsageError) as missing:
        read_header(tmp_path / "none.safetensors")
    assert missing.value.code == "MENS-P004"
    with pytest.raises(ResourceError) as unreadable:
        read_header(tmp_path / ("x" * 300))
    assert unreadable.value.code == "MENS-P005"


def test_the_collector_is_left_as_it_was(tmp_path: Path, pack: Pack) -> None:
    import gc

    assert gc.isenabled()
    refused(tmp_path / "a.safetensors", pack("[]"))
    assert gc.isenabled()
    gc.disable()
    try:
        refused(tmp_path / "a.safetensors", pack("[]"))
        assert not gc.isenabled()
    finally:
        gc.enable()


HOSTILE = """
import resource, sys
from pathlib import Path
from mens.checkpoint.storage.headers import read_header
from mens.contracts.errors import MensError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
num_refused = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_header(path)
    except MensError:
        num_refused += 1
print(num_refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_hostile_headers_take_little_memory(tmp_path: Path, pack: Pack) -> None:
    """60 MB of JSON that would become gigabytes of lists, and files that claim to be long: no more than their bytes."""
    filler = b"[]," * 20_000_000
    (tmp_path / "lists").write_bytes(pack(b'{"a":[' + filler + b"[]]}"))
    (tmp_path / "brackets").write_bytes(pack(b'{"a":' + b"[" * 1_000_000))
    with (tmp_path / "zeros").open("wb") as file:
        file.write((100_000_000).to_bytes(8, "little"))
        file.truncate(200_000_000)
    with (tmp_path / "claims").open("wb") as file:
        file.write((2**62).to_bytes(8, "little"))
        file.truncate(2**40)
    environ = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(tmp_path)], env=environ, capture_output=True, text=True, check=True
    )
    num_refused, kilobytes = map(int, done.stdout.split())
    assert num_refused == 4
    assert kilobytes < 150_000, f"{kilobytes} KiB"
