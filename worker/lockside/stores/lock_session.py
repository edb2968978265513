"""Locks that are bound to a session: taken under it, lost together, released together."""

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from lockside.errors import LockLostError, ReentranceError

if TYPE_CHECKING:
    from lockside.stores.lock import Lock
    from lockside.stores.lock_client import LockClient

WAIT_SECONDS: Final = 60.0


class LockSession:
    """Several locks for one piece of work. Once one of them is lost, the session is: `ensure` and `checks` refuse.

    A context manager: it releases all, the last taken first, and raises LockLostError at the end of a block that raised
    nothing if one of them was lost. Take locks in one order everywhere, or two sessions may wait for each other.
    """

    def __init__(self, client: "LockClient") -> None:
        """Hold nothing yet."""
        self._client = client
        self._guard = threading.Lock()
        self._locks: list[Lock] = []

    @property
    def locks(self) -> tuple["Lock", ...]:
        """The locks taken, in order."""
        with self._guard:
            return tuple(self._locks)

    def acquire(self, name: str, *, lease: float | None = None, wait: float = WAIT_SECONDS) -> "Lock":
        """Take one more lock. Raises as `LockClient.acquire`, and LockLostError if the session is lost already.

        A lock that this session holds is refused with ReentranceError: it would wait for itself.
        """
        self.ensure()
        if any(lock.name == name and lock.held for lock in self.locks):
            raise ReentranceError(f'lock "{name}": this session holds it already, and would wait for itself')
        held = self._client.acquire(name, lease=lease, wait=wait)
        with self._guard:
            self._locks.append(held)
        return held

    def valid_for(self) -> float:
        """Return for how many seconds all of its locks are surely ours; infinity without any."""
        return min((lock.valid_for() for lock in self.locks), default=float("inf"))

    def ensure(self) -> None:
        """Raise LockLostError unless all of its locks are surely ours."""
        for lock in self.locks:
            lock.ensure()

    def checks(self) -> list[dict[str, Any]]:
        """Return the items for a transaction of yours that succeeds only while all of its locks are ours."""
        return [lock.check() for lock in self.locks]

    def release(self) -> None:
        """Release all, the last taken first. May be called again."""
        for lock in reversed(self.locks):
            lock.release()

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release all."""
        self.release()
        lost = next((lock for lock in self.locks if lock.lost is not None), None)
        if lost is not None and error is None:
            raise LockLostError(
                f'lock "{lost.name}": {lost.lost}; the session of {len(self.locks)} locks is lost with it'
            )
