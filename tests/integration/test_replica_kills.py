"""Two replicas stay equal to their table under random writes, though their replicator is killed again and again.

SIGKILL, at any moment: in the copy of the table, between a write and its checkpoint, in mid-pipeline.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from lockside.app.replica_comparison import ReplicaReport
from lockside.emulators.emulator import Emulator
from tests.fakes.redis_server import RedisServer
from tests.fakes.replication import Replication, replication

KILLS: Final = 50
ROWS: Final = 120
START_SECONDS_MAX: Final = 240.0
REST_SECONDS_MAX: Final = 240.0
LOOK_SECONDS: Final = 0.02


class Replicators:
    """Processes of `lockside replicate`, one after another, on one log."""

    def __init__(self, pair: Replication, environment: dict[str, str]) -> None:
        """Start none yet."""
        self._command = [sys.executable, "-m", "lockside", "replicate", "--config", str(pair.config)]
        self._environment = {**os.environ, **environment, "LOCKSIDE_OPS__LOG_FORMAT": "json"}
        self._log = pair.config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What all of them said."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def start(self, *arguments: str) -> None:
        """Start one; wait until it reads."""
        began = len(self.log)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*self._command, *arguments], stderr=log, env=self._environment)  # noqa: S603
        # From here on it writes, or copies.
        self._await(lambda: '"event":"shard_started"' in self.log[began:], START_SECONDS_MAX)

    def kill(self) -> None:
        """End it as it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS_MAX)
            self._process = None

    def _await(self, holds: Callable[[], bool], seconds: float) -> None:
        limit = time.monotonic() + seconds
        while not holds():
            assert self._process is not None
            assert self._process.poll() is None, f"it ended by itself; {self.log[-2000:]}"
            assert time.monotonic() < limit, f"not within {seconds} s; {self.log[-2000:]}"
            time.sleep(LOOK_SECONDS)


@contextmanager
def traffic(pair: Replication, seed: int) -> Iterator[list[int]]:
    """Write at random in a thread of its own; what is yielded counts the writes."""
    chance, stop, written = Random(seed), threading.Event(), [0]  # noqa: S311 - no secret hangs on it

    def write() -> None:
        while not stop.wait(LOOK_SECONDS):
            pair.write(chance)
            written[0] += 1

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join(REST_SECONDS_MAX)


def run_story(emulator: Emulator, redis: RedisServer, folder: Path, kills: int) -> None:
    """Kill, and see in the end that nothing differs."""
    rows = [(f"row{number}", number) for number in range(ROWS)]
    pair = replication(emulator, redis, folder, rows=rows)
    moments = Random(kills)  # noqa: S311 - no secret hangs on it
    replicators = Replicators(pair, dict(emulator.environment))
    try:
        with traffic(pair, kills) as written:
            for number in range(kills):
                # Every fifth copies the table anew, and is killed in that.
                replicators.start(*(["--bootstrap"] if number % 5 == 0 else []))
                time.sleep(moments.uniform(0.0, 1.5))
                replicators.kill()
            assert written[0] > kills
        replicators.start()
        limit = time.monotonic() + REST_SECONDS_MAX
        while True:
            reports = pair.compare(10.0)
            if all(is_settled(report) for report in reports.values()):
                break
            assert time.monotonic() < limit, (reports, replicators.log[-2000:])
        for report in reports.values():
            assert report.comparison.rows > ROWS / 2
            assert report.lag_seconds is not None
    finally:
        replicators.kill()
    told: list[Any] = [line for line in replicators.log.splitlines() if '"event":"replicated"' in line]
    assert told, "no change ever came by the stream"


def is_settled(report: ReplicaReport) -> bool:
    """Whether a replica is whole and equal, and was so before it was looked at: nothing had to be waited for."""
    found = report.comparison
    return found.is_alike and not report.incomplete and not found.late and found.rows == found.replica_rows


@pytest.fixture
def environment(dynamodb_local: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Have what runs in this process reach the emulator."""
    for variable, value in dynamodb_local.environment.items():
        monkeypatch.setenv(variable, value)
    return dynamodb_local


@pytest.mark.timeout(400)
def test_replicas_stay_equal_though_the_replicator_is_killed(
    environment: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """A few times, in the first copy too; whoever comes next goes on from what is there."""
    run_story(environment, redis, tmp_path, 3)


@pytest.mark.soak
@pytest.mark.timeout(3_000)
def test_replicas_stay_equal_through_fifty_kills(environment: Emulator, redis: RedisServer, tmp_path: Path) -> None:
    """The same, fifty times."""
    run_story(environment, redis, tmp_path, KILLS)
