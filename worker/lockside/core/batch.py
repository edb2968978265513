"""One batch of stream records, worked out: what to write, what is held now, which lapses the changes prove.

Decoding and interpreting are pure. The shard's memory (deadlines, what the live index holds) is an argument and is
advanced here; nothing in it enters a change record (law 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal

from lockside.core import decode, defect, interpret, records
from lockside.core.attributes import Image
from lockside.core.change import Change, ShardRef
from lockside.core.deadlines import Deadlines, Declared, Timer, TimerKey
from lockside.core.entity import EntityKey, Keys
from lockside.core.event import Event, Hold, Interpretation
from lockside.core.heartbeat import RENEWED, heartbeats_of
from lockside.core.lately import Lately, Notice
from lockside.core.now import Now
from lockside.core.ports import Undecodable
from lockside.core.recipe import Source
from lockside.core.records import ChangeRecord
from lockside.errors import FaultyPageError, WireFaultError

UNCLAIMED_NAMES_MAX: Final = 8
"""Kinds of unclaimed rows, told apart by their attributes' names, that a batch tells of."""


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
class Met:
    """An entity that was held before a shard's first sight of it, and what the change it was seen by means."""

    source_id: str
    before: Hold
    told: Interpretation
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
    """What one batch came to, in stream order.

    Nothing is passed over in silence: the numbers of `events`, `uneventful` (changes of a source that give no event, by
    reason), `unclaimed` and `faults` add up to `consumed`. `unclaimed_names` are the attributes of some rows that no
    source claims. `met` are entities that were held before this shard saw them: an ended one may hold them still.
    """

    records: list[ChangeRecord] = field(default_factory=list)
    live: dict[TimerKey, LiveChange] = field(default_factory=dict)
    lapses: list[ProvenLapse] = field(default_factory=list)
    revivals: list[Revival] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    met: list[Met] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    uneventful: dict[str, int] = field(default_factory=dict)
    faults: list[Undecodable] = field(default_factory=list)
    unclaimed: int = 0
    unclaimed_names: set[frozenset[str]] = field(default_factory=set)
    consumed: int = 0
    last_position: int | None = None
    oldest_ms: int | None = None
    newest_ms: int | None = None

    def before(self, position: int) -> "Batch":
        """Return what a shard may still write that halts before a change of this batch.

        No position of it is left to be checkpointed: the live index lacks what a later change of the batch took the
        place of. All of it is read and worked out again.
        """
        return replace(
            self,
            records=[record for record in self.records if record.position < position],
            live={entity: change for entity, change in self.live.items() if change.position < position},
            lapses=[lapse for lapse in self.lapses if lapse.position < position],
            revivals=[revival for revival in self.revivals if revival.position < position],
            notices=[notice for notice in self.notices if notice.position < position],
            faults=[fault for fault in self.faults if fault.position < position],
            last_position=None,
        )


@dataclass(slots=True)
class Memory:
    """What a shard's processor remembers: what is held, with its deadline. The live index holds the same.

    A change made before `began_ms`, when this processor began, may have been consumed by another before it died.
    """

    began_ms: int = 0
    deadlines: Deadlines = field(default_factory=Deadlines)
    lately: Lately = field(default_factory=Lately)


@dataclass(frozen=True, slots=True)
class Reader:
    """Works out batches of one shard."""

    shard: ShardRef
    sources: tuple[Source, ...]
    keys: Keys

    def take_in(self, raws: Sequence[Mapping[str, Any]], memory: Memory, after: int | None, now: Now) -> Batch:
        """Work out a batch; records at or below `after` were consumed before and are passed over.

        Raises FaultyPageError, before anything is taken in, if a record has no usable sequence number, or one below
        that of the record before it: it could only be passed over, or stand in the log out of its place. The same
        number may only come again with the same record.
        """
        positions = decode.sequence_numbers(raws)
        for n, (earlier, later) in enumerate(pairwise(positions)):
            if later < earlier or (later == earlier and raws[n] != raws[n + 1]):
                raise FaultyPageError("sequence order")
        intake = _Intake(self, memory, now)
        intake.take_all(raws, positions, after)
        return intake.finish()


