"""A night: nobody watches for many hours, the stream forgets, and processes wake up that slept through it."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from tests.simulation.chance import Chance
from tests.simulation.process import Process
from tests.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from tests.simulation.table import WatchedTable

HOUR_MS: Final = 3_600_000
AWAKE_MS: Final = 2_000


class Night:
    """Comes once: processes die or sleep, hours pass with few writes, shards roll, and what is a day old is forgotten."""

    def __init__(
        self,
        scheduler: Scheduler,
        chance: Chance,
        tables: "Iterable[WatchedTable]",
        processes: Callable[[], list[Process]],
        lasted: Callable[[int], None],
    ) -> None:
        """Come at some time; `lasted` is told how long a part of it was."""
        self.name = "night"
        self.due_ms: int | None = scheduler.now_ms + chance.between(10_000, 50_000)
        self._scheduler = scheduler
        self._chance = chance
        self._tables = list(tables)
        self._processes = processes
        self._lasted = lasted

    def step(self) -> None:
        """Let it be night, and then morning."""
        self.due_ms = None
        chance, scheduler = self._chance, self._scheduler
        parts = [chance.between(2, 14) * HOUR_MS for _ in range(chance.between(1, 4))]
        for process in self._processes():
            if chance.random.random() < 0.5:
                process.dead = True
                process.note("dies in the night")
            else:
                process.freeze(sum(parts) + len(parts) * AWAKE_MS + chance.between(0, 5_000))
                process.note("sleeps through the night")
        for part_ms in parts:
            scheduler.now_ms += part_ms
            self._lasted(part_ms)
            for table in self._tables:
                if chance.random.random() < 0.5:
                    table.divide(1)
                table.forget()
            scheduler.wait(AWAKE_MS)
