"""The bench produces every number it promises; how good they are is for `make bench` to say, on a quiet machine."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISED = (
    "heartbeats, awslabs: times plain boto3",
    "heartbeats, pydynlock: times plain boto3",
    "heartbeats, flask-session: times plain boto3",
    "heartbeats, awslabs: share of the wall time the server was busy",
    "explain: for people, times decoding alone",
    "explain: --json, times decoding alone",
    "write: share of boto3 put_item",
    "write: share of the wall time the server was busy",
    "lock record, full batches: write units",
    "lock record, full batches: calls",
    "lock record, one a second: write units",
    "lock record, one a second: calls",
    "session record, full batches: write units",
    "observer record (a lapse), one by one: write units",
    "live index, per begin or end: write units",
    "live index, per begin or end: calls",
    "change to record (idle pause 200 ms), p99",
    "legal instant to lock.expired, p50",
    "legal instant to lock.expired, p99",
    "memory per live lock",
    "memory per live session",
    "memory per 100,000 live locks",
    "memory growth over 4,000 heartbeats",
    "process start to first record, 0 live locks",
    "process start to first record, 200 live locks",
    "fleet: Lockside on KCL",
    "fleet: Lockside on KCL, memory of a worker with one stream",
    "lock cycles per second",
    "lock cycles: times python_dynamodb_lock",
    "calls per lock cycle: share of python_dynamodb_lock",
    "scan: times the plain Query",
    "session read: share of Flask-Session's",
)
BARS = 17


@pytest.mark.timeout(900)
def test_every_number_comes_out(tmp_path: Path) -> None:
    """In its smallest sizes, one run of all parts: each number is there and finite, and those with a bar name it."""
    results = tmp_path / "bench.json"
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench", "--quick", "--json", str(results)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = {figure["name"]: figure for figure in json.loads(results.read_text())["figures"]}
    assert set(PROMISED) <= figures.keys()
    assert all(math.isfinite(figure["value"]) for figure in figures.values())
    barred = [figure for figure in figures.values() if figure["bar"] is not None]
    # Plain Java KCL is measured where there is a Java compiler; without one the bench says so.
    compiled = shutil.which("javac") is not None
    assert ("fleet: CPU per record, times plain Java KCL" in figures) == compiled
    assert compiled or "no javac here" in done.stderr
    assert len(barred) == BARS + compiled
    assert all(figure["met"] in {True, False} for figure in barred)
    assert all(name in done.stdout for name in ("write: share of boto3 put_item", "memory per live lock"))


def test_an_unknown_part_is_named() -> None:
    """A misspelt part is refused with those there are."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "fload"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "unknown part 'fload'; there are flood, explaining, writing" in done.stderr
