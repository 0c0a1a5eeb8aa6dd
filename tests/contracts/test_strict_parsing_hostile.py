"""What the strict parsers refuse: where, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mens.contracts.positions import SyntaxFault, decode
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

Row = tuple[str, int, int, str, str]  # text, line, column, message, pointer
BYTE_ORDER_MARK = "the document starts with a byte order mark (U+FEFF); save it as UTF-8 without one"

JSON: list[Row] = [
    ("", 1, 1, "the document is empty", ""),
    (" \n", 1, 1, "the document is empty", ""),
    ('{"a": 1, "a": 2}', 1, 10, "the key 'a' is a duplicate; it is first written on line 1", "/a"),
    (
        '{"a":\n {"b": 1,\n  "c": 2,\n  "b": 3}}',
        4,
        3,
        "the key 'b' is a duplicate; it is first written on line 2",
        "/a/b",
    ),
    ('{"a": 1,\n "\\u0061": 2}', 2, 2, "the key 'a' is a duplicate; it is first written on line 1", "/a"),
    ("[NaN]", 1, 2, "NaN is not a number in JSON", "/0"),
    ("[-Infinity]", 1, 2, "-Infinity is not a number in JSON", "/0"),
    ('{"x": Infinity}', 1, 7, "Infinity is not a number in JSON", "/x"),
    ("[1e999]", 1, 2, "the number '1e999' is too large for a 64-bit float", "/0"),
    ("[-1e999]", 1, 2, "the number '-1e999' is too large for a 64-bit float", "/0"),
    ('{"a": "\\ud800"}', 1, 8, "a lone surrogate (U+D800) is half a character; write the whole character", "/a"),
    ('{"a": "x\\udc00"}', 1, 9, "a lone surrogate (U+DC00) is half a character; write the whole character", "/a"),
    (
        '["\\ud83d\\ud83d\\ude00"]',
        1,
        3,
        "a lone surrogate (U+D83D) is half a character; write the whole character",
        "/0",
    ),
    ('{"\\ud800": 1}', 1, 3, "a lone surrogate (U+D800) is half a character; write the whole character", ""),
    ("[1] 2", 1, 5, "expected the end of the document, found '2'", ""),
    ("{} {}", 1, 4, "expected the end of the document, found '{'", ""),
    ('{"a": 1}}', 1, 9, "expected the end of the document, found '}'", ""),
    ("[1,]", 1, 3, "a comma before ']'; JSON allows none after the last value", ""),
    ('{"a": 1,}', 1, 8, "a comma before '}'; JSON allows none after the last value", ""),
    ("[1 2]", 1, 4, "expected ',' or ']', found '2'", ""),
    ('{"a" 1}', 1, 6, "expected ':' after the key 'a', found '1'", "/a"),
    ("{a: 1}", 1, 2, "expected a key in double quotes, found 'a'", ""),
    ("{'a': 1}", 1, 2, "expected a key in double quotes, found '''; strings stand in double quotes", ""),
    ("['a']", 1, 2, "expected a value, found '''; strings stand in double quotes", "/0"),
    ("[01]", 1, 2, "'01' is not a number in JSON", "/0"),
    ("[+1]", 1, 2, "'+1' is not a number in JSON", "/0"),
    ("[.5]", 1, 2, "'.5' is not a number in JSON", "/0"),
    ("[1.]", 1, 2, "'1.' is not a number in JSON", "/0"),
    ("[0x1F]", 1, 2, "'0x1F' is not a number in JSON", "/0"),
    ("[1_000]", 1, 2, "'1_000' is not a number in JSON", "/0"),
    ("[True]", 1, 2, "expected a value, found the bare word 'True'; write true", "/0"),
    ("[None]", 1, 2, "expected a value, found the bare word 'None'; write null", "/0"),
    ("[nul]", 1, 2, "expected a value, found the bare word 'nul'; strings stand in double quotes", "/0"),
    ("[tru", 1, 2, "expected a value, found the bare word 'tru'; strings stand in double quotes", "/0"),
    ("// c\n{}", 1, 1, "expected a value, found '/'; JSON has no comments", ""),
    ('{"a": 1 // c\n}', 1, 9, "expected ',' or '}', found '/'; JSON has no comments", ""),
    ('{"a": 1, # c\n"b": 2}', 1, 10, "expected a key in double quotes, found '#'; JSON has no comments", ""),
    ('"abc', 1, 1, "the string is never closed", ""),
    ('["a\nb"]', 1, 4, "the string is not closed on its line; a line break in it is written \\n", "/0"),
    ('["a\tb"]', 1, 4, "an unescaped control character (U+0009) in a string; write \\u0009", "/0"),
    ('["\x00"]', 1, 3, "an unescaped control character (U+0000) in a string; write \\u0000", "/0"),
    ('["\\q"]', 1, 3, "'\\q' is not an escape in JSON", "/0"),
    ('["\\u12"]', 1, 3, "'\\u' takes four hexadecimal digits", "/0"),
    ('["\\u12', 1, 3, "'\\u' takes four hexadecimal digits", "/0"),
    ("[1", 1, 3, "expected ',' or ']', found the end of the document", ""),
    ('{"a": 1', 1, 8, "expected ',' or '}', found the end of the document", ""),
    ('{"a":', 1, 6, "expected a value, found the end of the document", "/a"),
    ('{"a"', 1, 5, "expected ':' after the key 'a', found the end of the document", "/a"),
    ("{", 1, 2, "expected a key in double quotes, found the end of the document", ""),
    ("[", 1, 2, "expected a value, found the end of the document", "/0"),
    ("\ufeff{}", 1, 1, "the document starts with a byte order mark (U+FEFF); save it as UTF-8 without one", ""),
    ('["\ud800"]', 1, 3, "a lone surrogate (U+D800) is half a character; write the whole character", ""),
    ("\xa0{}", 1, 1, "expected a value, found U+00A0", ""),
    ("[1,\r\n 2,\r\n x]", 3, 2, "expected a value, found the bare word 'x'; strings stand in double quotes", "/2"),
    ("[1,\r 2,\r x]", 3, 2, "expected a value, found the bare word 'x'; strings stand in double quotes", "/2"),
    ("[1,,2]", 1, 4, "expected a value, found ','", "/1"),
    ('{"a": 1,,}', 1, 9, "expected a key in double quotes, found ','", ""),
    ("{,}", 1, 2, "expected a key in double quotes, found ','", ""),
    ("]", 1, 1, "expected a value, found ']'", ""),
    ('{"a":{"b":[0,{"c":nan}]}}', 1, 19, "nan is not a number in JSON", "/a/b/1/c"),
    ("é", 1, 1, "expected a value, found the bare word 'é'; strings stand in double quotes", ""),
    ('{"a": -}', 1, 7, "'-' is not a number in JSON", "/a"),
    ("9" * 401, 1, 1, "a number of more than 400 digits", ""),
    ("[0." + "1" * 400 + "]", 1, 2, "a number of more than 400 digits", "/0"),
    (
        "[1e90000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000]",
        1,
        2,
        "a number of more than 400 digits",
        "/0",
    ),
    ("[" * 65, 1, 65, "nested deeper than 64 levels", "/0" * 64),
    ('{"a":' * 65, 1, 321, "nested deeper than 64 levels", "/a" * 64),
    ("[[1]," * 65, 1, 317, "nested deeper than 64 levels", "/1" * 63 + "/0"),
    ("\x0b{}", 1, 1, "expected a value, found U+000B", ""),
    ("[1}", 1, 3, "expected ',' or ']', found '}'", ""),
    ('{"a": 1]', 1, 8, "expected ',' or '}', found ']'", ""),
]

YAML: list[Row] = [
    ("", 1, 1, "the document is empty", ""),
    ("# only\n", 1, 1, "the document is empty", ""),
    ("---\n", 1, 1, "the document is empty", ""),
    ("--- # x\n...\n", 1, 1, "the document is empty", ""),
    ("a: 1\na: 2\n", 2, 1, "the key 'a' is a duplicate; it is first written on line 1", "/a"),
    ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4, 3, "the key 'b' is a duplicate; it is first written on line 2", "/a/b"),
    ('{a: 1, "a": 2}', 1, 8, "the key 'a' is a duplicate; it is first written on line 1", "/a"),
    ("a: .nan", 1, 4, ".nan is not allowed; a number is finite (quote it if it is text)", "/a"),
    ("a: [1, .inf]", 1, 8, ".inf is not allowed; a number is finite (quote it if it is text)", "/a/1"),
    ("a: -.INF", 1, 4, "-.INF is not allowed; a number is finite (quote it if it is text)", "/a"),
    ("a: 1e999", 1, 4, "the number '1e999' is too large for a 64-bit float", "/a"),
    ("a: &x 1", 1, 4, "anchors are not allowed: '&x'", "/a"),
    ("&x a: 1", 1, 1, "anchors are not allowed: '&x'", ""),
    ("a: *x", 1, 4, "aliases are not allowed: '*x'", "/a"),
    ("*x : 1", 1, 1, "aliases are not allowed: '*x'", ""),
    ("a: !!str 1", 1, 4, "tags are not allowed: '!!str'", "/a"),
    ("a: !x 1", 1, 4, "tags are not allowed: '!x'", "/a"),
    ("!!map {}", 1, 1, "tags are not allowed: '!!map'", ""),
    ("a: ! 1", 1, 4, "tags are not allowed: '!'", "/a"),
    ("!e!x y", 1, 1, "tags are not allowed", ""),
    ("a: 1\n---\nb: 2", 2, 1, "a second document starts here; a file holds one", ""),
    ("---\n---\n", 2, 1, "a second document starts here; a file holds one", ""),
    ("%YAML 1.2\n---\na: 1", 1, 1, "directives are not allowed", ""),
    ("%TAG ! x\n---\n", 1, 1, "directives are not allowed", ""),
    ("%FOO\n---\n", 1, 1, "directives are not allowed", ""),
    ("1: a", 1, 1, "the key '1' would not be a string; quote it", "/1"),
    ("true: a", 1, 1, "the key 'true' would not be a string; quote it", "/true"),
    ("null: a", 1, 1, "the key 'null' would not be a string; quote it", "/null"),
    (": a", 1, 1, "found ':' where the mapping that starts at 1:1 goes on with a key at its own indentation", ""),
    ("{? : a}", 1, 4, 'the key is empty; write "" for an empty key', "/"),
    ("~: a", 1, 1, "the key '~' would not be a string; quote it", "/~0"),
    ("1.5: a", 1, 1, "the key '1.5' would not be a string; quote it", "/1.5"),
    ("0x1F: a", 1, 1, "the key '0x1F' would not be a string; quote it", "/0x1F"),
    (".inf: a", 1, 1, "the key '.inf' would not be a string; quote it", "/.inf"),
    ("? [a]\n: b", 1, 3, "a mapping or a list cannot be a key", ""),
    ("[a]: b", 1, 1, "a mapping or a list cannot be a key", ""),
    ("{a: 1}: b", 1, 1, "a mapping or a list cannot be a key", ""),
    ("? {a: 1}\n: b", 1, 3, "a mapping or a list cannot be a key", ""),
    ("[1] x", 1, 5, "expected the end of the document, found 'x'", ""),
    ('"a" b', 1, 5, "expected the end of the document, found 'b'", ""),
    ("{a", 1, 3, "found the end of the document where the mapping that starts at 1:1 goes on with ',' or '}'", ""),
    ("[a, b", 1, 6, "found the end of the document where the list that starts at 1:1 goes on with ',' or ']'", ""),
    ("{a: 1", 1, 6, "found the end of the document where the mapping that starts at 1:1 goes on with ',' or '}'", ""),
    ('a: "x', 1, 4, "the quoted text is never closed", ""),
    ("a: 'x", 1, 4, "the quoted text is never closed", ""),
    ("a: b: c", 1, 5, "a ':' cannot stand here; mend the indentation or quote the text", ""),
    ("\ta: 1", 1, 1, "a tab cannot indent YAML; use spaces", ""),
    ("a:\n\t- b", 2, 1, "a tab cannot indent YAML; use spaces", ""),
    ("@x", 1, 1, "a plain value cannot start with '@'; quote it", ""),
    ("a: `x", 1, 4, "a plain value cannot start with '`'; quote it", ""),
    ("a: %x", 1, 4, "a plain value cannot start with '%'; quote it", ""),
    ('"\\q"', 1, 2, "'\\q' is not an escape in YAML", ""),
    ('"\\ud800"', 1, 2, "a lone surrogate (U+D800) is half a character; write the whole character", ""),
    ('"\\ud83d\\ude00"', 1, 2, "a lone surrogate (U+D83D) is half a character; write the whole character", ""),
    ('"\\UFFFFFFFF"', 1, 2, "there is no character U+FFFFFFFF", ""),
    ('"\\x1"', 1, 2, "'\\x' takes more hexadecimal digits", ""),
    ("a: \x01", 1, 4, "the control character U+0001 is not allowed", ""),
    ("a: \x00", 1, 4, "the control character U+0000 is not allowed", ""),
    ("a: \x7f", 1, 4, "the control character U+007F is not allowed", ""),
    ("a: \x85b", 1, 4, 'the invisible character U+0085 is not allowed; write "\\u0085" in double quotes', ""),
    ("# \u2028\na: 1", 1, 3, 'the invisible character U+2028 is not allowed; write "\\u2028" in double quotes', ""),
    ('a: "\ufeff"', 1, 5, 'the invisible character U+FEFF is not allowed; write "\\ufeff" in double quotes', ""),
    ("\ufeffa: 1", 1, 1, "the document starts with a byte order mark (U+FEFF); save it as UTF-8 without one", ""),
    ('a: "\ud800"', 1, 5, "a lone surrogate (U+D800) is half a character; write the whole character", ""),
    ("- a\nb: 1", 2, 1, "found 'b' where the list that starts at 1:1 goes on with a '-' at its own indentation", ""),
    ("a: 1\n  b: 2", 2, 4, "a ':' cannot stand here; mend the indentation or quote the text", ""),
    ("a: 1\nfoo\nb: 2", 2, 1, "expected a ':' after this key", ""),
    (
        "a:\n  - b\n - c",
        3,
        2,
        "found '-' where the mapping that starts at 1:1 goes on with a key at its own indentation",
        "",
    ),
    ("a: |0\n x", 1, 5, "a block of text cannot be indented by 0", ""),
    ("a: |x\n y", 1, 5, "expected the end of the line after the sign of a block of text, found 'x'", ""),
    ("x: }", 1, 4, "expected a value, found '}'", ""),
    ("a: ]", 1, 4, "expected a value, found ']'", ""),
    ("| 1\n x", 1, 3, "expected the end of the line after the sign of a block of text, found '1'", ""),
    ('a: "x\n---\n"', 2, 1, "the document ends inside quotes", ""),
    ("- - a\n - b", 2, 2, "found '-' where the list that starts at 1:1 goes on with a '-' at its own indentation", ""),
    ("a: - b", 1, 4, "a '-' cannot start an item here; give it its own line", ""),
    ("a: ? b", 1, 4, "a '?' cannot stand here; quote the text", ""),
    ("[a, ? b", 1, 8, "found the end of the document where the list that starts at 1:1 goes on with ',' or ']'", ""),
    ("[" * 65, 1, 65, "nested deeper than 64 levels", "/0" * 64),
    ("- " * 65, 1, 129, "nested deeper than 64 levels", "/0" * 64),
    ("9" * 401, 1, 1, "a number of more than 400 digits", ""),
    ("a: 0x" + "F" * 400, 1, 4, "a number of more than 400 digits", "/a"),
    ("a: 0o" + "7" * 401, 1, 4, "a number of more than 400 digits", "/a"),
    ("a: 1." + "0" * 401, 1, 4, "a number of more than 400 digits", "/a"),
    ("a:\r\n  b: 1\r\n  b: 2\r\n", 3, 3, "the key 'b' is a duplicate; it is first written on line 2", "/a/b"),
    ("a:\r  b: 1\r  b: 2\r", 3, 3, "the key 'b' is a duplicate; it is first written on line 2", "/a/b"),
    ("é: 1\né: 2\n", 2, 1, "the key 'é' is a duplicate; it is first written on line 1", "/é"),
    ("a: !<x y", 1, 4, "tags are not allowed", ""),
    ("a: *", 1, 4, "aliases are not allowed", ""),
    ("a: &", 1, 4, "anchors are not allowed", ""),
    ('a: "b"c', 1, 7, "found 'c' where the mapping that starts at 1:1 goes on with a key at its own indentation", ""),
    ("{a: [1, 2}", 1, 10, "found '}' where the list that starts at 1:5 goes on with ',' or ']'", ""),
    ("[{a: 1]", 1, 7, "found ']' where the mapping that starts at 1:2 goes on with ',' or '}'", ""),
    ("a: {b: 1\nc: 2", 2, 2, "found ':' where the mapping that starts at 1:4 goes on with ',' or '}'", ""),
    ("a: [1\nb: 2", 2, 2, "found ':' where the list that starts at 1:4 goes on with ',' or ']'", ""),
    ("a: 'x'y", 1, 7, "found 'y' where the mapping that starts at 1:1 goes on with a key at its own indentation", ""),
    ("<<: 1\n<<: 2", 2, 1, "the key '<<' is a duplicate; it is first written on line 1", "/<<"),
    ("a: 'b\nc: 1", 1, 4, "the quoted text is never closed", ""),
    ("key: value\n other: x", 2, 7, "a ':' cannot stand here; mend the indentation or quote the text", ""),
    ('{"a": 1', 1, 8, "found the end of the document where the mapping that starts at 1:1 goes on with ',' or '}'", ""),
    ("a: 1e-4\nb: 1E+400", 2, 4, "the number '1E+400' is too large for a 64-bit float", "/b"),
    ("k: [a, {b: [c, .NaN]}]", 1, 16, ".NaN is not allowed; a number is finite (quote it if it is text)", "/k/1/b/1"),
    ("a: 1 \n\tb: 2", 2, 1, "a tab cannot indent YAML; use spaces", ""),
    ("{a: 1, b: [x, y}", 1, 16, "found '}' where the list that starts at 1:11 goes on with ',' or ']'", ""),
    ("a: {b: 1, b: 2}", 1, 11, "the key 'b' is a duplicate; it is first written on line 1", "/a/b"),
    ("- a: 1\n  a: 2", 2, 3, "the key 'a' is a duplicate; it is first written on line 1", "/0/a"),
    ("a: [1]]", 1, 7, "found ']' where the mapping that starts at 1:1 goes on with a key at its own indentation", ""),
    ("a: }", 1, 4, "expected a value, found '}'", ""),
    ("- - - &deep x", 1, 7, "anchors are not allowed: '&deep'", "/0/0/0"),
    (
        "a: |\n  x\n y",
        3,
        2,
        "found 'y' where the mapping that starts at 1:1 goes on with a key at its own indentation",
        "",
    ),
    ('!!python/object/apply:os.system ["x"]', 1, 1, "tags are not allowed: '!!python/object/apply:os.system'", ""),
    ("a: !!binary aGk=", 1, 4, "tags are not allowed: '!!binary'", "/a"),
    ("a: !!float 1", 1, 4, "tags are not allowed: '!!float'", "/a"),
    ("'a': 1\n\"a\": 2", 2, 1, "the key 'a' is a duplicate; it is first written on line 1", "/a"),
    ("a: 1\n...\nb: 2", 3, 1, "expected the end of the document, found 'b'", ""),
    ("--- a\n--- b", 2, 1, "a second document starts here; a file holds one", ""),
]

BYTES: list[tuple[bytes, int, int, str]] = [
    (b"\xef\xbb\xbf{}", 1, 1, BYTE_ORDER_MARK),
    ("{}".encode("utf-16"), 1, 1, "the document is written in UTF-16; save it as UTF-8"),
    ("{}".encode("utf-16-le"), 1, 1, "the document is written in UTF-16; save it as UTF-8"),
    ("{}".encode("utf-16-be"), 1, 1, "the document is written in UTF-16; save it as UTF-8"),
    (b"\xfe\xff\0{\0}", 1, 1, "the document is written in UTF-16; save it as UTF-8"),
    ("{}".encode("utf-32"), 1, 1, "the document is written in UTF-32; save it as UTF-8"),
    ("{}".encode("utf-32-le"), 1, 1, "the document is written in UTF-32; save it as UTF-8"),
    ("{}".encode("utf-32-be"), 1, 1, "the document is written in UTF-32; save it as UTF-8"),
    (b"\0\0\xfe\xff\0\0\0{", 1, 1, "the document is written in UTF-32; save it as UTF-8"),
    (b"a\xff", 1, 2, "byte 0xFF is not valid UTF-8 here; save the file as UTF-8"),
    (b'{"a":\r\n "\xc3\xa9\xff"}', 2, 4, "byte 0xFF is not valid UTF-8 here; save the file as UTF-8"),
    (b"\xed\xa0\x80", 1, 1, "byte 0xED is not valid UTF-8 here; save the file as UTF-8"),
    (b"\xc0\x80", 1, 1, "byte 0xC0 is not valid UTF-8 here; save the file as UTF-8"),
    (b"a\xe2\x82", 1, 2, "byte 0xE2 is not valid UTF-8 here; save the file as UTF-8"),
    (b"\x1f\x8b\x08\0\xff", 1, 2, "byte 0x8B is not valid UTF-8 here; save the file as UTF-8"),
    (b"a\n\0b", 2, 1, "a NUL character (U+0000) is not allowed in a document"),
    (b"{}\0\0", 1, 3, "a NUL character (U+0000) is not allowed in a document"),
    (b"\0", 1, 1, "a NUL character (U+0000) is not allowed in a document"),
    (b"\0\0\0\0", 1, 1, "a NUL character (U+0000) is not allowed in a document"),
]


def fault_of(parse: Callable[[Any], object], text: Any) -> SyntaxFault:
    with pytest.raises(SyntaxFault) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize("row", JSON, ids=[ascii(row[0])[:30] for row in JSON])
def test_json_is_refused_where_and_why(row: Row) -> None:
    text, *expected = row
    fault = fault_of(parse_json, text)
    assert [fault.line, fault.column, fault.message, fault.pointer] == expected


@pytest.mark.parametrize("row", YAML, ids=[ascii(row[0])[:30] for row in YAML])
def test_yaml_is_refused_where_and_why(row: Row) -> None:
    text, *expected = row
    fault = fault_of(parse_yaml, text)
    assert [fault.line, fault.column, fault.message, fault.pointer] == expected


@pytest.mark.parametrize(("data", "line", "column", "message"), BYTES, ids=[ascii(row[0])[:30] for row in BYTES])
def test_bytes_are_refused_where_and_why(data: bytes, line: int, column: int, message: str) -> None:
    fault = fault_of(decode, data)
    assert (fault.line, fault.column, fault.message) == (line, column, message)


def test_the_tables_are_whole() -> None:
    assert (len(JSON), len(YAML), len(BYTES)) == (71, 116, 19)
    for rows in (JSON, YAML):
        assert len({row[0] for row in rows}) == len(rows)
        assert all("not valid YAML" not in row[3] and "not JSON" not in row[3] for row in rows)
