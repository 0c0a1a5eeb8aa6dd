"""Everything that mens refuses, as data.

MensError
├── ContractError      exit 1   a document or a contract is violated
├── UsageError         exit 2   the command itself is wrong
├── UnsupportedError   exit 3   unknown or unsupported kind, version, family
├── IntegrityError     exit 4   corrupt, unknown, missing or foreign content
└── ResourceError      exit 5   disk, memory, device, port
"""

from __future__ import annotations


class MensError(Exception):
    """A refusal: which rule, what is wrong, where, and what would mend it. Two that say the same are equal."""

    exit_code: int = 1

    def __init__(self, code: str, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(code, what, where, fix)
        self.code = code
        self.what = what
        self.where = where
        self.fix = fix

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, MensError) and self.args == other.args

    def __hash__(self) -> int:
        return hash((type(self), self.args))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        fix = f"\n{self.fix}" if self.fix else ""
        return f"{place}{self.what}   [{self.code}]{fix}"


class ContractError(MensError):
    """A document or a contract is violated."""


class UsageError(MensError):
    """The command itself is wrong."""

    exit_code = 2


class UnsupportedError(MensError):
    """Nothing here knows this kind, version, family or tier."""

    exit_code = 3


class IntegrityError(MensError):
    """Content is corrupt, unknown, missing or not what it claims to be."""

    exit_code = 4


class ResourceError(MensError):
    """The machine cannot: disk, memory, device, port."""

    exit_code = 5
