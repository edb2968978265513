"""Login sessions on one DynamoDB table: the token is shown once and stored only as a keyed hash.

Strategy: whatever changes how many sessions a user has is one transaction over the session's row and the user's. A
login holds the user's lock, puts its fence into the user's row first, and writes on the condition that it is still
there: of two logins that both think they hold the lock, the one that was overtaken is refused.
"""

import base64
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.tables import PK
from lockside.errors import LimitError, LockLostError, LocksideError, NotFoundOutError, OutcomeUnknownError
from lockside.stores import session_row, tables
from lockside.stores.calls import ATTEMPTS_MAX, Calls, UnmetError
from lockside.stores.lock import Lock
from lockside.stores.machine import Machine, System
from lockside.stores.session_row import SESSIONS_MAX, Policy, Session, UserChange, lifetime

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.lock_client import LockClient
    from lockside.stores.phrase_value import Json

T = TypeVar("T")

TTL_SECONDS: Final = 12 * 3_600
WAIT_SECONDS: Final = 30.0
ROUNDS_MAX: Final = 10
"""How often a rotation, a login or a logout begins anew because somebody changes the sessions it is about."""

MS_PER_SECOND: Final = 1_000
KEYS_PER_READ: Final = 100
ENDS_PER_TRANSACTION: Final = 90
"""Of 100 items, with room for the lock, the user's row and the session that begins."""

LOCK_PREFIX: Final = "session:"


class _ChangedMeanwhile(Exception):  # noqa: N818 - caught where it is raised for
    """A user's sessions, or who may change them, are not as they were read."""