@dataclass(slots=True)
class _Intake:
    """One batch in the making."""

    reader: Reader
    memory: Memory
    now: Now
    batch: Batch = field(default_factory=Batch)
    begun: set[TimerKey] = field(default_factory=set)
    doubted: set[TimerKey] = field(default_factory=set)

    def take_all(self, raws: Sequence[Mapping[str, Any]], positions: Sequence[int], after: int | None) -> None:
        """Take in the records behind a position: heartbeats, which most are, in here."""
        renewal = _none if (quick := heartbeats_of(self.reader.sources)) is None else quick.take
        deadlines, now, noted_ms = self.memory.deadlines, self.now, None
        consumed = renewals = 0
        last = -1 if after is None else after
        for raw, position in zip(raws, positions, strict=True):
            if position <= last:
                continue
            last = position
            consumed += 1
            renewed_ms = renewal(raw, deadlines, now)
            if renewed_ms is None:
                self._take(raw, position)
                continue
            renewals += 1
            if renewed_ms != noted_ms:
                noted_ms = renewed_ms
                self._note_age(renewed_ms)
        batch = self.batch
        batch.consumed, batch.last_position = consumed, last if consumed else None
        if renewals:
            batch.events[RENEWED] = batch.events.get(RENEWED, 0) + renewals

    def _take(self, raw: Mapping[str, Any], position: int) -> None:
        """Take in one record the whole way."""
        first = self.reader.sources[0]
        schema, precision_ms = first.key_schema, first.recipe.precision_ms
        try:
            change = decode.decode_record(raw, self.reader.shard, schema, precision_ms)
            source, told = interpret.interpret_for(change, self.reader.sources)
            record = self._record_of(told.event, change, source)
        except WireFaultError as fault:
            self._set_aside(raw, position, fault.code)
            return
        except (MemoryError, RecursionError):
            # They tell of the process, not of the change: no record may depend on them (law 2).
            raise
        except Exception as error:  # noqa: BLE001 - a defect, see core/defect.py
            self._set_aside(raw, position, defect.CODE, defect.spot(error))
            return
        self._note_age(change.created_ms)
        if source is None:
            self.batch.unclaimed += 1
            self._note_names(change.new if change.new is not None else change.old)
            return
        self._count(told)
        if record is not None:
            self.batch.records.append(record)
        self._remember(change, source, told)

    def finish(self) -> Batch:
        """Return the batch, without live entries that began and ended in it."""
        for entity in self.begun:
            if entity in self.batch.live and self.batch.live[entity].hold is None:
                del self.batch.live[entity]
        return self.batch

    def _set_aside(self, raw: Mapping[str, Any], position: int, code: str, spot: str | None = None) -> None:
        reader = self.reader
        first = reader.sources[0]
        salvaged = decode.salvage(raw, first.key_schema, first.recipe.precision_ms)
        place = records.Place(reader.shard, position, salvaged.created_ms or 0)
        record = records.undecodable_record(place, code, salvaged.key, first, reader.keys)
        self.batch.records.append(record)
        self.batch.faults.append(Undecodable(position, code, record.id, raw, spot))
        if salvaged.created_ms is not None:
            self._note_age(salvaged.created_ms)

    def _note_names(self, image: Image | None) -> None:
        """Note how a row that no source claims is built, for a few different ones: names only, never a value."""
        if image is not None and len(self.batch.unclaimed_names) < UNCLAIMED_NAMES_MAX:
            self.batch.unclaimed_names.add(frozenset(image))

    def _note_age(self, created_ms: int) -> None:
        batch = self.batch
        batch.oldest_ms = created_ms if batch.oldest_ms is None else min(batch.oldest_ms, created_ms)
        batch.newest_ms = created_ms if batch.newest_ms is None else max(batch.newest_ms, created_ms)

    def _record_of(self, event: Event | None, change: Change, source: Source | None) -> ChangeRecord | None:
        if source is None or event is None or not event.recorded:
            return None
        return records.change_record(event, change, source, self.reader.keys)

    def _count(self, told: Interpretation) -> None:
        if told.event is None:
            self.batch.uneventful[told.reason] = self.batch.uneventful.get(told.reason, 0) + 1
        else:
            self.batch.events[told.event.type] = self.batch.events.get(told.event.type, 0) + 1

    def _remember(self, change: Change, source: Source, told: Interpretation) -> None:
        if told.event is not None and told.event.kind == "session":
            self.batch.notices += self.memory.lately.observe(told.event, change, source.recipe)
        deadlines = self.memory.deadlines
        known = deadlines.holds(source.id, change.key)
        if deadlines.doubts(source.id, change.key):
            self.doubted.add((source.id, change.key))
        tested = deadlines.is_tested(source.id, change.key)
        timer = deadlines.timer(source.id, change.key) if told.lapse_via is not None or tested else None
        if tested and timer is not None and _is_same(timer.hold, told.before) and _revives(timer.hold, told):
            deadlines.went_on(source.id, change.key, change.sequence_number)
        declared = deadlines.observe(source.id, change.key, told.after, source.recipe, self.now, ran_out=told.ran_out)
        if told.before is not None and not known:
            self.batch.met.append(Met(source.id, told.before, told, change.sequence_number))
        # What came in between may have been lost, or not been understood: then memory is of another hold.
        timer = timer if timer is not None and _is_same(timer.hold, told.before) else None
        declared = declared if declared is not None and _is_same(declared.hold, told.before) else None
        if told.lapse_via is not None and told.before is not None and declared is None:
            legal_ms = _legal_ms(told.before, change, timer)
            if told.lapse_via == "takeover" or _ttl_proves(told.before, source, timer, self.now):
                lapse = Declared(told.before, legal_ms)
                self.batch.lapses.append(ProvenLapse(source.id, lapse, told.lapse_via, change.sequence_number))
        elif declared is not None and _revives(declared.hold, told):
            self.batch.revivals.append(Revival(source.id, declared, change.sequence_number))
        self._index(change, source, told, known=known)

    def _index(self, change: Change, source: Source, told: Interpretation, *, known: bool) -> None:
        """Keep the live index's part: written when a hold begins, changes hands or is first seen; never by a heartbeat.

        What begins and ends in one batch is not written, unless a dead predecessor may have written its beginning.
        """
        entity = (source.id, change.key)
        live = self.batch.live
        if told.after is None:
            if known or told.before is not None:
                live[entity] = LiveChange(source, change.key, None, change.sequence_number)
            return
        ours = change.created_ms >= self.memory.began_ms + source.recipe.clock_margin_ms
        if ours and told.before is None and not known and entity not in live and entity not in self.doubted:
            self.begun.add(entity)
        if not known or _begins(told.event):
            live[entity] = LiveChange(source, change.key, told.after, change.sequence_number)


