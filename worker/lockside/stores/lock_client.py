"""Distributed locks on a DynamoDB table, in the layout and by the protocol of the awslabs Java client, with fences.

Strategy: one transaction takes the lock and raises its fence, on the condition that both are as they were last seen; a
refusal hands back what is there instead, so that an uncontended cycle is two calls. Whoever finds the lock held waits
out its stored lease, and takes it over only if one version stood for the whole of it.
"""

import atexit
import math
import os
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from lockside.errors import ForkedError, LimitError, LockLostError, LockTakenError, StoppedError
from lockside.stores import lock_row, tables
from lockside.stores.acquisition import Acquisition
from lockside.stores.calls import Calls
from lockside.stores.gate import Gate
from lockside.stores.keeper import Keeper
from lockside.stores.lock import Desk, Lock, OnLost, Terms
from lockside.stores.lock_row import Absent, Held, LockTable, Released, Row
from lockside.stores.lock_session import LockSession
from lockside.stores.lock_watch import waited_out_seconds
from lockside.stores.machine import Machine, System
from lockside.stores.sights import Sight, Sights

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LEASE_SECONDS: Final = 20.0
WAIT_SECONDS: Final = 60.0
WAIT_SECONDS_MAX: Final = 366 * 86_400.0
"""For who waits for ever."""

LOOK_SECONDS: Final = 1.0
BEATS_PER_LEASE: Final = 3
BEATS_PER_LEASE_MIN: Final = 2


@dataclass(frozen=True, slots=True)
class Holding:
    """One row of the lock table: who holds the lock under which lease, or that it is kept released."""

    name: str
    owner: str
    lease_seconds: float
    fence: int | None
    released: bool


