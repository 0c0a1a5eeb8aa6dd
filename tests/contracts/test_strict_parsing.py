"""What the strict parsers read, where they say it stands, and that the two formats agree."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mens.contracts.positions import Position, Positions, SyntaxFault, decode, escape, unescape
from mens.contracts.strict_json import json_positions, parse_json
from mens.contracts.strict_yaml import parse_yaml

EXAMPLES = 300
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 16.0, 1e3, 2.0**53, -(2.0**53), 2.0**54, 1e300, 5e-324, 10**399, -(10**399)])
    | st.text(max_size=12)
    | st.sampled_from(
        ["~", "null", "true", "no", "0o17", "1e-4", ".inf", "<<", "=", "2024-01-01", "1:30", "a\nb", "😀"]
    )
)
KEYS = st.text(max_size=8) | st.sampled_from(["a/b", "m~n", "~1", "1", "true", "", "<<", "k" * 200])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
LAYOUTS = st.sampled_from([None, 0, 2, "\t"])
BREAKS = st.sampled_from(["\n", "\r\n", "\r"])
FORBIDDEN_IN_YAML = {chr(code) for code in [*range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF]}


class _Dumper(yaml.SafeDumper):
    """Writes every string in double quotes and no anchors: the same value to YAML 1.1 and 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def as_yaml(value: Any, flow: bool) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, default_flow_style=flow, sort_keys=False))


def as_json(value: Any, layout: Any, line_break: str, ascii_only: bool) -> str:
    return json.dumps(value, indent=layout, ensure_ascii=ascii_only).replace("\n", line_break)


def canonical(value: Any) -> Any:
    """The value with every exact integral float made an integer."""
    if isinstance(value, dict):
        return {key: canonical(member) for key, member in value.items()}
    if isinstance(value, list):
        return [canonical(element) for element in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return value


def same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from 1.0 and from true, and minds the order of members."""
    return json.dumps(left) == json.dumps(right)


def pointers(value: Any, pointer: str = "") -> list[tuple[str, str | None, Any]]:
    """Every pointer of a value, with the key it ends in, if it ends in one."""
    rows: list[tuple[str, str | None, Any]] = []
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for token, child in members:
        path = f"{pointer}/{escape(str(token))}"
        rows.append((path, str(token) if isinstance(value, dict) else None, child))
        rows += pointers(child, path)
    return rows


def rest(text: str, position: Position) -> str:
    """The text from a position on, counting lines as editors do."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert position.line >= 1
    assert position.column >= 1
    return "\n".join([lines[position.line - 1][position.column - 1 :], *lines[position.line :]])


SCALARS: list[tuple[str, Any]] = [
    ("null", None), ("~", None), ("Null", None), ("NULL", None), ("", None), ("nULL", "nULL"), ("true", True),
    ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False), ("tRUE", "tRUE"),
    ("yes", "yes"), ("no", "no"), ("No", "No"), ("on", "on"), ("OFF", "OFF"), ("y", "y"), ("n", "n"), ("0", 0),
    ("-0", 0), ("+12", 12), ("017", 17), ("0o17", 15), ("0O17", "0O17"), ("0o8", "0o8"), ("0x1F", 31), ("0xff", 255),
    ("0X1F", "0X1F"), ("-0x1F", "-0x1F"), ("0b11", "0b11"), ("1_000", "1_000"), ("1,000", "1,000"), ("1:30", "1:30"),
    ("190:20:30", "190:20:30"), ("2024-01-01", "2024-01-01"), ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    ("1.5", 1.5), ("-1.5", -1.5), (".5", 0.5), ("+.5", 0.5), ("1.", 1), ("1e-4", 1e-4), ("1E-4", 1e-4), ("1e3", 1000),
    ("1.e3", 1000), (".5e1", 5), ("16.0", 16), ("-0.0", 0), ("1e-999", 0), ("9007199254740992.0", 2**53),
    ("9007199254740994.0", 9007199254740994.0), ("1e300", 1e300), ("9" * 400, int("9" * 400)), (".", "."),
    ("..", ".."), ("-x", "-x"), ("+", "+"), ("1e", "1e"), ("e5", "e5"), ("1.2.3", "1.2.3"), ("0x", "0x"),
    ("inf", "inf"), ("nan", "nan"), ("NaN", "NaN"), ("Infinity", "Infinity"), (".Nan", ".Nan"), ("+.nan", "+.nan"),
    ("<<", "<<"), ("=", "="), ("'1'", "1"), ('"true"', "true"), ("''", ""), ("|\n  a\n  b", "a\nb\n"),
    (">-\n  a\n  b", "a b"), ("|\n  1", "1\n"), ('"\\/\\u00e9\\U0001F600\\0"', "/é😀\0"), ("\uff11", "\uff11"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "value"), SCALARS, ids=[ascii(written)[:30] for written, _ in SCALARS])
