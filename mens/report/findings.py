"""Findings as text, JSON, GitHub annotations, SARIF, JUnit and GitLab Code Quality.

Every format is a generator over findings that arrive grouped by path: there may be millions, so none is kept.
What a document or a file name says is untrusted; each format neutralises it in its own way.
hashlib and urllib are imported where they are used: text and JSON, the common cases, start without them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from mens.contracts.findings import Finding, Severity

__all__ = ["FORMATS", "Format", "Report", "render"]

Format = Literal["text", "json", "github", "sarif", "junit", "gitlab"]

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
GITLAB_SEVERITY: Final[Mapping[Severity, str]] = {"error": "major", "warning": "minor"}

# Identities remembered per document, so that repeats can be numbered. A document with more distinct findings
# than this gets positions in the identities of the rest: still unique, but no longer stable when lines move.
MOST_REMEMBERED: Final = 20_000

# What changes how a terminal or a reader shows the rest, or is not shown at all, and what XML 1.0 cannot carry.
# Newline is not among them: whether it may stay depends on the place.
_UNSAFE: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad"  # controls but newline, soft hyphen
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # direction, line breaks, zero width
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"  # annotations, noncharacters, tags
)

_XML_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}


@dataclass(frozen=True)
class Report:
    """What every format is given; total is the true number, even if fewer findings are handed over."""

    findings: Iterable[Finding]
    documents: int
    total: int
    codes: Mapping[str, str]
    version: str


def render(
    format: Format,
    findings: Iterable[Finding],
    *,
    documents: int,
    total: int,
    codes: Mapping[str, str],
    version: str = "",
) -> Iterator[str]:
    """Render findings, grouped by path, as chunks of text; codes gives each code its one-line title."""
    encodable = map(_encodable, findings)
    return FORMATS[format](Report(encodable, documents, total, codes, version))


# text


def _text(report: Report) -> Iterator[str]:
    """One line per finding, further lines of its message indented, then the total."""
    return _listed(report, _text_lines)


def _listed(report: Report, line: Callable[[Finding], str]) -> Iterator[str]:
    shown = 0
    for finding in report.findings:
        yield f"{line(finding)}\n"
        shown += 1
    yield f"{_summary(report, shown)}\n"


def _text_lines(finding: Finding) -> str:
    """The code closes the first line, so that each finding can be read by that line alone."""
    first, *rest = _lines(finding.message)
    prefix = "warning: " if finding.severity == "warning" else ""
    head = f"{_one_line(finding.path)}:{finding.line}:{finding.column}: {prefix}{first}   [{_one_line(finding.code)}]"
    return "\n".join([head, *(f"  {line}".rstrip() for line in rest)])


def _summary(report: Report, shown: int) -> str:
    """The true total in words."""
    documents = _count(report.documents, "document")
    if report.total == 0:
        return f"{documents}, no findings"
    partly = f", the first {shown:,} shown" if shown < report.total else ""
    return f"{_count(report.total, 'finding')} in {documents}{partly}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# json


def _json(report: Report) -> Iterator[str]:
    """A mens/findings/v1 document, a finding a line."""
    yield f'{{"schema": "mens/findings/v1", "documents": {report.documents}, "findings": ['
    yield from _joined(_dumps(finding._asdict()) for finding in report.findings)
    yield "]}\n"


def _dumps(value: Any) -> str:
    """ASCII-only JSON: no control character reaches a terminal, no stdout encoding can break it."""
    return json.dumps(value)


def _joined(items: Iterable[str]) -> Iterator[str]:
    separator = ""
    for item in items:
        yield f"{separator}{item}"
        separator = ",\n"


# github


def _github(report: Report) -> Iterator[str]:
    """A workflow command per finding, then the total, which the log shows as it is."""
    return _listed(report, _github_command)


def _github_command(finding: Finding) -> str:
    place = f"file={_github_property(_plain(finding.path))},line={finding.line},col={finding.column}"
    title = _github_property(finding.code)
    return f"::{finding.severity} {place},title={title}::{_github_data(finding.message)}"


def _github_data(text: str) -> str:
    """The runner decodes %25, %0D and %0A again; other controls it would pass to the log as they are."""
    encoded = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return _visible(encoded)


def _github_property(text: str) -> str:
    return _github_data(text).replace(":", "%3A").replace(",", "%2C")


# sarif


def _sarif(report: Report) -> Iterator[str]:
    """A SARIF 2.1.0 log with one run; the rules come first because they are known first."""
    indices = {code: index for index, code in enumerate(report.codes)}
    run = {
        "tool": {"driver": _sarif_driver(report)},
        "columnKind": "unicodeCodePoints",
        "properties": {"documents": report.documents, "findings": report.total},
    }
    yield f'{{"$schema": {_dumps(SARIF_SCHEMA)}, "version": "2.1.0", "runs": [{_dumps(run)[:-1]}, "results": ['
    yield from _joined(_dumps(_sarif_result(*pair, indices)) for pair in _identified(report.findings))
    yield "]}]}\n"


def _sarif_driver(report: Report) -> dict[str, Any]:
    rules = [_sarif_rule(code, title) for code, title in report.codes.items()]
    version = {"version": report.version} if report.version else {}
    return {"name": "mens", **version, "rules": rules}


def _sarif_rule(code: str, title: str) -> dict[str, Any]:
    text = _sarif_text(title)
    see = f"{text}\n\ndocs/errors.md explains {code} with an example."
    return {"id": code, "shortDescription": {"text": text}, "fullDescription": {"text": text}, "help": {"text": see}}


def _sarif_result(finding: Finding, identity: str, indices: Mapping[str, int]) -> dict[str, Any]:
    index = {"ruleIndex": indices[finding.code]} if finding.code in indices else {}
    return {
        "ruleId": finding.code,
        **index,
        "level": finding.severity,
        "message": {"text": _sarif_text(finding.message)},
        "locations": [_sarif_location(finding)],
        "partialFingerprints": {"mensFinding/v1": identity},
    }


def _sarif_location(finding: Finding) -> dict[str, Any]:
    physical = {
        "artifactLocation": {"uri": _uri(finding.path)},
        "region": {"startLine": max(1, finding.line), "startColumn": max(1, finding.column)},
    }
    logical = {"logicalLocations": [{"fullyQualifiedName": finding.pointer}]} if finding.pointer else {}
    return {"physicalLocation": physical, **logical}


def _sarif_text(text: str) -> str:
    """Braces would be placeholders (3.11.5) and [text](uri) a link (3.11.6), whoever wrote the document."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "\\](")


def _uri(path: str) -> str:
    """A relative reference for a relative path, a file URI for an absolute one."""
    from urllib.parse import quote

    quoted = quote(_plain(path))
    return f"file:///{quoted.lstrip('/')}" if path.startswith("/") else quoted


# junit


def _junit(report: Report) -> Iterator[str]:
    """One suite, a test case per document that has findings, a failure per finding."""
    summary = _xml(_summary(report, report.total))
    counts = f'tests="{report.documents}" failures="{report.total}" errors="0"'
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="mens validate" {counts}>\n'
    if report.total == 0:
        # A suite without any case is taken for a broken run by some servers.
        yield f'  <testcase classname="mens" name="{summary}"/>\n'
    for path, findings in groupby(report.findings, key=_path):
        yield f'  <testcase classname="mens" name="{_xml(_one_line(path))}">\n'
        yield from (_junit_failure(finding, report.codes) for finding in findings)
        yield "  </testcase>\n"
    yield f"  <system-out>{summary}</system-out>\n</testsuite>\n"


def _junit_failure(finding: Finding, codes: Mapping[str, str]) -> str:
    title = codes.get(finding.code) or _lines(finding.message)[0]
    attributes = f'type="{_xml(_one_line(finding.code))}" message="{_xml(_one_line(title))}"'
    return f"    <failure {attributes}>{_xml(_text_lines(finding))}</failure>\n"


def _xml(text: str) -> str:
    """Text that _visible made legal, escaped for elements and one-line attributes, in ASCII."""
    return text.translate(_XML_ESCAPES).encode("ascii", "xmlcharrefreplace").decode("ascii")


# gitlab


def _gitlab(report: Report) -> Iterator[str]:
    """A Code Quality report: a JSON array of issues."""
    yield "["
    yield from _joined(_dumps(_gitlab_issue(*pair)) for pair in _identified(report.findings))
    yield "]\n"


def _gitlab_issue(finding: Finding, identity: str) -> dict[str, Any]:
    return {
        "description": finding.message,
        "check_name": finding.code,
        "fingerprint": identity,
        "severity": GITLAB_SEVERITY[finding.severity],
        "location": {"path": _plain(finding.path), "lines": {"begin": max(1, finding.line)}},
    }


# shared


def _path(finding: Finding) -> str:
    return finding.path


def _plain(path: str) -> str:
    """The path as a repository names it: servers do not match ./a with a."""
    return path.removeprefix("./")


def _encodable(finding: Finding) -> Finding:
    """The finding without lone surrogates, which no UTF-8 stream and no strict JSON reader accepts."""
    path, line, column, pointer, code, severity, message = finding
    return Finding(_scalars(path), line, column, _scalars(pointer), _scalars(code), severity, _scalars(message))


def _scalars(text: str) -> str:
    """File names that are not UTF-8 reach Python with surrogates in them; \\udcff stands for such a byte."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _lines(message: str) -> list[str]:
    """A message as printable lines, at least one."""
    return [_visible(line) for line in message.replace("\r\n", "\n").split("\n")]


def _one_line(text: str) -> str:
    return _visible(text).replace("\n", "\\n")


def _visible(text: str) -> str:
    """Unsafe characters as Python would write them in a string: \\x1b, \\u202e."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


def _identified(findings: Iterable[Finding]) -> Iterator[tuple[Finding, str]]:
    """Pair each finding with an identity that survives moved lines; equal ones in a document are numbered."""
    for _, group in groupby(findings, key=_path):
        seen: dict[str, int] = {}
        for finding in group:
            identity = _digest(_plain(finding.path), finding.code, finding.pointer, finding.message)
            repeats = seen.get(identity, 0)
            if repeats or len(seen) < MOST_REMEMBERED:
                seen[identity] = repeats + 1
                yield finding, _digest(identity, repeats) if repeats else identity
            else:
                yield finding, _digest(identity, finding.line, finding.column)


def _digest(*parts: str | int) -> str:
    from hashlib import blake2b

    return blake2b(json.dumps(parts).encode("ascii"), digest_size=16).hexdigest()


FORMATS: Final[Mapping[Format, Callable[[Report], Iterator[str]]]] = {
    "text": _text,
    "json": _json,
    "github": _github,
    "sarif": _sarif,
    "junit": _junit,
    "gitlab": _gitlab,
}
