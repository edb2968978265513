"""A row as a layout reads it: the few facts that decisions are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lockside.core.attributes import Image
from lockside.core.entity import EntityKey, Kind

Authenticated = Literal["yes", "no", "unknown"]
LeaseClock = Literal["relative", "absolute", "none"]


@dataclass(frozen=True, slots=True)
class LockRow:
    """One lock's row.

    `version` changes with every heartbeat, `fence` with every acquisition (where the client has one).
    `lease_ms` belongs to relative layouts, `deadline_ms` (epoch) to absolute ones. `faults` become flags.
    `handoff` is who still works while `owner` is the next one already, `progress` what a renewal reports beside itself.
    `blocked`: nobody may take the lock, free or not. `until_ms` is the deadline where a holder lets go by moving it.
    """

    owner: str | None
    version: str | None
    lease_ms: int | None
    deadline_ms: int | None
    released: bool
    fence: str | None = None
    acquired_at: str | None = None
    faults: tuple[str, ...] = ()
    handoff: str | None = None
    progress: str | None = None
    blocked: bool = False
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session's row.

    `payload` is a digest of what is neither volatile nor a key; None means a stub, or a row emptied of its payload.
    `deadline_ms` is in epoch milliseconds, None where the row has none. `nobody`: the payload was read, and no user
    stands where the layout looks for one. `privileges` is a digest of what the layout names as rights, if it names any.
    """

    principal: str | None
    authenticated: Authenticated
    deadline_ms: int | None
    payload: str | None
    faults: tuple[str, ...] = ()
    nobody: bool = False
    privileges: str | None = None


Row = LockRow | SessionRow


@dataclass(frozen=True, slots=True)
class Traits:
    """What a layout's client can do, as far as classification depends on it.

    `releases`: how a holder lets go ("delete", "mark", "both", "set_deadline", or "never").
    `acquire_signature`: the row tells a new acquisition from a renewal (a fence, or an acquisition time).
    `owner_change`: what a change of owner while held means ("taken_over", or "transferred" for balancing clients).
    `ttl_is_deadline`: DynamoDB's TTL attribute is the deadline itself, so a TTL removal proves the deadline passed.
    `grace_ms`: time past the stored deadline that the client still honours it; below zero where others may enter early.
    `names_owner`: rows say who holds. `renews`: a holder may write a new version. `prunes`: contenders mark a lapsed
    lock free. `writes_once`: no client changes a row. `retires`: clients delete rows that nobody needs again.
    `lifetime_max_ms`: a deadline farther ahead is stored in a wrong unit, or by mistake.
    """

    kind: Kind
    clock: LeaseClock
    releases: Literal["delete", "mark", "both", "set_deadline", "never"] = "delete"
    acquire_signature: bool = False
    owner_change: Literal["taken_over", "transferred"] = "taken_over"
    ttl_is_deadline: bool = False
    grace_ms: int = 0
    lifetime_max_ms: int | None = None
    names_owner: bool = True
    renews: bool = True
    prunes: bool = False
    writes_once: bool = False
    retires: bool = False


Beat = tuple[str, str, int | None]
"""What a heartbeat says: owner, version, and the lease if the row holds one."""


class Pulse(Protocol):
    """Tells plain heartbeats quickly, from the images as they came. Implemented by `lockside.layouts.pulse`."""

    @property
    def claims(self) -> Callable[[Image], bool]:
        """What says whether an image is a row of the layout."""
        ...

    @property
    def read(self) -> Callable[[Image, Image], Beat | None]:
        """What reads the heartbeat of a held lock, its new image claimed by this layout; None if not plainly one."""
        ...


class Layout(Protocol):
    """How one client library lays out its rows. Implemented by `lockside.layouts.spec.Spec`."""

    @property
    def name(self) -> str:
        """The layout's name in the configuration."""
        ...

    @property
    def traits(self) -> Traits:
        """What classification depends on."""
        ...

    @property
    def digest(self) -> str:
        """Digest of the layout's data: it decides record bytes, so it stands in the recipe."""
        ...

    @property
    def default_sort(self) -> str | None:
        """The sort key value the client writes when its user names none."""
        ...

    @property
    def pulse(self) -> Pulse | None:
        """What tells its heartbeats quickly; None where only a full reading can."""
        ...

    def claims(self, key: EntityKey, image: Image) -> bool:
        """Whether an image is a row of this layout."""
        ...

    def read(self, image: Image) -> Row:
        """Read a claimed image. Faulty values become `faults`; raises WireFaultError for an unreadable wire shape."""
        ...


def released(row: Any) -> bool:
    """Whether a row, or the absence of one, holds nothing."""
    match row:
        case LockRow():
            return row.released
        case SessionRow():
            return row.payload is None
        case _:
            return True
