"""A machine whose clocks only move when told to, whose chance is a seed, and whose waits take no time."""

import random
from typing import TYPE_CHECKING

from lockside.core.ports import Stop
from tests.fakes.clock import START_MS

if TYPE_CHECKING:
    from collections.abc import Callable


YEARS_AHEAD_MS = 7 * 366 * 86_400_000


class FakeMachine:
    """Implements `lockside.stores.machine.Machine`. Machines of one test share their time by sharing `others`."""

    def __init__(self, seed: int = 0) -> None:
        """Start all clocks; `on_wait` is called in each wait, before its time has passed."""
        self.ms = 1_000
        self.asleep_ms = 0
        # Ahead of the real clock: emulators delete by it what is past its time.
        self.wall_offset_ms = START_MS + YEARS_AHEAD_MS
        self.waits: list[float] = []
        self.on_wait: Callable[[], object] = lambda: None
        self._random = random.Random(seed)  # noqa: S311 - repeatable

    def holding_ms(self) -> int:
        """Go on in sleep."""
        return self.ms + self.asleep_ms

    def waiting_ms(self) -> int:
        """Stand still in sleep."""
        return self.ms

    def wall_ms(self) -> int:
        """Go with the others unless it was set."""
        return self.wall_offset_ms + self.ms + self.asleep_ms

    def chance(self) -> float:
        """Draw from the seed."""
        return self._random.random()

    def version(self) -> str:
        """Draw from the seed."""
        return self._random.randbytes(16).hex()

    def token(self) -> bytes:
        """Draw from the seed."""
        return self._random.randbytes(32)

    def wait(self, stop: Stop, seconds: float) -> bool:
        """Let the time pass at once."""
        self.waits.append(seconds)
        self.on_wait()
        self.advance(seconds)
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.ms += round(seconds * 1000)

    def sleep(self, seconds: float) -> None:
        """Put the machine to sleep: the clock of waits stands still meanwhile."""
        self.asleep_ms += round(seconds * 1000)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock ahead or back, as an operator or NTP does."""
        self.wall_offset_ms += round(seconds * 1000)
