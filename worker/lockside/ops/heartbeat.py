"""Whether the loops turn: each says so as it goes round, and one that stays silent too long is named."""

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lockside.core.ports import Clock

SILENCE_MAX_MS: Final = 60_000
"""Longer than any single wait of a turning loop (idle pause, retry's back-off, one call's time-outs)."""

_LOOP: ContextVar[str | None] = ContextVar("loop", default=None)
"""The loop that this thread turns, or that it works for: whoever hands work to a pool hands its context on with it."""


class Heartbeats:
    """The last sign of life of each loop.

    A loop that waits for AWS beats at each attempt: a restart would not help it.
    """

    def __init__(self, clock: "Clock", silence_max_ms: int = SILENCE_MAX_MS) -> None:
        """Start with no loops."""
        self._clock = clock
        self._silence_max_ms = silence_max_ms
        self._last_ms: dict[str, int] = {}

    def beat(self, loop: str) -> None:
        """Note that a loop has gone round; the first beat makes it known."""
        self._last_ms[loop] = self._clock.now().mono_ms

    def beat_here(self) -> None:
        """Note that the calling thread's loop, named after the thread, has gone round."""
        loop = threading.current_thread().name
        _LOOP.set(loop)
        self.beat(loop)

    def wait_here(self) -> None:
        """Note that the loop which the calling thread works for is waiting for AWS; one that has ended stays so."""
        loop = _LOOP.get()
        if loop is not None and loop in self._last_ms:
            self.beat(loop)

    def forget_here(self) -> None:
        """Forget the calling thread's loop: it has ended as it should."""
        self.forget(threading.current_thread().name)

    def forget(self, loop: str) -> None:
        """Forget a loop that has ended as it should."""
        self._last_ms.pop(loop, None)

    def silent(self) -> list[str]:
        """Name each loop that has not gone round for too long, and for how long."""
        now_ms = self._clock.now().mono_ms
        return [
            f"{loop}: silent for {(now_ms - last_ms) // 1000} s"
            for loop, last_ms in sorted(self._last_ms.copy().items())
            if now_ms - last_ms > self._silence_max_ms
        ]
