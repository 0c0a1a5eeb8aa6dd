"""The arithmetic of family files: what it can say, what it refuses, and that it never runs anything else."""

from __future__ import annotations

import ast
import random
from typing import Any

import pytest

from mens.contracts.expressions import MAX_INTEGER, ExpressionError, parse

VALUES = {
    "hidden": 8,
    "heads": 2,
    "half": 0.5,
    "tied": False,
    "kinds": ["wide", "narrow"],
    "nothing": None,
    "text.width": 8,
    "config.rope.theta": 10000,
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (7, 7),
        ("hidden", 8),
        ("text.width", 8),
        ("config.rope.theta", 10000),
        ("config.absent.deeper", None),
        ("2 * hidden + heads", 18),
        ("(hidden + 1) % 3 == 0", True),
        ("hidden // heads - 1", 3),
        ("-hidden + 10", 2),
        ("hidden * half", 4.0),
        ("text.absent or hidden", 8),
        ("text.absent or None", None),
        ("tied or text.absent or False", False),
        ("not tied and hidden > heads", True),
        ("'wide' in kinds", True),
        ("hidden not in [1, 2]", True),
        ("1 < heads < hidden", True),
        ("1 < heads > hidden", False),
        ("text.absent == None", True),
        ("tied != False", False),
        ("'a' == 'b'", False),
        ("0 or 1", 1),
        ("True", True),
        ("[hidden, 'x', None]", [8, "x", None]),
    ],
)
def test_values(source: str | int, expected: Any) -> None:
    value = parse(source).evaluate(VALUES)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "'' is not an expression"),
        ("hidden +", "'hidden +' is not an expression"),
        ("a = 1", "'a = 1' is not an expression"),
        ("hidden\nheads", "'hidden\nheads' is not an expression"),
        ("hidden # width", "'hidden # width' is not an expression: it has no escapes and no comments"),
        (r"'\x41'", r"''\x41'' is not an expression: it has no escapes and no comments"),
        ("open('x')", "'open('x')' is not allowed in an expression"),
        ("__import__('os')", "'__import__('os')' is not allowed in an expression"),
        ("().__class__", "'().__class__' is no configuration path; those begin with config, text, vision"),
        ("hidden.bit_length", "'hidden.bit_length' is no configuration path; those begin with config, text, vision"),
        ("kinds[0]", "'kinds[0]' is not allowed in an expression"),
        ("lambda: 1", "'lambda: 1' is not allowed in an expression"),
        ("[x for x in kinds]", "'[x for x in kinds]' is not allowed in an expression"),
        ("1 if tied else 2", "'1 if tied else 2' is not allowed in an expression"),
        ("(y := 3)", "'(y := 3)' is not allowed in an expression"),
        ("f'{hidden}'", "'f'{hidden}'' is not allowed in an expression"),
        ("hidden ** 9", "'hidden ** 9' uses an operator that expressions do not have"),
        ("hidden / 2", "'hidden / 2' uses an operator that expressions do not have"),
        ("hidden << 9", "'hidden << 9' uses an operator that expressions do not have"),
        ("~hidden", "'~hidden' uses an operator that expressions do not have"),
        ("hidden is None", "'hidden is None' uses a comparison that expressions do not have"),
        ("1j", "'1j' is not allowed in an expression"),
        ("b'x'", "'b'x'' is not allowed in an expression"),
        ("...", "'...' is not allowed in an expression"),
        ("text", "'text' is a section of the configuration; name one of its fields, as in text.x"),
        ("1e999", "'1e309' is not finite"),
        (str(MAX_INTEGER + 1), f"'{MAX_INTEGER + 1}' is beyond {MAX_INTEGER}"),
        ("a" * 301, "an expression has at most 300 characters, this one has 301"),
        ("not " * 40 + "tied", "an expression nests at most 32 deep"),
    ],
)
def test_refused_when_parsed(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as error:
        parse(source)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("unknown + 1", "'unknown' is not a known name"),
        ("2 * text.absent", "'text.absent' is null, not a number"),
        ("nothing - 1", "'nothing' is null, not a number"),
        ("hidden < text.absent", "'text.absent' is null, not a number"),
        ("tied + 1", "'tied' is a truth value, not a number"),
        ("'a' + 'b'", "''a'' is text, not a number"),
        ("kinds * 2", "'kinds' is a list, not a number"),
        ("1 in text.absent", "'text.absent' is null, not a list"),
        ("1 in 'abc'", "''abc'' is text, not a list"),
        ("hidden // 0", "'hidden // 0' divides by zero or overflows"),
        ("hidden % (heads - 2)", "'hidden % (heads - 2)' divides by zero or overflows"),
        (f"{MAX_INTEGER} * 2", f"'{MAX_INTEGER} * 2' is beyond {MAX_INTEGER}"),
        ("1e308 * 1e308", "'1e+308 * 1e+308' is not finite"),
    ],
)
def test_refused_when_evaluated(source: str, message: str) -> None:
    expression = parse(source)
    with pytest.raises(ExpressionError) as error:
        expression.evaluate(VALUES)
    assert str(error.value) == message


def test_names_are_what_is_read() -> None:
    assert parse("text.a.b * hidden + (vision.c or 2)").names == {"text.a.b", "hidden", "vision.c"}
    assert parse(3).names == frozenset()


def test_frozen_and_equal_by_text() -> None:
    first, second = parse("hidden + 1"), parse("hidden + 1")
    assert first is second
    assert first != parse("hidden + 2")
    with pytest.raises(AttributeError):
        first.source = "heads"  # type: ignore[misc]


def test_hostile_text_ends_quickly() -> None:
    """Deep nesting, long chains and huge powers are refused or bounded, never worked on."""
    hostile = [
        "(" * 150 + "1" + ")" * 149,
        "-" * 299 + "1",
        "[" * 299,
        "1" + "0" * 299,
        "a." * 149 + "a",
        "x" + "*x" * 149,
    ]
    for source in hostile:
        with pytest.raises(ExpressionError):
            parse(source).evaluate({"x": MAX_INTEGER})


def test_agrees_with_python_where_python_agrees() -> None:
    """Two ways to know: Python itself, over random arithmetic of names and numbers."""
    rng = random.Random(3)
    agreed = refused = 0
    for _ in range(3000):
        source = random_expression(rng, 3)
        values = {name: rng.choice([0, 1, 2, 7, 64]) for name in ("a", "b", "c")}
        try:
            expected = eval(
                compile(ast.parse(source, mode="eval"), "<test>", "eval"), {"__builtins__": {}}, dict(values)
            )
        except ZeroDivisionError:
            expected = ExpressionError
        try:
            found: Any = parse(source).evaluate(values)
        except ExpressionError:
            found = ExpressionError
        if found is ExpressionError and expected is not ExpressionError:
            assert_refused_for_a_reason(source, values)
            refused += 1
        else:
            assert found == expected, (source, values)
            agreed += 1
    assert agreed > 1500
    assert refused < 1500


def assert_refused_for_a_reason(source: str, values: dict[str, int]) -> None:
    """Python calculates with truth values; expressions do not."""
    with pytest.raises(ExpressionError, match="truth value"):
        parse(source).evaluate(values)


def random_expression(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(["a", "b", "c", "1", "2", "3", "10"])
    left, right = (random_expression(rng, depth - 1) for _ in range(2))
    operator = rng.choice(["+", "-", "*", "//", "%", "==", "!=", "<", ">=", "and", "or"])
    text = f"({left} {operator} {right})"
    return f"(not {text})" if rng.random() < 0.1 else text
