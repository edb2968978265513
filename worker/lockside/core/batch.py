"""One batch of stream records, worked out: what to write, what is held now, which lapses the changes prove.

Decoding and interpreting are pure. The shard's memory (deadlines, what the live index holds) is an argument and is
advanced here; nothing in it enters a change record (law 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lockside.core import decode, interpret, records
from lockside.core.change import Change, ShardRef
from lockside.core.deadlines import Deadlines, Declared, TimerKey
from lockside.core.entity import EntityKey, Keys
from lockside.core.event import Event, Hold, Interpretation
from lockside.core.now import Now
from lockside.core.recipe import Source
from lockside.core.records import ChangeRecord
from lockside.errors import WireFaultError


@dataclass(frozen=True, slots=True)
class ProvenLapse:
    """A lapse that a change proves without a read (law 5)."""

    source_id: str
    lapse: Declared
    via: Literal["takeover", "ttl"]
    position: int


@dataclass(frozen=True, slots=True)
class Revival:
    """A write by the same owner after a declared lapse."""

    source_id: str
    lapse: Declared
    position: int


@dataclass(frozen=True, slots=True)
class LiveChange:
    """What the live index shall hold of an entity; None: nothing."""

    source: Source
    key: EntityKey
    hold: Hold | None
    position: int


@dataclass(slots=True)
class Batch:
    """What one batch came to, in stream order."""

    records: list[ChangeRecord] = field(default_factory=list)
    live: dict[TimerKey, LiveChange] = field(default_factory=dict)
    lapses: list[ProvenLapse] = field(default_factory=list)
    revivals: list[Revival] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    unclaimed: int = 0
    consumed: int = 0
    last_position: int | None = None
    oldest_ms: int | None = None
    newest_ms: int | None = None


@dataclass(slots=True)
class Memory:
    """What a shard's processor remembers: armed deadlines, and which entities the live index holds.

    A change made before `began_ms`, when this processor began, may have been consumed by another before it died.
    """

    began_ms: int = 0
    deadlines: Deadlines = field(default_factory=Deadlines)
    indexed: set[TimerKey] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Reader:
    """Works out batches of one shard."""

    shard: ShardRef
    sources: tuple[Source, ...]
    keys: Keys

    def take_in(self, raws: Sequence[Mapping[str, Any]], memory: Memory, after: int | None, now: Now) -> Batch:
        """Work out a batch; records at or below `after` were consumed before and are passed over.

        Raises FaultyPageError, before anything is taken in, if a record has no usable sequence number.
        """
        positions = [decode.sequence_number(raw) for raw in raws]
        batch = Batch()
        begun: set[TimerKey] = set()
        for raw, position in zip(raws, positions, strict=True):
            if after is not None and position <= after:
                continue
            self._one(raw, position, batch, memory, begun, now)
            after = batch.last_position = position
            batch.consumed += 1
        for entity in begun:
            if entity in batch.live and batch.live[entity].hold is None:
                del batch.live[entity]
        return batch

    def _one(
        self,
        raw: Mapping[str, Any],
        position: int,
        batch: Batch,
        memory: Memory,
        begun: set[TimerKey],
        now: Now,
    ) -> None:
        first = self.sources[0]
        schema, precision_ms = first.key_schema, first.recipe.precision_ms
        try:
            change = decode.decode_record(raw, self.shard, schema, precision_ms)
            source, told = interpret.interpret_for(change, self.sources)
        except WireFaultError as fault:
            salvaged = decode.salvage(raw, schema, precision_ms)
            batch.faults.append((position, fault.code))
            batch.records.append(
                records.undecodable_record(self.shard, position, fault.code, first, self.keys, salvaged)
            )
            return
        batch.oldest_ms = change.created_ms if batch.oldest_ms is None else min(batch.oldest_ms, change.created_ms)
        batch.newest_ms = change.created_ms if batch.newest_ms is None else max(batch.newest_ms, change.created_ms)
        if source is None:
            batch.unclaimed += 1
            return
        if told.event is not None:
            batch.events[told.event.type] = batch.events.get(told.event.type, 0) + 1
            if told.event.recorded:
                default_sort = _default_sort(source)
                batch.records.append(
                    records.change_record(told.event, change, source, self.keys, default_sort)
                )
        self._remember(change, source, told, batch, memory, begun, now)

    def _remember(
        self,
        change: Change,
        source: Source,
        told: Interpretation,
        batch: Batch,
        memory: Memory,
        begun: set[TimerKey],
        now: Now,
    ) -> None:
        entity = (source.id, change.key)
        timer = memory.deadlines.timer(source.id, change.key)
        declared = memory.deadlines.observe(source.id, change.key, told.after, source.recipe, now)
        if told.lapse_via is not None and told.before is not None and declared is None:
            legal_ms = _legal_ms(told.before, change, timer.legal_ms if timer is not None else None)
            if told.lapse_via == "takeover" or _ttl_proves(told.before, source, legal_ms, timer is not None, now):
                lapse = Declared(told.before, legal_ms)
                batch.lapses.append(ProvenLapse(source.id, lapse, told.lapse_via, change.sequence_number))
        elif declared is not None and _revives(declared, told):
            batch.revivals.append(Revival(source.id, declared, change.sequence_number))
        self._index(entity, change, source, told, batch, memory, begun)

    def _index(
        self,
        entity: TimerKey,
        change: Change,
        source: Source,
        told: Interpretation,
        batch: Batch,
        memory: Memory,
        begun: set[TimerKey],
    ) -> None:
        """Keep the live index's part: written when a hold begins, changes hands or is first seen; never by a heartbeat.

        What begins and ends in one batch is not written, unless a dead predecessor may have written its beginning.
        """
        position = change.sequence_number
        if told.after is None:
            if entity in memory.indexed or told.before is not None:
                memory.indexed.discard(entity)
                batch.live[entity] = LiveChange(source, change.key, None, position)
            return
        margin_ms = source.recipe.clock_margin_ms
        if (
            told.before is None
            and entity not in memory.indexed
            and entity not in batch.live
            and change.created_ms >= memory.began_ms + margin_ms
        ):
            begun.add(entity)
        if entity not in memory.indexed or _begins(told.event):
            memory.indexed.add(entity)
            batch.live[entity] = LiveChange(source, change.key, told.after, position)


BEGINNINGS = frozenset({"lock.acquired", "lock.taken_over", "lock.transferred", "session.started"})


def _begins(event: Event | None) -> bool:
    return event is not None and (event.type in BEGINNINGS or "resurrected" in event.flags)


def _default_sort(source: Source) -> str | None:
    return next((layout.default_sort for layout in source.layouts if layout.default_sort is not None), None)


def _legal_ms(hold: Hold, change: Change, known_ms: int | None) -> int:
    """Return the legal instant in wall time: as stored, else as armed, else at the latest when this change was made."""
    if hold.deadline_ms is not None:
        return hold.deadline_ms + hold.grace_ms
    return change.created_ms if known_ms is None else known_ms


def _ttl_proves(hold: Hold, source: Source, legal_ms: int, known: bool, now: Now) -> bool:
    """Whether a TTL removal proves a lapse.

    A stored deadline that is itself the TTL attribute has passed by DynamoDB's own clock. Else our timer must say so:
    without one, a removal long after the last renewal tells nothing of the lease.
    """
    if hold.deadline_ms is not None:
        return any(layout.traits.ttl_is_deadline for layout in source.layouts) or legal_ms <= now.wall_ms
    return known and legal_ms <= now.wall_ms


def _revives(declared: Declared, told: Interpretation) -> bool:
    """Whether the owner whose hold lapsed wrote again and holds on; a new acquisition under a fence is none."""
    if told.after is None or told.before is None or told.event is None:
        return False
    return told.after.actor == declared.hold.actor and told.event.type not in BEGINNINGS