def let_go(deadlines: Deadlines, met: Met) -> Revival | None:
    """Take an entity out of what an ended shard holds, as another has its changes now: each counts once.

    Return that its holder goes on, where the ended shard had declared its lapse.
    """
    source_id, key = met.source_id, met.before.key
    timer = deadlines.timer(source_id, key) if deadlines.is_tested(source_id, key) else None
    if timer is not None and _is_same(timer.hold, met.before) and _revives(timer.hold, met.told):
        deadlines.went_on(source_id, key, met.position)
    declared = deadlines.forget(source_id, key)
    if declared is not None and _is_same(declared.hold, met.before) and _revives(declared.hold, met.told):
        return Revival(source_id, declared, met.position)
    return None


BEGINNINGS: Final = frozenset({"lock.acquired", "lock.taken_over", "lock.transferred", "session.started"})


def _begins(event: Event | None) -> bool:
    return event is not None and (event.type in BEGINNINGS or "resurrected" in event.flags)


def _is_same(remembered: Hold, before: Hold | None) -> bool:
    """Whether what is remembered of an entity is the hold that a change ends or goes on from."""
    if before is None:
        return False
    known = (remembered.actor, remembered.version, remembered.deadline_ms)
    return known == (before.actor, before.version, before.deadline_ms)


def _legal_ms(hold: Hold, change: Change, timer: Timer | None) -> int:
    """Return the legal instant in wall time: as stored, else as armed, else at the latest when this change was made."""
    if hold.deadline_ms is not None:
        stored_ms = hold.deadline_ms + hold.grace_ms
        return stored_ms if timer is None else max(timer.hold.created_ms, stored_ms)
    return change.created_ms if timer is None else timer.legal_ms


def _ttl_proves(hold: Hold, source: Source, timer: Timer | None, now: Now) -> bool:
    """Whether a TTL removal proves a lapse.

    A stored deadline that is itself the TTL attribute has passed by DynamoDB's own clock. Else a timer of ours must
    have run out: without one, a removal long after the last renewal tells nothing of the lease.
    """
    if hold.deadline_ms is not None and any(layout.traits.ttl_is_deadline for layout in source.layouts):
        return True
    return timer is not None and timer.due_ms <= now.mono_ms


def _revives(lapsed: Hold, told: Interpretation) -> bool:
    """Whether the owner whose hold lapsed wrote again and holds on; a new acquisition under a fence is none."""
    if told.after is None or told.before is None or told.event is None:
        return False
    return told.after.actor == lapsed.actor and told.event.type not in BEGINNINGS


def _none(_raw: Mapping[str, Any], _deadlines: Deadlines, _now: Now) -> int | None:
    """Take no heartbeat quickly: each change has to be looked into."""
    return None
