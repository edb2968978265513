"""`lockside run` in a process of its own, with its log at hand."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from lockside.emulators.emulator import Emulator

WAIT_SECONDS_MAX: Final = 30.0


@dataclass
class WorkerProcess:
    """A running worker. `lines` are those of its log that were read so far."""

    process: subprocess.Popen[bytes]
    lines: list[dict[str, Any]] = field(default_factory=list)
    _unread: "queue.SimpleQueue[dict[str, Any] | None]" = field(default_factory=queue.SimpleQueue)

    def until(self, event: str, seconds: float = WAIT_SECONDS_MAX) -> dict[str, Any]:
        """Read its log up to a line of this event, and return that."""
        limit = time.monotonic() + seconds
        while True:
            try:
                line = self._unread.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event} in {seconds} s after {self.lines[-5:]}") from None
            assert line is not None, f"it ended with {self.process.wait()} before {event}, after {self.lines[-5:]}"
            self.lines.append(line)
            if line["event"] == event:
                return line

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(WAIT_SECONDS_MAX)
        while (line := self._unread.get(timeout=WAIT_SECONDS_MAX)) is not None:
            self.lines.append(line)
        return code

    def events(self) -> list[str]:
        """Name the events of its log as far as it was read."""
        return [line["event"] for line in self.lines]

    def last(self, number: int = 8) -> list[dict[str, Any]]:
        """Return the last lines of its log up to now."""
        while not self._unread.empty():
            line = self._unread.get()
            if line is None:
                self._unread.put(None)
                break
            self.lines.append(line)
        return self.lines[-number:]

    def follow(self) -> None:
        """Read its log to the end."""
        assert self.process.stderr is not None
        with self.process.stderr as log:
            for raw in log:
                try:
                    self._unread.put(orjson.loads(raw))
                except orjson.JSONDecodeError:
                    self._unread.put({"event": raw.decode(errors="replace").strip()})
        self._unread.put(None)


@contextmanager
def worker_process(config: Path, emulator: Emulator, *arguments: str) -> Iterator[WorkerProcess]:
    """Start a worker on an emulator; kill it at the end if it still runs."""
    command = [sys.executable, "-m", "lockside", "run", "--config", str(config), "--log-format", "json", *arguments]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **emulator.environment},
        start_new_session=True,
    )
    running = WorkerProcess(process)
    threading.Thread(target=running.follow, daemon=True).start()
    try:
        yield running
    finally:
        process.kill()
        process.send_signal(signal.SIGCONT)
        process.wait(WAIT_SECONDS_MAX)
