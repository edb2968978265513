"""The threads of the engine: a fixed number that step all readers, and one that hands the caller's stop on to them."""

import queue
import threading
from dataclasses import dataclass
from functools import partial
from typing import Final

from lockside.core.ports import Clock, Loops, Stop
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.embedded.rota import Rota, Turn
from lockside.engines.embedded.step import Progress
from lockside.engines.embedded.watch import StreamWatch
from lockside.errors import StoppedError

FOLLOW_SECONDS: Final = 0.5
"""A stop is handed on at once; this bounds how long the thread that does so outlives the engine."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a shard's reader came to an end: `error`, or the shard's end, or the worker's stop."""

    watch: StreamWatch
    shard_id: str
    ended: bool
    error: Exception | None


class Crew:
    """Steps readers in threads and collects how they end.

    The threads are daemons: one that hangs in a call does not keep an aborted process alive, and what it had not
    acknowledged is read again.
    """

    def __init__(self, rota: Rota, threads: int, clock: Clock, loops: Loops) -> None:
        """Prepare, without a thread yet. `halt` is set when all is to come to an end."""
        self.halt = threading.Event()
        self._rota = rota
        self._clock = clock
        self._loops = loops
        self._outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"reader-{number}", daemon=True)
            for number in range(1, threads + 1)
        ]

    def start(self, stop: Stop) -> None:
        """Begin to step readers; halt as soon as `stop` is set."""

        def following() -> None:
            while not self.halt.is_set():
                if stop.wait(FOLLOW_SECONDS):
                    self.stop()

        for thread in (threading.Thread(target=following, name="stop", daemon=True), *self._threads):
            thread.start()

    def stop(self) -> None:
        """Ask all readers to come to an end, and wake whoever waits for an outcome."""
        self.halt.set()
        self._rota.close()
        self._outcomes.put(None)

    def outcome(self, seconds: float) -> Outcome | None:
        """Wait for the next outcome; None when time is up, or when there is something to look at."""
        try:
            return self._outcomes.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    def join(self, seconds: float) -> tuple[list[Outcome], list[ShardReader]]:
        """Wait for all threads, no longer than this in all; return the last outcomes and the readers still busy."""
        until_ms = self._clock.now().mono_ms + seconds * 1000
        for thread in self._threads:
            thread.join(max(0.0, (until_ms - self._clock.now().mono_ms) / 1000))
        outcomes: list[Outcome] = []
        while not self._outcomes.empty():
            outcome = self._outcomes.get()
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes, [turn.reader for turn in self._rota.stepping()]

    def _work(self) -> None:
        try:
            while (turn := self._rota.take(self._loops.beat_here)) is not None:
                self._step(turn)
            while (turn := self._rota.leave()) is not None:
                self._loops.beat_here()
                self._outcomes.put(closed(turn))
        finally:
            self._loops.forget_here()

    def _step(self, turn: Turn) -> None:
        wait_seconds: float | None = None
        try:
            step = turn.reader.step(partial(self._rota.sized, turn))
        except StoppedError:
            # The caller's stop ended a wait inside the step. No turn may follow: the batch counts as taken, so that its
            # page, read again, would be passed over and the checkpoint move beyond it.
            self._outcomes.put(closed(turn))
        except Exception as raised:  # noqa: BLE001 the coordinator raises it, in the caller's thread
            turn.reader.abandon(raised)
            self._outcomes.put(Outcome(turn.watch, turn.reader.shard.shard_id, ended=False, error=raised))
        else:
            match step.progress:
                case Progress.ENDED:
                    self._outcomes.put(Outcome(turn.watch, turn.reader.shard.shard_id, ended=True, error=None))
                case Progress.MISSING:
                    self._outcomes.put(None)
                    wait_seconds = step.wait_seconds
                case Progress.READING | Progress.DRAINED:
                    wait_seconds = step.wait_seconds
        self._rota.give_back(turn, wait_seconds)


def closed(turn: Turn) -> Outcome:
    """Close a reader in good order, and tell how that went."""
    error: Exception | None = None
    try:
        turn.reader.close()
    except Exception as raised:  # noqa: BLE001 raised by the engine, once the other shards are closed
        turn.reader.abandon()
        error = raised
    return Outcome(turn.watch, turn.reader.shard.shard_id, ended=False, error=error)
