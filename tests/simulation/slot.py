"""Where a worker runs: whatever ends it, it is started again, perhaps with another configuration."""

from collections.abc import Callable, Sequence
from typing import Final

from tests.simulation.process import Process
from tests.simulation.scheduler import Actor
from tests.simulation.worker import Place, Watching, Worker

SKEWS_MS_MAX: Final = (1_500, 30_000)
"""Clocks are off by less than the recipe's margin of 2 s, or by far more: nothing that is promised hangs on them."""

DOWN_MS_MAX: Final = 9_000
LOOK_MS: Final = 500
RESTARTED_WHEN_HALTED: Final = 0.1


class Slot(Actor):
    """One machine. `watching` makes the configuration that a worker starts with, from its number."""

    def __init__(self, number: int, place: Place, watching: Callable[[], Sequence[Watching]]) -> None:
        """Start the first worker soon."""
        scheduler, chance = place.scheduler, place.chance
        self.name = f"slot {number}"
        self.due_ms = scheduler.now_ms + chance.between(0, 3_000)
        self.worker: Worker | None = None
        self._place = place
        self._scheduler = scheduler
        self._chance = chance
        self._watching = watching
        self._runs = 0

    def step(self) -> None:
        """See to it that a worker runs."""
        chance = self._chance
        wait_ms = LOOK_MS
        if self.worker is None:
            self._start()
        elif self.worker.process.dead:
            self.worker = None
            wait_ms = chance.between(100, DOWN_MS_MAX)
        else:
            self._disturb(self.worker)
        self.due_ms = self._scheduler.now_ms + wait_ms

    def settle_down(self) -> None:
        """Learn that faults stop: clocks are right from now on, nobody sleeps, and what is halted is looked after."""
        if self.worker is None:
            return
        process = self.worker.process
        process.skew_ms = 0
        process.thaw()
        if self.worker.halted:
            process.stop()

    def _disturb(self, worker: Worker) -> None:
        chance, process = self._chance, worker.process
        if worker.halted and chance.random.random() < RESTARTED_WHEN_HALTED:
            process.note("a shard is halted: an operator starts it anew")
            process.stop()
        elif chance.happens("orderly_restart"):
            process.note("is asked to stop")
            process.stop()
        elif chance.happens("clock_jump"):
            process.skew_ms = self._skew_ms()
            process.note(f"its clock is {process.skew_ms} ms off")

    def _start(self) -> None:
        chance = self._chance
        self._runs += 1
        skew_ms = self._skew_ms() if chance.faults.clock_jump else 0
        name = f"{self.name} run {self._runs}"
        process = Process(name, self._scheduler, chance, skew_ms, lambda text: self._place.note(name, text))
        self.worker = Worker(process, self._place, self._watching())
        process.note("starts")
        self.worker.start()

    def _skew_ms(self) -> int:
        most_ms = self._chance.one_of(SKEWS_MS_MAX)
        return self._chance.between(-most_ms, most_ms)