def test_yaml_scalars_resolve_as_in_yaml_1_2(written: str, value: Any) -> None:
    parsed, _ = parse_yaml(f"key: {written}\n")
    assert isinstance(parsed, dict)
    assert same(parsed, {"key": value})


NUMBERS: list[tuple[str, Any]] = [
    ("0", 0), ("-0", 0), ("16.0", 16), ("-0.0", 0), ("0e5", 0), ("1e3", 1000), ("1E+3", 1000), ("1e-4", 1e-4),
    ("1.5", 1.5), ("1e-999", 0), ("9007199254740992.0", 2**53), ("-9007199254740992.0", -(2**53)),
    ("9007199254740994.0", 9007199254740994.0), ("1e300", 1e300), ("9007199254740993", 9007199254740993),
    ("9" * 400, int("9" * 400)), ("-" + "9" * 400, -int("9" * 400)), ("-0." + "1" * 399, -float("0." + "1" * 399)),
    ("1." + "0" * 399, 1),
]  # fmt: skip


@pytest.mark.parametrize(("written", "value"), NUMBERS, ids=[written[:30] for written, _ in NUMBERS])
def test_numbers_read_alike_in_both_formats(written: str, value: Any) -> None:
    for filler in ("", " " * 49, " " * 777):
        assert same(parse_json(f"[{filler}{written}]"), [value])
        assert same(parse_yaml(f"[{filler}{written}]")[0], [value])


def test_the_tables_are_whole() -> None:
    assert len(SCALARS) == 79
    assert len(NUMBERS) == 19


def test_random_values_read_alike_in_both_formats() -> None:
    ran: list[str] = []

    @thorough
    @given(VALUES, LAYOUTS, BREAKS, st.booleans(), st.booleans())
    def agree(value: Any, layout: Any, line_break: str, ascii_only: bool, flow: bool) -> None:
        text = as_json(value, layout, line_break, ascii_only)
        parsed = parse_json(text)
        assert same(parsed, canonical(json.loads(text)))
        assert same(parsed, canonical(value))
        if value is not None:
            assert same(parse_yaml(as_yaml(value, flow))[0], parsed)
        if layout != "\t" and "\\ud" not in text and not FORBIDDEN_IN_YAML & set(text):
            ran.append("JSON as YAML")
            assert same(parse_yaml(text)[0], parsed)
        ran.append("value")

    agree()
    assert ran.count("value") >= EXAMPLES
    assert ran.count("JSON as YAML") >= EXAMPLES // 3


def test_every_json_position_is_where_the_token_starts() -> None:
    ran: list[str] = []

    @thorough
    @given(VALUES, LAYOUTS, BREAKS, st.booleans())
    def stand(value: Any, layout: Any, line_break: str, ascii_only: bool) -> None:
        text = "\n \n" + as_json(value, layout, line_break, ascii_only)
        positions = json_positions(text)
        assert list(positions) == ["", *(pointer for pointer, _, _ in pointers(value))]
        assert len(positions) == len(list(positions))
        assert positions.value("") == positions.key("") == positions[""] == Position(3, 1)
        for pointer, key, child in pointers(value):
            written = "{[" if isinstance(child, dict | list) else json.dumps(child, ensure_ascii=ascii_only)
            token = rest(text, positions.value(pointer))
            assert token[0] in written if written == "{[" else token.startswith(written)
            if key is None:
                assert positions.key(pointer) == positions.value(pointer)
            else:
                assert rest(text, positions.key(pointer)).startswith(json.dumps(key, ensure_ascii=ascii_only))
            ran.append(pointer)

    stand()
    assert len(ran) >= EXAMPLES


