"""The worker's own timer: tests deadlines when they are due, whatever the engine is doing (DESIGN section 6)."""

import threading
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from lockside.core.ports import Clock, Loops
from lockside.errors import StoppedError

LOG = structlog.get_logger(__name__)

IDLE_SECONDS_MAX: Final = 1.0
"""Longest sleep: the health check wants to see the timer turn."""


class Timed(Protocol):
    """Something with deadlines: a shard's processor."""

    def next_deadline(self) -> int | None:
        """Return when a deadline may be due, in monotonic milliseconds."""
        ...

    def tick(self) -> None:
        """Test what is due."""
        ...

    @property
    def done(self) -> bool:
        """Whether there will never be a deadline again."""
        ...


class DeadlineTimer:
    """One thread that sleeps until the next deadline of any shard, and tests it.

    A failure ends the timer and is told to `failed`: without it lapses would go unseen in silence.
    """

    def __init__(self, clock: Clock, loops: Loops, failed: Callable[[BaseException], None]) -> None:
        """Take the clock, whom to tell that the timer turns, and whom to tell of a failure."""
        self._clock = clock
        self._loops = loops
        self._failed = failed
        self._timed: dict[object, Timed] = {}
        self._wake = threading.Condition()
        self._testing = threading.Lock()
        self._rearmed = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def add(self, name: object, timed: Timed) -> None:
        """Watch a shard's deadlines too; a later one of the same name takes its place."""
        with self._wake:
            self._timed[name] = timed
        self.rearmed()

    def rearmed(self) -> None:
        """Learn that a deadline may have moved; cheap, called after each batch."""
        with self._wake:
            self._rearmed = True
            self._wake.notify()

    def test_due(self) -> None:
        """Test in the caller's thread what is due by now, shard by shard, until nothing is."""
        for timed in self._all():
            while self._test(timed):
                pass

    def stop(self, timeout_seconds: float) -> None:
        """Stop watching; wait for a running test within a bound."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        try:
            while self._sleep():
                self._loops.beat_here()
                for timed in self._all():
                    self._loops.beat_here()
                    self._test(timed)
            self._loops.forget_here()
        except StoppedError:
            return
        except Exception as error:
            LOG.exception("deadline_timer_failed")
            self._failed(error)
            raise

    def _test(self, timed: Timed) -> bool:
        """Test a shard's deadlines if one is due; one thread at a time, so that none is tested twice."""
        with self._testing:
            at_ms = timed.next_deadline()
            if at_ms is None or at_ms > self._clock.now().mono_ms:
                return False
            timed.tick()
            return True

    def _sleep(self) -> bool:
        """Sleep until the next deadline, or until one moves; False when it is time to stop."""
        nearest = [at_ms for timed in self._all() if (at_ms := timed.next_deadline()) is not None]
        with self._wake:
            if not self._rearmed and not self._stopping:
                seconds = IDLE_SECONDS_MAX
                if nearest:
                    seconds = min(seconds, max(0.0, (min(nearest) - self._clock.now().mono_ms) / 1000))
                self._wake.wait(seconds)
            self._rearmed = False
            return not self._stopping

    def _all(self) -> list[Timed]:
        with self._wake:
            listed = list(self._timed.items())
        for name, timed in listed:
            if timed.done:
                self._drop(name, timed)
        return [timed for _, timed in listed]

    def _drop(self, name: object, timed: Timed) -> None:
        """Forget what is done, unless another has taken its name: shards come and go for as long as the worker runs."""
        with self._wake:
            if self._timed.get(name) is timed:
                del self._timed[name]
