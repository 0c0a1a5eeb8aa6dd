"""Two judges, one verdict: jsonschema and the door over thousands of mutated documents of every kind.

MENS_SEED=<n> judges other documents; what fails prints the document, which is all one needs to repeat it.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mens.contracts import door
from mens.contracts.kinds import KINDS, Kind, named
from mens.contracts.positions import decode
from mens.contracts.problems import Problem
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
SEED = int(os.environ.get("MENS_SEED", "20261121"))
JUDGED = 2_000
ENOUGH = 150
"""Of each verdict at least so many, or the mutations prove little."""
LARGEST = 6_000
"""Fixtures with more characters are left to the fixture tests: jsonschema would take minutes over them."""

Slot = tuple[Any, Any, tuple[dict[str, Any], ...]]
"""A container, a key or index of it, and the schemas that the value there is held to."""
Check = Callable[[Any], tuple[Any, list[Problem]]]

NUMBERS = (0, 1, -1, 16.0, -0.0, 0.5, 1e300, -1e300, 1e-300, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, 10**40, -(10**40))
TEXTS = (
    "", " ", "a", "A", "0", "16", "null", "true", "a\n", "\n", "a\r\n", "a\tb", "\x01", "\x7f", "\x85", "a\u2028",
    "٣", "１", "é", "𝔞", "ﬁ", "İ", "~", "a/b", "../a", "/a", "mens/plan/v1", "2026-02-31", "0" * 64, "0" * 63 + "٣",
    "x" * 300, "é" * 65, "𝔞" * 32,
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, 0, 1, 16.0, 0.5, "", "text", [], {}, [1], [None], {"a": 1}, [[]], [{}])


class Mutations:
    """Seeded mutations of one kind's fixtures that know the schema, so that they land on its bounds."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.random = random.Random(f"{seed} {kind}")
        self.schema = door.schema_of(kind)
        self.documents = sorted(_small_fixtures(kind), key=str)
        self.pieces = [slot[0][slot[1]] for document in self.documents for slot in self.slots(document)]

    def __iter__(self) -> Iterator[Any]:
        weights = [1 / (200 + len(json.dumps(document))) for document in self.documents]
        while True:
            [document] = self.random.choices(deepcopy(self.documents), weights)
            for _ in range(self.random.choice((1, 1, 1, 2, 3))):
                slots = self.slots(document)
                if slots and self.random.random() > 0.01:
                    self.mutate(self.random.choice(slots))
                else:
                    document = deepcopy(self.random.choice((*OTHERS, *self.pieces)))
            yield document

    def slots(self, document: Any) -> list[Slot]:
        """Every place of a document with the schemas that hold there."""
        found: list[Slot] = []
        waiting = [(document, self.branches(self.schema))]
        while waiting:
            value, schemas = waiting.pop()
            items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, item in items:
                below = [self.branches(part) for schema in schemas for part in _parts(schema, key)]
                flat = tuple(branch for branches in below for branch in branches)
                found.append((value, key, flat))
                waiting.append((item, flat))
        return found

    def branches(self, schema: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """A schema and all that it refers to."""
        found = [schema]
        for node in found:
            if "$ref" in node:
                found.append(self.schema["$defs"][node["$ref"].rpartition("/")[2]])
            found += [*node.get("oneOf", []), *node.get("anyOf", [])]
        return tuple(found)

    def mutate(self, slot: Slot) -> None:
        container, key, schemas = slot
        ways = [self.to_bound] * 6 + [self.to_other] * 2 + [self.to_piece, self.drop, self.rename, self.add, self.grow]
        self.random.choice(ways)(container, key, schemas)

    def to_bound(self, container: Any, key: Any, schemas: tuple[dict[str, Any], ...]) -> None:
        """A value at, just inside or just outside what some schema here allows."""
        candidates = [value for schema in schemas for value in self.at_bounds(schema, container[key])]
        container[key] = self.random.choice(candidates or [*NUMBERS, *TEXTS])

    def at_bounds(self, schema: dict[str, Any], value: Any) -> Iterator[Any]:
        for name in ("minimum", "maximum"):
            if name in schema:
                yield from (schema[name] + step for step in (-1, 0, 1, 0.5, -1e-9))
                yield float(schema[name])
        for name in ("minLength", "maxLength"):
            if schema.get(name, 10**9) < 70_000:
                text = value if isinstance(value, str) and value else self.random.choice("aé0")
                for length in (schema[name] - 1, schema[name], schema[name] + 1):
                    yield (text * (length // len(text) + 1))[: max(0, length)]
        for option in [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]:
            yield option
            if isinstance(option, str):
                yield from (option.upper(), option + "\n", f" {option}", option[:-1])
        if "pattern" in schema and isinstance(value, str):
            yield from (value + "\n", value.upper(), f"{value}é", value[:-1], value[1:] + value[:1])
        if schema.get("type") in ("boolean", ["boolean", "null"]):
            yield from (True, False, 0, 1)
        if "null" in str(schema.get("type", "")):
            yield None

    def to_other(self, container: Any, key: Any, _: object) -> None:
        """A value of any type."""
        container[key] = deepcopy(self.random.choice((*OTHERS, *NUMBERS, *TEXTS)))

    def to_piece(self, container: Any, key: Any, _: object) -> None:
        """A piece of this or another document of the kind."""
        container[key] = deepcopy(self.random.choice(self.pieces))

    def drop(self, container: Any, key: Any, _: object) -> None:
        del container[key]

    def rename(self, container: Any, key: Any, _: object) -> None:
        """Another name for a field, or the same value under a second one."""
        if isinstance(container, dict) and isinstance(key, str):
            near = self.random.choice((key + "s", key.upper(), key[:-1], f"{key}\n", f" {key}", "", "x", "é"))
            container[near] = container[key] if self.random.random() < 0.3 else container.pop(key)

    def add(self, container: Any, key: Any, schemas: tuple[dict[str, Any], ...]) -> None:
        """A field that the schema knows, or one that nobody does."""
        target = container[key] if isinstance(container[key], dict) else container
        if isinstance(target, dict):
            names = [name for schema in schemas for name in schema.get("properties", {})]
            name = self.random.choice([*names, "unknown", "model_config", "schema_", "class"])
            target[name] = deepcopy(self.random.choice((*OTHERS, *self.pieces)))

    def grow(self, container: Any, key: Any, schemas: tuple[dict[str, Any], ...]) -> None:
        """A list one entry off its bounds, or with an entry twice."""
        value = container[key]
        if isinstance(value, list):
            bounds = [schema[name] for schema in schemas for name in ("minItems", "maxItems") if name in schema]
            near = [length for bound in bounds if bound <= 128 for length in (bound - 1, bound, bound + 1)]
            length = max(0, self.random.choice([*near, len(value) + 1]))
            container[key] = deepcopy(((value or [deepcopy(self.random.choice(self.pieces))]) * (length + 1))[:length])


def _parts(schema: dict[str, Any], key: Any) -> Iterator[dict[str, Any]]:
    """The schemas that a member of a container is held to."""
    if isinstance(key, int):
        candidates = [schema.get("items")]
    else:
        candidates = [schema.get("properties", {}).get(key, schema.get("additionalProperties"))]
    yield from (candidate for candidate in candidates if isinstance(candidate, dict))


def _small_fixtures(kind: Kind) -> Iterator[Any]:
    for path in (FIXTURES / f"{kind.name}.v{kind.version}" / "valid").iterdir():
        text = decode(path.read_bytes())
        value = parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]
        if len(json.dumps(value)) <= LARGEST:
            yield value


def compare(document: Any, validator: Draft202012Validator, check: Check) -> tuple[bool, str]:
    """The door's verdict on a document, and how the two judges disagree; empty when they agree."""
    value = parse_json(json.dumps(document, ensure_ascii=False))
    model, problems = check(value)
    accepted = model is not None
    stage = {problem.code for problem in problems if problem.code.startswith("MENS-V") or problem.code == "MENS-R005"}
    assert accepted != bool(stage), "a document is refused with findings, and accepted without"
    if "MENS-V099" in stage or validator.is_valid(value) != accepted:
        said = "accepts" if accepted else "refuses"
        return accepted, f"the door {said}, jsonschema does not: {json.dumps(value)} {problems}"
    return accepted, ""


def _distinct(documents: Iterable[Any]) -> Iterator[Any]:
    seen: set[str] = set()
    for document in documents:
        text = json.dumps(document)
        if text not in seen:
            seen.add(text)
            yield document


@cache
def _validator(kind: Kind) -> Draft202012Validator:
    return Draft202012Validator(door.schema_of(kind))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_schema_and_the_door_agree(kind: Kind) -> None:
    verdicts: Counter[bool] = Counter()
    disagreements = []
    for document in islice(_distinct(Mutations(kind, SEED)), JUDGED):
        accepted, disagreement = compare(document, _validator(kind), lambda value: door.check(value, kind))
        verdicts[accepted] += 1
        disagreements += [disagreement] if disagreement else []
    assert verdicts.total() == JUDGED
    assert disagreements == []
    assert min(verdicts[True], verdicts[False]) >= ENOUGH, verdicts


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "a maximum one higher": lambda schema: schema["properties"]["rank"].update(maximum=1025),
    "a maximum one lower": lambda schema: schema["properties"]["rank"].update(maximum=1023),
    "a minimum that is gone": lambda schema: schema["properties"]["ce_last_k"].pop("minimum"),
    "an integer that may be a fraction": lambda schema: schema["properties"]["rank"].update(type="number"),
    "a boolean that may be a number": lambda schema: schema["properties"]["packing"].update(type=["boolean", "number"]),
    "a null too many": lambda schema: [
        field.update(type=["integer", "null"])
        for field in schema["properties"].values()
        if field.get("type") == "integer"
    ],
    "a null too few": lambda schema: schema["properties"]["max_steps"].update(type="integer"),
    "a text one longer": lambda schema: schema["properties"]["title"].update(maxLength=121),
    "an empty text": lambda schema: schema["properties"]["title"].update(minLength=0),
    "a form that is gone": lambda schema: schema["$defs"]["PresetName"].pop("pattern"),
    "a final newline": lambda schema: schema["$defs"]["PresetName"].update(pattern="^[a-z0-9][a-z0-9_]*$"),
    "a list one longer": lambda schema: schema["properties"]["aliases"].update(maxItems=17),
    "a value more": lambda schema: schema["properties"]["scheduler"]["enum"].append("COSINE"),
    "a value less": lambda schema: schema["properties"]["scheduler"]["enum"].remove("linear"),
    "a field that may be missing": lambda schema: schema["required"].remove("warmup_steps"),
    "a field that must be there": lambda schema: schema["required"].append("base_model"),
    "unknown fields": lambda schema: schema.update(additionalProperties=True),
}


def test_every_difference_between_the_judges_is_noticed() -> None:
    """The proof above can fail: with a schema that is wrong in one place, the same comparison finds it."""
    kind = named("training-preset/v1")
    wrong: dict[str, Draft202012Validator] = {}
    for name, alter in WRONG.items():
        schema = door.schema_of(kind)
        alter(schema)
        wrong[name] = Draft202012Validator(schema)
    for document in islice(Mutations(kind, SEED), 20_000):
        judged = door.check(parse_json(json.dumps(document)), kind)
        noticed = [name for name in wrong if compare(document, wrong[name], lambda _, judged=judged: judged)[1]]
        for name in noticed:
            del wrong[name]
        if not wrong:
            break
    assert sorted(wrong) == []


def test_a_model_of_another_kind_is_noticed() -> None:
    """MENS-V099: where the model refuses what the schema accepts, the door refuses and says so."""
    kind = named("serving-handoff/v2")
    mixed_up = kind._replace(module="serving_handoff_v1", title="ServingHandoffV1")
    [document, *_] = _small_fixtures(kind)
    assert compare(document, _validator(kind), lambda value: door.check(value, kind)) == (True, "")
    accepted, disagreement = compare(document, _validator(kind), lambda value: door.check(value, mixed_up))
    assert not accepted
    assert "MENS-V099" in disagreement


@pytest.mark.parametrize("character", ["a", "é", "𝔞"])
def test_the_longest_texts(character: str) -> None:
    kind = named("training-row/v1")
    for length, expected in ((3_999_999, True), (4_000_000, True), (4_000_001, False)):
        document = {"text": character * length}
        assert compare(document, _validator(kind), lambda value: door.check(value, kind)) == (expected, "")
