"""The numbers of one configuration under the names that its family gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mens_contracts.family_v1 import FamilyV1

from mens.contracts.errors import ContractError
from mens.contracts.expressions import ExpressionError, parse
from mens.contracts.json_types import JsonObject, JsonValue

CODE: Final = "MENS-K005"


class Geometry(Mapping[str, JsonValue]):
    """Values by geometry name, and configuration fields by dotted path; each is worked out when it is first asked for.

    What a model does not have (a vision tower, say) may have no value: asking for it is an error, not asking is none.
    """

    __slots__ = ("_family", "_formulas", "_open", "_sections", "_values")

    def __init__(self, family: FamilyV1, config: JsonObject) -> None:
        self._family = family.id
        self._formulas = family.geometry
        self._sections = sections(config)
        self._values: dict[str, JsonValue] = {}
        self._open: list[str] = []

    def __getitem__(self, name: str) -> JsonValue:
        if "." in name:
            return self._field(name)
        if name not in self._values:
            self._values[name] = self._worked_out(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._formulas)

    def __len__(self) -> int:
        return len(self._formulas)

    def _field(self, path: str) -> JsonValue:
        section, *steps = path.split(".")
        value: JsonValue = self._sections[section]
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def _worked_out(self, name: str) -> JsonValue:
        if name in self._open:
            raise ExpressionError(f"{' -> '.join([*self._open, name])} goes in a circle")
        self._open.append(name)
        try:
            return parse(self._formulas[name]).evaluate(self)
        finally:
            self._open.pop()

    def evaluate(self, expression: str | int, subject: str) -> JsonValue:
        """Return the value of an expression; raises ContractError that names the subject."""
        try:
            return parse(expression).evaluate(self)
        except ExpressionError as error:
            raise refusal(self._family, subject, error) from None

    def integer(self, name: str) -> int:
        """Return a number that must be there; raises ContractError where it is null, negative or no integer."""
        value = self.evaluate(name, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise refusal(self._family, name, ExpressionError(f"'{name}' is {value!r}, not a count"))
        return value

    def known(self) -> dict[str, JsonValue]:
        """Return what this configuration does have a value for."""
        found: dict[str, JsonValue] = {}
        for name in self:
            try:
                value = self[name]
            except ExpressionError:
                continue
            if value is not None:
                found[name] = value
        return found


def sections(config: JsonObject) -> dict[str, JsonObject]:
    """Return what `text`, `vision` and `config` stand for in this configuration's expressions."""
    text = config.get("text_config")
    vision = config.get("vision_config")
    return {
        "config": config,
        "text": text if isinstance(text, dict) else config,
        "vision": vision if isinstance(vision, dict) else {},
    }


def refusal(family: str, subject: str, error: ExpressionError) -> ContractError:
    """Say that a configuration does not give a number that the family needs."""
    return ContractError(
        code=CODE,
        what=f"The configuration does not give '{subject}' of family '{family}': {error}.",
        where="config.json",
        fix=f"Mend the configuration, or the expression in schemas/families/{family}.yaml, then run: nox -s generate",
    )
