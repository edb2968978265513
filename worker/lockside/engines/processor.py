"""The shard processor: the one loop, driven alike by both engines.

Order of effects (law 4): undecodable changes kept → records acknowledged → observer records the changes prove → live
index → head → checkpoint.
The lock guards the shard's memory only and is never held over I/O, so that deadlines are tested on time while a batch
is blocked by a table that refuses.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog

from lockside.core import log, observer, telemetry
from lockside.core.attributes import shown_names
from lockside.core.batch import Batch, LiveChange, Memory, Met, Reader, Revival, let_go
from lockside.core.change import ShardRef
from lockside.core.deadlines import Declared, Timer
from lockside.core.entity import Keys
from lockside.core.gap import Gap
from lockside.core.log import LogHead
from lockside.core.ports import (
    LiveEntry,
    LiveRemoval,
    StartMode,
)
from lockside.core.recipe import Source
from lockside.core.records import Naming
from lockside.core.status import Progress, ShardView
from lockside.engines.neighbours import Neighbours
from lockside.errors import UndecodableLimitError

LOG = structlog.get_logger(__name__)

DUE_LIMIT: Final = 100
"""Deadlines tested at a time: one BatchGetItem."""

UNCLAIMED_KINDS_MAX: Final = 32
"""Kinds of rows without a source that a shard's log tells of: where names are data, each row may be one of its own."""

TEST_AGAIN_MS: Final = 5_000
"""Pause before a row is read again that had moved on, if its change has not come by the stream until then, or that
could not be read."""


