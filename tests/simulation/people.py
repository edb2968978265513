"""Who uses the watched tables: lock clients that keep to their protocol, people with sessions, and DynamoDB's TTL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fakes.sources import lock_keys
from tests.simulation.chance import Chance
from tests.simulation.scheduler import Actor, Scheduler
from tests.simulation.table import WatchedTable

THINK_MS: Final = 5_000
LEASES_MS: Final = (2_000, 4_000, 9_000)
LIVES_MS: Final = (4_000, 8_000, 15_000)
SWEEP_MS: Final = 5_000
PULSES: Final = (2, 3, 3, 9)
"""Tenths of its lease after which a client renews or lets go: sometimes late."""

USERS: Final = ("ann", "bob", "cyd")


@dataclass(eq=False)
class LockClient(Actor):
    """One client of one lock: takes it when free, or when seen unchanged for its whole lease; renews, lets go, dies.

    `style` is the layout whose client it is.
    """

    name: str
    table: WatchedTable
    lock: str
    style: str
    scheduler: Scheduler
    chance: Chance
    due_ms: int | None = 0
    mine: str | None = None
    lease_ms: int = 4_000
    seen: tuple[str, int] = ("", 0)
    keys: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Begin at some time."""
        self.keys = lock_keys(self.lock) if self.style == "pydynlock" else {"key": {"S": self.lock}}
        self.due_ms = self.scheduler.now_ms + self.chance.between(0, THINK_MS)

    def step(self) -> None:
        """Do the next thing of the protocol."""
        row = self.table.row(self.keys)
        if self.mine is not None and row is not None and _version(row) == self.mine:
            self._hold(row)
        else:
            self.mine = None
            self._wait(row)

    def _hold(self, row: Mapping[str, Any]) -> None:
        dice = self.chance.random.random()
        if dice < 0.55:
            self._write()
            self._after(self.lease_ms * self.chance.one_of(PULSES) // 10)
        elif dice < 0.80:
            self._release(row)
            self._after(self.chance.between(100, THINK_MS))
        else:
            # Its process dies or hangs: the lease runs out.
            self.mine = None if dice < 0.92 else self.mine
            self._after(self.lease_ms + self.chance.between(0, 2 * THINK_MS))

    def _wait(self, row: Mapping[str, Any] | None) -> None:
        now_ms = self.scheduler.now_ms
        if row is None or "isReleased" in row:
            self._take()
            return
        version = _version(row)
        if self.seen[0] != version:
            self.seen = (version, now_ms)
        left_ms = self.seen[1] + _lease_ms(row) - now_ms
        if left_ms <= 0 and self.chance.random.random() < 0.7:
            self._take()
        else:
            self._after(max(50, left_ms) + self.chance.between(0, THINK_MS))

    def _take(self) -> None:
        self.lease_ms = self.chance.one_of(LEASES_MS)
        self._write()
        self._after(self.lease_ms * self.chance.one_of(PULSES) // 10)

    def _write(self) -> None:
        self.mine = self.chance.token()
        self.table.put(self.keys, _row(self.style, self.name, self.mine, self.lease_ms, self.scheduler.now_ms))

    def _release(self, row: Mapping[str, Any]) -> None:
        self.mine = None
        if self.style == "awslabs" and self.chance.random.random() < 0.6:
            kept = {name: value for name, value in row.items() if name not in self.keys}
            self.table.put(self.keys, {**kept, "isReleased": {"S": "1"}})
        else:
            self.table.delete(self.keys)

    def _after(self, milliseconds: int) -> None:
        self.due_ms = self.scheduler.now_ms + milliseconds


@dataclass(eq=False)
class Visitor(Actor):
    """One browser: a session begins, is used, logged in, logged out, or left alone."""

    name: str
    table: WatchedTable
    scheduler: Scheduler
    chance: Chance
    due_ms: int | None = 0
    session: str | None = None
    user: str | None = None
    cart: int = 0
    life_ms: int = 12_000

    def __post_init__(self) -> None:
        """Begin at some time."""
        self.due_ms = self.scheduler.now_ms + self.chance.between(0, THINK_MS)

    def step(self) -> None:
        """Make one request."""
        dice = self.chance.random.random()
        if self.session is None:
            self.session = f"session:{self.chance.token()}"
            self.user = self.chance.one_of(USERS) if dice < 0.5 else None
            self.life_ms = self.chance.one_of(LIVES_MS)
            self._save()
        elif dice < 0.15:
            self.table.delete({"id": {"S": self.session}})
            self.session = None
        elif dice < 0.30:
            # The browser is closed and never comes back; another one takes its place.
            self.session = None
        elif dice < 0.45:
            self.user = None if self.user else self.chance.one_of(USERS)
            self._save()
        else:
            self.cart += dice > 0.8
            self._save()
        self.due_ms = self.scheduler.now_ms + self.chance.between(100, THINK_MS)

    def _save(self) -> None:
        deadline_ms = self.scheduler.now_ms + self.life_ms
        user = b"" if self.user is None else b"\xa8_user_id" + bytes([0xA0 + len(self.user)]) + self.user.encode()
        val = bytes([0x81 + (self.user is not None)]) + b"\xa4cart" + bytes([self.cart % 100]) + user
        attributes = {"val": {"B": val}, "expiration": {"N": f"{deadline_ms / 1000:.3f}"}}
        self.table.put({"id": {"S": self.session}}, attributes)


@dataclass(eq=False)
class Sweeper(Actor):
    """DynamoDB's TTL: removes rows some time after their instant."""

    table: WatchedTable
    attribute: str
    scheduler: Scheduler
    chance: Chance
    due_ms: int | None = 0
    name: str = "ttl"

    def step(self) -> None:
        """Remove some of the rows whose instant has passed."""
        names = self.table.source.key_schema.names
        for row in self.table.database.items(self.table.source.table):
            over = float(row.get(self.attribute, {"N": "inf"})["N"]) * 1000 < self.scheduler.now_ms
            if over and self.chance.random.random() < 0.5:
                self.table.delete({name: row[name] for name in names}, by_ttl=True)
        self.due_ms = self.scheduler.now_ms + self.chance.between(SWEEP_MS // 2, SWEEP_MS * 3)


def _version(row: Mapping[str, Any]) -> str:
    wire: Mapping[str, str] = row.get("record_version_number", row.get("recordVersionNumber", {"S": ""}))
    return wire["S"]


def _lease_ms(row: Mapping[str, Any]) -> int:
    if "lease_duration" in row:
        return int(row["lease_duration"]["N"]) * 1000
    return int(row["leaseDuration"]["S"])


def _row(style: str, owner: str, version: str, lease_ms: int, now_ms: int) -> dict[str, Any]:
    if style == "pydynlock":
        return {
            "owner_name": {"S": owner},
            "lease_duration": {"N": str(lease_ms // 1000)},
            "record_version_number": {"S": version},
            "expiry_time": {"N": str(now_ms // 1000 + 60)},
        }
    return {
        "ownerName": {"S": owner},
        "leaseDuration": {"S": str(lease_ms)},
        "recordVersionNumber": {"S": version},
    }
