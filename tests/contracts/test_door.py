"""The one door: what it lets in, what it says of the rest, and where it points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mens_contracts import AdapterMetaV3, ServingHandoffV1, ServingHandoffV2, TrainingPresetV1
from pydantic import BaseModel, ValidationError

from mens.contracts import Document, InvalidDocument, door, examine, load, loads
from mens.contracts.errors import IntegrityError, MensError, ResourceError, UnsupportedError, UsageError
from mens.contracts.findings import Finding
from mens.contracts.kinds import KINDS, kind_of_file, kind_of_value, named, names
from mens.contracts.source import LARGEST, Source, read, syntax_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
PRESET = FIXTURES / "training-preset.v1" / "valid" / "minimal.yaml"
HANDOFF: dict[str, Any] = {
    "schema": "mens/serving-handoff/v2",
    "backend_family": "vllm",
    "base_model": "Qwen/Qwen3.5-4B",
    "base_family": "qwen3_5",
    "tokenizer_source": "Qwen/Qwen3.5-4B",
    "artifact_dir": "out",
    "prompt_format": "qwen_chatml_im_start",
}
V1 = {name: value for name, value in HANDOFF.items() if name != "base_family"} | {
    "schema": "vox_external_serving_handoff_v1",
    "schema_version": 1,
}


def test_load_gives_the_generated_model() -> None:
    document = load(PRESET, TrainingPresetV1)
    assert isinstance(document, Document)
    assert isinstance(document.model, TrainingPresetV1)
    assert (document.model.id, document.model.rank, document.model.base_quant) == ("night_run", 16, "nf4")
    assert (str(document.kind), document.name) == ("training-preset/v1", str(PRESET))
    assert document.value["learning_rate"] == 0.00015
    assert load(str(PRESET)) == document


def test_what_came_in_is_frozen() -> None:
    document = load(PRESET)
    with pytest.raises(ValidationError) as refusal:
        document.model.rank = 32
    assert refusal.value.errors()[0]["type"] == "frozen_instance"


def test_loads_reads_json_and_yaml_alike() -> None:
    written = json.dumps(HANDOFF)
    as_yaml = "\n".join(f"{name}: {value}" for name, value in HANDOFF.items())
    assert loads(written, ServingHandoffV2).model == loads(as_yaml, ServingHandoffV2).model


def test_a_document_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidDocument) as refusal:
        load(PRESET, AdapterMetaV3)
    codes = {finding.code for finding in refusal.value.findings}
    assert codes == {"MENS-V002", "MENS-V003"}
    assert refusal.value.exit_code == 1


def test_a_refusal_carries_every_finding_and_says_the_first() -> None:
    text = json.dumps(HANDOFF | {"backend_family": "vlm", "base_family": 3, "artifact_dir": ""}, indent=1)
    with pytest.raises(InvalidDocument) as refusal:
        loads(text, ServingHandoffV2, "handoff.json")
    error = refusal.value
    assert error.findings == (
        Finding(
            "handoff.json", 3, 20, "/backend_family", "MENS-V004", "error",
            "'vlm' is not one of 'vllm', 'ollama', 'hf-transformers', 'openai-compatible', 'other'."
            " Did you mean 'vllm'?",
        ),
        Finding("handoff.json", 5, 17, "/base_family", "MENS-V001", "error", "3 is not a string or null"),
        Finding(
            "handoff.json", 7, 18, "/artifact_dir", "MENS-V006", "error",
            "0 characters, where at least 1 may stand",
        ),
    )  # fmt: skip
    assert str(error).splitlines() == [
        "handoff.json:3:20: 'vlm' is not one of 'vllm', 'ollama', 'hf-transformers', 'openai-compatible', 'other'."
        " Did you mean 'vllm'?   [MENS-V004]",
        "handoff.json:5:17: 3 is not a string or null   [MENS-V001]",
        "handoff.json:7:18: 0 characters, where at least 1 may stand   [MENS-V006]",
    ]


def test_a_refusal_shows_the_first_few_and_the_true_total() -> None:
    with pytest.raises(InvalidDocument) as refusal:
        loads(json.dumps(dict.fromkeys(HANDOFF, 3)), ServingHandoffV2)
    assert len(refusal.value.findings) == 7
    lines = str(refusal.value).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "7 findings in all."


def test_no_kind_is_no_document(tmp_path: Path) -> None:
    stray = tmp_path / "stray.json"
    stray.write_text('{"a": 1}')
    with pytest.raises(UnsupportedError) as refusal:
        load(stray)
    assert refusal.value == UnsupportedError("MENS-U001", "no kind of document is recognised in it", str(stray))
    assert examine(read(stray)) == (None, None, [])


@pytest.mark.parametrize(
    ("value", "pointer", "message"),
    [
        (
            {"schema": "mens/serving-handof/v2"},
            "/schema",
            "'mens/serving-handof/v2' is not a kind of document known here. Did you mean 'mens/serving-handoff/v2'?",
        ),
        (
            {"schema": "mens/training-preset/v9"},
            "/schema",
            "'mens/training-preset/v9' is not a kind of document known here. Did you mean 'mens/training-preset/v1'?",
        ),
        (
            {"format": "vox_mens_adapter", "version": 4},
            "/version",
            "`format: vox_mens_adapter` goes with `version: 3`, not 4",
        ),
        (
            {"format": "vox_mens_adapter"},
            "",
            "`format: vox_mens_adapter` goes with `version: 3`, not 'nothing'",
        ),
    ],
)
def test_a_kind_that_nobody_knows(value: dict[str, Any], pointer: str, message: str) -> None:
    examined = examine(Source("x.json", json.dumps(value).encode(), "json"))
    [found] = examined.findings
    assert (found.pointer, found.code, found.message) == (pointer, "MENS-U002", message)


def test_every_name_of_a_kind() -> None:
    assert [str(named(name)) for name in names()] == names()
    assert str(named("adapter-meta")) == "adapter-meta/v3"
    assert str(named("mens/adapter-meta/v2")) == "adapter-meta/v2"
    for wrong in ("adapter-meta/v4", "adapter", "adapter-meta/3", "", "adapter-meta/v"):
        with pytest.raises(UnsupportedError) as refusal:
            named(wrong)
        assert refusal.value.code == "MENS-U002"
    with pytest.raises(UnsupportedError) as refusal:
        named("adaptr-meta/v3")
    assert refusal.value.what == "'adaptr-meta/v3' is not a kind of document. Did you mean 'adapter-meta/v3'?"


def test_kinds_by_mark_and_by_file_name() -> None:
    assert kind_of_value(V1) == named("serving-handoff/v1")
    assert kind_of_value(HANDOFF) == named("serving-handoff/v2")
    assert kind_of_value({"schema": "https://json-schema.org/draft/2020-12/schema"}) is None
    assert kind_of_value([HANDOFF]) is None
    assert kind_of_file("run/telemetry.jsonl") == named("telemetry-event/v1")
    assert kind_of_file("run/rows.jsonl") == named("training-row/v1")
    assert kind_of_file("a/config.json") == named("hf-config/v1")
    assert kind_of_file("a/adapter_config.json") == named("peft-adapter-config/v1")
    assert kind_of_file("a/my_config.json") is None


def _judged(value: Any, kind: str) -> list[tuple[str, str, str, bool]]:
    _, problems = door.check(value, named(kind))
    return [(problem.code, problem.pointer, problem.message, problem.at_key) for problem in problems]


def test_a_type_is_not_said_where_the_values_are_listed() -> None:
    assert _judged(HANDOFF | {"backend_family": 3}, "serving-handoff/v2") == [
        (
            "MENS-V004",
            "/backend_family",
            "3 is not one of 'vllm', 'ollama', 'hf-transformers', 'openai-compatible', 'other'.",
            False,
        )
    ]
    assert _judged(V1 | {"schema": None}, "serving-handoff/v1") == [
        ("MENS-V004", "/schema", "null must be 'vox_external_serving_handoff_v1'", False)
    ]


VERDICTS: list[tuple[str, dict[str, Any], tuple[str, str, str, bool]]] = [
    (
        "serving-handoff/v2", HANDOFF | {"notes": True},
        ("MENS-V001", "/notes", "true is not a string or null", False),
    ),
    (
        "serving-handoff/v2", {name: value for name, value in HANDOFF.items() if name != "artifact_dir"},
        ("MENS-V002", "", "the required field 'artifact_dir' is missing from mens/serving-handoff/v2", False),
    ),
    (
        "serving-handoff/v2", HANDOFF | {"adapter_pth": "a"},
        (
            "MENS-V003", "/adapter_pth",
            "'adapter_pth' is not a field of mens/serving-handoff/v2. Did you mean 'adapter_path'?", True,
        ),
    ),
    (
        "serving-handoff/v2", HANDOFF | {"backend_family": "ray"},
        (
            "MENS-V004", "/backend_family",
            "'ray' is not one of 'vllm', 'ollama', 'hf-transformers', 'openai-compatible', 'other'.", False,
        ),
    ),
    (
        "serving-handoff/v1", V1 | {"schema": "vox"},
        ("MENS-V004", "/schema", "'vox' must be 'vox_external_serving_handoff_v1'", False),
    ),
    (
        "serving-handoff/v1", V1 | {"schema_version": 2},
        ("MENS-V005", "/schema_version", "2 is above the maximum, 1", False),
    ),
    (
        "serving-handoff/v2", HANDOFF | {"notes": "x" * 2001},
        ("MENS-V006", "/notes", "2,001 characters, where at most 2,000 may stand", False),
    ),
    (
        "serving-handoff/v2", HANDOFF | {"base_family": "Qwen"},
        ("MENS-V007", "/base_family", "'Qwen' does not have the form ^[a-z][a-z0-9_]*$", False),
    ),
    (
        "training-row/v1", {"messages": []},
        ("MENS-V008", "/messages", "0 entries, where at least 1 may stand", False),
    ),
    (
        "training-row/v1", {"messages": [{"role": "user", "content": 5}]},
        ("MENS-V001", "/messages/0/content", "5 is not a string or a list or null", False),
    ),
    (
        "training-row/v1", {"messages": [{"role": "user", "content": [{"type": "txt", "text": "Hm."}]}]},
        (
            "MENS-V004", "/messages/0/content/0/type",
            "'txt' is not one of 'text', 'image', 'video', 'audio'. Did you mean 'text'?", False,
        ),
    ),
    (
        "training-row/v1", {"messages": [{"role": "user", "content": [{"text": "Hm."}]}]},
        (
            "MENS-V002", "/messages/0/content/0",
            "the required field 'type' is missing from `messages.0.content.0` in mens/training-row/v1", False,
        ),
    ),
    (
        "plan/v1",
        {"schema": "mens/plan/v1", "trainable_parameters": 0, "fits": True, "origins": {"Rank": "flag"},
         "memory": {"components": {}, "total_bytes": 0}},
        (
            "MENS-V009", "/origins/Rank",
            "'Rank' cannot be a key here: 'Rank' does not have the form ^[a-z][a-z0-9_]*$", True,
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "said"), VERDICTS, ids=[f"{said[0]} {said[1]}" for _, _, said in VERDICTS])
def test_what_the_schema_stage_says(kind: str, value: dict[str, Any], said: tuple[str, str, str, bool]) -> None:
    assert _judged(value, kind) == [said]


@pytest.mark.parametrize("value", [None, [], "text", 3, True, [HANDOFF]])
def test_a_root_that_is_no_mapping(value: Any) -> None:
    [(code, pointer, message, _)] = _judged(value, "serving-handoff/v2")
    assert (code, pointer) == ("MENS-V001", "")
    assert message.endswith("is not a mapping")


def test_a_finding_about_a_field_points_at_its_name_and_one_about_a_value_at_the_value() -> None:
    text = "schema:   mens/serving-handoff/v2\nadapter_pth:   a\nnotes:   3\n"
    found = examine(Source("h.yaml", text.encode(), "yaml")).findings
    places = {(finding.code, finding.pointer): (finding.line, finding.column) for finding in found}
    assert places["MENS-V003", "/adapter_pth"] == (2, 1)
    assert places["MENS-V001", "/notes"] == (3, 10)
    assert places["MENS-V002", ""] == (1, 1)
    assert found == sorted(found, key=lambda finding: (finding.line, finding.column))


def test_rows_are_counted_from_one_and_an_empty_line_is_a_finding() -> None:
    lines = [b'{"text": "a"}\n', b"\n", b'{"text": 3}\r\n', b'{"prompt": "a", "response": "b"}']
    examined = list(door.rows("r.jsonl", lines, named("training-row/v1")))
    said = [(finding.line, finding.column, finding.code) for row in examined for finding in row.findings]
    assert said == [(2, 1, "MENS-S001"), (3, 10, "MENS-V001")]
    assert [row.document is not None for row in examined] == [True, False, False, True]


@pytest.mark.parametrize(
    ("name", "data", "syntax"),
    [
        ("a.json", b"x: 1", "json"),
        ("a.JSONL", b"x: 1", "json"),
        ("a.yml", b"{}", "yaml"),
        ("a.YAML", b"{}", "yaml"),
        ("a", b" \n{}", "json"),
        ("a", b"[]", "json"),
        ("a.txt", b"x: 1", "yaml"),
        ("a", b"", "yaml"),
    ],
)
def test_json_or_yaml(name: str, data: bytes, syntax: str) -> None:
    assert syntax_of(name, data) == syntax


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def refusal(path: Path) -> MensError:
        with pytest.raises(MensError) as error:
            load(path)
        return error.value

    missing = tmp_path / "missing.json"
    assert refusal(missing) == UsageError("MENS-P004", "no such file or folder", str(missing))
    assert refusal(tmp_path) == IntegrityError(
        "MENS-P002", "not a regular file; nothing was read from it", str(tmp_path)
    )
    assert refusal(Path("/dev/zero")).code == "MENS-P002"
    assert refusal(PRESET / "below").exit_code == 5
    name = tmp_path / ("x" * 300)
    assert refusal(name) == ResourceError("MENS-P005", "cannot be read: File name too long", str(name))
    assert refusal(Path("a\0b")).code == "MENS-P005"
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert refusal(huge) == IntegrityError("MENS-P003", "larger than 64 MiB, which no document is", str(huge))


def test_every_kind_has_a_model_under_its_title() -> None:
    import mens_contracts

    assert len({kind.title for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        model = getattr(mens_contracts, kind.title)
        assert issubclass(model, BaseModel)
        assert door.kind_of_model(model) == kind
        assert door.schema_of(kind)["title"] == kind.title
    with pytest.raises(AttributeError):
        mens_contracts.NoSuchModelV1  # noqa: B018
    assert ServingHandoffV1 is not ServingHandoffV2
