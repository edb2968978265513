"""One client's reaching for locks: what is tried, what a refusal says, when to wait and for how long.

The transaction that takes a lock bears one token and one version through all its attempts. So a lost answer does no
harm: DynamoDB does it once, and where something in between forgets the token, our own version in the row tells.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code
from lockside.errors import OutcomeUnknownError, StoppedError
from lockside.stores import lock_row
from lockside.stores.calls import FAILED, condition_failed, is_passing, reasons, refusal, surely_not_done
from lockside.stores.lock import Desk, Lock, Terms
from lockside.stores.lock_row import Claim, Tenure
from lockside.stores.lock_watch import Look, Take, step, watched
from lockside.stores.sights import NEVER_SEEN, Sight, Sights

if TYPE_CHECKING:
    from lockside.stores.calls import Calls

UNSURE_MS_MAX: Final = 2_000
"""How long an acquisition without an answer is asked about again for a caller who does not want to wait."""

TAKES_AT_ONCE_MAX: Final = 4
"""A free lock that was missed so often is fought over: then whoever reaches for it pauses."""

ATTEMPTS_MAX: Final = 1_000
PAUSE_STEPS_MAX: Final = 5

Reasons = Sequence[dict[str, Any]]


class Acquisition:
    """Reaches for the locks of one client. Thread-safe, but for two threads that reach for one lock."""

    def __init__(self, desk: Desk, calls: "Calls", sights: Sights, owner: str, look_ms: int) -> None:
        """Send nothing yet."""
        self._desk = desk
        self._calls = calls
        self._sights = sights
        self._owner = owner
        self._look_ms = look_ms

    def contend(self, name: str, terms: Terms, until_ms: int) -> Lock | None:
        """Take a lock; None if it stayed another's until then, on the waiting clock.

        Raises StoppedError, OutcomeUnknownError, and what `calls.refusal` says.
        """
        sight, missed, fresh = self._sights.of(name), 0, False
        while not self._calls.stop.is_set():
            now_ms, chance = self._desk.machine.waiting_ms(), self._desk.machine.chance()
            match step(sight.row, sight.watch, now_ms, self._look_ms, chance):
                case Take():
                    if missed and now_ms > until_ms and missed >= TAKES_AT_ONCE_MAX:
                        return None
                    found = self._take(name, terms, sight, until_ms)
                    if isinstance(found, Lock):
                        return found
                    sight, missed = found, missed + 1
                    if missed % TAKES_AT_ONCE_MAX == 0:
                        self._calls.pause(min(missed // TAKES_AT_ONCE_MAX, TAKES_AT_ONCE_MAX))
                case Look(after_ms=after_ms):
                    if fresh and now_ms >= until_ms:
                        return None
                    if fresh:
                        self._desk.machine.wait(self._calls.stop, min(after_ms, until_ms - now_ms) / 1000)
                    sight = self._looked(name, sight)
            fresh = True
            self._sights.keep(name, sight)
        raise StoppedError(f'lock "{name}": the lock client was closed while it waited')

    def _looked(self, name: str, before: Sight) -> Sight:
        table = self._desk.table
        answer = self._calls.read(
            lambda: self._desk.client.get_item(TableName=table.name, Key=table.key(name), ConsistentRead=True)
        )
        return self._saw(name, before, answer.get("Item"), before.fence)

    def _saw(self, name: str, before: Sight, item: Any, fence: int) -> Sight:
        row = lock_row.read(item, self._desk.table.name, name)
        return Sight(row, fence, watched(before.watch, row, self._desk.machine.waiting_ms()))

    def _take(self, name: str, terms: Terms, sight: Sight, until_ms: int) -> "Lock | Sight":
        """Reach for the lock as it was seen; return it, or how it is instead."""
        claim = Claim(self._owner, self._desk.machine.version(), terms.lease_ms, terms.data)
        request = lock_row.taking(self._desk.table, name, sight.row, sight.fence, claim)
        # Before anything is sent: the write may be done the moment after, and its answer may be long in coming.
        sent_ms = self._desk.machine.holding_ms()
        patience_ms = min(terms.lease_ms, max(UNSURE_MS_MAX, until_ms - self._desk.machine.waiting_ms()))
        refused = self._sent(request, claim, sent_ms + patience_ms)
        if refused is not None:
            return self._instead(name, sight, refused)
        tenure = Tenure(self._owner, claim.version, self._desk.machine.version())
        held = Lock(self._desk, name, terms, sight.fence + 1, tenure, sent_ms)
        if held.held:
            return held
        # It came too late to be of use: others may count this lease as over.
        held.release()
        return replace(NEVER_SEEN, fence=sight.fence + 1)

    def _sent(self, request: Reasons, claim: Claim, until_ms: int) -> Reasons | None:
        """Send the transaction until it is answered; None if it was done, else the reasons why it was not.

        Every attempt bears one token: DynamoDB does the transaction once, however often it is asked.
        """
        send: dict[str, Any] = {"TransactItems": request, "ClientRequestToken": claim.version}
        unsure = False
        for attempt in range(ATTEMPTS_MAX):
            try:
                self._desk.client.transact_write_items(**send)
            except (ClientError, BotoCoreError) as error:
                why: list[dict[str, Any]] = reasons(error) if isinstance(error, ClientError) else []
                if why and condition_failed(error):
                    return None if lock_row.is_version(why[0].get("Item"), claim.version) else why
                unsure = unsure or not surely_not_done(error)
                over = self._desk.machine.holding_ms() >= until_ms or attempt + 1 == ATTEMPTS_MAX
                if over or not (is_passing(error) or unsure) or self._calls.pause(min(attempt, PAUSE_STEPS_MAX)):
                    if unsure:
                        raise self._abandoned(request, claim, error) from error
                    raise refusal(error, self._desk.table.name) from error
            else:
                return None
        raise AssertionError("the last attempt returns or raises")

    def _abandoned(self, request: Reasons, claim: Claim, error: Exception) -> OutcomeUnknownError:
        """Take back, as far as possible, an acquisition that may have been done."""
        name = request[0]["Put"]["Item"][self._desk.table.partition]["S"]
        tenure = Tenure(claim.owner, claim.version, claim.version)
        with suppress(ClientError, BotoCoreError):
            self._desk.client.delete_item(**lock_row.deleting(self._desk.table, name, tenure))
        return OutcomeUnknownError(
            f'lock "{name}": no answer to its acquisition ({error_code(error)}); if it was done, the row lapses by '
            f"itself after {claim.lease_ms / 1000:g} s; try again"
        )

    def _instead(self, name: str, before: Sight, why: Reasons) -> Sight:
        """Read what is there from the reasons of a refused acquisition: the rows that were not as they were thought."""
        row_code, fence_code = (str(reason.get("Code")) for reason in why)
        fence = lock_row.fence_of(why[1].get("Item")) if fence_code == FAILED else before.fence
        after = replace(before, fence=fence)
        if row_code == FAILED:
            after = self._saw(name, before, why[0].get("Item"), fence)
        if after == before:
            # The refusal handed nothing back, as some emulators do: then it is read.
            table = self._desk.table
            answer = self._calls.read(
                lambda: self._desk.client.get_item(
                    TableName=table.fences, Key=table.fence_key(name), ConsistentRead=True
                )
            )
            after = replace(self._looked(name, before), fence=lock_row.fence_of(answer.get("Item")))
        return after
