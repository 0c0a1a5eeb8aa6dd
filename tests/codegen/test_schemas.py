"""The keyword subset: what leaves it is refused by name, and what stays is bundled, projected, searched for paths."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from syrupy.assertion import SnapshotAssertion

from mens.codegen.schemas import FILE_NAME, Schemas, bundle, path_fields, project_draft7, read_schemas
from mens.codegen.sources import editor_schema
from mens.contracts.errors import ContractError, MensError
from mens.contracts.json_types import JsonObject
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

THING: JsonObject = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "ThingV1",
    "description": "A thing, with one property of every form that is allowed.",
    "type": "object",
    "properties": {
        "schema": {"type": "string", "const": "mens/thing/v1", "description": "The kind and version."},
        "text": {
            "type": "string",
            "pattern": "^[a-z]+(?!\\n)$",
            "minLength": 1,
            "maxLength": 9,
            "description": "A text of a form.",
        },
        "choice": {"type": ["string", "null"], "enum": ["a", None], "default": None, "description": "One of some."},
        "count": {"type": "integer", "minimum": 0, "maximum": 9, "default": 0, "description": "How many there are."},
        "rate": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5, "description": "How much of it."},
        "flag": {"type": "boolean", "default": False, "description": "Whether it is so."},
        "list": {
            "type": "array",
            "items": {"$ref": "#/$defs/Word"},
            "maxItems": 3,
            "default": [],
            "description": "Several words.",
        },
        "map": {
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/Word"},
            "propertyNames": {"pattern": "^[a-z]+(?!\\n)$", "minLength": 1, "maxLength": 9},
            "default": {},
            "description": "Words by name.",
        },
        "free": {"type": "object", "additionalProperties": True, "default": {}, "description": "Anything at all."},
        "step": {
            "oneOf": [{"$ref": "#/$defs/Up"}, {"$ref": "#/$defs/Down"}],
            "discriminator": {"propertyName": "op"},
            "description": "One of two steps.",
        },
        "either": {
            "anyOf": [{"$ref": "#/$defs/Word"}, {"type": "null"}],
            "default": None,
            "description": "A word, or nothing.",
        },
    },
    "required": ["schema", "text", "step"],
    "additionalProperties": False,
    "$defs": {
        "Word": {"type": "string", "minLength": 1, "maxLength": 9, "description": "One word of it."},
        "Up": {
            "type": "object",
            "description": "A step upwards.",
            "properties": {"op": {"type": "string", "const": "up", "description": "Marks the step."}},
            "required": ["op"],
            "additionalProperties": False,
        },
        "Down": {
            "type": "object",
            "description": "A step downwards.",
            "properties": {"op": {"type": "string", "const": "down", "description": "Marks the step."}},
            "required": ["op"],
            "additionalProperties": False,
        },
    },
}
WHOLE = 9007199254740991

Mutation = Callable[[JsonObject], None]


def put(path: str, value: Any) -> Mutation:
    """Set what stands at a path of keys and indexes."""

    def mutate(schema: JsonObject) -> None:
        *above, last = path.split("/")
        node: Any = schema
        for token in above:
            node = node[int(token) if isinstance(node, list) else token]
        node[int(last) if isinstance(node, list) else last] = value

    return mutate


def drop(path: str) -> Mutation:
    """Remove what stands at a path of keys."""

    def mutate(schema: JsonObject) -> None:
        *above, last = path.split("/")
        node = schema
        for token in above:
            node = node[token]
        del node[last]

    return mutate


def optional(**node: Any) -> Mutation:
    """Add an optional property of this form."""
    return put("properties/new", {"description": "Something new.", **node})


def defined(**node: Any) -> Mutation:
    """Add a definition of this form."""
    return put("$defs/New", {"description": "Something new.", **node})


P = "properties/"
MUTATIONS: dict[str, Mutation] = {
    # the top
    "another dialect": put("$schema", "http://json-schema.org/draft-07/schema#"),
    "no dialect": drop("$schema"),
    "an $id": put("$id", "https://example.org/thing"),
    "no title": drop("title"),
    "a title without version": put("title", "Thing"),
    "a title of another version": put("title", "ThingV2"),
    "a title of another kind": put("title", "ThongV1"),
    "no description": drop("description"),
    "not an object": put("type", "array"),
    "no properties": put("properties", {}),
    "no required": drop("required"),
    "openness not said": drop("additionalProperties"),
    "no $defs": drop("$defs"),
    "unevaluatedProperties": put("unevaluatedProperties", False),
    "$comment": put("$comment", "a remark"),
    "examples": put("examples", [{}]),
    # objects
    "an object inside a property": optional(type="object", properties={}, default={}),
    "a definition's name": put("$defs/small_word", {"type": "string", "maxLength": 3, "description": "A small word."}),
    "a class without description": drop("$defs/Up/description"),
    "a class without required": drop("$defs/Up/required"),
    "a class that does not say whether it is open": drop("$defs/Up/additionalProperties"),
    "a title in a definition": put("$defs/Up/title", "Up"),
    "a definition without description": drop("$defs/Word/description"),
    "a definition that only refers": put("$defs/Alias", {"$ref": "#/$defs/Word", "description": "The same word."}),
    "required names no property": put("required", ["schema", "text", "step", "gone"]),
    "required twice": put("required", ["schema", "text", "step", "step"]),
    # properties
    "a property without description": drop(P + "text/description"),
    "a description of one word": put(P + "text/description", "Text"),
    "a description of two lines": put(P + "text/description", "A text of a form.\nAnd more of it."),
    "a description with an invisible character": put(P + "text/description", "A text \x1b[1mof a form."),
    "a property with a hyphen": put(
        P + "a-b", {"type": "boolean", "default": False, "description": "Hyphenated it is."}
    ),
    "a Python keyword": put(P + "class", {"type": "boolean", "default": False, "description": "A keyword in Python."}),
    "a rare Python keyword": put(
        P + "nonlocal", {"type": "boolean", "default": False, "description": "A keyword too."}
    ),
    "optional without default": drop(P + "count/default"),
    "required with default": put(P + "text/default", "a"),
    "an unknown keyword": put(P + "text/formatMinimum", 1),
    # constants and choices
    "an integer constant": put("$defs/Up/properties/op", {"type": "integer", "const": 1, "description": "Marks it."}),
    "a constant without type": put("$defs/Up/properties/op", {"const": "up", "description": "Marks the step."}),
    "a boolean constant": optional(type="boolean", const=True, default=True),
    "an integer enum": optional(type="integer", enum=[1, 2], default=1),
    "an enum with a number among texts": optional(type="string", enum=["a", 1], default="a"),
    "an enum with null that its type forbids": optional(type="string", enum=["a", None], default="a"),
    "a nullable enum without null": optional(type=["string", "null"], enum=["a"], default="a"),
    "an empty enum": optional(type="string", enum=[], default="a"),
    "an enum value twice": optional(type="string", enum=["a", "a"], default="a"),
    # numbers
    "an integer without minimum": drop(P + "count/minimum"),
    "an integer without maximum": drop(P + "count/maximum"),
    "a number without maximum": drop(P + "rate/maximum"),
    "a minimum below every exact number": put(P + "count/minimum", -WHOLE - 1),
    "a maximum above every exact number": put(P + "rate/maximum", WHOLE + 1),
    "a minimum above the maximum": put(P + "count/minimum", 10),
    "exclusiveMinimum": put(P + "rate/exclusiveMinimum", 0),
    "multipleOf": put(P + "count/multipleOf", 2),
    # texts
    "a text without maxLength": optional(type="string", default=""),
    "a pattern without minLength": drop(P + "text/minLength"),
    "a pattern without maxLength": drop(P + "text/maxLength"),
    "a pattern without beginning": put(P + "text/pattern", "[a-z]+(?!\\n)$"),
    "a pattern that forgives a final newline": put(P + "text/pattern", "^[a-z]+$"),
    "a pattern with \\d": put(P + "text/pattern", "^\\d+(?!\\n)$"),
    "a pattern with \\w": put(P + "text/pattern", "^\\w+(?!\\n)$"),
    "a pattern with \\s": put(P + "text/pattern", "^\\s+(?!\\n)$"),
    "a pattern with \\b": put(P + "text/pattern", "^a\\b(?!\\n)$"),
    "a pattern that looks ahead": put(P + "text/pattern", "^(?=a)[a-z]+(?!\\n)$"),
    "a pattern that looks ahead for something not to be": put(P + "text/pattern", "^(?!a)[a-z]+(?!\\n)$"),
    "a pattern that looks behind": put(P + "text/pattern", "^[a-z]+(?<!a)(?!\\n)$"),
    "a pattern that refers back": put(P + "text/pattern", "^(a)\\1(?!\\n)$"),
    "a pattern beyond ASCII": put(P + "text/pattern", "^[a-é]+(?!\\n)$"),
    "a pattern that does not compile": put(P + "text/pattern", "^[a-z(?!\\n)$"),
    "a minLength above the maxLength": put(P + "text/minLength", 10),
    "format": put(P + "text/format", "date-time"),
    "contentMediaType": put(P + "text/contentMediaType", "text/plain"),
    # lists
    "a list without items": drop(P + "list/items"),
    "a list without maxItems": drop(P + "list/maxItems"),
    "a list of anything": put(P + "list/items", {}),
    "uniqueItems": put(P + "list/uniqueItems", True),
    "prefixItems": put(P + "list/prefixItems", [{"type": "boolean"}]),
    "contains": put(P + "list/contains", {"type": "boolean"}),
    "a minItems above the maxItems": put(P + "list/minItems", 4),
    # maps
    "a map without propertyNames": drop(P + "map/propertyNames"),
    "a map of anything with names": put(P + "map/additionalProperties", {}),
    "names without maxLength": drop(P + "map/propertyNames/maxLength"),
    "names whose pattern forgives a final newline": put(P + "map/propertyNames/pattern", "^[a-z]+$"),
    "patternProperties": put(P + "map/patternProperties", {"^a": {"type": "boolean"}}),
    "a closed map": put(P + "map/additionalProperties", False),
    "minProperties": put(P + "map/minProperties", 1),
    # references
    "a reference to nothing": put(P + "list/items/$ref", "#/$defs/Gone"),
    "a reference to a property": put(P + "list/items/$ref", "#/properties/text"),
    "a reference to the web": put(P + "list/items/$ref", "https://example.org/x.json#/$defs/Word"),
    "a reference upwards": put(P + "list/items/$ref", "../x.v1.schema.json#/$defs/Word"),
    "a bound beside a reference": put(P + "list/items/maxLength", 3),
    "a reference to a file that is not there": put(P + "list/items/$ref", "gone.v1.schema.json#/$defs/Word"),
    "a reference to a definition that common has not": put(P + "list/items/$ref", "common.v1.schema.json#/$defs/Gone"),
    # unions
    "allOf": put("allOf", [{"required": ["text"]}]),
    "not": put("not", {"required": ["count"]}),
    "if": put("if", {"required": ["count"]}),
    "dependentRequired": put("dependentRequired", {"count": ["rate"]}),
    "oneOf without discriminator": drop(P + "step/discriminator"),
    "oneOf of something written out": put(P + "step/oneOf/0", {"type": "boolean"}),
    "oneOf with one branch": put(P + "step/oneOf", [{"$ref": "#/$defs/Up"}]),
    "a tag that a branch has not": put(P + "step/discriminator/propertyName", "kind"),
    "a tag that is an enum": put(
        "$defs/Up/properties/op", {"type": "string", "enum": ["up"], "description": "Marks it."}
    ),
    "two branches with one tag": put("$defs/Down/properties/op/const", "up"),
    "a branch that is no object": put(P + "step/oneOf/0", {"$ref": "#/$defs/Word"}),
    "anyOf of two texts": put(P + "either/anyOf", [{"$ref": "#/$defs/Word"}, {"type": "string", "maxLength": 2}]),
    "anyOf of two objects": put(P + "either/anyOf", [{"$ref": "#/$defs/Up"}, {"$ref": "#/$defs/Down"}]),
    "anyOf of integer and number": defined(
        anyOf=[
            {"type": "integer", "minimum": 0, "maximum": 1},
            {"type": "number", "minimum": 0, "maximum": 1},
        ]
    ),
    # defaults
    "a default of the wrong type": put(P + "count/default", "0"),
    "a default out of bounds": put(P + "count/default", 10),
    "a default that is no choice": put(P + "choice/default", "b"),
    "a default that a reference refuses": put(P + "either/default", ""),
    "a default map with content": put(P + "map/default", {"a": "b"}),
    "null where null may not stand": put(P + "flag/default", None),
    "a default list with a wrong entry": put(P + "list/default", [""]),
}


def write(folder: Path, schema: JsonObject) -> Path:
    """Lay a schema beside the repository's meta-schema and common definitions."""
    root = Path(__file__).parents[2] / "schemas"
    (folder / "schemas/kinds").mkdir(parents=True)
    for name in ("meta.schema.json", "kinds/common.v1.schema.json"):
        (folder / "schemas" / name).write_bytes((root / name).read_bytes())
    (folder / "schemas/kinds/thing.v1.schema.json").write_text(json.dumps(schema), encoding="utf-8")
    return folder / "schemas/kinds"


