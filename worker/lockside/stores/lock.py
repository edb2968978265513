"""One lock that is held: how long it is surely ours, its fence, its heartbeat, its release.

Validity counts from before the write was sent that last renewed it. It ends by the clock alone, whatever the network
does: `Keeper` tells `on_lost` at that moment, and from then on nothing makes the lock ours again.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code, verdict
from lockside.core import telemetry
from lockside.core.failures import Verdict
from lockside.errors import LockLostError
from lockside.stores import lock_row
from lockside.stores.calls import Calls, surely_not_done
from lockside.stores.lock_row import Absent, LockTable, Released, Row, Tenure
from lockside.stores.lock_watch import drift_ms

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.machine import Machine

LOG = structlog.get_logger(__name__)

RELEASE_ATTEMPTS_MAX: Final = 3
AGAIN_SHARE: Final = 20
"""A failed heartbeat is tried again after this share of its lease."""

OVERTAKEN: Final = "another client took it over, or somebody removed or changed its row"
RAN_OUT: Final = "its lease ran out before a heartbeat got through"

OnLost = Callable[["Lock"], object]
"""Called once, in a thread of the client's, when a lock is no longer surely ours; must not block."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a lock is held under: its lease, its heartbeat, whether its row is kept when it is released."""

    lease_ms: int
    heartbeat_ms: int
    keep_released: bool
    data: bytes | None = field(default=None, repr=False)
    on_lost: OnLost | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What every lock of one client shares. `left` hears what a lock's row is like once it is not ours any more.

    `process` made the client; in a fork of it its locks are the parent's, which alone renews and releases them.
    """

    client: "DynamoDBClient"
    table: LockTable
    machine: "Machine"
    left: Callable[["Lock", Row | None], object]
    process: int = field(default_factory=os.getpid)

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process is a fork of the one that made the client."""
        return os.getpid() != self.process


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of the row. `sent_ms` is when the next version was first sent, None if it was not.

    `why_lost` and `released` end it for good.
    """

    tenure: Tenure
    valid_until_ms: int
    sent_ms: int | None = None
    why_lost: str | None = None
    released: bool = False

    @property
    def ended(self) -> bool:
        return self.released or self.why_lost is not None


class Lock:
    """A held lock. Made by `LockClient`; may be used from any thread.

    `fence` grows with every acquisition of this lock by a Lockside client: hand it to whatever the lock protects, and
    have that refuse a smaller one than it has seen.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what an acquisition came to
        self, desk: Desk, name: str, terms: Terms, fence: int, tenure: Tenure, sent_ms: int
    ) -> None:
        """Take note of an acquisition that was first sent at `sent_ms`, on the holding clock."""
        self.name: Final = name
        self.fence: Final = fence
        self.owner: Final = tenure.owner
        self.terms: Final = terms
        self._desk = desk
        self._state = _State(tenure, self._valid_until(sent_ms))
        # Guards the state, and is never held over a call; the wire orders heartbeats and the release of one lock.
        self._guard = threading.Lock()
        # Taken again by its own thread where `on_lost` releases the lock.
        self._wire = threading.RLock()
        self._last_error = ""
        self._given_back: bool | None = None

    @property
    def valid_until_ms(self) -> int:
        """When it ends unless renewed, on the holding clock."""
        return self._state.valid_until_ms

    @property
    def lost(self) -> str | None:
        """Why it is lost; None if it is held, or was released in time."""
        return self._state.why_lost

    @property
    def ended(self) -> bool:
        """Whether it is lost or given back, or its release is under way."""
        return self._state.ended

    @property
    def broken_off(self) -> bool:
        """Whether its release was begun and then interrupted, so that its row may still be there."""
        return self._state.released and self._given_back is None

    @property
    def held(self) -> bool:
        """Whether it is surely ours at this moment."""
        return self.valid_for() > 0

    def valid_for(self) -> float:
        """Return for how many seconds it is still surely ours without another heartbeat; 0 if it is not."""
        state = self._state
        if state.ended:
            return 0.0
        return max(0, state.valid_until_ms - self._desk.machine.holding_ms()) / 1000

    def ensure(self) -> None:
        """Raise LockLostError unless the lock is surely ours at this moment."""
        state = self._state
        if state.released:
            raise LockLostError(f'lock "{self.name}": was released; take it again')
        if not self.held:
            raise LockLostError(f'lock "{self.name}": {state.why_lost or RAN_OUT}; stop, and take it again')

    def check(self) -> dict[str, Any]:
        """Return an item for a TransactWriteItems of yours that succeeds only while the row is ours.

        It holds for the version of now and for that of the next heartbeat: use it at once, and ask for another when you
        try the transaction again. Raises LockLostError.
        """
        self.ensure()
        return lock_row.checking(self._desk.table, self.name, self._state.tenure)

    def beat(self) -> int:
        """Send one heartbeat; return when the next is due, on the holding clock. Called by the keeper.

        While a release is under way none is sent: it may hang in the network, and other locks need their heartbeats.
        """
        if self._state.ended or self._desk.is_elsewhere:
            # It is kept for as long as its release is under way, and must not be due all the time.
            return self._soon_ms()
        if not self._wire.acquire(blocking=False):
            return self._soon_ms()
        try:
            first = self._state.sent_ms is None
            state = self._begin_beat()
            if state is None:
                self.expire()
                return self._state.valid_until_ms
            request = lock_row.beating(self._desk.table, self.name, state.tenure, self.terms.lease_ms)
            try:
                self._desk.client.update_item(**request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other locks need their heartbeats
                return self._beat_failed(error, state, first=first)
            return self._renewed(state)
        finally:
            self._wire.release()

    def expire(self) -> None:
        """Lose the lock if its validity is over. Called by the keeper."""
        if not self._state.ended and self._is_over():
            last = f" (the last failed with {self._last_error})" if self._last_error else ""
            self._lose(RAN_OUT + last)

    def release(self) -> bool:
        """Give the lock back, on the condition that its row is still ours; False if that could not be made sure.

        It is not ours any more in any case. A row that could not be reached is left to lapse. Called again it says the
        same; after a release that was interrupted, as by a signal, it tries again. In a fork of the process that took
        the lock it does nothing and says False: a `with` block that unwinds there must not free the parent's lock.
        """
        if self._desk.is_elsewhere:
            return False
        row: Row | None = None
        with self._wire:
            if self._given_back is not None:
                return self._given_back
            with self._guard:
                again = self._state.released
                late = self._state.why_lost is not None or self._state.valid_until_ms <= self._desk.machine.holding_ms()
                self._state = replace(self._state, released=True)
            try:
                row, self._given_back = self._give_back(unsure=again)
                return self._given_back
            finally:
                if late and self._state.why_lost is None:
                    self._state = replace(self._state, why_lost=RAN_OUT)
                self._desk.left(self, row)

    def _is_over(self) -> bool:
        return self._desk.machine.holding_ms() >= self._state.valid_until_ms

    def _begin_beat(self) -> _State | None:
        with self._guard:
            if self._state.ended or self._is_over():
                return None
            if self._state.sent_ms is None:
                self._state = replace(self._state, sent_ms=self._desk.machine.holding_ms())
            return self._state

    def _renewed(self, sent: _State) -> int:
        begun_ms = sent.sent_ms or 0
        following = replace(sent.tenure, current=sent.tenure.next, next=self._desk.machine.version())
        with self._guard:
            # An answer that comes after the validity is over does not bring the lock back: it was said to be lost.
            if not self._state.ended and not self._is_over():
                valid_until_ms = max(self._state.valid_until_ms, self._valid_until(begun_ms))
                self._state = _State(following, valid_until_ms)
                self._last_error = ""
        self.expire()
        return begun_ms + self.terms.heartbeat_ms

    def _beat_failed(self, error: Exception, sent: _State, *, first: bool) -> int:
        if verdict(error) is Verdict.CONDITION:
            item: Any = error.response.get("Item") if isinstance(error, ClientError) else None
            if lock_row.is_version(item, sent.tenure.next):
                # It was done before, and its answer was lost.
                return self._renewed(sent)
            self._lose(OVERTAKEN)
            return self._state.valid_until_ms
        self._last_error = error_code(error)
        if first and surely_not_done(error):
            # No try is under way, so that the validity may count from the next one.
            with self._guard:
                self._state = replace(self._state, sent_ms=None)
        return self._soon_ms()

    def _soon_ms(self) -> int:
        return self._desk.machine.holding_ms() + max(1, self.terms.lease_ms // AGAIN_SHARE)

    def _lose(self, why: str) -> None:
        with self._guard:
            if self._state.ended:
                return
            self._state = replace(self._state, why_lost=why)
        self._desk.left(self, None)
        if self.terms.on_lost is None:
            return
        try:
            self.terms.on_lost(self)
        except BaseException as error:  # noqa: BLE001 - also sys.exit() must not end the heartbeats of other locks
            LOG.error("on_lost_failed", **{telemetry.ERROR: type(error).__name__})  # noqa: TRY400 - no payload in a log

    def _give_back(self, *, unsure: bool) -> tuple[Row | None, bool]:
        """Release the row; return what it is like then, if known, and whether we gave it back.

        `unsure`: an earlier attempt may have been done.
        """
        tenure, keep = self._state.tenure, self.terms.keep_released
        table, client = self._desk.table, self._desk.client
        pauses = Calls(table.name, self._desk.machine)
        for attempt in range(RELEASE_ATTEMPTS_MAX):
            if attempt:
                pauses.pause(attempt)
            try:
                if keep:
                    answer: Mapping[str, Any] = client.update_item(
                        **lock_row.marking(table, self.name, tenure), ReturnValues="ALL_NEW"
                    )
                    return lock_row.read(answer["Attributes"], table.name, self.name), True
                client.delete_item(**lock_row.deleting(table, self.name, tenure))
            except (ClientError, BotoCoreError) as error:
                if verdict(error) is Verdict.CONDITION:
                    return self._not_as_held(error, unsure=unsure)
                unsure = unsure or not surely_not_done(error)
                if verdict(error) not in {Verdict.RETRY, Verdict.THROTTLED}:
                    break
            else:
                return Absent(), True
        return None, False

    def _not_as_held(self, error: Exception, *, unsure: bool) -> tuple[Row | None, bool]:
        item: Any = error.response.get("Item") if isinstance(error, ClientError) else None
        tenure = self._state.tenure
        ours = lock_row.is_version(item, tenure.current) or lock_row.is_version(item, tenure.next)
        if ours and item is not None and lock_row.RELEASED in item:
            return Released(item[lock_row.VERSION]["S"]), True
        if unsure and not item:
            return Absent(), True
        with self._guard:
            self._state = replace(self._state, why_lost=self._state.why_lost or OVERTAKEN)
        return None, False

    def _valid_until(self, sent_ms: int) -> int:
        return sent_ms + self.terms.lease_ms - drift_ms(self.terms.lease_ms)