def test_every_yaml_position_is_where_the_token_starts() -> None:
    ran: list[str] = []

    @thorough
    @given(VALUES, BREAKS, st.booleans())
    def stand(value: Any, line_break: str, flow: bool) -> None:
        text = ("# first\n---\n" + as_yaml(value, flow)).replace("\n", line_break)
        _, positions = parse_yaml(text)
        assert list(positions) == ["", *(pointer for pointer, _, _ in pointers(value))]
        for pointer, key, child in pointers(value):
            token = rest(text, positions.value(pointer))
            if isinstance(child, dict):
                assert token[0] in ("{" if flow or not child else '"?')
            elif isinstance(child, list):
                assert token[0] == ("[" if flow or not child else "-")
            else:
                assert (
                    token[0] == '"'
                    if isinstance(child, str)
                    else same(parse_yaml(token_of(token))[0], canonical(child))
                )
            if key is None:
                assert positions.key(pointer) == positions.value(pointer)
            else:
                assert rest(text, positions.key(pointer)).startswith('"')
            ran.append(pointer)

    def token_of(text: str) -> str:
        return text.split("\n")[0].split(",")[0].rstrip("]} ")

    stand()
    assert len(ran) >= EXAMPLES


DOCUMENT = {
    "json": '{\n  "name": "é",\n  "a/b": {"m~n": [1, {"x": null}]},\n  "": []\n}\n',
    "yaml": "name: é\na/b:\n  m~n:\n    - 1\n    - x:\n'': []\n",
}
PLACES = [
    # pointer, JSON value, JSON key, YAML value, YAML key
    ("", (1, 1), (1, 1), (1, 1), (1, 1)),
    ("/name", (2, 11), (2, 3), (1, 7), (1, 1)),
    ("/a~1b", (3, 10), (3, 3), (3, 3), (2, 1)),
    ("/a~1b/m~0n", (3, 18), (3, 11), (4, 5), (3, 3)),
    ("/a~1b/m~0n/0", (3, 19), (3, 19), (4, 7), (4, 7)),
    ("/a~1b/m~0n/1", (3, 22), (3, 22), (5, 7), (5, 7)),
    ("/a~1b/m~0n/1/x", (3, 28), (3, 23), (5, 9), (5, 7)),
    ("/", (4, 7), (4, 3), (6, 5), (6, 1)),
    # what does not exist stands where its nearest ancestor stands
    ("/nothing", (1, 1), (1, 1), (1, 1), (1, 1)),
    ("/name/deeper/still", (2, 11), (2, 11), (1, 7), (1, 7)),
    ("/a~1b/other", (3, 10), (3, 10), (3, 3), (3, 3)),
    ("/a~1b/m~0n/2", (3, 18), (3, 18), (4, 5), (4, 5)),
    ("/a~1b/m~0n/01", (3, 18), (3, 18), (4, 5), (4, 5)),
    ("/a~1b/m~0n/-", (3, 18), (3, 18), (4, 5), (4, 5)),
    ("/a~1b/m~0n/" + "9" * 5000, (3, 18), (3, 18), (4, 5), (4, 5)),
    ("/a~1b/m~0n/\u0661", (3, 18), (3, 18), (4, 5), (4, 5)),
    ("name", (1, 1), (1, 1), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("row", PLACES, ids=[row[0][:20] or "root" for row in PLACES])
def test_pointers_lead_to_positions_or_to_the_nearest_ancestor(row: tuple[Any, ...]) -> None:
    pointer, json_value, json_key, yaml_value, yaml_key = row
    in_json, in_yaml = json_positions(DOCUMENT["json"]), parse_yaml(DOCUMENT["yaml"])[1]
    assert same(parse_json(DOCUMENT["json"]), parse_yaml(DOCUMENT["yaml"])[0])
    assert (in_json.value(pointer), in_json.key(pointer)) == (json_value, json_key)
    assert (in_yaml.value(pointer), in_yaml.key(pointer)) == (yaml_value, yaml_key)
    assert (pointer in in_json) == (pointer in in_yaml) == (PLACES.index(row) < 8)


def test_positions_are_a_mapping_of_the_pointers_that_exist() -> None:
    positions = json_positions('[{"a": 1}, 2]')
    assert isinstance(positions, Positions)
    assert dict(positions) == {"": (1, 1), "/0": (1, 2), "/0/a": (1, 8), "/1": (1, 12)}
    with pytest.raises(KeyError) as missing:
        positions["/2"]
    assert missing.value.args == ("/2",)


def test_columns_count_code_points() -> None:
    text = '["😀é\u0301", 1]'  # the emoji is one column, and so is the accent that joins the letter before it
    assert json_positions(text).value("/1") == (1, 9)
    assert parse_yaml("- " + text)[1].value("/0/1") == (1, 11)


@given(st.text())
@thorough
def test_escaping_a_token_can_be_undone(token: str) -> None:
    assert "/" not in escape(token)
    assert unescape(escape(token)) == token


READABLE = [
    ("<<: {a: 1}\nb: 2\n", {"<<": {"a": 1}, "b": 2}),
    ("--- {a: 1}\n...\n# the end\n", {"a": 1}),
    ("{a, b: , 'c': }", {"a": None, "b": None, "c": None}),
    ("[a: 1, b]", [{"a": 1}, "b"]),
    ("? a\n? b\n", {"a": None, "b": None}),
    (
        "'1': a\n\"true\": b\nno: c\n2024-01-01: d\n1:30: e\n",
        {"1": "a", "true": "b", "no": "c", "2024-01-01": "d", "1:30": "e"},
    ),
    ("null", None),
    ("~ # nothing\n", None),
    ("text", "text"),
    ("- 1\n- - 2\n  - 3\n", [1, [2, 3]]),
    ("a:\n- b\n", {"a": ["b"]}),
    ("a: 1 # one\n# two\n", {"a": 1}),
    ("a: '!important'\n", {"a": "!important"}),
    ("a: b & c * d\n", {"a": "b & c * d"}),
    ('{"a":1,"b":[true,null]}', {"a": 1, "b": [True, None]}),
    ("a:\tb\n", {"a": "b"}),
]


@pytest.mark.parametrize(("text", "value"), READABLE, ids=[ascii(text)[:30] for text, _ in READABLE])
def test_ordinary_yaml_is_read(text: str, value: Any) -> None:
    assert len(READABLE) == 16
    assert same(parse_yaml(text)[0], value)


def test_json_keeps_what_json_allows() -> None:
    text = '\t\r\n{"\x7f\x85\u2028\ufeff": "\\ud83d\\ude00\\u0000\\/", "\\\\ud800": "\\\\\\\\ud800"} '
    assert parse_json(text) == {"\x7f\x85\u2028\ufeff": "😀\0/", "\\ud800": "\\\\ud800"}
    assert list(json_positions(text)) == ["", "/\x7f\x85\u2028\ufeff", "/\\ud800"]


def nested(opener: str, depth: int) -> str:
    """A complete document of one container inside the other, a number in the innermost."""
    count = depth // (opener.count("[") + opener.count("{"))
    closer = "".join({"[": "]", "{": "}"}[char] for char in reversed(opener) if char in "[{")
    return opener * count + "1" + closer * count


@pytest.mark.parametrize("opener", ["[", '{"k":', '[0,{"k":'])
def test_sixty_four_levels_are_fine_and_one_more_is_not(opener: str) -> None:
    text = nested(opener, 64)
    value = parse_json(text)
    assert same(parse_yaml(text)[0], value)
    assert max(pointer.count("/") for pointer in json_positions(text)) == 64
    beside = text[0] + ('"j":[[]],' if text[0] == "{" else "[[]],") + text[1:]
    assert same(parse_json(beside), json.loads(beside))
    assert same(parse_yaml(beside)[0], json.loads(beside))
    for parse in (parse_json, parse_yaml):
        for deeper in (
            f"[{text}]",
            f"[0, {text}, 0]",
            f'{{"a": {text}}}',
            text.replace("1", "[]"),
            text.replace("1", "{}"),
        ):
            with pytest.raises(SyntaxFault) as caught:
                parse(deeper)
            assert caught.value.message == "nested deeper than 64 levels"
            assert caught.value.pointer.count("/") == 64
            assert deeper[caught.value.column - 1] in "[{"


def test_many_shallow_containers_are_not_deep() -> None:
    text = "[" + ",".join(["[]", "{}", '{"a":[{}]}'] * 100) + ', "' + "[{" * 99 + '"]'
    assert parse_json(text) == json.loads(text)
    assert parse_yaml(text)[0] == json.loads(text)


def test_utf_8_is_decoded() -> None:
    assert decode(b"") == ""
    assert decode("a\n{é: 😀}\r\n".encode()) == "a\n{é: 😀}\r\n"


def test_a_fault_is_data() -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse_json('{"a": [1,\n 2,]}')
    fault = caught.value
    assert (fault.message, fault.line, fault.column, fault.pointer) == (
        "a comma before ']'; JSON allows none after the last value",
        2,
        3,
        "/a",
    )
    assert str(fault) == "2:3: a comma before ']'; JSON allows none after the last value"
    again = pickle.loads(pickle.dumps(fault))
    assert vars(again) == vars(fault)


def test_negative_zero_leaves_no_sign() -> None:
    for value in (parse_json("-0.0"), parse_yaml("-0.0")[0], parse_json("-0"), parse_yaml("-0e0")[0]):
        assert type(value) is int
        assert math.copysign(1, value) == 1
