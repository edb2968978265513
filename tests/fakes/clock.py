"""Time that only moves when told to, and a stop whose waits move it."""

from typing import TYPE_CHECKING

from lockside.core.now import Now

if TYPE_CHECKING:
    from collections.abc import Callable

START_MS = 1_795_421_400_000


class FakeClock:
    """Both clocks, moved by `advance`; the wall clock starts in November 2026."""

    def __init__(self, wall_ms: int = START_MS) -> None:
        """Start both clocks."""
        self._now = Now(wall_ms=wall_ms, mono_ms=0)

    def now(self) -> Now:
        """Read both clocks."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        step_ms = round(seconds * 1000)
        self._now = Now(wall_ms=self._now.wall_ms + step_ms, mono_ms=self._now.mono_ms + step_ms)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock ahead or back, as an operator or NTP does."""
        self._now = Now(wall_ms=self._now.wall_ms + round(seconds * 1000), mono_ms=self._now.mono_ms)


class FakeStop:
    """A stop for one thread: a wait lets the clock pass at once. It sets itself after `waits_max` waits."""

    def __init__(self, clock: FakeClock, waits_max: int = 10_000) -> None:
        """Start unset; `waits` lists the waits asked for, in seconds; `on_wait` is called in each."""
        self.waits: list[float] = []
        self.on_wait: Callable[[], object] = lambda: None
        self._clock = clock
        self._waits_max = waits_max
        self._set = False

    def set(self) -> None:
        """Ask for shutdown."""
        self._set = True

    def is_set(self) -> bool:
        """Whether shutdown was asked for."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Let `timeout` seconds pass, unless shutdown was asked for."""
        if not self._set:
            self.waits.append(timeout or 0.0)
            self._clock.advance(timeout or 0.0)
            self.on_wait()
            self._set = self.is_set() or len(self.waits) >= self._waits_max
        return self._set
