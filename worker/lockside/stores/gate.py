"""Threads of one client that want the same lock queue here, and one of them at a time goes to the table.

The table could not tell them apart by owner, and need not be asked what this process knows.
"""

import threading
from collections import deque

from lockside.errors import ReentranceError

Mark = tuple[int, str]
"""A thread inside a `with` block of a lock. Where the block ends in another thread, it is still this one's."""


class Gate:
    """Who of this client's threads holds, or reaches for, which lock: first come, first served."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._changed = threading.Condition()
        self._queues: dict[str, deque[object]] = {}
        self._inside: set[Mark] = set()

    def enter(self, lock: str, seconds: float) -> object | None:
        """Wait for this lock's turn; return a ticket to leave with, None if the time was up.

        Raises ReentranceError where this thread is inside a `with` block of the same lock: it would wait for itself.
        """
        ticket = object()
        with self._changed:
            if (threading.get_ident(), lock) in self._inside:
                raise ReentranceError(
                    f'lock "{lock}": this thread holds it already, and would wait for itself; hand the lock on'
                )
            queue = self._queues.setdefault(lock, deque())
            queue.append(ticket)
            came = False
            try:
                came = self._changed.wait_for(lambda: queue[0] is ticket, seconds)
            finally:
                # Also where a signal breaks the wait off: a ticket that nobody has would bar the lock for good.
                if not came:
                    self._remove(lock, ticket)
                    self._changed.notify_all()
        return ticket if came else None

    def leave(self, lock: str, ticket: object) -> None:
        """Let the next one in. May be called again."""
        with self._changed:
            self._remove(lock, ticket)
            self._changed.notify_all()

    def inside(self, lock: str) -> Mark:
        """Note that this thread begins a `with` block of a lock; return what to give to `outside`, in any thread."""
        mark = (threading.get_ident(), lock)
        with self._changed:
            self._inside.add(mark)
        return mark

    def outside(self, mark: Mark) -> None:
        """Note that a `with` block has ended."""
        with self._changed:
            self._inside.discard(mark)

    def _remove(self, lock: str, ticket: object) -> None:
        queue = self._queues.get(lock)
        if queue is not None and ticket in queue:
            queue.remove(ticket)
            if not queue:
                del self._queues[lock]
