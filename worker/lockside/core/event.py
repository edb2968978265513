"""What a change means, in the field's words, and the vocabulary of all event types and flags."""

from dataclasses import dataclass
from typing import Literal

from lockside.core.entity import EntityKey, Kind
from lockside.core.row import Authenticated, LockRow, SessionRow

EventType = Literal[
    "lock.acquired",
    "lock.released",
    "lock.taken_over",
    "lock.transferred",
    "lock.changed",
    "lock.deleted",
    "lock.purged",
    "lock.renewed",
    "session.started",
    "session.authenticated",
    "session.deauthenticated",
    "session.refreshed",
    "session.changed",
    "session.ended",
    "session.purged",
    "stream.undecodable",
]
"""Events of change records."""

ObserverType = Literal[
    "lock.expired",
    "lock.revived",
    "lock.stale",
    "session.expired",
    "session.revived",
    "session.rotated",
    "stream.gap",
    "stream.redriven",
    "worker.started",
    "worker.stopped",
]
"""Events of observer records: what no single change can tell."""

Certainty = Literal["certain", "inferred", "unknown"]


@dataclass(frozen=True, slots=True)
class Event:
    """What one change means.

    `recorded` is false for what is only counted: renewals and refreshes that change nothing an auditor asks for.
    `actor` and `previous_actor` are in clear here; how they stand in a record is the recipe's business.
    """

    type: EventType
    kind: Kind
    key: EntityKey
    recorded: bool
    actor: str | None
    previous_actor: str | None
    flags: tuple[str, ...]
    certainty: Certainty
    reason: str | None
    authenticated: Authenticated | None
    before: LockRow | SessionRow | None
    after: LockRow | SessionRow | None


@dataclass(frozen=True, slots=True)
class Hold:
    """One held lock or live session, as the row of its last change has it.

    `armed` is false for a row without a deadline, or born expired. `created_ms` is that of the last change.
    `stale_ms` is for a lock that never lapses: the age, counted from its last change, at which it is told as stale.
    """

    kind: Kind
    key: EntityKey
    actor: str | None
    version: str | None
    lease_ms: int | None
    deadline_ms: int | None
    grace_ms: int
    created_ms: int
    armed: bool
    stale_ms: int | None = None

    @property
    def identity(self) -> str:
        """What makes a lapse of this hold one and the same, whoever declares it: its deadline, else its version."""
        if self.deadline_ms is not None:
            return f"deadline {self.deadline_ms}"
        return f"created {self.created_ms}" if self.version is None else f"version {self.version}"


@dataclass(frozen=True, slots=True)
class Interpretation:
    """All that one change says.

    `event` is None where there is nothing to tell, and `reason` then says why. `before` and `after` are the holds on
    either side. `lapse_via` says that this change stands in for the verification read (law 5): a takeover under a
    relative lease, or a TTL removal. `ran_out`: the deadline was past before this change, which left it as it was.
    """

    event: Event | None
    reason: str
    before: Hold | None
    after: Hold | None
    lapse_via: Literal["takeover", "ttl"] | None = None
    ran_out: bool = False
