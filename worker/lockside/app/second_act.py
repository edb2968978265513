"""The demo's second act: a user logs in from many places at once, one session is allowed, and one begins.

Lockside's own stores are what is watched here: the locks of the logins with their fences, and the session that won.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lockside.errors import LocksideError, SessionLimitError
from lockside.stores import Lock, LockClient, SessionStore
from lockside.stores.session_row import SESSION_PREFIX

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

USER: Final = "dora"
HOSTS: Final = ("web-1", "web-2", "web-3")
LOGINS: Final = 6
TTL_SECONDS: Final = 3_600
WAIT_SECONDS: Final = 30.0
LOCK: Final = f"session:{USER}"
RELEASED: Final = "dev.lockside.lock.released.v1"
ENDED: Final = "dev.lockside.session.ended.v1"
KEY: Final = b"a made-up key of the demo, 32 bytes or more"
STEP_SECONDS: Final = 0.001

Line = dict[str, Any]


class _Telling(LockClient):
    """Notes each acquisition: its fence and who it was."""

    def noting(self, note: Callable[[int, str], object]) -> "_Telling":
        """Tell acquisitions from now on."""
        self._note = note
        return self

    def acquire(self, name: str, **terms: Any) -> Lock:
        """Take a lock, and tell it."""
        held = super().acquire(name, **terms)
        self._note(held.fence, self.owner)
        return held


@dataclass
class SecondAct:
    """Plays on two tables that are there. `tokens` are secrets that must stand nowhere in the trail."""

    client: "DynamoDBClient"
    lock_table: str
    session_table: str
    tell: Callable[[str], object]
    tokens: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _holders: dict[int, str] = field(default_factory=dict)
    _session: str = ""
    _begun: float = 0.0
    _refused: int = 0
    _releases: int = 0
    _ends: int = 0

    def play(self) -> None:
        """Let all log in at once; then log the user out everywhere."""
        self._begun = time.time()
        self.tell(
            f'\nSecond act: "{USER}" logs in {LOGINS} times at once, from {len(HOSTS)} hosts; one session is allowed.'
        )
        clients = [_Telling(self.client, self.lock_table, owner=host).noting(self._held) for host in HOSTS]
        try:
            stores = [
                SessionStore(self.client, self.session_table, locks, key=KEY, max_sessions_per_user=1)
                for locks in clients
            ]
            threads = [
                threading.Thread(target=self._login, args=(stores[number % len(stores)],), name="login")
                for number in range(LOGINS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self._end(stores[0])
        finally:
            for locks in clients:
                locks.close()
        self.tell(f"  {len(self.tokens)} began, {self._refused} were refused; then {USER} was logged out everywhere.\n")

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take in one written event."""
        name = event["data"].get("entity", {}).get("name")
        self._releases += event["type"] == RELEASED and name == LOCK
        self._ends += event["type"] == ENDED and event["data"].get("actor") == USER

    @property
    def witnessed(self) -> bool:
        """Whether the trail has all of it: the last release of the lock, and the end of the session."""
        return self._releases >= len(self._holders) and self._ends >= len(self.tokens)

    @property
    def truth(self) -> tuple[Line, ...]:
        """What has truly happened, in order: a fence says who held the lock when."""
        lines = [*self._lock_lines(), *self._session_lines()]
        return tuple({"t": self._begun + at * STEP_SECONDS, **line} for at, line in enumerate(lines))

    def _held(self, fence: int, owner: str) -> None:
        self._holders[fence] = owner

    def _login(self, store: SessionStore) -> None:
        try:
            self.tokens.append(store.login(USER, ttl=TTL_SECONDS, wait=WAIT_SECONDS))
        except SessionLimitError:
            self._refused += 1
        except LocksideError as error:
            self.problems.append(str(error))

    def _end(self, store: SessionStore) -> None:
        for session in store.sessions_of(USER):
            self._session = SESSION_PREFIX + session.id
        store.logout_everywhere(USER, wait=WAIT_SECONDS)

    def _lock_lines(self) -> Iterator[Line]:
        for _, owner in sorted(self._holders.items()):
            for step in ("acquired", "released"):
                yield {"step": step, "lock": LOCK, "owner": owner}

    def _session_lines(self) -> Iterator[Line]:
        named: Mapping[str, Any] = {"session": {"pk": self._session}, "user": USER}
        if self._session:
            yield {"step": "created", **named}
            yield {"step": "logout", **named}
