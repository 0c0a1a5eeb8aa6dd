"""Huge and mangled documents: the strict parsers answer with a value or a fault, in little time and memory."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mens.contracts.positions import SyntaxFault, decode
from mens.contracts.strict_json import json_positions, parse_json
from mens.contracts.strict_yaml import parse_yaml

DUPLICATE_A = "the key 'a' is a duplicate; it is first written on line 1"
LATE = "the key '5' is a duplicate; it is first written on line 6"
LONG = "the key '" + "k" * 40 + "...' is a duplicate; it is first written on line 1"
IN_QUOTES = "strings stand in double quotes"
LETTERS = "abcdefghi"
BOMB = "a: &a [lol, lol]\n" + "".join(f"{x}: &{x} [{', '.join(['*' + w] * 9)}]\n" for w, x in pairwise(LETTERS))

MEGABYTES = 10**7
DEEP = "nested deeper than 64 levels"
DIGITS = "a number of more than 400 digits"
KS = "'" + "k" * 40 + "...'"
Huge = tuple[str, Callable[[], str], tuple[int, int, str] | None]  # name, text, fault
HUGE_JSON: list[Huge] = [
    ("lists", lambda: "[" * 100_000, (1, 65, DEEP)),
    ("ten million lists", lambda: "[" * MEGABYTES, (1, 65, DEEP)),
    ("closed lists", lambda: "[" * 100_000 + "]" * 100_000, (1, 65, DEEP)),
    ("objects", lambda: '{"a":' * 100_000, (1, 321, DEEP)),
    ("beside", lambda: "[[1],\n" * 500 + "1" + "]" * 500, (64, 2, DEEP)),
    ("string", lambda: '"' + "a" * MEGABYTES + '"', None),
    ("escapes", lambda: '"' + "\\n" * (MEGABYTES // 2) + '"', None),
    ("backslashes", lambda: '"' + "\\" * MEGABYTES + '"', None),
    ("open string", lambda: '"' + "a" * MEGABYTES, (1, 1, "the string is never closed")),
    ("emoji", lambda: '"' + "\\ud83d\\ude00" * (MEGABYTES // 12) + '"', None),
    (
        "half an emoji",
        lambda: '"' + "\\ud83d\\ude00" * 800_000 + '\\ud800"',
        (1, 9_600_002, "a lone surrogate (U+D800) is half a character; write the whole character"),
    ),
    ("digits", lambda: "9" * MEGABYTES, (1, 1, DIGITS)),
    ("numbers", lambda: "[" + ",".join(["9" * 4300] * 2400) + "]", (1, 2, DIGITS)),
    ("just too long", lambda: "[" + ",".join(["9" * 400] * 20_000 + ["9" * 401]) + "]", (1, 8_020_002, DIGITS)),
    ("fraction", lambda: "0." + "1" * MEGABYTES, (1, 1, DIGITS)),
    ("exponent", lambda: "1e" + "9" * MEGABYTES, (1, 1, DIGITS)),
    ("duplicates", lambda: "{" + ",".join(['"a":1'] * 10**6) + "}", (1, 8, DUPLICATE_A)),
    ("late duplicate", lambda: "{" + "".join(f'"{i}":1,\n' for i in range(10**5)) + '"5":1}', (100_001, 1, LATE)),
    ("long keys", lambda: '{"' + "k" * MEGABYTES + '":1,"' + "k" * MEGABYTES + '":2}', (1, MEGABYTES + 7, LONG)),
    ("spaces", lambda: " " * MEGABYTES, (1, 1, "the document is empty")),
    ("word", lambda: "k" * MEGABYTES, (1, 1, f"expected a value, found the bare word {KS}; {IN_QUOTES}")),
    ("wide", lambda: "[" + ",".join(["[]"] * 10**6) + "]", None),
]
HUGE_YAML: list[Huge] = [
    ("lists", lambda: "[" * 100_000, (1, 65, DEEP)),
    ("ten million lists", lambda: "[" * MEGABYTES, (1, 65, DEEP)),
    ("lists by line", lambda: "[\n" * 10**6, (65, 1, DEEP)),
    ("items", lambda: "- " * 100_000, (1, 129, DEEP)),
    ("items by line", lambda: "".join(" " * i + "-\n" for i in range(2000)), (65, 65, DEEP)),
    ("keys by line", lambda: "".join(" " * i + "a:\n" for i in range(2000)), (65, 65, DEEP)),
    ("mappings", lambda: "{a: " * 10**6, (1, 257, DEEP)),
    ("pairs", lambda: "[a: " * 10**6, (1, 129, DEEP)),
    ("complex keys", lambda: "? " * 10**6, (1, 3, "a mapping or a list cannot be a key")),
    ("alias bomb", lambda: BOMB, (1, 4, "anchors are not allowed: '&a'")),
    ("quoted", lambda: '"' + "a" * MEGABYTES + '"', None),
    ("single quotes", lambda: "'" * MEGABYTES, None),
    ("plain", lambda: "a: " + "x" * MEGABYTES, None),
    ("plain lines", lambda: "a:\n" + " xxxx yyyy\n" * 10**6, None),
    ("block lines", lambda: "a: |\n" + " xxxx yyyy\n" * 10**6, None),
    ("folded lines", lambda: "a: >\n" + " xxxx yyyy\n" * 10**6, None),
    ("open quote", lambda: 'a: "' + "x\n" * (MEGABYTES // 2), (1, 4, "the quoted text is never closed")),
    ("digits", lambda: "9" * MEGABYTES, (1, 1, DIGITS)),
    ("hexadecimal", lambda: "a: 0x" + "F" * MEGABYTES, (1, 4, DIGITS)),
    ("octal", lambda: "a: 0o" + "7" * MEGABYTES, (1, 4, DIGITS)),
    ("duplicates", lambda: "a: 1\n" * 10**6, (2, 1, DUPLICATE_A)),
    ("flow duplicates", lambda: "{" + "a: 1, " * 10**6 + "}", (1, 8, DUPLICATE_A)),
    ("tag", lambda: "!" + "k" * MEGABYTES, (1, 1, "tags are not allowed: '!" + "k" * 39 + "...'")),
    ("anchor", lambda: "&" + "k" * MEGABYTES + " x", (1, 1, "anchors are not allowed: '&" + "k" * 39 + "...'")),
    ("alias", lambda: "*" + "k" * MEGABYTES, (1, 1, "aliases are not allowed: '*" + "k" * 39 + "...'")),
    ("documents", lambda: "---\n" * 10**6, (2, 1, "a second document starts here; a file holds one")),
    ("directives", lambda: "%TAG !a! tag:\n" * 10**5, (2, 1, "directives are not allowed")),
    ("comments", lambda: "# x\n" * (2 * 10**6), (1, 1, "the document is empty")),
    ("tabs", lambda: "\t" * MEGABYTES, (1, 1, "a tab cannot indent YAML; use spaces")),
    ("zeros", lambda: "\0" * MEGABYTES, (1, 1, "the control character U+0000 is not allowed")),
    ("returns", lambda: "\r" * MEGABYTES, (1, 1, "the document is empty")),
]


@pytest.mark.parametrize("row", HUGE_JSON, ids=[row[0] for row in HUGE_JSON])
def test_huge_json_neither_crashes_nor_lingers(row: Huge) -> None:
    judge_huge(parse_json, row)


@pytest.mark.parametrize("row", HUGE_YAML, ids=[row[0] for row in HUGE_YAML])
def test_huge_yaml_neither_crashes_nor_lingers(row: Huge) -> None:
    judge_huge(parse_yaml, row)


def judge_huge(parse: Callable[[str], object], row: Huge) -> None:
    _, text, expected = row
    if expected is None:
        parse(text())
        return
    with pytest.raises(SyntaxFault) as caught:
        parse(text())
    fault = caught.value
    assert (fault.line, fault.column, fault.message) == expected


def test_huge_documents_stay_within_one_gigabyte_and_a_small_stack() -> None:
    ran = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{len(HUGE_JSON) + len(HUGE_YAML)} judged\n", "")
    assert (len(HUGE_JSON), len(HUGE_YAML)) == (22, 31)


def main() -> None:
    """Judge all that is huge under a limit of memory: what the test above runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    resource.setrlimit(resource.RLIMIT_STACK, (2**20, 2**20))
    for row in HUGE_JSON:
        judge_huge(parse_json, row)
    for row in HUGE_YAML:
        judge_huge(parse_yaml, row)
    sys.stdout.write(f"{len(HUGE_JSON) + len(HUGE_YAML)} judged\n")


