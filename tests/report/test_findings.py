"""Findings rendered in every form, read back by parsers that are not ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator
from referencing import Registry, Resource
from syrupy.assertion import SnapshotAssertion

from mens.contracts.findings import Finding
from mens.report.findings import FORMATS, MOST_REMEMBERED, Format, render

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "report"
ALL_FORMATS: tuple[Format, ...] = get_args(Format)

CODES = {
    "MENS-V003": "A field that the kind does not know",
    "MENS-P001": 'Not JSON: a "stray" <character> & more {0} [here](https://example.org)',
    "MENS-R001": "Warm-up longer than training",
}

UNKNOWN = Finding(
    "presets/4080.yaml", 7, 9, "/training/rnk", "MENS-V003", "error", "'rnk' is not a field. Did you mean 'rank'?"
)
NASTY = [
    UNKNOWN,
    UNKNOWN._replace(line=19),
    Finding("presets/4080.yaml", 3, 1, "", "MENS-R001", "warning", "50 % of training is warm-up.\nLower warmup_steps."),
    Finding("a b: c,d.json", 1, 1, "/x~1y/~0", "MENS-P001", "error", "quotes ' \" and <b>&amp;</b>\r\n\n  ]]> done"),
    Finding(
        "./evil\x1b[31m\n::error::.json", 2, 4, "/\x1b", "MENS-P001", "error", "\x1b]0;title\x07 \x9b2J \x00\r\u202e"
    ),
    Finding(
        "größe/模型😀.yaml", 1, 70, "/größe", "MENS-X999", "error", "'größe' — 模型 😀 100%25 ::warning::x {0} [a](b)"
    ),
    Finding("rows.jsonl", 1_000_000, 2, "/text", "MENS-V003", "error", ""),
    Finding("not-utf8-\udcff.json", 1, 1, "", "MENS-P001", "error", "byte \udcff at 0"),
    Finding("/abs/dir/x?#.yaml", 5, 6, "/a", "MENS-V003", "error", "absolute"),
    Finding("<stdin>", 1, 1, "/rank", "MENS-V003", "error", "zero\u200bwidth and \x7f"),
]


def rendered(form: Format, findings: list[Finding], documents: int = 12, total: int | None = None) -> str:
    total = len(findings) if total is None else total
    return "".join(render(form, iter(findings), documents=documents, total=total, codes=CODES, version="1.2.3"))


def many(count: int) -> Iterator[Finding]:
    """As one long JSONL file gives them, every message different."""
    for number in range(count):
        yield UNKNOWN._replace(path="rows.jsonl", line=number + 1, message=f"'field_{number}' is not a field.")


def test_formats_are_those_of_the_type() -> None:
    assert tuple(FORMATS) == ALL_FORMATS
    assert len(ALL_FORMATS) == 6


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_nasty_findings(form: Format, snapshot: SnapshotAssertion) -> None:
    assert rendered(form, NASTY) == snapshot


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_no_findings(form: Format, snapshot: SnapshotAssertion) -> None:
    assert rendered(form, []) == snapshot


@pytest.mark.parametrize("form", ALL_FORMATS)
@pytest.mark.parametrize("findings", [[], NASTY], ids=["none", "nasty"])
def test_output_is_safe_to_print(form: Format, findings: list[Finding]) -> None:
    output = rendered(form, findings)
    assert output.endswith("\n")
    assert not set(output) & {*map(chr, range(10)), *map(chr, range(11, 32)), *map(chr, range(127, 160)), "\u202e"}


@pytest.mark.parametrize("form", ["json", "sarif", "junit", "gitlab"])
def test_what_machines_read_is_ascii(form: Format) -> None:
    assert rendered(form, NASTY).isascii()


# text


@pytest.mark.parametrize(
    ("findings", "documents", "total", "last"),
    [
        (0, 0, 0, "0 documents, no findings"),
        (0, 1, 0, "1 document, no findings"),
        (0, 12, 0, "12 documents, no findings"),
        (1, 1, 1, "1 finding in 1 document"),
        (3, 12, 3, "3 findings in 12 documents"),
        (2, 1, 1_234_567, "1,234,567 findings in 1 document, the first 2 shown"),
    ],
)
@pytest.mark.parametrize("form", ["text", "github"])
def test_total_is_the_last_line(form: Format, findings: int, documents: int, total: int, last: str) -> None:
    assert rendered(form, [UNKNOWN] * findings, documents, total).splitlines()[-1] == last


def test_text_keeps_every_finding_on_lines_of_its_own() -> None:
    lines = rendered("text", NASTY).split("\n")
    assert sum(line.endswith("]") and not line.startswith("  ") for line in lines) == len(NASTY)


# json


def test_json_is_exactly_the_published_interface() -> None:
    utf8 = [finding for finding in NASTY if "\udcff" not in finding.path]
    assert len(utf8) == len(NASTY) - 1
    assert json.loads(rendered("json", utf8)) == {
        "schema": "mens/findings/v1",
        "documents": 12,
        "findings": [finding._asdict() for finding in utf8],
    }


def test_json_names_bytes_that_are_not_utf8_without_surrogates() -> None:
    (found,) = json.loads(rendered("json", [NASTY[7]]))["findings"]
    assert found["path"] == r"not-utf8-\udcff.json"


@pytest.mark.parametrize("findings", [[], [finding for finding in NASTY if finding.message]])
def test_json_is_a_findings_document(findings: list[Finding]) -> None:
    schemas = {path.name: json.loads(path.read_text("utf-8")) for path in (ROOT / "schemas/kinds").glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(schema)) for name, schema in schemas.items()
    )
    validator = Draft202012Validator(schemas["findings.v1.schema.json"], registry=registry)
    assert list(validator.iter_errors(json.loads(rendered("json", findings)))) == []


# github


def commands(output: str) -> list[tuple[str, dict[str, str], str]]:
    """Workflow commands as the runner finds them: a line, trimmed, that starts with two colons."""
    return [command(line.strip()) for line in output.splitlines() if line.strip().startswith("::")]


def command(line: str) -> tuple[str, dict[str, str], str]:
    head, data = line.removeprefix("::").split("::", maxsplit=1)
    name, properties = head.split(" ", maxsplit=1)
    pairs = (pair.split("=", maxsplit=1) for pair in properties.split(","))
    return name, {key: decoded(value) for key, value in pairs}, decoded(data)


def decoded(value: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        value = value.replace(code, character)
    return value


def test_github_commands_decode_to_the_findings() -> None:
    error, _, warning, quotes, evil, *_ = commands(rendered("github", NASTY))
    assert error == (
        "error",
        {"file": "presets/4080.yaml", "line": "7", "col": "9", "title": "MENS-V003"},
        UNKNOWN.message,
    )
    assert (warning[0], warning[2]) == ("warning", NASTY[2].message)
    assert (quotes[1]["file"], quotes[2]) == (NASTY[3].path, NASTY[3].message)
    assert evil[1]["file"] == "evil\\x1b[31m\n::error::.json"


# sarif


def sarif_errors(output: str) -> list[str]:
    schema = json.loads((FIXTURES / "sarif-2.1.0.json").read_text("utf-8"))
    return [error.message for error in Draft4Validator(schema).iter_errors(json.loads(output))]


@pytest.mark.parametrize("findings", [[], NASTY], ids=["none", "nasty"])
def test_sarif_satisfies_the_official_schema(findings: list[Finding]) -> None:
    assert sarif_errors(rendered("sarif", findings)) == []


def test_the_official_schema_refuses_what_is_not_sarif() -> None:
    wrong = json.loads(rendered("sarif", NASTY))
    wrong["runs"][0]["results"][0]["level"] = "fatal"
    wrong["runs"][0]["results"][1]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    assert len(sarif_errors(json.dumps(wrong))) == 2


def test_sarif_rules_and_results_refer_to_each_other() -> None:
    (run,) = json.loads(rendered("sarif", NASTY))["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("mens", "1.2.3")
    assert [rule["id"] for rule in driver["rules"]] == list(CODES)
    indexed = [result for result in run["results"] if "ruleIndex" in result]
    assert len(indexed) == len(NASTY) - 1
    assert all(driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] for result in indexed)


def test_sarif_without_a_version_makes_none_up() -> None:
    output = "".join(render("sarif", [], documents=0, total=0, codes=CODES))
    assert "version" not in json.loads(output)["runs"][0]["tool"]["driver"]


def test_sarif_uris_lead_back_to_the_paths() -> None:
    (run,) = json.loads(rendered("sarif", NASTY))["runs"]
    uris = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]]
    parts = [urlsplit(uri) for uri in uris]
    assert [part.scheme for part in parts] == ["file" if f.path.startswith("/") else "" for f in NASTY]
    assert [part.query + part.fragment for part in parts] == [""] * len(NASTY)
    assert [unquote(part.path) for part in parts] == [
        f.path.removeprefix("./").replace("\udcff", "\\udcff") for f in NASTY
    ]


def test_sarif_text_holds_no_link_and_no_placeholder_of_the_document() -> None:
    (run,) = json.loads(rendered("sarif", NASTY))["runs"]
    assert run["results"][5]["message"]["text"] == "'größe' — 模型 😀 100%25 ::warning::x {{0}} [a\\](b)"


# identities


def identities(form: Format, findings: list[Finding]) -> list[str]:
    document = json.loads(rendered(form, findings))
    if form == "gitlab":
        return [issue["fingerprint"] for issue in document]
    return [result["partialFingerprints"]["mensFinding/v1"] for result in document["runs"][0]["results"]]


@pytest.mark.parametrize("form", ["sarif", "gitlab"])
def test_identities_are_unique_and_survive_moved_lines(form: Format) -> None:
    repeated = sorted([*NASTY, *NASTY, UNKNOWN._replace(column=8)])
    moved = [finding._replace(line=finding.line + 100) for finding in repeated]
    assert len(set(identities(form, repeated))) == len(repeated) == 21
    assert identities(form, moved) == identities(form, repeated)


@pytest.mark.parametrize("form", ["sarif", "gitlab"])
@pytest.mark.parametrize("change", [{"path": "b"}, {"code": "MENS-V004"}, {"pointer": "/b"}, {"message": "b"}])
def test_identities_tell_findings_apart(form: Format, change: dict[str, Any]) -> None:
    assert identities(form, [UNKNOWN]) != identities(form, [UNKNOWN._replace(**change)])


def test_identities_beyond_those_remembered_are_unique_but_move_with_their_lines() -> None:
    findings = [*many(MOST_REMEMBERED + 10), *many(5)]
    found = identities("gitlab", findings)
    moved = identities("gitlab", [finding._replace(line=finding.line + 1) for finding in findings])
    assert len(set(found)) == MOST_REMEMBERED + 15
    same = [one == other for one, other in zip(found, moved, strict=True)]
    assert same == [True] * MOST_REMEMBERED + [False] * 10 + [True] * 5


# junit


def test_junit_groups_failures_by_document() -> None:
    suite = ElementTree.fromstring(rendered("junit", NASTY))
    cases = suite.findall("testcase")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("12", "10", "0")
    assert [(case.get("name"), len(case)) for case in cases][:2] == [("presets/4080.yaml", 3), ("a b: c,d.json", 1)]
    assert len(suite.findall("testcase/failure")) == len(NASTY)
    assert suite.findtext("system-out") == "10 findings in 12 documents"


def test_junit_failure_says_what_the_text_says() -> None:
    suite = ElementTree.fromstring(rendered("junit", NASTY))
    text = "".join(f"{failure.text}\n" for failure in suite.iter("failure"))
    assert f"{text}10 findings in 12 documents\n" == rendered("text", NASTY)


def test_junit_without_findings_has_one_case_that_passes() -> None:
    suite = ElementTree.fromstring(rendered("junit", []))
    assert [(case.get("name"), list(case)) for case in suite.findall("testcase")] == [("12 documents, no findings", [])]


# gitlab


def test_gitlab_issues_carry_what_the_report_format_asks_for() -> None:
    issues = json.loads(rendered("gitlab", NASTY))
    assert len(issues) == len(NASTY)
    assert issues[0] == {
        "description": UNKNOWN.message,
        "check_name": "MENS-V003",
        "fingerprint": issues[0]["fingerprint"],
        "severity": "major",
        "location": {"path": "presets/4080.yaml", "lines": {"begin": 7}},
    }
    assert issues[2]["severity"] == "minor"
    assert issues[4]["location"]["path"].startswith("evil")
    assert all(len(issue["fingerprint"]) == 32 for issue in issues)


# any text whatever

TEXT = st.text()
UNPAIRED = st.text(st.characters(categories=["Cs", "Cc", "Ll"]))


def findings_of(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[Finding]]:
    number = st.integers(min_value=1, max_value=2**53 - 1)
    severity = st.sampled_from(["error", "warning"])
    finding = st.builds(Finding, text, number, number, text, text, severity, text)
    return st.lists(finding, max_size=5)


@given(findings_of(TEXT))
def test_any_text_returns_from_json(findings: list[Finding]) -> None:
    parsed = json.loads(rendered("json", findings))
    assert [Finding(**each) for each in parsed["findings"]] == findings


@given(findings_of(TEXT | UNPAIRED))
def test_any_text_is_read_by_the_parser_of_each_format(findings: list[Finding]) -> None:
    assert len(json.loads(rendered("json", findings))["findings"]) == len(findings)
    assert len(json.loads(rendered("sarif", findings))["runs"][0]["results"]) == len(findings)
    assert len(json.loads(rendered("gitlab", findings))) == len(findings)
    assert len(ElementTree.fromstring(rendered("junit", findings)).findall("testcase/failure")) == len(findings)
    assert len(commands(rendered("github", findings))) == len(findings)


@given(findings_of(TEXT | UNPAIRED), st.sampled_from(ALL_FORMATS))
def test_any_text_can_be_written_as_utf8(findings: list[Finding], form: Format) -> None:
    output = rendered(form, findings)
    assert output.encode("utf-8").decode("utf-8") == output
    assert "\x1b" not in output


@given(findings_of(TEXT))
def test_any_path_is_one_uri(findings: list[Finding]) -> None:
    for result in json.loads(rendered("sarif", findings))["runs"][0]["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.isascii()
        assert not set(uri) & set(' "<>\\^`{|}?#')


# streaming


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_each_finding_is_written_before_the_next_is_asked_for(form: Format) -> None:
    asked = 0

    def source() -> Iterator[Finding]:
        nonlocal asked
        for finding in many(1_000):
            asked += 1
            yield finding

    written = 0
    for chunk in render(form, source(), documents=1, total=1_000, codes=CODES):
        written += chunk.count("is not a field.")
        assert asked - written <= 1
    assert (asked, written) == (1_000, 1_000)


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_findings_stream_in_bounded_memory(form: Format) -> None:
    count = 2 * MOST_REMEMBERED
    tracemalloc.start()
    chunks = sum(1 for _ in render(form, many(count), documents=1, total=count, codes=CODES))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert chunks > count
    assert peak < 6 * 2**20


def test_a_million_findings_do_not_grow_the_process() -> None:
    """In a process of its own: the high-water mark of this one belongs to the tests before."""
    script = """if True:
        import resource
        from itertools import repeat
        from mens.contracts.findings import Finding
        from mens.report.findings import render

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        finding = Finding("rows.jsonl", 1, 1, "/text", "MENS-V003", "error", "'rnk' is not a field.")
        findings = (finding._replace(line=line) for line in range(1, 1_000_001))
        before = peak()
        chunks = sum(1 for _ in render("json", findings, documents=1, total=1_000_000, codes={}))
        print(chunks, peak() - before)
    """
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    chunks, grown_kib = map(int, run.stdout.split())
    assert chunks == 1_000_002
    assert grown_kib < 8 * 1024
