"""One client of a trial: random calls on a store and on locks, each noted with its times (core/trial.py).

Strategy: what it does follows from its seed. One thread reads and writes; another takes locks, and under each makes
fenced writes without asking whether the lock is still its own: whoever was held up for too long is for the counter to
refuse, not for the writer's good sense.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict
from lockside.core.trial import Did, Event, Outcome
from lockside.errors import LockTakenError, NotFoundOutError, PartlyWrittenError, VersionError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.lock import Lock
    from lockside.stores.lock_client import LockClient
    from lockside.stores.phrase_row import Phrase
    from lockside.stores.phrases import Phrases

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The holding clock of `machine.py`: one for all processes of a machine, and it goes on in its sleep."""

WEIGHTS: Final = {"read": 40, "write": 22, "swap": 18, "delete": 8, "update": 6, "scan": 6}
FIELD: Final = "token"
COUNT: Final = "count"
FENCE: Final = "fence"
NS_PER_MS: Final = 1_000_000
WAIT_LEASES: Final = 4
HOLD_LEASES_MAX: Final = 0.3
UPDATE_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Shop:
    """What one client works with. `counters` is the table of fenced counters, with the key `id`."""

    phrases: "Phrases"
    locks: "LockClient"
    client: "DynamoDBClient"
    counters: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one client is to do."""

    number: int
    seed: int
    keys: tuple[str, ...]
    lock_names: tuple[str, ...]
    lease_seconds: float


Note = Callable[[Event], None]
Told = Callable[[str, int], None]
"""Told of a lock that is held now, by its name and fence."""


def now_ns() -> int:
    """Read the trial's clock."""
    return time.clock_gettime_ns(_CLOCK)