JSON_SEEDS = [
    '{"a": 1, "b": 2, "a": 3}',
    '["\\ud83d\\ude00", NaN, -Infinity, 1e999]',
    '{"high": "\\ud83d", "low": "\\ude00"}',
    '{"a": [1, -2.5e3, true, null, "x\\n\\u00e9\\ud83d\\ude00"], "b": {"c": {}, "d": []}, "é": "😀"}',
    '{\r\n  "name": "x",\r\n  "lr": 1e-4,\r\n  "n": 16.0,\r\n  "big": 123456789012345678901234567890\r\n}',
]
YAML_SEEDS = [
    "a: 1\nb:\n  - x\n  - {c: d, e: [f, 'g']}\nh: |\n  text\n  more\ni: >-\n  folded\n  text\n",
    "# c\n---\nkey: \"q\\u00e9\"\n? long\n: value\n'1': 0x1F\nf: .5\nt: ~\n...\n",
    'a: &x 1\nb: *x\nc: !!str d\nd: "e\\q"\n',
    "? [a, b]\n: c\n%YAML 1.2\n---\n- | \n x\n  y\n z: @w\n",
    "- - a\n  - b: c\n    d: 'e\n      f'\n- \"g\n   h\"\n- [i, {j: k}]\n",
]
PIECES = [
    *"{}[]:,\"'\\#&*!|>%@`-?~.+0123456789eE \n\r\t\0\x07\x7f\x85\xa0\u2028\ufeff\ud800é😀",
    "\\u",
    "\\ud83d",
    "\\ude00",
]
PIECES += [
    "null",
    "true",
    "NaN",
    "1e999",
    ".nan",
    "<<",
    "---",
    "...",
    "- ",
    ": ",
    '"a": 1',
    "!!str ",
    "&a ",
    "*a",
    "[" * 70,
]
# What JSON itself would allow, or Python's reader of it, and mens does not.
STRICTER = (
    "duplicate",
    "is not a number in JSON",
    "too large for a 64-bit float",
    "digits",
    "lone surrogate",
    "nested",
)


