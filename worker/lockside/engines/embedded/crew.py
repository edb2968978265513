"""The threads of the engine: one for each shard that is read, and one that hands the caller's stop on to them."""

import queue
import threading
from dataclasses import dataclass
from typing import Final

from lockside.core.ports import Clock, Loops, Stop
from lockside.engines.embedded.reader import Progress, ShardReader
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
    """Runs readers in threads and collects how they end.

    The threads are daemons: one that hangs in a call does not keep an aborted process alive, and what it had not
    acknowledged is read again.
    """

    def __init__(self, clock: Clock, loops: Loops) -> None:
        """Prepare, without a thread yet. `halt` stops all readers."""
        self.halt = threading.Event()
        self._clock = clock
        self._loops = loops
        self._outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._threads: dict[ShardReader, threading.Thread] = {}

    def follow(self, stop: Stop) -> None:
        """Halt as soon as `stop` is set."""

        def following() -> None:
            while not self.halt.is_set():
                if stop.wait(FOLLOW_SECONDS):
                    self.stop()

        threading.Thread(target=following, name="stop", daemon=True).start()

    def stop(self) -> None:
        """Ask all readers to come to an end, and wake whoever waits for an outcome."""
        self.halt.set()
        self._outcomes.put(None)

    def start(self, watch: StreamWatch, reader: ShardReader) -> None:
        """Read a shard in a thread of its own."""
        self._threads = {each: thread for each, thread in self._threads.items() if thread.is_alive()}
        thread = threading.Thread(
            target=self._work, args=(watch, reader), name=f"{reader.shard.table} {reader.shard.shard_id}", daemon=True
        )
        self._threads[reader] = thread
        thread.start()

    def outcome(self, seconds: float) -> Outcome | None:
        """Wait for the next outcome; None when time is up or the crew was stopped."""
        try:
            outcome = self._outcomes.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        return outcome

    def join(self, seconds: float) -> tuple[list[Outcome], list[ShardReader]]:
        """Wait for all threads, no longer than this in all; return the last outcomes and the readers still busy."""
        until_ms = self._clock.now().mono_ms + seconds * 1000
        for thread in self._threads.values():
            thread.join(max(0.0, (until_ms - self._clock.now().mono_ms) / 1000))
        outcomes: list[Outcome] = []
        while not self._outcomes.empty():
            outcome = self._outcomes.get()
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes, [reader for reader, thread in self._threads.items() if thread.is_alive()]

    def _work(self, watch: StreamWatch, reader: ShardReader) -> None:
        ended = False
        error: Exception | None = None
        try:
            ended = self._read(reader)
        except Exception as raised:  # noqa: BLE001 the coordinator raises it, in the caller's thread
            reader.abandon()
            error = raised
        finally:
            self._loops.forget_here()
        self._outcomes.put(Outcome(watch, reader.shard.shard_id, ended, error))

    def _read(self, reader: ShardReader) -> bool:
        try:
            while not self.halt.is_set():
                self._loops.beat_here()
                step = reader.step()
                if step.progress is Progress.ENDED:
                    return True
                self.halt.wait(step.wait_seconds)
        except StoppedError:
            # The caller's stop ended a wait inside the step, a moment before it got here.
            pass
        reader.close()
        return False
