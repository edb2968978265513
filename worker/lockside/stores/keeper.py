"""Keeps a client's locks: one thread sends all heartbeats, another ends validity by the clock.

Two threads, because a heartbeat may hang in the network for as long as the AWS client lets it, and the end of a lease
does not wait for it.
"""

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lockside.stores.lock import Lock
    from lockside.stores.machine import Machine

TURN_MS_MAX: Final = 1_000
"""A thread looks at the clock at least so often: the clock of holders goes on while the machine, and a wait, sleeps."""

CLOSE_SECONDS_MAX: Final = 5.0
BEATS_SPARE: Final = 64
"""How many beats of locks no longer kept may stand in line, beside as many as are kept twice over."""


class Keeper:
    """The locks held by one client. Threads start with the first lock, and end with `close`.

    With `background` off nothing runs by itself: whoever made it calls the turns.
    """

    def __init__(self, machine: "Machine", *, background: bool = True) -> None:
        """Keep nothing yet; no thread runs."""
        self._machine = machine
        self._background = background
        self._guard = threading.Lock()
        self._beats: list[tuple[int, int, Lock]] = []
        self._order = itertools.count()
        self._kept: set[Lock] = set()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._wakes = (threading.Event(), threading.Event())

    @property
    def locks(self) -> tuple["Lock", ...]:
        """The locks that are kept."""
        with self._guard:
            return tuple(self._kept)

    def keep(self, lock: "Lock") -> None:
        """Renew a lock from now on, and lose it in time."""
        due_ms = self._machine.holding_ms() + lock.terms.heartbeat_ms
        with self._guard:
            self._kept.add(lock)
            heapq.heappush(self._beats, (due_ms, next(self._order), lock))
            if self._background and not self._threads and not self._closed:
                self._start()
        self._wake()

    def drop(self, lock: "Lock") -> None:
        """Keep a lock no longer."""
        with self._guard:
            self._kept.discard(lock)
            # A short lock's beat may wait behind those of long ones, each new one adding another.
            if len(self._beats) > 2 * len(self._kept) + BEATS_SPARE:
                self._beats = [beat for beat in self._beats if beat[2] in self._kept]
                heapq.heapify(self._beats)

    def beat_turn(self) -> int:
        """Send the heartbeats that are due, the longest due first; return the milliseconds until the next is."""
        while True:
            with self._guard:
                while self._beats and self._beats[0][2] not in self._kept:
                    heapq.heappop(self._beats)
                if not self._beats:
                    return TURN_MS_MAX
                rest_ms = self._beats[0][0] - self._machine.holding_ms()
                if rest_ms > 0:
                    return min(rest_ms, TURN_MS_MAX)
                _, _, lock = heapq.heappop(self._beats)
            due_ms = lock.beat()
            with self._guard:
                if lock in self._kept:
                    heapq.heappush(self._beats, (due_ms, next(self._order), lock))

    def watch_turn(self) -> int:
        """Lose the locks whose validity is over; return the milliseconds until the next may be."""
        for lock in self.locks:
            lock.expire()
        # One that is being released is kept still: its validity has ended, and is not waited for.
        ends = [lock.valid_until_ms for lock in self.locks if not lock.ended]
        rest_ms = min(ends, default=self._machine.holding_ms() + TURN_MS_MAX) - self._machine.holding_ms()
        return max(0, min(rest_ms, TURN_MS_MAX))

    def close(self) -> None:
        """End the threads. What is kept then is renewed no more."""
        with self._guard:
            self._closed = True
            threads = list(self._threads)
        self._wake()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(CLOSE_SECONDS_MAX)

    def _start(self) -> None:
        turns: tuple[tuple[str, Callable[[], int]], ...] = (
            ("lock-heartbeats", self.beat_turn),
            ("lock-validity", self.watch_turn),
        )
        for (name, turn), wake in zip(turns, self._wakes, strict=True):
            thread = threading.Thread(target=self._turn, args=(turn, wake), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _turn(self, turn: Callable[[], int], wake: threading.Event) -> None:
        while not self._closed:
            wake.clear()
            rest_ms = turn()
            wake.wait(rest_ms / 1000)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()