def mutants(seeds: list[str], count: int) -> Iterator[str]:
    """Texts near some seeds: pieces put in, taken out, doubled, swapped; the same on every run."""
    chance = random.Random(20)
    for _ in range(count):
        text = chance.choice(seeds)
        for _ in range(chance.randint(1, 4)):
            start = chance.randint(0, len(text))
            end = min(len(text), start + chance.choice([0, 0, 1, 1, 2, 8]))
            text = text[:start] + chance.choice([chance.choice(PIECES), "", text[start:end] * 2]) + text[end:]
        yield text


def outcome(parse: Callable[[str], Any], text: str) -> tuple[Any, SyntaxFault | None]:
    """The value or the fault; the fault stands inside the text and speaks plainly."""
    try:
        return parse(text), None
    except SyntaxFault as caught:
        fault = caught
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert 1 <= fault.line <= len(lines)
    assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1
    assert fault.message.isprintable()
    assert not fault.pointer or fault.pointer.startswith("/")
    assert len(fault.message) < 250
    assert "this is not JSON" not in fault.message  # the slow scan always finds what the fast one met
    return None, fault


def test_mutated_json_is_read_as_python_reads_it_or_refused_for_a_reason() -> None:
    read = refused = stricter = 0
    for text in mutants(JSON_SEEDS, 6000):
        value, fault = outcome(parse_json, text)
        try:
            lenient = json.loads(text)
        except (ValueError, RecursionError):
            assert fault is not None
            refused += 1
            continue
        if fault is not None:
            assert any(reason in fault.message for reason in STRICTER)
            stricter += 1
            continue
        assert value == lenient
        assert next(iter(json_positions(text))) == ""
        read += 1
    assert read + refused + stricter == 6000
    assert min(read, refused, stricter) >= 100


def test_mutated_yaml_is_read_or_refused_and_never_crashes() -> None:
    read = refused = untold = 0
    for text in mutants(JSON_SEEDS + YAML_SEEDS, 12000):
        parsed, fault = outcome(parse_yaml, text)
        if fault is None:
            value, positions = parsed
            json.dumps(value, allow_nan=False).encode()
            assert all(positions.value(pointer).line >= 1 for pointer in positions)
            read += 1
        else:
            refused += 1
            untold += "not valid YAML" in fault.message
    assert read + refused == 12000
    assert min(read, refused) >= 1000
    assert untold == 0


def decoded_or_fault(data: bytes) -> tuple[str, SyntaxFault | None]:
    try:
        return decode(data), None
    except SyntaxFault as fault:
        return "", fault


def test_mutated_bytes_are_text_or_a_fault() -> None:
    chance = random.Random(21)
    decoded = refused = 0
    for text in mutants(JSON_SEEDS + YAML_SEEDS, 4000):
        data = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(chance.randint(0, 2)):
            data.insert(chance.randint(0, len(data)), chance.randrange(256))
        text, fault = decoded_or_fault(bytes(data))
        if fault is None:
            assert text.encode() == bytes(data)
            decoded += 1
        else:
            assert min(fault.line, fault.column) >= 1
            refused += 1
    assert decoded + refused == 4000
    assert min(decoded, refused) >= 500


def test_random_text_raises_nothing_but_faults() -> None:
    ran: list[int] = []

    @settings(max_examples=500, deadline=None, derandomize=True, database=None)
    @given(st.text(st.sampled_from(PIECES).map(lambda piece: piece[0]), max_size=40) | st.text(max_size=20))
    def judge(text: str) -> None:
        outcome(parse_json, text)
        outcome(parse_yaml, text)
        ran.append(len(text))

    judge()
    assert len(ran) >= 500


def test_a_deep_caller_is_not_a_deep_document() -> None:
    """Near the end of Python's own stack a document is either read or the stack is blamed, never the document."""
    text = "[" * 60 + "]" * 60

    def descend(depth: int) -> str:
        try:
            return descend(depth + 1)
        except RecursionError:
            try:
                parse_json(text)
            except RecursionError:
                return "stack"
            except SyntaxFault:
                return "document"
            return "read"

    assert descend(0) in {"stack", "read"}


if __name__ == "__main__":
    main()
