"""The exact net: the deadlines of what is held, in memory, re-armed by every renewal that is seen.

Strategy: a hold is kept packed under its packed key (`core/held.py`), with a slot in a queue. The queue is a heap of
integers, instant and slot, in which a slot stands once: a renewal puts its deadline off without touching the heap, and
an entry that surfaces too early goes back to where it belongs by then. So heartbeats leave nothing behind. Time is an
argument.
"""

import heapq
from array import array
from dataclasses import dataclass, replace
from typing import Final

from lockside.core import held, instants
from lockside.core.entity import EntityKey
from lockside.core.event import Hold
from lockside.core.held import Renewal
from lockside.core.now import Now
from lockside.core.recipe import Recipe

REBUILD_FROM: Final = 1_024
DECLARED_MAX: Final = 100_000
"""Declared lapses remembered, to tell a late writer; past it the oldest is forgotten, and with it one `revived`."""

TimerKey = tuple[str, EntityKey]

UNARMED: Final = b""
"""Stands for a hold without a deadline, and for one whose lapse was declared."""

SLOT_BITS: Final = 24
"""16 million deadlines a shard; their rows alone would be gigabytes."""

SLOT_MASK: Final = (1 << SLOT_BITS) - 1
NEVER: Final = (1 << 63) - 1
SOURCES_MAX: Final = 255
_PREFIXES: Final = tuple(bytes((number,)) for number in range(SOURCES_MAX + 1))


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
        self._held: dict[bytes, bytes] = {}
        self._queue = _Queue()
        self._sources: dict[str, int] = {}
        self._recipes: list[tuple[str, Recipe]] = []
        self._put_off: dict[bytes, int] = {}
        self._held_back: set[bytes] = set()
        self._declared: dict[bytes, Declared] = {}
        self._doubted: set[bytes] = set()
        self._tested: dict[bytes, int | None] = {}

    def __len__(self) -> int:
        """Count the armed deadlines."""
        return len(self._queue)

    def holds(self, source_id: str, key: EntityKey) -> bool:
        """Whether an entity was last seen held, armed or not."""
        entity = self._entity(source_id, key)
        return entity in self._held and entity not in self._doubted

    def knows(self, source_id: str, key: EntityKey) -> bool:
        """Whether an entity was last seen held, or its lapse was declared since."""
        entity = self._entity(source_id, key)
        return entity in self._held or entity in self._declared

    def doubts(self, source_id: str, key: EntityKey) -> bool:
        """Whether an entity was last seen held before changes were lost."""
        return self._entity(source_id, key) in self._doubted

    def doubt(self) -> None:
        """Learn that changes were lost: what is held may have changed hands, and counts as not seen until it is again.

        Its deadlines stay armed: the verification read decides.
        """
        self._doubted = set(self._held)

    def observe(  # noqa: PLR0913 - a change's facts, and where and when
        self,
        source_id: str,
        key: EntityKey,
        hold: Hold | None,
        recipe: Recipe,
        now: Now,
        *,
        ran_out: bool = False,
    ) -> Declared | None:
        """Take in what is held after a change; return the lapse declared before it, if there was one.

        `ran_out`: the deadline was past before the change, which left it as it was.
        """
        number = self._sources.setdefault(source_id, len(self._recipes))
        if number == len(self._recipes):
            self._recipes.append((source_id, recipe))
        entity = self._entity(source_id, key)
        declared = self._declared.pop(entity, None)
        doubted = entity in self._doubted
        self._doubted.discard(entity)
        if hold is None:
            self._disarm(entity)
            self._held.pop(entity, None)
        elif not hold.armed:
            self._disarm(entity)
            self._held[entity] = UNARMED
        elif doubted or not ran_out or not self._waits(entity, hold):
            self._arm(entity, hold, now)
        return declared

    def forget(self, source_id: str, key: EntityKey) -> Declared | None:
        """Hold an entity no longer: another shard has its changes now. Return the lapse declared of it, if any."""
        entity = self._entity(source_id, key)
        self._disarm(entity)
        self._held.pop(entity, None)
        self._doubted.discard(entity)
        return self._declared.pop(entity, None)

    def renew(self, source_id: str, key: bytes, renewal: Renewal, now: Now) -> bool:
        """Take in a heartbeat, quickly: the same as to observe it. False if it has to be observed after all.

        `key` is packed. Only what was held and armed can be renewed: a heartbeat after a declared lapse is a revival.
        Raises UnicodeEncodeError.
        """
        number = self._sources.get(source_id)
        if number is None:
            return False
        entity = _PREFIXES[number] + key
        packed = self._held.get(entity)
        if not packed or entity in self._declared or entity in self._doubted or entity in self._tested:
            return False
        slot = held.slot_of(packed)
        self._held[entity] = held.pack_renewed(slot, renewal, now)
        if self._put_off or self._held_back:
            self._put_off.pop(entity, None)
            self._held_back.discard(entity)
        early_ms = instants.leased_early_ms(renewal[2], renewal[3], self._recipes[number][1], now)
        self._queue.bring_forward(slot, early_ms)
        return True

    def timer(self, source_id: str, key: EntityKey) -> Timer | None:
        """Return what is armed for an entity."""
        return self._timer(self._entity(source_id, key))

    def declared(self, source_id: str, key: EntityKey) -> Declared | None:
        """Return the lapse declared for an entity since its last change."""
        return self._declared.get(self._entity(source_id, key))

    def next_deadline(self) -> int | None:
        """Return before when no deadline may be tested, in monotonic milliseconds.

        What stands first may have been put off since: `due` finds that out when its time has come, once for all the
        renewals until then. To find it out after each batch would be a walk through all that the batch renewed.
        """
        return self._queue.first_ms()

    def due(self, now: Now, *, caught_up: bool, limit: int) -> list[Timer]:
        """Return up to `limit` timers whose time has come; each stays armed until it is settled or put off.

        While the stream is behind, a later record may renew what looks lapsed: then only the receipt counts, until
        `release`.
        """
        ready: list[tuple[Timer, int]] = []
        while len(ready) < limit:
            self._settle_queue(now.mono_ms)
            at_ms = self._queue.first_ms()
            if at_ms is None or at_ms > now.mono_ms:
                break
            slot, entity = self._queue.pop()
            timer = self._armed(entity)
            if not caught_up and timer.due_ms > now.mono_ms:
                self._held_back.add(entity)
                self._queue.put(slot, timer.due_ms)
            else:
                ready.append((timer, slot))
        for timer, slot in ready:
            self._queue.put(slot, timer.early_ms)
            self._tested[self._entity(timer.source_id, timer.hold.key)] = None
        return [timer for timer, _ in ready]

    def is_tested(self, source_id: str, key: EntityKey) -> bool:
        """Whether an entity's timer was given out by `due`, and what its test came to is not known yet."""
        return self._entity(source_id, key) in self._tested

    def went_on(self, source_id: str, key: EntityKey, position: int) -> None:
        """Learn, while its lapse is being tested, of the first change by which its holder went on."""
        entity = self._entity(source_id, key)
        if self._tested.get(entity, position) is None:
            self._tested[entity] = position

    def release(self) -> None:
        """Let what was held back be tested at its early instant after all: the stream is caught up."""
        for entity in self._held_back:
            self._queue.bring_forward(held.slot_of(self._held[entity]), self._armed(entity).early_ms)
        self._held_back.clear()

    def settle(self, timer: Timer, *, declared: bool) -> int | None:
        """Disarm a timer whose lapse was declared, or whose row was found free; not if a change re-armed it since.

        Return the position of that change, if it shows that the holder of a declared lapse went on.
        """
        entity = self._entity(timer.source_id, timer.hold.key)
        position = self._tested.pop(entity, None)
        if self._timer(entity) != timer:
            return position if declared else None
        self._disarm(entity)
        self._held[entity] = UNARMED
        if declared:
            self.remember(timer.source_id, Declared(timer.hold, timer.legal_ms))
        return None

    def remember(self, source_id: str, declared: Declared) -> None:
        """Remember a declared lapse until the entity's next change."""
        self._declared[self._entity(source_id, declared.hold.key)] = declared
        if len(self._declared) > DECLARED_MAX:
            del self._declared[next(iter(self._declared))]

    def put_off(self, timer: Timer, until_ms: int) -> None:
        """Test a timer again later, in monotonic milliseconds; not if a change re-armed it since."""
        entity = self._entity(timer.source_id, timer.hold.key)
        self._tested.pop(entity, None)
        if self._timer(entity) == timer:
            self._put_off[entity] = until_ms
            self._queue.bring_forward(held.slot_of(self._held[entity]), until_ms)

    def _entity(self, source_id: str, key: EntityKey) -> bytes:
        return _PREFIXES[self._sources.get(source_id, SOURCES_MAX)] + held.pack_key(key)

    def _arm(self, entity: bytes, hold: Hold, now: Now) -> None:
        packed = self._held.get(entity)
        slot = held.slot_of(packed) if packed else self._queue.enter(entity)
        self._held[entity] = held.pack(slot, hold, now)
        self._put_off.pop(entity, None)
        self._held_back.discard(entity)
        self._queue.bring_forward(slot, self._armed(entity).early_ms)

    def _waits(self, entity: bytes, hold: Hold) -> bool:
        """Leave the timer of a deadline that ran out before this change as it is; whether there was anything to leave.

        Armed, it is about to be tested, and only whose it is may be new. Unarmed, it was declared, or born expired.
        """
        packed = self._held.get(entity)
        if packed is None:
            return False
        if packed:
            known, received = held.unpack(hold.key, packed)
            if known.deadline_ms != hold.deadline_ms:
                return False
            known = replace(known, actor=hold.actor, version=hold.version)
            self._held[entity] = held.pack(held.slot_of(packed), known, received)
        return True

    def _disarm(self, entity: bytes) -> None:
        packed = self._held.get(entity)
        if packed:
            self._queue.leave(held.slot_of(packed))
        self._put_off.pop(entity, None)
        self._held_back.discard(entity)

    def _timer(self, entity: bytes) -> Timer | None:
        return self._armed(entity) if self._held.get(entity) else None

    def _armed(self, entity: bytes) -> Timer:
        source_id, recipe = self._recipes[entity[0]]
        hold, received = held.unpack(held.unpack_key(entity[1:]), self._held[entity])
        timer = timer_for(source_id, hold, recipe, received)
        until_ms = self._put_off.get(entity)
        return timer if until_ms is None else replace(timer, due_ms=until_ms, early_ms=until_ms)

    def _settle_queue(self, until_ms: int) -> None:
        """Put back what surfaces until then and was renewed since it entered, until one stands where it belongs."""
        while (at_ms := self._queue.first_ms()) is not None and at_ms <= until_ms:
            wanted_ms = self._wanted_ms(self._queue.first())
            if wanted_ms <= at_ms:
                return
            slot, _ = self._queue.pop()
            self._queue.put(slot, wanted_ms)

    def _wanted_ms(self, entity: bytes) -> int:
        put_off_ms = self._put_off.get(entity)
        if put_off_ms is not None:
            return put_off_ms
        due_ms, early_ms, _legal_ms = held.due(self._held[entity], self._recipes[entity[0]][1])
        return due_ms if entity in self._held_back else early_ms


