"""A night: nobody watches for many hours, the stream forgets, and processes wake up that slept through it."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from tests.simulation.chance import Chance
from tests.simulation.process import Process
from tests.simulation.scheduler import Actor, Scheduler

if TYPE_CHECKING:
    from tests.simulation.table import WatchedTable

HOUR_MS: Final = 3_600_000
AWAKE_MS: Final = 2_000
OVERSLEPT_MS: Final = (5_000, 40_000, 40_000)
"""Who oversleeps wakes up when others have long taken over."""


class Night(Actor):
    """Comes once: processes die or sleep, hours pass, shards roll, and what is a day old is forgotten."""

    def __init__(
        self,
        scheduler: Scheduler,
        chance: Chance,
        tables: "Iterable[WatchedTable]",
        processes: Callable[[], list[Process]],
        within_ms: int,
    ) -> None:
        """Come at some time within the next while."""
        self.name = "night"
        self.due_ms = scheduler.now_ms + chance.between(within_ms // 4, within_ms * 3 // 4)
        self._scheduler = scheduler
        self._chance = chance
        self._tables = list(tables)
        self._processes = processes
        self.lasted_ms = 0

    def step(self) -> None:
        """Let it be night, and then morning."""
        chance, scheduler = self._chance, self._scheduler
        parts = [chance.between(2, 14) * HOUR_MS for _ in range(chance.between(1, 4) + (chance.random.random() < 0.5))]
        for process in self._processes():
            if chance.random.random() < 0.5:
                process.dead = True
                process.note("dies in the night")
            else:
                process.freeze(sum(parts) + len(parts) * AWAKE_MS + chance.between(0, chance.one_of(OVERSLEPT_MS)))
                process.note("sleeps through the night")
        for part_ms in parts:
            scheduler.now_ms += part_ms
            self.lasted_ms += part_ms
            for table in self._tables:
                if chance.random.random() < 0.5:
                    table.divide(1)
                table.forget()
            scheduler.wait(AWAKE_MS)