class TrialClient:
    """Does one part until it is stopped. `note` is called from both threads."""

    def __init__(self, part: Part, shop: Shop, note: Note, holding: Told, stop: threading.Event) -> None:
        """Take what is needed; nothing is called yet."""
        self._part = part
        self._shop = shop
        self._note = note
        self._holding = holding
        self._stop = stop
        self._serial = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Work in two threads until stopped. Raises what neither a store nor the network may do."""
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._use, self._lock)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self.failure = error
            self._stop.set()

    def _use(self) -> None:
        chance = Random(f"{self._part.seed}/{self._part.number}/store")  # noqa: S311 - to be repeated, not secret
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        while not self._stop.is_set():
            (name,) = chance.choices(names, weights)
            for event in getattr(self, f"_{name}")(chance):
                self._note(event)

    def _read(self, chance: Random) -> Iterator[Event]:
        key, start_ns = chance.choice(self._part.keys), now_ns()
        try:
            phrase = self._shop.phrases.read(key)
        except NotFoundOutError:
            return
        yield self._event("read", key, start_ns, value=_token(phrase))

    def _write(self, chance: Random) -> Iterator[Event]:
        key, value, start_ns = chance.choice(self._part.keys), self._value(), now_ns()
        outcome = _outcome(lambda: self._shop.phrases.write(key, {FIELD: value}))
        yield self._event("write", key, start_ns, outcome, value=value)

    def _delete(self, chance: Random) -> Iterator[Event]:
        key, start_ns = chance.choice(self._part.keys), now_ns()
        yield self._event("delete", key, start_ns, _outcome(lambda: self._shop.phrases.delete(key)))

    def _swap(self, chance: Random) -> Iterator[Event]:
        """Read, and write over what was read: the pattern that a lost update breaks."""
        key, read_ns = chance.choice(self._part.keys), now_ns()
        try:
            seen = self._shop.phrases.read(key)
        except NotFoundOutError:
            return
        expected = _token(seen)
        yield self._event("read", key, read_ns, value=expected)
        value, start_ns = self._value(), now_ns()
        version = seen.version if seen is not None else ""
        outcome = _outcome(lambda: self._shop.phrases.write(key, {FIELD: value}, if_version=version))
        yield self._event("swap", key, start_ns, outcome, value=value, expected=expected)

    def _update(self, chance: Random) -> Iterator[Event]:
        keys = chance.sample(self._part.keys, min(UPDATE_MAX, len(self._part.keys)))
        values, start_ns = {key: self._value() for key in keys}, now_ns()
        outcome = _outcome(lambda: self._shop.phrases.update({key: {FIELD: value} for key, value in values.items()}))
        for key, value in values.items():
            yield self._event("write", key, start_ns, outcome, value=value)

    def _scan(self, chance: Random) -> Iterator[Event]:
        low, high = sorted(chance.sample(range(len(self._part.keys) + 1), 2))
        first, last = self._part.keys[low], [*self._part.keys, "\U0010ffff"][high]
        reverse, start_ns = chance.random() < 1 / 2, now_ns()
        try:
            read = [(each.key, _token(each) or "") for each in self._shop.phrases.phrases(first, last, reverse=reverse)]
        except NotFoundOutError:
            return
        found = tuple(reversed(read) if reverse else read)
        yield self._event("scan", first, start_ns, end_key=last, found=found)

    def _lock(self) -> None:
        chance = Random(f"{self._part.seed}/{self._part.number}/locks")  # noqa: S311 - to be repeated, not secret
        while not self._stop.is_set():
            name, start_ns = chance.choice(self._part.lock_names), now_ns()
            try:
                lock = self._shop.locks.acquire(name, wait=WAIT_LEASES * self._part.lease_seconds)
            except (LockTakenError, NotFoundOutError):
                continue
            taken_ns = now_ns()
            self._note(self._event("lock", name, start_ns, fence=lock.fence))
            self._holding(name, lock.fence)
            self._under(chance, name, lock, taken_ns)

    def _under(self, chance: Random, name: str, lock: "Lock", taken_ns: int) -> None:
        for _ in range(chance.randrange(1, 4)):
            self._stop.wait(chance.uniform(0, HOLD_LEASES_MAX) * self._part.lease_seconds)
            self._note(self._fenced(name, lock.fence))
        # Whichever came first, by the client's own word: that it let go, or that it could no longer be sure.
        until_ns = min(now_ns(), lock.valid_until_ms * NS_PER_MS)
        lock.release()
        held = Event(
            self._part.number, "held", name, taken_ns, max(taken_ns, until_ns), fence=lock.fence, owner=lock.owner
        )
        self._note(held)

    def _fenced(self, name: str, fence: int) -> Event:
        """Count in the counter that the lock protects. It takes no fence that is smaller than one it has seen."""
        start_ns = now_ns()
        request: dict[str, Any] = {
            "TableName": self._shop.counters,
            "Key": {"id": {"S": name}},
            "UpdateExpression": "SET #fence = :fence ADD #count :one",
            "ConditionExpression": "attribute_not_exists(#fence) OR #fence <= :fence",
            "ExpressionAttributeNames": {"#fence": FENCE, "#count": COUNT},
            "ExpressionAttributeValues": {":fence": {"N": str(fence)}, ":one": {"N": "1"}},
            "ReturnValues": "ALL_NEW",
        }
        outcome, count = "unknown", 0
        try:
            answer = self._shop.client.update_item(**request)
            outcome, count = "done", int(answer["Attributes"][COUNT]["N"])
        except (ClientError, BotoCoreError) as error:
            if verdict(error) is Verdict.CONDITION:
                outcome = "refused"
        return self._event("fenced", name, start_ns, outcome, fence=fence, count=count)

    def _value(self) -> str:
        self._serial += 1
        return f"{self._part.number}.{self._serial}"

    def _event(self, did: Did, key: str, start_ns: int, outcome: Any = "done", **more: Any) -> Event:
        return Event(self._part.number, did, key, start_ns, now_ns(), outcome, **more)


def _token(phrase: "Phrase | None") -> str | None:
    if phrase is None:
        return None
    value: Any = phrase.value
    return str(value[FIELD])


def _outcome(write: Callable[[], object]) -> Outcome:
    """Write; say what came of it. What is not known for sure is not known."""
    try:
        write()
    except VersionError:
        return "refused"
    except (NotFoundOutError, PartlyWrittenError, ClientError, BotoCoreError):
        # Of an update of many, some may have been written: each of them may, or may not.
        return "unknown"
    return "done"