class LockClient:
    """Takes locks for one owner. Thread-safe; close it, or use it as a context manager, to release what is held.

    Locks are rows of `table`, fences those of `fences` (by default `<table>-fences`). A row's partition key is called
    `partition_key`; a table with a sort key too takes `sort_key=(name, value)`.
    """

    def __init__(  # noqa: PLR0913 - a client's options; all but the first two have defaults
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        fences: str | None = None,
        owner: str | None = None,
        partition_key: str = "key",
        sort_key: tuple[str, str] | None = None,
        lease: float = LEASE_SECONDS,
        heartbeat: float | None = None,
        look: float = LOOK_SECONDS,
        keep_released: bool = False,
        machine: Machine | None = None,
        background: bool = True,
    ) -> None:
        """Send nothing yet, and start no thread.

        Args:
            client: a boto3 client; `stores.connect.client()` makes one with fitting time-outs.
            table: the lock table.
            fences: the table of fences.
            owner: this client's name in its rows, unlike any other's; by default host, process and chance.
            partition_key: the lock table's partition key, a string.
            sort_key: the lock table's sort key and the value it has in every lock, if there is one.
            lease: seconds for which a lock stays ours without a heartbeat.
            heartbeat: seconds between two heartbeats; by default a third of the lease, at most half of it.
            look: seconds at most between two looks of a waiter whether the lock was released.
            keep_released: keep a released row, marked, rather than delete it.
            machine: clocks and chance, for tests.
            background: False lets no thread run; then nothing renews a lock by itself.

        Raises:
            LimitError: an option cannot be.
        """
        self._machine = machine or System()
        self._table = LockTable(table, fences or tables.fence_table_name(table), partition_key, sort_key)
        self._client = client
        self._owner = owner or f"{socket.gethostname()}:{os.getpid()}:{self._machine.version()[:8]}"
        self._lease = lease
        self._heartbeat = heartbeat
        self._keep_released = keep_released
        self._terms(lease, None, None)
        self._stop = threading.Event()
        self._calls = Calls(table, self._machine, self._stop)
        self._keeper = Keeper(self._machine, background=background)
        self._gate = Gate()
        self._sights = Sights()
        self._tickets: dict[Lock, object] = {}
        self._broken_off: set[Lock] = set()
        self._desk = Desk(client, self._table, self._machine, self._left)
        self._acquisition = Acquisition(self._desk, self._calls, self._sights, self._owner, max(1, round(look * 1000)))
        # Through a weak reference: a client that nobody has any more is not kept alive for the exit.
        self._at_exit = _closing(weakref.ref(self))
        atexit.register(self._at_exit)

    @property
    def owner(self) -> str:
        """The owner's name in this client's rows."""
        return self._owner

    @property
    def keeper(self) -> Keeper:
        """What renews this client's locks; for those who run its turns themselves."""
        return self._keeper

    @staticmethod
    def create(client: "DynamoDBClient", table: str, *, fences: str | None = None) -> None:
        """Create the lock table, its stream on, and the table of fences; leave those that are there.

        Raises SetupError for a table with another key.
        """
        for definition in tables.lock_tables(table, fences):
            tables.create(client, definition)

    @contextmanager
    def lock(
        self,
        name: str,
        *,
        lease: float | None = None,
        wait: float = WAIT_SECONDS,
        data: bytes | None = None,
        on_lost: OnLost | None = None,
    ) -> Iterator[Lock]:
        """Hold a lock for as long as the block runs.

        Raises:
            LockTakenError: it stayed another's for `wait` seconds.
            LockLostError: at the end of a block that raised nothing, if the lock was not ours all the time.
            ReentranceError: this thread is inside such a block already.

        Enter and leave it in one thread. From asyncio use `acquire` and `Lock.release` (docs/stores.md).
        """
        held = self.acquire(name, lease=lease, wait=wait, data=data, on_lost=on_lost)
        mark = self._gate.inside(name)
        try:
            yield held
        finally:
            # In a fork the gate is the parent's: one of its threads may have been in it at that moment.
            if not self._desk.is_elsewhere:
                self._gate.outside(mark)
            held.release()
        if held.lost is not None:
            raise LockLostError(f'lock "{name}": {held.lost}; what this block did may overlap with another holder')

    def acquire(
        self,
        name: str,
        *,
        lease: float | None = None,
        wait: float = WAIT_SECONDS,
        data: bytes | None = None,
        on_lost: OnLost | None = None,
    ) -> Lock:
        """Take a lock, waiting for it for up to `wait` seconds. Release it yourself, in any thread.

        Raises:
            LockTakenError: it stayed another's for so long.
            SetupError, NotFoundOutError: the table is not as it must be, or does not answer.
            OutcomeUnknownError: no answer to the acquisition; a row of ours may stand for one lease.
            ForkedError: this process is a fork of the one that made the client.
        """
        if self._desk.is_elsewhere:
            raise ForkedError(
                f'lock "{name}": this client was made in process {self._desk.process}, and this one is a fork of it; '
                "its locks, threads and connections are the parent's: make a client here, after the fork"
            )
        lock_row.checked_name(name)
        terms = self._terms(self._lease if lease is None else lease, lock_row.checked_data(data), on_lost)
        wait = _checked_wait(wait)
        until_ms = self._machine.waiting_ms() + round(wait * 1000)
        ticket = self._gate.enter(name, wait)
        if ticket is None:
            raise LockTakenError(f'lock "{name}": a thread of this client held it for all of the {wait:g} s')
        try:
            held = self._acquisition.contend(name, terms, until_ms)
        except BaseException:
            self._gate.leave(name, ticket)
            raise
        if held is None:
            self._gate.leave(name, ticket)
            raise LockTakenError(self._taken(name, wait))
        self._tickets[held] = ticket
        self._keeper.keep(held)
        if self._stop.is_set():
            # Closed meanwhile: nobody would renew it.
            held.release()
            raise StoppedError(f'lock "{name}": the lock client was closed while it was taken')
        return held

    def try_lock(
        self, name: str, *, lease: float | None = None, data: bytes | None = None, on_lost: OnLost | None = None
    ) -> Lock | None:
        """Take a lock if it is free now, or was seen by this client to have lapsed; None if another holds it.

        Only who saw it stand knows that a lease has run out: calls of one client that follow each other take it over in
        the end. A new client each time never does; it must `acquire` with a wait longer than the lease.
        """
        try:
            return self.acquire(name, lease=lease, wait=0.0, data=data, on_lost=on_lost)
        except LockTakenError:
            return None

    def session(self) -> LockSession:
        """Begin a session: locks that are lost together and released together."""
        return LockSession(self)

    def list(self) -> Iterator[Holding]:
        """Read the whole lock table, page by page, strongly consistent. A lapsed lock looks like a held one."""
        request: dict[str, Any] = {"TableName": self._table.name, "ConsistentRead": True}
        while True:
            page = self._calls.read(lambda: self._client.scan(**request))
            for item in page["Items"]:
                if lock_row.OWNER in item and "S" in item.get(self._table.partition, {}):
                    yield self._holding(item)
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def close(self) -> None:
        """Release every lock, end the waits and the threads. May be called again; the client takes no lock after it.

        In a process that was forked it does nothing: the locks are the parent's, and so are the threads.
        """
        if self._desk.is_elsewhere:
            return
        self._stop.set()
        for lock in {*self._keeper.locks, *self._broken_off}:
            lock.release()
        self._keeper.close()
        atexit.unregister(self._at_exit)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the client."""
        self.close()

    def _terms(self, lease: float, data: bytes | None, on_lost: OnLost | None) -> Terms:
        lease_ms = lock_row.lease_ms(lease)
        given_ms = None if self._heartbeat is None else self._heartbeat * 1000
        heartbeat_ms = (
            lease_ms // BEATS_PER_LEASE if given_ms is None else round(given_ms) if given_ms < lease_ms else 0
        )
        if not 0 < heartbeat_ms * BEATS_PER_LEASE_MIN <= lease_ms:
            raise LimitError(
                f"heartbeat = {self._heartbeat} s, lease = {lease} s: give more than 0 and at most half of the lease"
            )
        return Terms(lease_ms, heartbeat_ms, self._keep_released, data, on_lost)

    def _left(self, lock: Lock, row: Row | None) -> None:
        """Hear that a lock is not ours any more, and what its row is like, if known."""
        self._keeper.drop(lock)
        (self._broken_off.add if lock.broken_off else self._broken_off.discard)(lock)
        free = row if isinstance(row, Absent | Released) else Absent()
        self._sights.keep(lock.name, Sight(free, lock.fence))
        ticket = self._tickets.pop(lock, None)
        if ticket is not None:
            self._gate.leave(lock.name, ticket)

    def _taken(self, name: str, wait: float) -> str:
        row = self._sights.of(name).row
        if not isinstance(row, Held):
            return f'lock "{name}": held by others in turn for all of the {wait:g} s; wait longer'
        said = f'lock "{name}": held by "{row.owner}" for all of the {wait:g} s'
        enough = waited_out_seconds(row.lease_ms)
        if wait >= enough:
            return f"{said}; wait longer, or see who that is"
        lease = f"its lease ({row.lease_ms / 1000:g} s)"
        return f"{said}; a holder that died is only found out by waiting for {lease}: wait for at least {enough} s"

    def _holding(self, item: Any) -> Holding:
        lease = item.get(lock_row.LEASE, {}).get("S", "0")
        return Holding(
            name=item[self._table.partition]["S"],
            owner=item[lock_row.OWNER].get("S", ""),
            lease_seconds=int(lease) / 1000 if lease.isdigit() else 0.0,
            fence=int(item[lock_row.FENCE]["N"]) if "N" in item.get(lock_row.FENCE, {}) else None,
            released=lock_row.RELEASED in item,
        )


def _checked_wait(seconds: float) -> float:
    """Return for how long to wait, without end for as long as `WAIT_SECONDS_MAX`. Raises LimitError."""
    if math.isnan(seconds):
        raise LimitError(f"wait = {seconds} s: give 0 or more, or infinity")
    return min(max(0.0, seconds), WAIT_SECONDS_MAX)


def _closing(reference: "weakref.ref[LockClient]") -> Any:
    def close() -> None:
        client = reference()
        if client is not None:
            client.close()

    return close
