"""`mens validate` over many rows: bounded memory, findings on disk, and ends that come early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Runs one command and says on stderr how much memory the process ever held, in KiB.
MEASURED = """
import sys
from mens.cli.main import main
code = main(sys.argv[1:])
held = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("held", held, file=sys.stderr)
sys.exit(code)
"""


def test_rows_stream_in_bounded_memory(child_environment: dict[str, str], tmp_path: Path) -> None:
    def held(num_rows: int) -> int:
        rows = tmp_path / f"{num_rows}.jsonl"
        rows.write_text("".join(f'{{"text": "row {number} of many", "rating": 4}}\n' for number in range(num_rows)))
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "validate", str(rows)],
            env=child_environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, f"{num_rows:,} documents, no findings\n")
        return int(done.stderr.split()[-1])

    few, many = held(20_000), held(200_000)
    assert many - few < 2_000, f"{few} KiB for 20,000 rows, {many} KiB for 200,000"


def test_findings_of_many_rows_spill_to_disk(child_environment: dict[str, str], tmp_path: Path) -> None:
    def held(num_rows: int) -> int:
        rows = tmp_path / f"{num_rows}.jsonl"
        rows.write_text('{"text": 3}\n' * num_rows)
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "validate", str(rows)],
            env=child_environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        assert lines[-1] == f"{num_rows:,} findings in {num_rows:,} documents"
        assert lines[-2] == f"{rows}:{num_rows}:10: 3 is not a string or null   [MENS-V001]"
        assert len(lines) == num_rows + 1
        return int(done.stderr.split()[-1])

    few, many = held(12_000), held(60_000)
    assert many - few < 4_000, f"{few} KiB for 12,000 findings, {many} KiB for 60,000"


def test_no_room_for_the_findings(child_environment: dict[str, str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": 3}\n' * 12_000)
    program = (
        "import resource, sys\nfrom mens.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "validate", str(rows)],
        env=child_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == "the system refused: File too large   [MENS-P007]\n"


def test_a_reader_that_goes_away(child_environment: dict[str, str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": 3}\n' * 5_000)
    command = [sys.executable, "-m", "mens", "validate", str(rows)]
    with subprocess.Popen(command, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode != 0
    assert said == b""