class SessionStore:
    """Sessions of one application. Thread-safe. `locks` is closed by whoever made it."""

    def __init__(  # noqa: PLR0913 - a store's options
        self,
        client: "DynamoDBClient",
        table: str,
        locks: "LockClient",
        *,
        key: bytes,
        old_keys: Sequence[bytes] = (),
        max_sessions_per_user: int | None = None,
        policy: Policy = "refuse",
        machine: Machine | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            client: a boto3 client; `stores.connect.client()` makes one with fitting time-outs.
            table: the session table.
            locks: takes the locks of users, named `session:<user>`.
            key: the secret that tokens are hashed with, 32 bytes or more.
            old_keys: earlier ones, under which sessions are still found.
            max_sessions_per_user: how many live sessions a user may have; None: as many as one row can name.
            policy: at that number, refuse a login or end the oldest session.
            machine: clocks and chance, for tests.

        Raises:
            LimitError: an option cannot be.
        """
        sessions_max = SESSIONS_MAX if max_sessions_per_user is None else max_sessions_per_user
        if not 1 <= sessions_max <= SESSIONS_MAX:
            raise LimitError(f"max_sessions_per_user = {sessions_max}: give 1 to {SESSIONS_MAX}, or None")
        self.table: Final = table
        self._client = client
        self._locks = locks
        self._keys = tuple(session_row.checked_key(each) for each in (key, *old_keys))
        self._sessions_max = sessions_max
        self._policy: Policy = policy
        self._machine = machine or System()
        self._calls = Calls(table, self._machine)

    @staticmethod
    def create(client: "DynamoDBClient", table: str) -> None:
        """Create the session table, its stream and its TTL on; leave one that is there. Raises SetupError."""
        tables.create(client, tables.session_table(table))

    def login(  # noqa: PLR0913 - what a login is
        self,
        user: str,
        *,
        ttl: float = TTL_SECONDS,
        idle_ttl: float | None = None,
        attributes: "Mapping[str, Json] | None" = None,
        replacing: str | None = None,
        wait: float = WAIT_SECONDS,
    ) -> str:
        """Begin a session of a user; return its token, which is shown this once.

        Args:
            user: whose session it is.
            ttl: seconds after which it ends in any case.
            idle_ttl: seconds without a touch after which it ends; None: only `ttl` counts.
            attributes: what it holds, JSON.
            replacing: the token of a session that ends with this login, such as the visitor's from before.
            wait: seconds to wait for another login of the same user.

        Raises:
            SessionLimitError: the user has as many sessions as the policy allows.
            LockTakenError: other logins of the user took all of the wait.
            LockLostError: this login was overtaken by another; nothing was written.
            OutcomeUnknownError: no answer; a session may have begun whose token nobody has.
        """
        life = lifetime(ttl, idle_ttl)
        name = session_row.checked_user(user)
        data = session_row.data_text(attributes or {})
        token = self._token()
        lock = self._locks.acquire(LOCK_PREFIX + name, wait=wait)
        try:
            # Only now: its time does not pass while the lock is waited for.
            item = session_row.item_of(session_row.session_id(self._keys[0], token), name, life, self._now_s(), data)
            self._until_done(name, lambda: self._login(name, item, replacing, lock))
        finally:
            # What was written was written under its condition, whatever became of the lock since.
            lock.release()
        return token

    def start(
        self, *, ttl: float = TTL_SECONDS, idle_ttl: float | None = None, attributes: "Mapping[str, Json] | None" = None
    ) -> str:
        """Begin a session of a visitor who has not logged in; return its token. Takes no lock."""
        token = self._token()
        identity = session_row.session_id(self._keys[0], token)
        data = session_row.data_text(attributes or {})
        item = session_row.item_of(identity, None, lifetime(ttl, idle_ttl), self._now_s(), data)
        if not self._did([session_row.putting(self.table, item)], identity):
            raise self._overtaken("")
        return token

    def read(self, token: str) -> Session | None:
        """Return the live session of a token, strongly consistent; None if there is none.

        Every token is hashed and looked up, a made-up one like a real one, and how long that takes says nothing of how
        near it came.
        """
        return found[0] if (found := self._found(token)) is not None else None

    def touch(self, token: str) -> Session | None:
        """Read a session and move its idle deadline; None if there is none.

        A move by less than a twentieth of the idle time is not written.
        """
        session = self.read(token)
        if session is None:
            return None
        expires = session_row.touched(session, self._now_s())
        if expires is None:
            return session
        request = session_row.moving(self.table, session.id, expires, self._now_s())
        try:
            self._calls.read(lambda: self._client.update_item(**request))
        except ClientError:
            # It has ended, or was moved as far: by another touch, or by this one, whose answer was lost.
            return session_row.session_of(self._item(session.id), self._now_s())
        return replace(session, expires=expires)

    def write(self, token: str, attributes: "Mapping[str, Json]") -> bool:
        """Replace a session's attributes; False if there is no such session. The last writer wins.

        Raises OutcomeUnknownError where no answer came and the row does not tell: it is not repeated over a later one.
        """
        data = session_row.data_text(attributes)
        for _round in range(ROUNDS_MAX):
            found = self._found(token)
            if found is None:
                return False
            if (done := self._rewrote(found[1], data)) is not None:
                return done
        raise self._too_fast()

    def rotate(self, token: str, *, attributes: "Mapping[str, Json] | None" = None) -> str | None:
        """Go on under a new token, as after any change of what its user may do; None if there is no such session.

        The old token ends in the same transaction. Deadlines stay; attributes too unless given.
        """
        for _round in range(ROUNDS_MAX):
            found = self._found(token)
            if found is None:
                return None
            session, before = found
            fresh = self._token()
            identity = session_row.session_id(self._keys[0], fresh)
            item = {**before, **session_row.session_key(identity)}
            if attributes is not None:
                item[session_row.DATA] = {"S": session_row.data_text(attributes)}
            items = [session_row.putting(self.table, item), session_row.superseding(self.table, before)]
            if session.user is not None:
                items.append(UserChange(session.user, identity, session.created, (session.id,)).update(self.table))
            if self._did(items, identity):
                return fresh
        raise self._too_fast()

    def logout(self, token: str) -> bool:
        """End a session; False if there was none."""
        session = self.read(token)
        return session is not None and self.end(session)

    def end(self, session: Session) -> bool:
        """End a session that `sessions_of` told; False if it was gone."""
        items = [session_row.ending(self.table, session.id, must_be=True)]
        if session.user is not None:
            items.append(UserChange(session.user, ends=(session.id,)).update(self.table))
        return self._did(items, None)

    def logout_everywhere(self, user: str, *, wait: float = WAIT_SECONDS) -> int:
        """End all sessions of a user; return how many were alive. A login under way is refused, or ended too.

        Raises LockTakenError, LockLostError (some may have ended) and OutcomeUnknownError.
        """
        lock = self._locks.acquire(LOCK_PREFIX + session_row.checked_user(user), wait=wait)
        try:
            return self._until_done(user, lambda: self._end_listed(user, lock))
        finally:
            lock.release()

    def sessions_of(self, user: str) -> list[Session]:
        """Return a user's live sessions, the oldest first; without their tokens, which nobody can tell."""
        key = session_row.user_key(session_row.checked_user(user))
        answer = self._calls.read(lambda: self._client.get_item(TableName=self.table, Key=key, ConsistentRead=True))
        live, _dead = self._sessions(user, answer.get("Item", {}))
        return sorted(live, key=lambda session: (session.created, session.id))

    def _token(self) -> str:
        return base64.urlsafe_b64encode(self._machine.token()).rstrip(b"=").decode()

    def _now_s(self) -> int:
        return self._machine.wall_ms() // MS_PER_SECOND

    def _item(self, identity: str) -> Any:
        key = session_row.session_key(identity)
        answer = self._calls.read(lambda: self._client.get_item(TableName=self.table, Key=key, ConsistentRead=True))
        return answer.get("Item")

    def _found(self, token: str) -> tuple[Session, Any] | None:
        now_s = self._now_s()
        for identity in (session_row.session_id(key, token) for key in self._keys):
            item = self._item(identity)
            session = session_row.session_of(item, now_s)
            if session is not None and hmac.compare_digest(session.id, identity):
                return session, item
        return None

    def _claim(self, user: str, lock: Lock) -> Mapping[str, Any]:
        """Put our fence into the user's row and return the row. Raises LockLostError if a later one is there."""
        lock.ensure()
        request = session_row.claiming(self.table, user, lock.fence)
        try:
            # Done twice it is the same; so an answer that was lost is asked for again.
            answer = self._calls.read(lambda: self._client.update_item(**request))
        except ClientError as error:
            raise self._overtaken(user) from error
        return answer["Attributes"]

    def _sessions(self, user: str, user_item: Mapping[str, Any]) -> tuple[list[Session], list[str]]:
        """Read the sessions that a user's row names: those alive, and the ids of the others."""
        ids, now_s = session_row.listed(user_item), self._now_s()
        found: dict[str, Session] = {}
        for at in range(0, len(ids), KEYS_PER_READ):
            for item in self._items(ids[at : at + KEYS_PER_READ]):
                session = session_row.session_of(item, now_s)
                if session is not None and session.user == user:
                    found[session.id] = session
        return list(found.values()), [identity for identity in ids if identity not in found]

    def _items(self, ids: Iterable[str]) -> Iterable[Any]:
        keys: list[Any] = [session_row.session_key(identity) for identity in ids]
        idle = 0
        while keys:
            wanted: Any = {self.table: {"Keys": keys, "ConsistentRead": True}}
            answer = self._calls.read(partial(self._client.batch_get_item, RequestItems=wanted))
            yield from answer["Responses"].get(self.table, [])
            rest: Any = answer.get("UnprocessedKeys") or {}
            left = list(rest.get(self.table, {}).get("Keys", []))
            idle = 0 if len(left) < len(keys) else idle + 1
            if left and (idle == ATTEMPTS_MAX or self._calls.pause(idle)):
                raise NotFoundOutError(f'table "{self.table}": leaves reads of sessions undone, throttled; try again')
            keys = left

    def _until_done(self, user: str, step: Callable[[], T]) -> T:
        """Do a step that reads a user's sessions and changes them, and anew where they changed in between."""
        for _round in range(ROUNDS_MAX):
            with suppress(_ChangedMeanwhile):
                return step()
        raise self._overtaken(user)

    def _login(self, name: str, item: Any, replacing: str | None, lock: Lock) -> None:
        replaced = self.read(replacing) if replacing is not None else None
        live, dead = self._sessions(name, self._claim(name, lock))
        ids = {*(session.id for session in live), *dead}
        live = [session for session in live if replaced is None or session.id != replaced.id]
        gone = session_row.evicted(live, self._sessions_max, self._policy, name)
        over = [*(each for each in dead if replaced is None or each != replaced.id), *(session.id for session in gone)]
        ends = self._end_all(name, over, lock, leave=ENDS_PER_TRANSACTION)
        items = [lock.check(), session_row.putting(self.table, item), *session_row.endings(self.table, ends)]
        also: tuple[str, ...] = ()
        if replaced is not None:
            items += self._replacing(replaced, name)
            also = (replaced.id,) if replaced.id in ids else ()
        identity = item[PK]["S"].removeprefix(session_row.SESSION_PREFIX)
        begun = int(item[session_row.CREATED]["N"])
        change = UserChange(name, identity, begun, (*ends, *also), lock.fence)
        if not self._did([*items, change.update(self.table)], identity):
            raise _ChangedMeanwhile

    def _end_listed(self, user: str, lock: Lock) -> int:
        live, dead = self._sessions(user, self._claim(user, lock))
        self._end_all(user, [*(session.id for session in live), *dead], lock)
        return len(live)

    def _end_all(self, user: str, ids: Sequence[str], lock: Lock, *, leave: int = 0) -> Sequence[str]:
        """End sessions under a claimed lock, some at a time; return the last ones, up to `leave`, undone."""
        rest = list(ids)
        while len(rest) > leave:
            some, rest = rest[:ENDS_PER_TRANSACTION], rest[ENDS_PER_TRANSACTION:]
            change = UserChange(user, ends=tuple(some), fence=lock.fence)
            items = [lock.check(), *session_row.endings(self.table, some), change.update(self.table)]
            if not self._did(items, None):
                raise _ChangedMeanwhile
        return rest

    def _replacing(self, replaced: Session, user: str) -> list[dict[str, Any]]:
        items = [session_row.ending(self.table, replaced.id, must_be=True)]
        if replaced.user is not None and replaced.user != user:
            items.append(UserChange(replaced.user, ends=(replaced.id,)).update(self.table))
        return items

    def _rewrote(self, before: Mapping[str, Any], data: str) -> bool | None:
        """Replace a session's attributes as they were read; None if they were others by now, False if it has ended."""
        version = self._machine.version()
        request = session_row.rewriting(self.table, before, data, version, self._now_s())
        try:
            self._calls.finish(lambda: self._client.update_item(**request))
        except UnmetError as refused:
            if not refused.unsure:
                return None
            try:
                item = self._item(before[PK]["S"].removeprefix(session_row.SESSION_PREFIX))
            except LocksideError as error:
                raise self._unknown() from error
            if item is None or item.get(session_row.VERSION) == {"S": version}:
                return item is not None
            raise self._unknown() from refused
        return True

    def _did(self, items: Sequence[Any], begins: str | None) -> bool:
        """Do a transaction; False if a condition did not hold. `begins` is the session that shows that it was done."""
        token = self._machine.version()
        try:
            # However often it is asked, DynamoDB does it once.
            self._calls.finish(lambda: self._client.transact_write_items(TransactItems=items, ClientRequestToken=token))
        except UnmetError as refused:
            if not refused.unsure:
                return False
            if begins is not None and self._has_begun(begins):
                return True
            raise self._unknown() from refused
        return True

    def _has_begun(self, identity: str) -> bool:
        """Whether a session is there that may have begun. One that does not show is ended: nobody has its token."""
        with suppress(LocksideError):
            if self._item(identity) is not None:
                return True
        with suppress(ClientError, BotoCoreError):
            self._client.delete_item(TableName=self.table, Key=session_row.session_key(identity))
        return False

    def _too_fast(self) -> NotFoundOutError:
        return NotFoundOutError(f'table "{self.table}": a session is written to faster than it is read; try again')

    def _unknown(self) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f'table "{self.table}": no answer to a change of sessions, and its rows do not tell; read them again'
        )

    def _overtaken(self, user: str) -> LockLostError:
        return LockLostError(
            f'user "{user}": another login or logout of theirs overtook this one; nothing was written; try again'
        )