class _Queue:
    """Slots by instant. An integer a slot in the heap; one that left its place leaves a stale integer behind."""

    def __init__(self) -> None:
        self.heap: list[int] = []
        self._at = array("q")
        self._entities: list[bytes | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._entities) - len(self._free)

    def enter(self, entity: bytes) -> int:
        """Give an entity a slot, without an instant yet."""
        if self._free:
            slot = self._free.pop()
            self._entities[slot] = entity
            return slot
        if len(self._entities) > SLOT_MASK:
            raise OverflowError(f"more than {SLOT_MASK} deadlines in one shard; give sources tables of their own")
        self._entities.append(entity)
        self._at.append(NEVER)
        return len(self._entities) - 1

    def leave(self, slot: int) -> None:
        """Take a slot back."""
        self._at[slot] = NEVER
        self._entities[slot] = None
        self._free.append(slot)

    def bring_forward(self, slot: int, at_ms: int) -> None:
        """Have a slot surface at an instant, or earlier if it already would."""
        if at_ms < self._at[slot]:
            self.put(slot, at_ms)

    def put(self, slot: int, at_ms: int) -> None:
        """Have a slot surface at an instant."""
        self._at[slot] = at_ms
        if len(self.heap) >= REBUILD_FROM and len(self.heap) > 2 * len(self):
            self.heap = [at << SLOT_BITS | n for n, at in enumerate(self._at) if at != NEVER]
            heapq.heapify(self.heap)
        else:
            heapq.heappush(self.heap, at_ms << SLOT_BITS | slot)

    def first_ms(self) -> int | None:
        """Return the first instant."""
        while self.heap:
            at_ms = self.heap[0] >> SLOT_BITS
            if self._at[self.heap[0] & SLOT_MASK] == at_ms:
                return at_ms
            heapq.heappop(self.heap)
        return None

    def first(self) -> bytes:
        """Return whose the first instant is; `first_ms` found one."""
        entity = self._entities[self.heap[0] & SLOT_MASK]
        if entity is None:
            raise RuntimeError("a free slot has no instant")
        return entity

    def pop(self) -> tuple[int, bytes]:
        """Take out the first slot, which keeps its entity and has no instant until it is put back."""
        entity = self.first()
        slot = heapq.heappop(self.heap) & SLOT_MASK
        self._at[slot] = NEVER
        return slot, entity


def timer_for(source_id: str, hold: Hold, recipe: Recipe, now: Now) -> Timer:
    """Work out the legal instant of a hold whose last change was received now (DESIGN section 6)."""
    if hold.deadline_ms is not None:
        honoured_ms = hold.deadline_ms + hold.grace_ms
        return Timer(source_id, hold, *instants.stored_due(honoured_ms, hold.created_ms, recipe, now))
    if hold.stale_ms is not None:
        return Timer(source_id, hold, *instants.stale_due(hold.stale_ms, hold.created_ms, recipe, now))
    return Timer(source_id, hold, *instants.leased_due(hold.lease_ms or 0, hold.created_ms, recipe, now))
