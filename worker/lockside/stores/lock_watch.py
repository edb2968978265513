"""When a contender may take a lock, and how long it waits before it looks again. Pure: clocks and chance come in.

A holder counts its lease from before its write was sent, a contender from after its read was answered, and both leave
room for clocks that do not run alike. So a lease is over for its holder before it is over for anybody else.
"""

import math
from dataclasses import dataclass
from typing import Final

from lockside.stores.lock_row import Absent, Held, Released, Row

DRIFT_DIVISOR: Final = 500
"""Two clocks drift apart by less than 2 in 1,000; crystal clocks disciplined by NTP keep within 0.5."""

DRIFT_MS_MIN: Final = 2
"""Both clocks are read in whole milliseconds."""

LOOK_MS_MIN: Final = 20
LOOK_SHARE: Final = 20
"""A waiter looks whether the lock was released about so many times in a stored lease, and at least each second."""

SPREAD_MS_MAX: Final = 50
"""Contenders that saw the same version reach for the lock up to so far apart."""


def drift_ms(lease_ms: int) -> int:
    """Return what a lease is shortened by for its holder, and lengthened by for others."""
    return DRIFT_MS_MIN + lease_ms // DRIFT_DIVISOR


def waited_out_seconds(lease_ms: int) -> int:
    """Return how long one must be ready to wait so as to take over from a holder that died, calls included."""
    return math.ceil((lease_ms + drift_ms(lease_ms) + SPREAD_MS_MAX) / 1000) + 1


@dataclass(frozen=True, slots=True)
class Watch:
    """A held version, and since when we know it: the answer of the first read that showed it, on the waiting clock."""

    held: Held
    since_ms: int

    @property
    def over_ms(self) -> int:
        """When the lease is over if the version still stands."""
        return self.since_ms + self.held.lease_ms + drift_ms(self.held.lease_ms)


@dataclass(frozen=True, slots=True)
class Take:
    """Reach for the lock now, on the condition that it is still as seen."""

    seen: Row


@dataclass(frozen=True, slots=True)
class Look:
    """Wait so long, then read the row again."""

    after_ms: int


def watched(before: Watch | None, row: Row, seen_ms: int) -> Watch | None:
    """Take in what a read showed, answered at `seen_ms`. A version seen before keeps its first instant."""
    if not isinstance(row, Held):
        return None
    if before is not None and before.held == row:
        return before
    return Watch(row, seen_ms)


def step(row: Row, watch: Watch | None, now_ms: int, look_ms_max: int, chance: float) -> Take | Look:
    """Decide what a contender does next. `chance` is from 0 to below 1, drawn for this one decision.

    A free lock is reached for at once. A held one is waited for until its stored lease is over, with looks in
    between, as a release or a heartbeat changes everything; a version that stood for its lease is taken over.
    """
    match row:
        case Absent() | Released():
            return Take(row)
        case Held():
            if watch is None or watch.held != row:
                raise AssertionError("a held row is watched before anything is decided about it")
            rest_ms = watch.over_ms - now_ms
            if rest_ms <= 0:
                return Take(row)
            look_ms = max(LOOK_MS_MIN, min(look_ms_max, row.lease_ms // LOOK_SHARE))
            if rest_ms <= look_ms:
                return Look(rest_ms + int(chance * min(SPREAD_MS_MAX, row.lease_ms // LOOK_SHARE)))
            return Look(int(look_ms * (0.5 + chance / 2)))
