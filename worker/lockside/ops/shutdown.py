"""The way out: the first SIGTERM or SIGINT asks for a drain within a bound, the second ends the process as it is.

Strategy: a signal handler runs between any two steps of the main thread, perhaps inside a lock it would need. So the
handler only puts the signal into a queue that allows for that (`queue.SimpleQueue`), and a thread acts on it.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import structlog

from lockside.core import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable

LOG = structlog.get_logger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
EXIT_BY_SIGNAL: Final = 128
WATCH_SECONDS_MAX: Final = 5.0


class Shutdown:
    """Turns signals into the stop event, and bounds what comes after it."""

    def __init__(
        self,
        stop: threading.Event,
        drain_seconds_max: float,
        abort: Callable[[int], object] = os._exit,
    ) -> None:
        """Nothing is installed yet; `abort` ends the process at once, with an exit code."""
        self._stop = stop
        self._drain_seconds_max = drain_seconds_max
        self._abort = abort
        self._received: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def receive(self, signal_number: int) -> None:
        """Note a signal; safe in a signal handler."""
        self._received.put(signal_number)

    def finish(self) -> None:
        """End the watch: the worker has drained."""
        self._received.put(None)

    def watch(self) -> None:
        """Act on signals until `finish`, or until the process was told to abort."""
        first = self._received.get()
        if first is None:
            return
        LOG.info("stopping", signal=signal.Signals(first).name, **{telemetry.SECONDS: self._drain_seconds_max})
        self._stop.set()
        try:
            second = self._received.get(timeout=self._drain_seconds_max)
        except queue.Empty:
            # No traceback: the empty queue is the passing of time.
            LOG.error("stop_took_too_long", **{telemetry.SECONDS: self._drain_seconds_max})  # noqa: TRY400
            self._abort(EXIT_BY_SIGNAL + first)
            return
        if second is not None:
            LOG.warning("aborting", signal=signal.Signals(second).name)
            self._abort(EXIT_BY_SIGNAL + second)

    @contextmanager
    def handlers(self, signals: "Iterable[signal.Signals]" = SIGNALS) -> Iterator[None]:
        """Install handlers for as long as the block runs, then put back those that were there. Main thread only."""

        def handle(signal_number: int, _frame: FrameType | None) -> None:
            self.receive(signal_number)

        watcher = threading.Thread(target=self.watch, name="shutdown", daemon=True)
        watcher.start()
        before = {number: signal.signal(number, handle) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.finish()
            watcher.join(WATCH_SECONDS_MAX)
