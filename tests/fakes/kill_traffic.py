"""A writer whose every write is known: rows as python_dynamodb_lock and Flask-Session leave them, one by one.

Strategy: what lives on is held under leases of an hour, so that nothing but what is meant to lapses. That is written
once or twice and then left alone: a lock until an heir takes it over, or for good; a session until a reaper deletes it,
long after its deadline, or for good. So each of those holds lapses exactly once, whenever a worker looks.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgpack  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LONG_SECONDS: Final = 3_600
SHORT_SECONDS: Final = 1
HEIR_SECONDS: Final = 1.5
"""An heir waits out the lease, and then some."""

REAP_SECONDS: Final = 8.0
"""A reaper comes so late that whoever watches has seen the session lapse long before."""

OWNERS: Final = ("alpha", "beta", "gamma")
USERS: Final = ("alice", "bob", "carol")
STEADY: Final = 5
"""Locks, and sessions, that live on side by side."""


@dataclass
class Left:
    """Something that was left to lapse at `at` on this process's clock."""

    name: str
    owner: str
    version: str
    at: float


@dataclass
class Traffic:
    """Writes one step at a time; `truth` says what was done, in the words of the captures' truth files."""

    client: "DynamoDBClient"
    lock_table: str
    session_table: str
    chance: Random
    clock: Callable[[], float] = time.time
    truth: list[dict[str, Any]] = field(default_factory=list)
    _locks: dict[str, tuple[str, str]] = field(default_factory=dict)
    _sessions: dict[str, str | None] = field(default_factory=dict)
    _left_locks: list[Left] = field(default_factory=list)
    _left_sessions: list[Left] = field(default_factory=list)
    _serial: int = 0
    _began: float = 0.0

    def __post_init__(self) -> None:
        """Note when it all began."""
        self._began = self.clock()

    def names(self, *steps: str) -> set[str]:
        """Return the rows that one of these steps was done to."""
        return {step.get("lock") or step["session"] for step in self.truth if step["step"] in steps}

    def step(self) -> None:
        """Make one write, or two."""
        draw = self.chance.random()
        if draw < 0.45:
            self._lock()
        elif draw < 0.85:
            self._session()
        elif draw < 0.91:
            self._leave_lock()
        elif draw < 0.95:
            self._leave_session()
        else:
            self._come_back()

    # -- locks -------------------------------------------------------------------------------------------------------

    def _lock(self) -> None:
        name = f"job-{self.chance.randrange(STEADY)}"
        held = self._locks.get(name)
        if held is None:
            owner = self.chance.choice(OWNERS)
            self._locks[name] = (owner, self._put_lock(name, owner, None, LONG_SECONDS))
            self._tell("acquired", lock=name, owner=owner)
        elif self.chance.random() < 0.4:
            owner, version = held
            self._locks[name] = (owner, self._put_lock(name, owner, version, LONG_SECONDS))
            self._tell("renewed", lock=name, owner=owner)
        else:
            owner, version = self._locks.pop(name)
            self.client.delete_item(
                TableName=self.lock_table,
                Key={"lock_key": {"S": name}, "sort_key": {"S": "-"}},
                ConditionExpression="record_version_number = :seen",
                ExpressionAttributeValues={":seen": {"S": version}},
            )
            self._tell("released", lock=name, owner=owner)

    def _leave_lock(self) -> None:
        name, owner = self._name("left"), f"dead-{self._serial}"
        version = self._put_lock(name, owner, None, SHORT_SECONDS)
        self._tell("acquired", lock=name, owner=owner)
        if self.chance.random() < 0.5:
            version = self._put_lock(name, owner, version, SHORT_SECONDS)
            self._tell("renewed", lock=name, owner=owner)
        self._tell("expired", lock=name, owner=owner)
        if self.chance.random() < 0.5:
            self._left_locks.append(Left(name, owner, version, self.clock()))

    def _put_lock(self, name: str, owner: str, seen: str | None, lease_seconds: int) -> str:
        version = str(UUID(int=self.chance.getrandbits(128), version=4))
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(lock_key)"}
        if seen is not None:
            condition = {
                "ConditionExpression": "record_version_number = :seen",
                "ExpressionAttributeValues": {":seen": {"S": seen}},
            }
        item = {
            "lock_key": {"S": name},
            "sort_key": {"S": "-"},
            "owner_name": {"S": owner},
            "lease_duration": {"N": str(lease_seconds)},
            "record_version_number": {"S": version},
            "expiry_time": {"N": str(int(self.clock()) + 2 * LONG_SECONDS)},
        }
        self.client.put_item(TableName=self.lock_table, Item=item, **condition)
        return version

    # -- sessions ----------------------------------------------------------------------------------------------------

    def _session(self) -> None:
        if len(self._sessions) < STEADY:
            name, user = self._name("session:s"), self.chance.choice((*USERS, None))
            self._put_session(name, user, LONG_SECONDS)
            self._sessions[name] = user
            self._tell("created", session=name, user=user)
            return
        name = self.chance.choice(sorted(self._sessions))
        user, draw = self._sessions[name], self.chance.random()
        if draw < 0.25:
            self._update_session(name)
            self._tell("renewed", session=name, user=user)
        elif draw < 0.55:
            del self._sessions[name]
            self._delete_session(name)
            self._tell("logout" if user else "ended", session=name, user=user)
        elif user is None:
            user = self.chance.choice(USERS)
            self._put_session(name, user, LONG_SECONDS)
            self._sessions[name] = user
            self._tell("login", session=name, user=user)
        else:
            self._put_session(name, None, LONG_SECONDS)
            self._sessions[name] = None
            self._tell("logout", session=name, user=user, row="stays")

    def _leave_session(self) -> None:
        name, user = self._name("session:left"), self.chance.choice((*USERS, None))
        self._put_session(name, user, SHORT_SECONDS)
        self._tell("created", session=name, user=user)
        self._tell("expired", session=name, user=user)
        if self.chance.random() < 0.3:
            self._left_sessions.append(Left(name, user or "", "", self.clock()))

    def _put_session(self, name: str, user: str | None, seconds: int) -> None:
        payload = {"_permanent": True, "basket": self.chance.randrange(1 << 30), **({"_user_id": user} if user else {})}
        self.client.put_item(
            TableName=self.session_table,
            Item={
                "id": {"S": name},
                "val": {"B": msgpack.packb(payload)},
                "expiration": {"N": self._deadline(seconds)},
            },
        )

    def _update_session(self, name: str) -> None:
        """Move the deadline alone, as a request that changes nothing does."""
        self.client.update_item(
            TableName=self.session_table,
            Key={"id": {"S": name}},
            UpdateExpression="SET expiration = :deadline",
            ExpressionAttributeValues={":deadline": {"N": self._deadline(LONG_SECONDS)}},
        )

    def _delete_session(self, name: str) -> None:
        self.client.delete_item(TableName=self.session_table, Key={"id": {"S": name}})

    def _deadline(self, seconds: int) -> str:
        """Spell a deadline. Long ones stay within one refresh bucket, an hour, so that a renewal is only counted."""
        now = self.clock()
        if seconds != LONG_SECONDS:
            return f"{now + seconds:.6f}"
        bucket = (int(self._began) // LONG_SECONDS + 2) * LONG_SECONDS
        return f"{bucket + now - self._began:.6f}"

    # -- what was left -----------------------------------------------------------------------------------------------

    def _come_back(self) -> None:
        now = self.clock()
        if self._left_locks and now - self._left_locks[0].at > HEIR_SECONDS:
            left = self._left_locks.pop(0)
            self._put_lock(left.name, "heir", left.version, LONG_SECONDS)
            self._tell("taken_over", lock=left.name, owner="heir", previous=left.owner)
        elif self._left_sessions and now - self._left_sessions[0].at > REAP_SECONDS:
            left = self._left_sessions.pop(0)
            self._delete_session(left.name)
            self._tell("reaped", session=left.name, user=left.owner or None)

    def _name(self, stem: str) -> str:
        self._serial += 1
        return f"{stem}-{self._serial}"

    def _tell(self, step: str, **facts: Any) -> None:
        self.truth.append({"t": len(self.truth), "step": step, **facts})


class Writing:
    """Traffic in a thread of its own, so many steps a second, until it is closed."""

    def __init__(self, traffic: Traffic, steps_per_second: float) -> None:
        """Begin to write."""
        self.traffic = traffic
        self._pause_seconds = 1 / steps_per_second
        self._closing = threading.Event()
        self._resting = threading.Lock()
        self._failures: list[Exception] = []
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it rest for as long as the block runs."""
        with self._resting:
            yield

    def close(self) -> None:
        """End it. Raises what went wrong, as the truth would not be one."""
        self._closing.set()
        self._thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        try:
            while not self._closing.wait(self._pause_seconds):
                with self._resting:
                    self.traffic.step()
        except Exception as error:  # noqa: BLE001 - raised in the thread that closes
            self._failures.append(error)
