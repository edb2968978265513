"""Minutes of random kills, rolls and throttles on both engines: zero lag, zero loss, stable memory and threads.

FLEET_SOAK_SECONDS in the environment says how long.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.fleet import Fleet, fleet_on
from tests.fakes.worker_process import WorkerProcess, worker_process

SECONDS: Final = float(os.environ.get("FLEET_SOAK_SECONDS") or 300)
SEED: Final = int(os.environ.get("KILL_SEED") or 7)
PAUSE_SECONDS_MAX: Final = 12.0
LOOK_SECONDS: Final = 1.0
LIFE: Final = {"roll_seconds": 15.0, "split": 0.2, "leaves_max": 3, "late_seconds": 0.5, "seed": SEED}
TROUBLE: Final = {"throttled": 0.03, "server_error": 0.03, "dropped": 0.02, "seed": SEED}
MEMORY_GROWTH_MAX: Final = 1.15
THREADS_GROWTH_MAX: Final = 1.20
"""How much more the last third may take than the one before it. In the first one Java touches its heap, KCL fills its
pools: growth that ends says nothing. In both that follow the survivor meets as many kills and rolls."""

THREADS_MAX: Final = 300
"""KCL makes a thread for each task that finds none idle, so a moment in which the machine is held up makes dozens."""

NATIVE_MB_MAX: Final = 450
"""What a worker of a fleet may take beside Java's heap: Python with all that is imported, Java's classes, compiled code
and buffers, and the stacks of about 120 threads."""

EMBEDDED_MB_MAX: Final = 250


@dataclass(frozen=True, slots=True)
class Measured:
    """What a worker's process takes, or the most of it that was seen in a while."""

    megabytes: float
    threads: int

    @classmethod
    def of(cls, worker: WorkerProcess) -> "Measured":
        """Look at it now."""
        status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="utf-8")
        facts = dict(line.split(":\t", 1) for line in status.splitlines())
        return cls(int(facts["VmRSS"].split()[0]) / 1_000, int(facts["Threads"]))

    @classmethod
    def most(cls, seen: Sequence["Measured"]) -> "Measured":
        """Return the most of either."""
        return cls(max(each.megabytes for each in seen), max(each.threads for each in seen))

    @classmethod
    def usual(cls, seen: Sequence["Measured"]) -> "Measured":
        """Return the median of either."""
        return cls(median(each.megabytes for each in seen), int(median(each.threads for each in seen)))

    def __str__(self) -> str:
        """Tell it."""
        return f"{self.megabytes:.0f} MB, {self.threads} threads"


class Watch:
    """Looks, in a thread of its own, at what workers take that live throughout, in each third of the time."""

    def __init__(self, workers: Mapping[str, WorkerProcess]) -> None:
        """Begin."""
        self.workers = workers
        self._seen: dict[str, list[list[Measured]]] = {name: [[], [], []] for name in workers}
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def most(self, name: str) -> Measured:
        """Return the most that a worker ever took."""
        return Measured.most([each for seen in self._seen[name] for each in seen])

    def usual(self, name: str) -> tuple[Measured, ...]:
        """Return what a worker usually took, in each third: a burst of KCL's threads passes, what leaks stays."""
        return tuple(Measured.usual(seen) for seen in self._seen[name])

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            third = min(2, int(3 * (time.monotonic() - self._began) / SECONDS))
            for name, worker in self.workers.items():
                self._seen[name][third].append(Measured.of(worker))


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
        watched = Watch({"kcl": survivor, "embedded": lone})
        kills = trouble(stage, chance)
        watched.end()
        stage.quiet()
        stage.order(chaos={})
        stage.until(lambda: stage.told_by("spared"), "the lone worker has not declared all lapses")
        stage.stop_other(lone)
        stage.settle()
        records = len(stage.trail().changes)
        for worker in list(stage.workers):
            stage.stop(worker)
        stage.check()
    with capsys.disabled():
        sys.stdout.write(f"\n{kills} kills in {SECONDS:.0f} s, {records} change records, none lost, lag 0\n")
        for engine in watched.workers:
            thirds = "; ".join(map(str, watched.usual(engine)))
            sys.stdout.write(f"{engine}, usually in each third: {thirds}; at most {watched.most(engine)}\n")
    heap_mb = stage.settings["fleet"].engine.kcl.java_heap_mb
    for engine, megabytes_max in {"kcl": heap_mb + NATIVE_MB_MAX, "embedded": EMBEDDED_MB_MAX}.items():
        _, second, last = watched.usual(engine)
        assert last.megabytes <= second.megabytes * MEMORY_GROWTH_MAX, engine
        assert last.threads <= second.threads * THREADS_GROWTH_MAX, engine
        assert watched.most(engine).megabytes <= megabytes_max, engine
        assert watched.most(engine).threads <= THREADS_MAX, engine
