"""The exact net: the deadlines of what is held, in memory, re-armed by every renewal that is seen.

Strategy: a heap with lazy deletion. A renewal overwrites the entity's timer and pushes a new heap entry; old entries
are passed over when they surface, and the heap is rebuilt when it holds twice what lives. Time is an argument.
"""

import heapq
from dataclasses import dataclass, replace
from typing import Final

from lockside.core.entity import EntityKey
from lockside.core.event import Hold
from lockside.core.now import Now
from lockside.core.recipe import Recipe

REBUILD_FROM: Final = 1_024
DECLARED_MAX: Final = 100_000
"""Declared lapses remembered, to tell a late writer; past it the oldest is forgotten, and with it one `revived`."""

TimerKey = tuple[str, EntityKey]


@dataclass(frozen=True, slots=True)
class Timer:
    """One armed deadline, on the clock that never steps.

    `due_ms` is the legal instant. `early_ms` is when it may be tested at the earliest once the stream is caught up: on
    catch-up the creation time tells of a lapse that receipt would put off. `legal_ms` is the instant in wall time.
    """

    source_id: str
    hold: Hold
    due_ms: int
    early_ms: int
    legal_ms: int


@dataclass(frozen=True, slots=True)
class Declared:
    """A lapse that was declared and not yet followed by another change of the entity."""

    hold: Hold
    legal_ms: int


class Deadlines:
    """The timers of one shard. Not thread-safe: the processor's lock guards it."""

    def __init__(self) -> None:
        """Start with nothing held."""
        self._timers: dict[TimerKey, Timer] = {}
        self._heap: list[tuple[int, int, TimerKey]] = []
        self._pushed = 0
        self._declared: dict[TimerKey, Declared] = {}

    def __len__(self) -> int:
        """Count the armed deadlines."""
        return len(self._timers)

    def observe(self, source_id: str, key: EntityKey, hold: Hold | None, recipe: Recipe, now: Now) -> Declared | None:
        """Take in what is held after a change; return the lapse declared before it, if there was one."""
        entity = (source_id, key)
        declared = self._declared.pop(entity, None)
        if hold is None or not hold.armed:
            self._timers.pop(entity, None)
        else:
            self._arm(entity, timer_for(source_id, hold, recipe, now))
        return declared

    def timer(self, source_id: str, key: EntityKey) -> Timer | None:
        """Return what is armed for an entity."""
        return self._timers.get((source_id, key))

    def declared(self, source_id: str, key: EntityKey) -> Declared | None:
        """Return the lapse declared for an entity since its last change."""
        return self._declared.get((source_id, key))

    def next_deadline(self) -> int | None:
        """Return when the next deadline may be tested, in monotonic milliseconds."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def due(self, now: Now, *, caught_up: bool, limit: int) -> list[Timer]:
        """Return up to `limit` timers whose time has come; each stays armed until it is settled or put off.

        While the stream is behind, a later record may renew what looks lapsed: then only the receipt counts.
        """
        ready: list[Timer] = []
        held_back: list[tuple[int, TimerKey]] = []
        seen: set[TimerKey] = set()
        while len(ready) < limit:
            self._drop_stale()
            if not self._heap or self._heap[0][0] > now.mono_ms:
                break
            _, _, entity = heapq.heappop(self._heap)
            if entity in seen:
                continue
            seen.add(entity)
            timer = self._timers[entity]
            if not caught_up and timer.due_ms > now.mono_ms:
                self._timers[entity] = replace(timer, early_ms=timer.due_ms)
                held_back.append((timer.due_ms, entity))
            else:
                ready.append(timer)
        for at_ms, entity in held_back:
            self._push(at_ms, entity)
        for timer in ready:
            self._push(timer.early_ms, (timer.source_id, timer.hold.key))
        return ready

    def settle(self, timer: Timer, *, declared: bool) -> None:
        """Disarm a timer whose lapse was declared, or whose row was found free; not if a change re-armed it since."""
        entity = (timer.source_id, timer.hold.key)
        if self._timers.get(entity) != timer:
            return
        del self._timers[entity]
        if declared:
            self.remember(timer.source_id, Declared(timer.hold, timer.legal_ms))

    def remember(self, source_id: str, declared: Declared) -> None:
        """Remember a declared lapse until the entity's next change."""
        self._declared[(source_id, declared.hold.key)] = declared
        if len(self._declared) > DECLARED_MAX:
            del self._declared[next(iter(self._declared))]

    def put_off(self, timer: Timer, until_ms: int) -> None:
        """Test a timer again later, in monotonic milliseconds; not if a change re-armed it since."""
        entity = (timer.source_id, timer.hold.key)
        if self._timers.get(entity) == timer:
            self._arm(entity, replace(timer, due_ms=until_ms, early_ms=until_ms))

    def _arm(self, entity: TimerKey, timer: Timer) -> None:
        self._timers[entity] = timer
        self._push(timer.early_ms, entity)

    def _push(self, at_ms: int, entity: TimerKey) -> None:
        if len(self._heap) >= REBUILD_FROM and len(self._heap) > 2 * len(self._timers):
            self._heap = [(timer.early_ms, n, key) for n, (key, timer) in enumerate(self._timers.items())]
            heapq.heapify(self._heap)
            self._pushed = len(self._heap)
        self._pushed += 1
        heapq.heappush(self._heap, (at_ms, self._pushed, entity))

    def _drop_stale(self) -> None:
        while self._heap:
            at_ms, _, entity = self._heap[0]
            timer = self._timers.get(entity)
            if timer is not None and timer.early_ms == at_ms:
                return
            heapq.heappop(self._heap)


def timer_for(source_id: str, hold: Hold, recipe: Recipe, now: Now) -> Timer:
    """Work out the legal instant of a hold whose last change was received now (DESIGN section 6)."""
    if hold.deadline_ms is not None:
        legal_ms = hold.deadline_ms + hold.grace_ms + recipe.clock_margin_ms
        due_ms = now.mono_ms + legal_ms - now.wall_ms
        return Timer(source_id, hold, due_ms, due_ms, legal_ms)
    lease_ms = hold.lease_ms or 0
    due_ms = now.mono_ms + lease_ms
    written_by_ms = hold.created_ms + recipe.precision_ms + recipe.clock_margin_ms
    early_ms = min(due_ms, now.mono_ms + written_by_ms + lease_ms - now.wall_ms)
    return Timer(source_id, hold, due_ms, early_ms, now.wall_ms + early_ms - now.mono_ms)