def test_the_schema_that_is_spoilt_below_is_sound(tmp_path: Path) -> None:
    kinds = read_schemas(write(tmp_path, THING)).kinds
    assert [str(name) for name in kinds] == ["thing/v1"]


def test_each_rule_has_its_mutation() -> None:
    assert len(MUTATIONS) == 113


@pytest.mark.parametrize("name", MUTATIONS)
def test_leaving_the_subset_is_refused(name: str, tmp_path: Path) -> None:
    schema = copy.deepcopy(THING)
    MUTATIONS[name](schema)
    assert schema != THING
    with pytest.raises(ContractError) as refusal:
        read_schemas(write(tmp_path, schema))
    assert refusal.value.code == "MENS-G001"
    assert "thing.v1.schema.json" in refusal.value.where
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize(
    "name",
    [
        "a title of another kind",
        "a description of two lines",
        "optional without default",
        "a pattern that forgives a final newline",
        "a minimum above the maximum",
        "a tag that is an enum",
        "two branches with one tag",
        "anyOf of two texts",
        "a default out of bounds",
        "a reference to nothing",
        "a reference to a file that is not there",
        "allOf",
    ],
)
def test_what_a_refusal_says(name: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    schema = copy.deepcopy(THING)
    MUTATIONS[name](schema)
    with pytest.raises(ContractError) as refusal:
        read_schemas(write(tmp_path, schema))
    assert str(refusal.value) == snapshot


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [
        ("thing.v1.schema.json", '{"title": "a", "title": "b"}', "MENS-S001"),
        ("thing.v1.schema.json", "[]", "MENS-G001"),
        ("thing.v1.schema.json", '{"a": \ud83e}', "MENS-S001"),
        ("thing.json", "{}", "MENS-G001"),
        ("Thing.v1.schema.json", "{}", "MENS-G001"),
        ("thing.v01.schema.json", "{}", "MENS-G001"),
    ],
)
def test_a_file_that_is_no_schema(file: str, text: str, code: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    folder = write(tmp_path, THING)
    (folder / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(MensError) as refusal:
        read_schemas(folder)
    assert refusal.value.code == code
    assert str(refusal.value).replace(str(tmp_path), "<root>") == snapshot


def test_bundles_stand_alone(kinds: Schemas) -> None:
    """Each is itself a valid schema that refers to nothing outside, and keeps no definition that nothing reaches."""
    assert len(kinds.kinds) >= 24
    for name in kinds.kinds:
        bundled = bundle(name.file, kinds.files)
        Draft202012Validator.check_schema(bundled)
        text = json.dumps(bundled)
        wanted = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
        assert wanted <= {f"#/$defs/{key}" for key in bundled.get("$defs", {})}
        borrowed = set(bundled.get("$defs", {})) - set(kinds.kinds[name].get("$defs", {}))
        assert {f"#/$defs/{key}" for key in borrowed} <= wanted
        assert FILE_NAME.search(text) is None


def test_bundling_is_about_names_only(kinds: Schemas) -> None:
    """The files are as they were, and a kind that defines again what it borrows is refused."""
    before = json.dumps([dict(kinds.files)])
    bundle("lane.v1.schema.json", kinds.files)
    assert json.dumps([dict(kinds.files)]) == before
    lane = copy.deepcopy(kinds.files["lane.v1.schema.json"])
    lane["$defs"]["Identifier"] = {"type": "string", "maxLength": 9, "description": "Another identifier."}
    with pytest.raises(ContractError) as refusal:
        bundle("lane.v1.schema.json", {**kinds.files, "lane.v1.schema.json": lane})
    assert refusal.value == ContractError(
        "MENS-G001", "defines again what it also borrows: Identifier", "lane.v1.schema.json"
    )


def test_definitions_may_go_in_a_circle() -> None:
    tree = {
        "type": "object",
        "properties": {
            "left": {"$ref": "#/$defs/Tree"},
            "file": {"$ref": "#/$defs/RelativePath"},
        },
    }
    files: dict[str, JsonObject] = {
        "common.v1.schema.json": {"$defs": {"Tree": tree, "RelativePath": {"type": "string"}}},
        "a.v1.schema.json": {"properties": {"root": {"$ref": "common.v1.schema.json#/$defs/Tree"}}},
    }
    bundled = bundle("a.v1.schema.json", files)
    assert set(bundled["$defs"]) == {"RelativePath", "Tree"}
    assert path_fields(bundled) == ["/root/file"]


def test_path_fields_are_found_wherever_they_stand() -> None:
    path = {"$ref": "#/$defs/RelativePath"}
    bundled = {
        "properties": {
            "plain": path,
            "nullable": {"anyOf": [path, {"type": "null"}]},
            "list": {"type": "array", "items": path},
            "nested": {"type": "array", "items": {"type": "array", "items": path}},
            "map": {"type": "object", "additionalProperties": path},
            "union": {"oneOf": [{"$ref": "#/$defs/One"}, {"$ref": "#/$defs/Two"}]},
            "text": {"$ref": "#/$defs/Word"},
        },
        "$defs": {
            "RelativePath": {"type": "string"},
            "Word": {"type": "string"},
            "One": {"properties": {"file": path}},
            "Two": {"properties": {"other": {"type": "array", "items": {"$ref": "#/$defs/One"}}}},
        },
    }
    assert path_fields(bundled) == [
        "/list/*",
        "/map/*",
        "/nested/*/*",
        "/nullable",
        "/plain",
        "/union/file",
        "/union/other/*/file",
    ]


def test_path_fields_of_every_kind(kinds: Schemas, snapshot: SnapshotAssertion) -> None:
    found = {str(name): path_fields(bundle(name.file, kinds.files)) for name in kinds.kinds}
    assert sum(map(len, found.values())) >= 10
    assert found == snapshot


def fixtures(kinds: Schemas) -> list[tuple[str, str, Any]]:
    """Every fixture of every kind, valid or not, that can be parsed: kind's file, where it lies, value."""
    found = []
    for name in kinds.kinds:
        folder = Path(__file__).parents[1] / "fixtures/kinds" / name.file.removesuffix(".schema.json")
        for path in sorted([*folder.glob("valid/*"), *folder.glob("invalid/*")]):
            text = path.read_text(encoding="utf-8")
            value = parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]
            found.append((name.file, f"{folder.name}/{path.parent.name}/{path.name}", value))
    return found


def test_the_draft_7_projection_judges_alike(kinds: Schemas) -> None:
    """What editors are given accepts what the contract accepts: the draft-07 judge and the 2020-12 judge agree."""
    judges: dict[str, tuple[Draft202012Validator, Draft7Validator]] = {}
    verdicts = []
    for file, where, value in fixtures(kinds):
        if file not in judges:
            bundled = bundle(file, kinds.files)
            projected = project_draft7(bundled)
            Draft7Validator.check_schema(projected)
            judges[file] = (Draft202012Validator(bundled), Draft7Validator(projected))
        ours, editors = (judge.is_valid(value) for judge in judges[file])
        assert ours == editors, where
        verdicts.append(ours)
    assert verdicts.count(True) >= 5 * 20
    assert verdicts.count(False) >= 5 * 20


def test_the_projection_speaks_draft_7_only(kinds: Schemas) -> None:
    for name in kinds.kinds:
        text = json.dumps(project_draft7(bundle(name.file, kinds.files)))
        for keyword in ('"$defs":', "#/$defs/", '"discriminator": {"propertyName"', "2020-12/schema"):
            assert keyword not in text, f"{name}: {keyword}"


def test_the_projection_leaves_names_and_texts_alone() -> None:
    """A property may be called like a keyword, and a description may speak of one."""
    schema: JsonObject = {
        "properties": {
            "discriminator": {"type": "boolean", "description": "See #/$defs/X and #/definitions/X."},
            "items": {"$ref": "#/$defs/X", "default": None},
        },
        "$defs": {"X": {"type": "string", "enum": ["#/$defs/X", "$defs"]}},
    }
    assert project_draft7(schema, "a.") == {
        "properties": {
            "discriminator": {"type": "boolean", "description": "See #/$defs/X and #/definitions/X."},
            "items": {"allOf": [{"$ref": "#/definitions/a.X"}], "default": None},
        },
        "definitions": {"X": {"type": "string", "enum": ["#/$defs/X", "$defs"]}},
    }


def test_the_editor_schema_holds_each_document_to_its_kind(kinds: Schemas) -> None:
    bundled = {name: bundle(name.file, kinds.files) for name in kinds.kinds}
    editor = editor_schema(bundled)
    Draft7Validator.check_schema(editor)
    judge = Draft7Validator(editor)
    verdicts = []
    for file, where, value in fixtures(kinds):
        name = next(name for name in kinds.kinds if name.file == file)
        tag = bundled[name]["properties"].get("schema", {}).get("const")
        if tag is not None and isinstance(value, dict) and value.get("schema") == tag:
            verdict = Draft202012Validator(bundled[name]).is_valid(value)
            assert judge.is_valid(value) == verdict, where
            verdicts.append(verdict)
    assert verdicts.count(True) >= 50
    assert verdicts.count(False) >= 50
    assert judge.is_valid({"something": "else"}), "a document of no kind is not an editor's business"
