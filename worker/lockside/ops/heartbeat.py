"""Whether the loops turn: each says so as it goes round, and one that stays silent too long is named."""

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lockside.core.ports import Clock

SILENCE_MAX_MS: Final = 60_000
"""Longer than any single wait of a turning loop (idle pause, retry's back-off, one call's time-outs)."""


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
        self.beat(threading.current_thread().name)

    def wait_here(self) -> None:
        """Note that the calling thread is waiting for AWS; one that is no loop is none of ours."""
        if threading.current_thread().name in self._last_ms:
            self.beat_here()

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
