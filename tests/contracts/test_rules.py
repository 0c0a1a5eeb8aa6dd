"""Every named rule, seen to hold and seen to refuse: a valid fixture with a few fields changed, and what is said.

The cases lie in tests/fixtures/rules, a file for each kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mens.contracts import door
from mens.contracts.claims import Claims
from mens.contracts.codes import CODES
from mens.contracts.kinds import KINDS, named
from mens.contracts.positions import decode, unescape
from mens.contracts.rules import MODULES, RULES
from mens.contracts.source import Source
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

FIXTURES = Path(__file__).parents[1] / "fixtures"
NUM_CASES, NUM_CODES = 129, 49
TOLD_BELOW = {"MENS-R004", "MENS-R005"}


def _read(path: Path) -> Any:
    text = decode(path.read_bytes())
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]


CASES = [case for path in sorted((FIXTURES / "rules").glob("*.yaml")) for case in _read(path)["cases"]]


def _at(document: Any, tokens: list[str]) -> Any:
    for token in tokens:
        document = document[int(token)] if isinstance(document, list) else document[token]
    return document


def _tokens(pointer: str) -> list[str]:
    return [unescape(token) for token in pointer.split("/")[1:]]


def changed(case: dict[str, Any]) -> Any:
    """The fixture with each place of the case set, copied from another (`-` appends), or deleted."""
    document = _read(FIXTURES / "kinds" / case["fixture"])
    copied = {where: _at(document, _tokens(source)) for where, source in case.get("copy", {}).items()}
    for where, value in [*case.get("set", {}).items(), *copied.items()]:
        *above, last = _tokens(where)
        holder = _at(document, above)
        if last == "-":
            holder.append(value)
        else:
            holder[int(last) if isinstance(holder, list) else last] = value
    for where in case.get("delete", []):
        *above, last = _tokens(where)
        holder = _at(document, above)
        del holder[int(last) if isinstance(holder, list) else last]
    return document


def _kind(case: dict[str, Any]) -> str:
    name, version = case["fixture"].split("/")[0].rsplit(".", 1)
    return f"{name}/{version}"


def _id(case: dict[str, Any]) -> str:
    verdict = case["said"][0]["code"] if case["said"] else "holds"
    return f"{verdict} {_kind(case)} {' '.join([*case.get('set', {}), *case.get('copy', {}), *case.get('delete', [])])}"


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_rule(case: dict[str, Any]) -> None:
    model, problems = door.check(changed(case), named(_kind(case)))
    assert model is not None, f"the schema refuses it already: {problems}"
    said = [{"code": problem.code, "pointer": problem.pointer, "message": problem.message} for problem in problems]
    assert said == case["said"]


def test_every_rule_is_seen_to_refuse() -> None:
    codes = {code for code in CODES if code.startswith("MENS-R")}
    assert {entry["code"] for case in CASES for entry in case["said"]} == codes - TOLD_BELOW
    assert (len(CASES), len(codes)) == (NUM_CASES, NUM_CODES)
    assert sum(1 for case in CASES if not case["said"]) == 17, "rules are seen to hold as well"


def test_every_rule_names_its_codes() -> None:
    rules = {rule for kind in RULES for rule in RULES[kind]}
    assert len(rules) >= 60
    for rule in rules:
        if rule.__qualname__.endswith("<locals>.rule"):
            continue  # made by a factory, whose docstring names the code
        words = [word.strip(":,") for word in (rule.__doc__ or "").split()]
        codes = [word for word in words if word.startswith("MENS-")]
        assert codes, rule.__qualname__
        assert all(code in CODES for code in codes), rule.__qualname__


def test_rules_are_for_kinds_that_exist() -> None:
    assert set(MODULES) <= {kind.name for kind in KINDS}
    assert all(RULES[kind] for kind in MODULES)
    assert RULES.get("findings", ()) == ()


PRESET = """\
schema: mens/training-preset/v1
id: {id}
title: A run
aliases: [{aliases}]
rank: 16
alpha: 32
seq_len: 512
batch_size: 1
grad_accum: 8
epochs: 3
warmup_steps: 80
learning_rate: 0.00015
"""


def _claimed(claims: Claims, name: str, id_: str, aliases: str = "") -> list[tuple[int, int, str, str, str]]:
    text = PRESET.format(id=id_, aliases=aliases)
    examined = door.examine(Source(name, text.encode(), "yaml"), claims=claims)
    return [(found.line, found.column, found.pointer, found.code, found.message) for found in examined.findings]


def test_an_alias_that_two_presets_claim() -> None:
    claims = Claims()
    assert _claimed(claims, "a.yaml", "day", "short") == []
    assert _claimed(claims, "b.yaml", "night", "long, short") == [
        (4, 17, "/aliases/1", "MENS-R004", "'short' is already claimed by day in a.yaml")
    ]
    assert _claimed(claims, "c.yaml", "long") == [
        (2, 5, "/id", "MENS-R004", "'long' is already claimed by night in b.yaml")
    ]


def test_a_name_that_mens_ships() -> None:
    ours = door.shipped_claims()
    assert _claimed(ours, "a.yaml", "mine", '"4080_safe"') == [
        (4, 11, "/aliases/0", "MENS-R004", "'4080_safe' is already claimed by safe, which mens ships")
    ]
    assert _claimed(door.shipped_claims(), "a.yaml", '"4080"', "default") == []
    assert _claimed(door.shipped_claims(), "a.yaml", "mine", "yours") == []


def test_a_field_at_the_wrong_level() -> None:
    meta = _read(FIXTURES / "kinds" / "adapter-meta.v3" / "valid" / "original_minimal.json")
    meta["base_quant"] = meta.pop("quant")["base_quant"]
    _, problems = door.check(meta, named("adapter-meta/v3"))
    assert sorted((problem.code, problem.pointer, problem.message, problem.at_key) for problem in problems) == [
        (
            "MENS-R005",
            "/base_quant",
            "`base_quant` stands at top level; it belongs under `quant`, as quant.base_quant",
            True,
        ),
        ("MENS-V002", "", "the required field 'quant' is missing from mens/adapter-meta/v3", False),
    ]
