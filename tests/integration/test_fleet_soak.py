"""Minutes of random kills, rolls and throttles on both engines: zero lag, zero loss, stable memory and threads.

FLEET_SOAK_SECONDS in the environment says how long.
"""

import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.fleet import Fleet, fleet_on
from tests.fakes.worker_process import WorkerProcess, worker_process

SECONDS: Final = float(os.environ.get("FLEET_SOAK_SECONDS") or 300)
SEED: Final = int(os.environ.get("KILL_SEED") or 7)
PAUSE_SECONDS_MAX: Final = 12.0
LIFE: Final = {"roll_seconds": 15.0, "split": 0.2, "leaves_max": 3, "late_seconds": 0.5, "seed": SEED}
TROUBLE: Final = {"throttled": 0.03, "server_error": 0.03, "dropped": 0.02, "seed": SEED}
MEMORY_GROWTH_MAX: Final = 1.5
THREADS_GROWTH_MAX: Final = 40
"""Each open shard takes a few of KCL's threads, and there are at most three a stream."""


class Measured:
    """What a worker's process takes."""

    def __init__(self, worker: WorkerProcess) -> None:
        """Look at it now."""
        status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="utf-8")
        facts = dict(line.split(":\t", 1) for line in status.splitlines())
        self.megabytes = int(facts["VmRSS"].split()[0]) / 1_000
        self.threads = int(facts["Threads"])

    def __str__(self) -> str:
        """Tell it."""
        return f"{self.megabytes:.0f} MB, {self.threads} threads"


def trouble(stage: Fleet, chance: Random) -> int:
    """Kill workers of the fleet at random until the time is up; return how many."""
    until, kills = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        time.sleep(chance.uniform(2.0, PAUSE_SECONDS_MAX))
        stage.kill(chance.choice(stage.workers[1:]))
        stage.start()
        kills += 1
        sys.stderr.write(f"  {until - time.monotonic():.0f} s left, {kills} kills\n")
    return kills


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_minutes_of_trouble(dynamodb_local: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One worker of three lives throughout, beside a lone embedded one: both end level, and have written the same."""
    chance = Random(SEED)  # noqa: S311 - no secret hangs on it
    with fleet_on(dynamodb_local, "fleet-minutes", tmp_path, seed=SEED) as stage:
        survivor = stage.start(3)[0]
        lone = stage.stack.enter_context(worker_process(stage.configs["spared"], stage.emulator))
        lone.until("owner")
        stage.order(life=LIFE)
        stage.order(chaos=TROUBLE)
        stage.write()
        time.sleep(PAUSE_SECONDS_MAX)
        before = {"kcl": Measured(survivor), "embedded": Measured(lone)}
        kills = trouble(stage, chance)
        stage.quiet()
        stage.order(chaos={})
        stage.until(lambda: stage.told_by("spared"), "the lone worker has not declared all lapses")
        after = {"kcl": Measured(survivor), "embedded": Measured(lone)}
        stage.stop_other(lone)
        stage.settle()
        records = len(stage.trail().changes)
        for worker in list(stage.workers):
            stage.stop(worker)
        stage.check()
    with capsys.disabled():
        sys.stdout.write(f"\n{kills} kills in {SECONDS:.0f} s, {records} change records, none lost, lag 0\n")
        for engine, first in before.items():
            sys.stdout.write(f"{engine}: {first} at first, {after[engine]} in the end\n")
    for engine, first in before.items():
        assert after[engine].megabytes <= first.megabytes * MEMORY_GROWTH_MAX, engine
        assert after[engine].threads <= first.threads + THREADS_GROWTH_MAX, engine
