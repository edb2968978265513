"""Whose turn it is: the readers of all shards, by the time their next step is due, and the bytes that steps may hold.

Strategy: earliest due first. A shard with a backlog is due again as soon as its step is over, behind everyone who was
due before, so none starves and a trickle waits for one step at most per thread. A reader that is in a step is not in
the rota, so no two threads step it at once. A step's page is in memory only while the step runs: a turn begins with
room for a page of the largest size, and gives back what the page did not need.
"""

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lockside.core.ports import Clock
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.embedded.watch import StreamWatch
from lockside.engines.endpoint import PAGE_BYTES_MAX

TURN_SECONDS_MAX: Final = 1.0
"""Longest wait for a turn: the health check wants to see every thread turn."""


@dataclass(eq=False, slots=True)
class Turn:
    """One reader and when its next step is due; `held_bytes` is the room its step has."""

    watch: StreamWatch
    reader: ShardReader
    due_ms: int = 0
    held_bytes: int = 0


@dataclass(slots=True)
class _Queue:
    """A heap of turns; among equals who came first."""

    entries: list[tuple[int, int, Turn]] = field(default_factory=list)
    pushed: int = 0

    def push(self, turn: Turn) -> None:
        self.pushed += 1
        heapq.heappush(self.entries, (turn.due_ms, self.pushed, turn))

    def pop(self) -> Turn:
        return heapq.heappop(self.entries)[2]

    @property
    def first_ms(self) -> int | None:
        return self.entries[0][0] if self.entries else None


class Rota:
    """All turns. Safe for threads."""

    def __init__(self, clock: Clock, bytes_max: int) -> None:
        """Start empty, with room for so many bytes, and for one page at least."""
        self._clock = clock
        self._bytes_max = max(bytes_max, PAGE_BYTES_MAX)
        self._changed = threading.Condition()
        self._waiting = _Queue()
        self._stepping: set[Turn] = set()
        self._held_bytes = 0
        self._closing = False

    def __len__(self) -> int:
        """Count the turns that wait."""
        with self._changed:
            return len(self._waiting.entries)

    def add(self, turn: Turn) -> None:
        """Let a reader have turns from now on."""
        with self._changed:
            self._waiting.push(turn)
            self._changed.notify()

    def take(self, turning: Callable[[], None]) -> Turn | None:
        """Wait for a turn; None when no more are given. `turning` is called at each look round."""
        with self._changed:
            while not self._closing:
                turning()
                turn = self._next()
                if turn is not None:
                    return turn
                self._changed.wait(self._wait_seconds())
            return None

    def take_due(self) -> Turn | None:
        """Return a turn that is due now, if there is one."""
        with self._changed:
            return self._next()

    def sized(self, turn: Turn, page_bytes: int) -> None:
        """Learn how large the page of a step is: what it does not need is for others."""
        with self._changed:
            was_full = not self._has_room()
            self._hold(turn, page_bytes)
            if was_full:
                self._changed.notify_all()

    def give_back(self, turn: Turn, wait_seconds: float | None) -> None:
        """End a step: its reader is due again after a wait, or never, for None."""
        with self._changed:
            self._hold(turn, 0)
            self._stepping.discard(turn)
            if wait_seconds is not None:
                turn.due_ms = self._clock.now().mono_ms + round(wait_seconds * 1000)
                self._waiting.push(turn)
            self._changed.notify()

    def close(self) -> None:
        """Give no more turns."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def leave(self) -> Turn | None:
        """Take any reader out of the rota, due or not; None when none is left."""
        with self._changed:
            return self._waiting.pop() if self._waiting.entries else None

    def stepping(self) -> list[Turn]:
        """Return the turns that are being taken."""
        with self._changed:
            return list(self._stepping)

    @property
    def next_ms(self) -> int | None:
        """When the next turn is due, in monotonic milliseconds; None without one."""
        with self._changed:
            return self._waiting.first_ms

    @property
    def held_bytes(self) -> int:
        """The bytes that steps hold now, or have room for."""
        return self._held_bytes

    def _next(self) -> Turn | None:
        first_ms = self._waiting.first_ms
        if first_ms is None or first_ms > self._clock.now().mono_ms or not self._has_room():
            return None
        turn = self._waiting.pop()
        self._hold(turn, PAGE_BYTES_MAX)
        self._stepping.add(turn)
        return turn

    def _has_room(self) -> bool:
        return self._held_bytes == 0 or self._held_bytes + PAGE_BYTES_MAX <= self._bytes_max

    def _hold(self, turn: Turn, held_bytes: int) -> None:
        self._held_bytes += held_bytes - turn.held_bytes
        turn.held_bytes = held_bytes

    def _wait_seconds(self) -> float:
        first_ms = self._waiting.first_ms
        if first_ms is None or not self._has_room():
            return TURN_SECONDS_MAX
        return min(TURN_SECONDS_MAX, max(0.0, (first_ms - self._clock.now().mono_ms) / 1000))
