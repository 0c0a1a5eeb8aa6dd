"""The arithmetic that family files may use: parsed once into a closed set of operations, never run as Python."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from mens.contracts.json_types import JsonValue

SECTIONS: Final = frozenset({"text", "vision", "config"})
"""The roots of configuration paths; every other name is a geometry name or a running index."""
MAX_LENGTH: Final = 300
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1

Environment = Mapping[str, JsonValue]
"""Values by name; a configuration path stands under its dotted name and may be absent, which is null."""
Run = Callable[[Environment], JsonValue]

ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
EQUALITY: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
ORDER: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class ExpressionError(ValueError):
    """An expression says what it may not, or cannot be evaluated with these values."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression; equal when its text is."""

    source: str
    names: frozenset[str]
    """Geometry names, running indices and dotted configuration paths that the expression reads."""
    run: Run = field(compare=False, repr=False)

    def evaluate(self, environment: Environment) -> JsonValue:
        """Return the value; raises ExpressionError for null in arithmetic, unknown names and numbers out of bounds."""
        return self.run(environment)


@lru_cache(maxsize=4096)
def parse(source: str | int) -> Expression:
    """Parse an expression; raises ExpressionError where the text is none."""
    text = str(source)
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters, this one has {len(text)}")
    if "\\" in text or "#" in text:
        raise ExpressionError(f"'{text}' is not an expression: it has no escapes and no comments")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError(f"'{text}' is not an expression") from error
    names: set[str] = set()
    run = _compile(tree, names, 0)
    return Expression(text, frozenset(names), run)


def _compile(node: ast.expr, names: set[str], depth: int) -> Run:
    if depth > MAX_DEPTH:
        raise ExpressionError(f"an expression nests at most {MAX_DEPTH} deep")
    compiler = COMPILERS.get(type(node))
    if compiler is None:
        raise ExpressionError(f"'{_shown(node)}' is not allowed in an expression")
    return compiler(node, names, depth + 1)


def _constant(node: ast.Constant, _names: set[str], _depth: int) -> Run:
    value = node.value
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ExpressionError(f"'{_shown(node)}' is not allowed in an expression")
    checked = _bounded(value, node)
    return lambda _env: checked


def _name(node: ast.Name, names: set[str], _depth: int) -> Run:
    name = node.id
    if name in SECTIONS:
        raise ExpressionError(f"'{name}' is a section of the configuration; name one of its fields, as in {name}.x")
    names.add(name)

    def run(env: Environment) -> JsonValue:
        try:
            return env[name]
        except KeyError:
            raise ExpressionError(f"'{name}' is not a known name") from None

    return run


def _path(node: ast.Attribute, names: set[str], _depth: int) -> Run:
    path = _shown(node)
    root = node.value
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name) or root.id not in SECTIONS:
        raise ExpressionError(f"'{path}' is no configuration path; those begin with {', '.join(sorted(SECTIONS))}")
    names.add(path)
    return lambda env: env.get(path)


def _list(node: ast.List, names: set[str], depth: int) -> Run:
    items = [_compile(item, names, depth) for item in node.elts]
    return lambda env: [item(env) for item in items]


def _arithmetic(node: ast.BinOp, names: set[str], depth: int) -> Run:
    apply = ARITHMETIC.get(type(node.op))
    if apply is None:
        raise ExpressionError(f"'{_shown(node)}' uses an operator that expressions do not have")
    left, right = _compile(node.left, names, depth), _compile(node.right, names, depth)

    def run(env: Environment) -> JsonValue:
        a, b = _number(left(env), node.left), _number(right(env), node.right)
        try:
            return _bounded(apply(a, b), node)
        except (ZeroDivisionError, OverflowError):
            raise ExpressionError(f"'{_shown(node)}' divides by zero or overflows") from None

    return run


def _unary(node: ast.UnaryOp, names: set[str], depth: int) -> Run:
    operand = _compile(node.operand, names, depth)
    if isinstance(node.op, ast.Not):
        return lambda env: not operand(env)
    if isinstance(node.op, ast.USub):
        return lambda env: -_number(operand(env), node.operand)
    raise ExpressionError(f"'{_shown(node)}' uses an operator that expressions do not have")


def _logic(node: ast.BoolOp, names: set[str], depth: int) -> Run:
    operands = [_compile(value, names, depth) for value in node.values]
    stops_at = isinstance(node.op, ast.Or)

    def run(env: Environment) -> JsonValue:
        value: JsonValue = None
        for operand in operands:
            value = operand(env)
            if bool(value) is stops_at:
                break
        return value

    return run


def _comparison(node: ast.Compare, names: set[str], depth: int) -> Run:
    nodes = [node.left, *node.comparators]
    operands = [_compile(operand, names, depth) for operand in nodes]
    for op in node.ops:
        if not isinstance(op, ast.In | ast.NotIn) and type(op) not in EQUALITY and type(op) not in ORDER:
            raise ExpressionError(f"'{_shown(node)}' uses a comparison that expressions do not have")

    def run(env: Environment) -> JsonValue:
        values = [operand(env) for operand in operands]
        return all(_holds(op, values[at], values[at + 1], nodes[at : at + 2]) for at, op in enumerate(node.ops))

    return run


def _holds(op: ast.cmpop, left: JsonValue, right: JsonValue, nodes: list[ast.expr]) -> bool:
    if type(op) in EQUALITY:
        return EQUALITY[type(op)](left, right)
    if type(op) in ORDER:
        return ORDER[type(op)](_number(left, nodes[0]), _number(right, nodes[1]))
    if not isinstance(right, list):
        raise ExpressionError(f"'{_shown(nodes[1])}' is {_described(right)}, not a list")
    return (left in right) is isinstance(op, ast.In)


def _number(value: JsonValue, node: ast.expr) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"'{_shown(node)}' is {_described(value)}, not a number")
    bounded = _bounded(value, node)
    assert isinstance(bounded, int | float)
    return bounded


def _bounded(value: JsonValue, node: ast.expr) -> JsonValue:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ExpressionError(f"'{_shown(node)}' is beyond {MAX_INTEGER}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError(f"'{_shown(node)}' is not finite")
    return value


def _described(value: JsonValue) -> str:
    if value is None:
        return "null"
    return {bool: "a truth value", str: "text", list: "a list", dict: "an object"}.get(type(value), "a number")


def _shown(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except (ValueError, RecursionError):
        return type(node).__name__


COMPILERS: Final[Mapping[type[ast.expr], Callable[[Any, set[str], int], Run]]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _path,
    ast.List: _list,
    ast.BinOp: _arithmetic,
    ast.UnaryOp: _unary,
    ast.BoolOp: _logic,
    ast.Compare: _comparison,
}