class ShardProcessor:
    """Consumes one shard."""

    def __init__(
        self, shard: ShardRef, sources: tuple[Source, ...], keys: Keys, start: StartMode, neighbours: Neighbours
    ) -> None:
        """Keep what is needed; nothing is read or written before `initialize`."""
        self._shard = shard
        self._sources = {source.id: source for source in sources}
        self._reader = Reader(shard, sources, keys)
        self._keys = keys
        self._start = start
        self._since_ms: int | None = None
        self._with = neighbours
        self._lock = threading.Lock()
        self._memory = Memory()
        self._caught_up = False
        self._alive = False
        self._ended = False
        self._closed = False
        self._broken = False
        self._head: LogHead | None = None
        self._written_size = 0
        self._consumed: int | None = None
        self._taken: int | None = None
        self._unwritten_since_ms: int | None = None
        self._held_since_ms: int | None = None
        self._newest_ms: int | None = None
        self._page_ms: int | None = None
        self._began_ms = neighbours.clock.now().mono_ms
        self._unclaimed: set[frozenset[str]] = set()

    def initialize(self, shard: ShardRef, position: int | None, since_ms: int | None = None) -> LogHead:
        """Open the shard's log and return its head; consume after `position` from here on."""
        del shard
        self._since_ms = since_ms
        self._open()
        self._consumed = self._taken = position
        self._memory = Memory(began_ms=self._with.clock.now().wall_ms)
        self._alive = True
        return self._opened()

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Consume a batch; return when everything it asks for is acknowledged."""
        began = self._with.clock.now()
        if self._broken:
            # Its changes count as taken: handed over again they would be passed over, and nothing would be written.
            raise RuntimeError("a batch of this shard was not acknowledged; only a new processor may go on")
        with self._lock:
            self._caught_up = caught_up
            batch = self._reader.take_in(records, self._memory, self._taken, began) if records else None
            if batch is not None and batch.last_position is not None:
                self._taken = batch.last_position
            if caught_up:
                self._memory.deadlines.release()
        if batch is not None and batch.met:
            batch.revivals += self._with.elders(self._shard, batch.met)
        if batch is not None and batch.consumed:
            self._held_since_ms = began.mono_ms
            # Without a readable creation time its age counts from its receipt: it is held up like any other.
            self._unwritten_since_ms = began.wall_ms if batch.oldest_ms is None else batch.oldest_ms
            self._report_taken(batch)
            self._broken = True
            self._commit(batch)
            self._broken = False
            self._unwritten_since_ms = None
            self._newest_ms = batch.newest_ms or self._newest_ms
            self._report_done(batch, began.mono_ms)
        elif caught_up:
            self._with.meter.gauge("lag_seconds", 0.0, table=self._shard.table, shard=self._shard.shard_id)
        self._page_ms = self._with.clock.now().mono_ms
        self._with.rearmed()

    def gap(self, gap: Gap) -> bool:
        """Record a loss: the log sealed, `stream.gap`, the next log, in this order. Return whether there was one.

        A crash in between leaves a seal that says why, so that the next attempt completes this one. What the head
        covers was recorded before the loss: it moves the loss's beginning, or leaves none. The head is read for that:
        who slept for long may have been followed by another, and knows an old one.
        """
        self.flush()
        self._open()
        head = self._opened()
        if gap.until is not None and head.covers(gap.until):
            return False
        if head.last_position is not None and (gap.after is None or gap.after < head.last_position):
            # The head of a log that is still empty knows its place only.
            gap = replace(gap, after=head.last_position, after_ms=head.running_max_ms or gap.after_ms)
        sealed = self._with.trail.cut(head.log, gap.after, gap.until)
        now_ms = self._with.clock.now().wall_ms
        record = observer.gap_record(self._shard, tuple(self._sources.values()), gap, sealed, now_ms)
        if self._with.trail.observe(record):
            self._with.meter.count("gaps", table=self._shard.table)
            self._with.meter.count("written", log="observer")
            self._with.announce([record.event])
        self._open()
        with self._lock:
            # What the live index holds may be outdated: whatever is seen held after the gap is written anew.
            self._memory.deadlines.doubt()
        self._report_gap(gap)
        return True

    def flush(self) -> int | None:
        """Write the head if it moved; return the position that may be checkpointed."""
        head = self._head
        if head is not None and head.size > self._written_size:
            self._with.trail.write_head(head)
            self._written_size = head.size
        return self._consumed

    def next_deadline(self) -> int | None:
        """Return when a deadline may be due, in monotonic milliseconds; None while there is none."""
        with self._lock:
            return self._memory.deadlines.next_deadline() if self._alive else None

    def deadlines_armed(self) -> int:
        """Count the armed deadlines."""
        with self._lock:
            return len(self._memory.deadlines)

    @property
    def has_ended(self) -> bool:
        """Whether all of it is read, while it may hold something still."""
        return self._ended

    def let_go(self, met: Sequence[Met]) -> tuple[list[Met], list[Revival]]:
        """Hold no longer what another shard met; return what it did not hold, and the revivals that this shows."""
        with self._lock:
            deadlines = self._memory.deadlines
            others = [one for one in met if not deadlines.knows(one.source_id, one.before.key)]
            mine = [one for one in met if deadlines.knows(one.source_id, one.before.key)]
            revivals = [revival for one in mine if (revival := let_go(deadlines, one)) is not None]
        return others, revivals

    @property
    def done(self) -> bool:
        """Whether nothing is left to watch: the shard was given up, or has ended with no deadline armed."""
        with self._lock:
            return self._closed or (self._ended and not len(self._memory.deadlines))

    def view(self) -> ShardView:
        """Tell how it stands."""
        now = self._with.clock.now()
        unwritten_ms = self._unwritten_since_ms
        progress = self._progress
        return ShardView(
            state=progress.state(now),
            position=self._consumed,
            lag_ms=progress.lag_ms(now),
            unwritten_ms=None if unwritten_ms is None else max(0, now.wall_ms - unwritten_ms),
            held_since_ms=None if unwritten_ms is None else self._held_since_ms,
            deadlines=self.deadlines_armed(),
            log=self._head.log if self._head is not None else None,
        )

    @property
    def behind_seconds(self) -> float:
        """How old what it has not seen may be; before its first page, for how long it has waited for one."""
        now = self._with.clock.now()
        lag_ms = self._progress.lag_ms(now)
        return (now.mono_ms - self._began_ms if lag_ms is None else lag_ms) / 1000

    @property
    def unwritten_seconds(self) -> float:
        """The age of the oldest change read and not acknowledged: as told, else since its receipt; 0 if none."""
        since_ms = self._unwritten_since_ms
        return 0.0 if since_ms is None else max(0.0, (self._with.clock.now().wall_ms - since_ms) / 1000)

    @property
    def shard(self) -> ShardRef:
        """The shard consumed."""
        return self._shard

    def tick(self) -> None:
        """Test the deadlines that are due: one verification read, then the declaration (law 5)."""
        with self._lock:
            if not self._alive:
                return
            due = self._memory.deadlines.due(self._with.clock.now(), caught_up=self._caught_up, limit=DUE_LIMIT)
            after = self._consumed
        if not due:
            return
        tested = self._with.lapses.test(self._shard, due, after)
        with self._lock:
            settled = [(timer, self._settle(timer, verdict)) for timer, verdict in tested]
        for timer, position in settled:
            if position is not None:
                lapse = Declared(timer.hold, timer.legal_ms)
                self._with.lapses.revive(self._shard, lapse, timer.source_id, position)

    def lease_lost(self) -> None:
        """Forget everything; the shard is another worker's."""
        with self._lock:
            self._alive = False
            self._closed = True
            self._memory = Memory()

    def shard_ended(self) -> None:
        """Keep the deadlines: what this shard held is held until a child shows otherwise."""
        with self._lock:
            self._ended = True
            self._caught_up = True
            self._memory.deadlines.release()

    def shutdown_requested(self) -> None:
        """Stop testing deadlines."""
        with self._lock:
            self._alive = False
            self._closed = True

    @property
    def _progress(self) -> Progress:
        return Progress(self._ended, self._caught_up, self._began_ms, self._page_ms, self._newest_ms)

    def _settle(self, timer: Timer, verdict: str | None) -> int | None:
        """Take in what a test came to; return where the holder had gone on by then, if its lapse was declared."""
        deadlines, now = self._memory.deadlines, self._with.clock.now()
        match verdict:
            case "lapsed":
                # A stale lock has not lapsed: what its owner writes next is no revival.
                return deadlines.settle(timer, declared=timer.hold.stale_ms is None)
            case "gone":
                deadlines.settle(timer, declared=False)
            case "renewed" if self._ended and now.wall_ms >= timer.legal_ms:
                # The renewal stands in a child shard, whose processor has armed it.
                deadlines.settle(timer, declared=False)
            case "renewed":
                deadlines.put_off(timer, now.mono_ms + max(timer.hold.lease_ms or 0, TEST_AGAIN_MS))
            case _:
                deadlines.put_off(timer, now.mono_ms + TEST_AGAIN_MS)
        return None

    def _commit(self, batch: Batch) -> None:
        head = self._opened()
        refused = self._keep(batch, head)
        if refused is not None:
            batch = batch.before(refused.position)
        fresh = [record for record in batch.records if not head.covers(record.position)]
        head, placed = log.append(head, fresh)
        if placed:
            self._with.trail.write(placed)
        for lapse in batch.lapses:
            self._with.lapses.declare(self._shard, lapse.lapse, lapse.source_id, lapse.via, lapse.position)
        for revival in batch.revivals:
            self._with.lapses.revive(self._shard, revival.lapse, revival.source_id, revival.position)
        for notice in batch.notices:
            self._with.lapses.notice(self._shard, notice)
        entries = [self._live(change) for change in batch.live.values()]
        if entries:
            self._with.live.apply(self._shard, entries)
        self._head = head
        self._consumed = self._consumed if batch.last_position is None else batch.last_position
        if placed:
            self._with.meter.count("written", len(placed), log="change")
            self._with.announce([orjson.loads(item.record.body) for item in placed])
        if refused is not None:
            # Else what is kept would stay pending, and could not be redriven to make room, for as long as this goes on.
            self.flush()
            raise refused

    def _keep(self, batch: Batch, head: LogHead) -> UndecodableLimitError | None:
        """Keep what could not be decoded, sealed; what the head covers was kept before. Return why one did not fit."""
        fresh = [replace(fault, epoch=head.epoch) for fault in batch.faults if not head.covers(fault.position)]
        try:
            if fresh:
                self._with.undecodables.keep(self._shard, fresh)
        except UndecodableLimitError as refused:
            return refused
        return None

    def _live(self, change: LiveChange) -> LiveEntry | LiveRemoval:
        naming = Naming.of(change.source, self._keys)
        entity_id = naming.entity_id(change.key)
        if change.hold is None:
            return LiveRemoval(entity_id, change.position)
        return LiveEntry(entity_id, change.source.id, change.hold, change.position)

    def _open(self) -> None:
        self._head = self._with.trail.open(self._shard, tuple(self._sources.values()), self._start, self._since_ms)
        self._written_size = self._head.size

    def _opened(self) -> LogHead:
        if self._head is None:
            message = "process_records before initialize"
            raise RuntimeError(message)
        return self._head

    def _report_gap(self, gap: Gap) -> None:
        LOG.error(
            "stream_gap",
            **{
                telemetry.TABLE: self._shard.table,
                telemetry.SHARD: self._shard.shard_id,
                telemetry.REASON: gap.loss,
                telemetry.SEQUENCE: None if gap.after is None else str(gap.after),
                telemetry.UNTIL: None if gap.until is None else str(gap.until),
            },
        )

    def _report_taken(self, batch: Batch) -> None:
        meter, table, shard = self._with.meter, self._shard.table, self._shard.shard_id
        meter.count("records", batch.consumed, table=table)
        for event, number in batch.events.items():
            meter.count("events", number, type=event)
        if batch.unclaimed:
            meter.count("unclaimed", batch.unclaimed, table=table)
            self._report_unclaimed(batch.unclaimed_names)
        for reason, number in batch.uneventful.items():
            meter.count("uneventful", number, reason=reason)
        for fault in batch.faults:
            meter.count("undecodable", code=fault.code)
            place = {telemetry.TABLE: table, telemetry.SHARD: shard, telemetry.SEQUENCE: str(fault.position)}
            spot = {} if fault.spot is None else {telemetry.ERROR: fault.spot}
            LOG.warning("record_undecodable", **place, **{telemetry.CODE: fault.code}, **spot)

    def _report_unclaimed(self, kinds: Iterable[frozenset[str]]) -> None:
        """Tell once how rows are built that no source claims, so that a filter or a layout can be mended."""
        for names in kinds:
            if names not in self._unclaimed and len(self._unclaimed) < UNCLAIMED_KINDS_MAX:
                self._unclaimed.add(names)
                place = {telemetry.TABLE: self._shard.table, telemetry.SHARD: self._shard.shard_id}
                LOG.info("rows_unclaimed", **place, **{telemetry.ATTRIBUTES: shown_names(names)})

    def _report_done(self, batch: Batch, began_ms: int) -> None:
        meter, table, shard = self._with.meter, self._shard.table, self._shard.shard_id
        now = self._with.clock.now()
        seconds = (now.mono_ms - began_ms) / 1000
        meter.timing("batch_seconds", seconds)
        if batch.newest_ms is not None:
            lag = max(0.0, (now.wall_ms - batch.newest_ms) / 1000)
            meter.gauge("lag_seconds", lag, table=table, shard=shard)
        for record in batch.records:
            meter.timing("delay_seconds", max(0.0, (now.wall_ms - record.time_ms) / 1000))
        LOG.info(
            "batch",
            **{
                telemetry.TABLE: table,
                telemetry.SHARD: shard,
                telemetry.COUNT: batch.consumed,
                telemetry.WRITTEN: len(batch.records),
                telemetry.SEQUENCE: str(batch.last_position),
                telemetry.SECONDS: round(seconds, 3),
            },
        )
