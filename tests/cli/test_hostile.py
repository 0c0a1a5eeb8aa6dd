"""Classes 6 and 7 of facts/reliability.md, through the command: hostile documents and hostile paths."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Mens = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"

JSON: dict[str, tuple[bytes, int, int, str]] = {
    "empty": (b"", 1, 1, "the document is empty"),
    "blank": (b" \n\t ", 1, 1, "the document is empty"),
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, 1, 65, "nested deeper than 64 levels"),
    "deep mappings": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 1, 321, "nested deeper than 64 levels"),
    "deep and never closed": (b"[" * 100_000, 1, 65, "nested deeper than 64 levels"),
    "a duplicate": (b'{"a": 1,\n "a": 2}', 2, 2, "the key 'a' is a duplicate; it is first written on line 1"),
    "an escaped duplicate": (b'{"a": 1, "\\u0061": 2}', 1, 10, "the key 'a' is a duplicate"),
    "NaN": (b'{"a": NaN}', 1, 7, "NaN is not a number in JSON"),
    "Infinity": (b'{"a": -Infinity}', 1, 7, "-Infinity is not a number in JSON"),
    "1e999": (b'{"a": 1e999}', 1, 7, "the number '1e999' is too large for a 64-bit float"),
    "a number of 5,000 digits": (b'{"a": ' + b"9" * 5_000 + b"}", 1, 7, "a number of more than 400 digits"),
    "a number of 10 million digits": (b'{"a": ' + b"9" * 10_000_000 + b"}", 1, 7, "a number of more than 400 digits"),
    "a lone surrogate": (b'{"a": "\\ud800"}', 1, 8, "a lone surrogate (U+D800) is half a character"),
    "an encoded surrogate": (b'{"a": "\xed\xa0\x80"}', 1, 8, "byte 0xED is not valid UTF-8 here"),
    "a byte order mark": (b"\xef\xbb\xbf{}", 1, 1, "the document starts with a byte order mark (U+FEFF)"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), 1, 1, "the document is written in UTF-16"),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), 1, 1, "the document is written in UTF-16"),
    "UTF-32": ('{"a": 1}'.encode("utf-32"), 1, 1, "the document is written in UTF-32"),
    "no UTF-8": (b'{"a":\n "\xff"}', 2, 3, "byte 0xFF is not valid UTF-8 here"),
    "an overlong slash": (b'{"a": "\xc0\xaf"}', 1, 8, "byte 0xC0 is not valid UTF-8 here"),
    "a NUL": (b'{"a": "\0"}', 1, 8, "a NUL character (U+0000) is not allowed"),
    "a tab in a string": (b'{"a": "\t"}', 1, 8, "an unescaped control character (U+0009) in a string"),
    "trailing data": (b"{} {}", 1, 4, "expected the end of the document, found '{'"),
    "a trailing comma": (b'{"a": 1,}', 1, 8, "a comma before '}'"),
    "a comment": (b"{} // x", 1, 4, "expected the end of the document, found '/'"),
    "single quotes": (b"{'a': 1}", 1, 2, "expected a key in double quotes"),
    "cut off": (b'{"a": [1, 2', 1, 12, "expected ',' or ']', found the end of the document"),
    "an unfinished string of 10 MB": (b'{"a": "' + b"x" * 10_000_000, 1, 7, "the string is never closed"),
}

YAML: dict[str, tuple[bytes, int, int, str]] = {
    "empty": (b"", 1, 1, "the document is empty"),
    "only a comment": (b"# nothing\n", 1, 1, "the document is empty"),
    "deep": (b"[" * 100_000, 1, 65, "nested deeper than 64 levels"),
    "deep by indentation": (b"".join(b" " * n + b"a:\n" for n in range(200)), 65, 65, "nested deeper than 64 levels"),
    "an alias bomb": (
        b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 120)),
        1, 4, "anchors are not allowed: '&a'",
    ),
    "an alias": (b"a: *b\n", 1, 4, "aliases are not allowed: '*b'"),
    "a merge key": (b"a: {<<: *b}\n", 1, 9, "aliases are not allowed: '*b'"),
    "a tag": (b"a: !!python/object/apply:os.system ['true']\n", 1, 4, "tags are not allowed"),
    "a tag of the core schema": (b"a: !!str 1\n", 1, 4, "tags are not allowed: '!!str'"),
    "two documents": (b"a: 1\n---\nb: 1\n", 2, 1, "a second document starts here; a file holds one"),
    "a directive": (b"%YAML 1.1\n---\na: 1\n", 1, 1, "directives are not allowed"),
    "a duplicate": (b"a: 1\nb: 2\na: 3\n", 3, 1, "the key 'a' is a duplicate; it is first written on line 1"),
    "a tab": (b"a:\n\tb: 1\n", 2, 1, "a tab cannot indent YAML; use spaces"),
    "not a number": (b"a: .nan\n", 1, 4, ".nan is not allowed; a number is finite"),
    "infinity": (b"a: -.inf\n", 1, 4, "-.inf is not allowed; a number is finite"),
    "1e999": (b"a: 1e999\n", 1, 4, "the number '1e999' is too large for a 64-bit float"),
    "many digits": (b"a: " + b"9" * 5_000 + b"\n", 1, 4, "a number of more than 400 digits"),
    "a key that is a number": (b"1: a\n", 1, 1, "the key '1' would not be a string; quote it"),
    "a key that is a list": (b"? [a]\n: b\n", 1, 3, "a mapping or a list cannot be a key"),
    "a NUL": (b"a: b\0c\n", 1, 5, "a NUL character (U+0000) is not allowed"),
    "a control character": (b"a: b\x07\n", 1, 5, "the control character U+0007 is not allowed"),
    "a lone surrogate": (b'a: "\\ud800"\n', 1, 5, "a lone surrogate (U+D800) is half a character"),
    "an invisible break": ("a: b\u2028c\n".encode(), 1, 5, "the invisible character U+2028 is not allowed"),
    "no UTF-8": (b"a: \xff\n", 1, 4, "byte 0xFF is not valid UTF-8 here"),
    "UTF-16": ("a: 1\n".encode("utf-16"), 1, 1, "the document is written in UTF-16"),
    "a quote that never ends": (b"a: 'b\n" * 1, 1, 4, "the quoted text is never closed"),
    "a mapping in a value": (b"a: b: c\n", 1, 5, "a ':' cannot stand here"),
}  # fmt: skip

CASES = {f"{name}.json": case for name, case in JSON.items()} | {f"{name}.yaml": case for name, case in YAML.items()}

# Runs one command with 1.5 GB of address space at most: what is not bounded ends in a MemoryError.
BOUNDED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))
from mens.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def findings(child_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one bounded run says of all hostile documents together, by file name."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (data, *_) in CASES.items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, "validate", *sorted(CASES), "--format", "json"],
        cwd=folder, env=child_environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert report["documents"] == len(report["findings"]) == len(CASES)
    return {finding["path"]: finding for finding in report["findings"]}


def test_how_many_there_are() -> None:
    assert (len(JSON), len(YAML)) == (28, 27)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_document(name: str, findings: dict[str, dict[str, Any]]) -> None:
    _, line, column, message = CASES[name]
    found = findings[name]
    assert (found["code"], found["line"], found["column"]) == ("MENS-S001", line, column)
    assert found["message"].startswith(message)
    assert len(found["message"]) < 200


@pytest.mark.parametrize(
    "name", ["deep lists.json", "an alias bomb.yaml", "a number of 10 million digits.json", "deep.yaml"]
)
def test_one_alone_is_refused_at_once(name: str, child_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(CASES[name][0])
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, "validate", name],
        cwd=tmp_path, env=child_environment, capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")


PLAIN = """\
schema: mens/training-preset/v1
id: odd
title: {title}
rank: 16
alpha: 32
seq_len: 512
batch_size: 1
grad_accum: 8
epochs: 3
warmup_steps: 80
learning_rate: {rate}
"""


@pytest.mark.parametrize(
    ("title", "rate", "said"),
    [
        ("no", "1e-4", ""),
        ("1:30", "1e-4", ""),
        ("2026-11-21", ".5", ""),
        ("off", "1E-4", ""),
        ("017", "1e-4", "3:8: 17 is not a string"),
        ("0x10", "1e-4", "3:8: 16 is not a string"),
        ("true", "1e-4", "3:8: true is not a string"),
        ("~", "1e-4", "3:8: null is not a string"),
        ("1_000", "1e-4", ""),
        ("x", "0.000_1", "11:16: '0.000_1' is not a number"),
        ("x", "'1e-4'", "11:16: '1e-4' is not a number"),
        ("x", "1:30", "11:16: '1:30' is not a number"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(mens: Mens, title: str, rate: str, said: str) -> None:
    done = mens("validate", "-", stdin=PLAIN.format(title=title, rate=rate))
    assert (done.returncode == 1) == bool(said)
    assert done.stdout.startswith(f"<stdin>:{said}" if said else "1 document, no findings")


def test_a_string_of_10_megabytes_is_no_crash(child_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text(json.dumps({"schema": "mens/training-preset/v1", "id": "x" * 10_000_000}))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "x" * 10_000_000}) + "\n")
    (tmp_path / "keys.json").write_text(json.dumps({"schema": "mens/plan/v1", "y" * 10_000_000: 1}))
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, "validate", "big.json", "rows.jsonl", "keys.json"],
        cwd=tmp_path, env=child_environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert len(done.stdout) < 20_000
    assert "10,000,000 characters, where at most 4,000,000 may stand" in done.stdout


def test_a_document_beyond_any_size(mens: Mens, tmp_path: Path) -> None:
    huge, line = tmp_path / "huge.json", tmp_path / "line.jsonl"
    for path in (huge, line):
        with path.open("wb") as file:
            file.write(b'{"text": "a"}\n')
            file.truncate(64 * 1024 * 1024 + 100)
    done = mens("validate", huge, line)
    assert done.returncode == 4
    assert done.stdout.splitlines() == [
        f"{huge}:1:1: larger than 64 MiB, which no document is   [MENS-P003]",
        f"{line}:2:1: the line is larger than 64 MiB, which no row is; nothing behind it was read   [MENS-P003]",
        "2 findings in 2 documents",
    ]


PATHS = {
    "../../etc/passwd": "leaves the artifact's folder with `..`",
    "/etc/passwd": "is absolute",
    "~/.ssh/id_ed25519": "begins with `~`",
    "a\\b": "contains a backslash",
    "C:/weights": "is absolute",
    "x" * 256: "has a name of more than 255 bytes",
    "a\nb": "contains a control character",
    "./a": "has an empty or `.` step",
}
PLACES = {
    "adapter-meta.v3/valid/trained_by_mens.json": ("weights", "file"),
    "merge-manifest.v1/valid/proven_multimodal.json": ("base", "files", 0, "path"),
    "checkpoint-state.v1/valid/best_with_validation.json": ("inputs", "tokenizer", "files", 1, "path"),
    "provenance.v1/valid/trained_adapter.json": ("base", "identity", "files", 0, "path"),
    "training-manifest.v1/valid/completed_qlora.json": ("tokenizer", "files", 2, "path"),
}


@pytest.mark.parametrize("fixture", PLACES)
def test_hostile_paths_in_documents(mens: Mens, fixture: str, tmp_path: Path) -> None:
    for number, text in enumerate(PATHS):
        document = json.loads((FIXTURES / fixture).read_text("utf-8"))
        *above, last = PLACES[fixture]
        holder = document
        for key in above:
            holder = holder[key]
        holder[last] = text
        (tmp_path / f"{number}.json").write_text(json.dumps(document, indent=2))
    done = mens("validate", tmp_path, "--format", "json")
    assert (done.returncode, done.stderr) == (4, "")
    found = json.loads(done.stdout)["findings"]
    assert len(found) == len(PATHS)
    pointer = "".join(f"/{key}" for key in PLACES[fixture])
    for number, (finding, reason) in enumerate(zip(found, PATHS.values(), strict=True)):
        assert finding["path"] == str(tmp_path / f"{number}.json")
        assert (finding["code"], finding["pointer"]) == ("MENS-P001", pointer)
        assert reason in finding["message"]
        line = (tmp_path / f"{number}.json").read_text().splitlines()[finding["line"] - 1]
        assert line[: finding["column"] - 1].strip() == f'"{PLACES[fixture][-1]}":'


def test_nothing_that_a_document_names_is_opened(child_environment: dict[str, str], tmp_path: Path) -> None:
    """A preset, a manifest and a mix may name anything: validating them opens the documents and nothing else."""
    canary = tmp_path / "canary"
    canary.mkdir()
    mix = {
        "schema": "mens/corpus-mix/v1",
        "sources": [{"path": str(canary / "rows.jsonl")}],
        "output": str(canary / "out"),
    }
    (tmp_path / "mix.json").write_text(json.dumps(mix))
    (canary / "rows.jsonl").write_text("{}")
    program = (
        "import sys\nfrom mens.cli.main import main\nopened = []\n"
        "sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == 'open' else None)\n"
        "code = main(sys.argv[1:])\nassert opened, 'the hook sees nothing'\n"
        "print([path for path in opened if 'canary' in path], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "validate", "mix.json"],
        cwd=tmp_path, env=child_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "[]\n")
