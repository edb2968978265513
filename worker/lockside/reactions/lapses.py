"""Lapses: proved by one strongly consistent read, then declared once, in whatever worker (law 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from lockside.core import observer, telemetry
from lockside.core.attributes import Image
from lockside.core.change import ShardRef
from lockside.core.deadlines import Declared, Timer
from lockside.core.entity import EntityKey, Keys
from lockside.core.event import Hold
from lockside.core.lapse import Verdict, verify
from lockside.core.lately import Notice
from lockside.core.observer import Sighting
from lockside.core.ports import Announce, Clock, ObserverRecord, RowReader, Trail
from lockside.core.recipe import Source
from lockside.core.telemetry import Meter
from lockside.errors import WireFaultError

LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LapseWatch:
    """Implements the `Lapses` port for the sources of all streams."""

    sources: Mapping[str, Source]
    keys: Keys
    reader: RowReader
    trail: Trail
    clock: Clock
    meter: Meter
    announce: Announce

    def test(
        self, shard: ShardRef, timers: Sequence[Timer], after: int | None
    ) -> Sequence[tuple[Timer, Verdict | None]]:
        """Verify due timers by a consistent read and declare what lapsed, or is stale; None for a row not read."""
        by_source: dict[str, list[Timer]] = {}
        for timer in timers:
            by_source.setdefault(timer.source_id, []).append(timer)
        tested: list[tuple[Timer, Verdict | None]] = []
        for source_id, group in by_source.items():
            source = self.sources[source_id]
            rows = self.reader.read(source, [timer.hold.key for timer in group])
            tested.extend((timer, self._judge(source, timer.hold, rows)) for timer in group)
        for _, verdict in tested:
            self.meter.count("verifications", verdict=verdict or "unread")
        proved = [
            (Declared(timer.hold, timer.legal_ms), timer.source_id) for timer, verdict in tested if verdict == "lapsed"
        ]
        self._declare(shard, [each for each in proved if each[0].hold.stale_ms is None], "read", after)
        self._tell_stale(shard, [each for each in proved if each[0].hold.stale_ms is not None], after)
        return tested

    def declare(self, shard: ShardRef, lapse: Declared, source_id: str, via: str, after: int | None) -> None:
        """Declare a lapse; nothing happens if it was declared before."""
        self._declare(shard, [(lapse, source_id)], via, after)

    def revive(self, shard: ShardRef, lapse: Declared, source_id: str, after: int) -> None:
        """Record that the same owner wrote again after its lapse was declared."""
        source = self.sources[source_id]
        seen = Sighting(shard, source, self.keys, after)
        self._put([observer.revival_record(seen, lapse, self.clock.now().wall_ms)])

    def notice(self, shard: ShardRef, noticed: Notice) -> None:
        """Record what two changes of sessions tell together; nothing happens if it was recorded before."""
        seen = Sighting(shard, self.sources[noticed.source_id], self.keys, noticed.position)
        self._put([observer.notice_record(seen, noticed)])

    def _judge(self, source: Source, hold: Hold, rows: Mapping[EntityKey, Image | None]) -> Verdict | None:
        if hold.key not in rows:
            return None
        image = rows[hold.key]
        layout = source.layout_for(hold.key, image) if image is not None else None
        try:
            return verify(hold, layout, image, source.recipe, self.clock.now())
        except WireFaultError:
            # The row cannot be read as its layout any more, so it is not the row whose lease was armed.
            return "gone"

    def _declare(self, shard: ShardRef, lapses: Sequence[tuple[Declared, str]], via: str, after: int | None) -> None:
        now = self.clock.now()
        records = [
            observer.lapse_record(Sighting(shard, self.sources[source_id], self.keys, after), lapse, via, now.wall_ms)
            for lapse, source_id in lapses
        ]
        for (lapse, _), new in zip(lapses, self._put(records), strict=True):
            if new:
                self.meter.count("lapses", via=via)
                self.meter.timing("lapse_delay_seconds", max(0.0, (now.wall_ms - lapse.legal_ms) / 1000))

    def _tell_stale(self, shard: ShardRef, stale: Sequence[tuple[Declared, str]], after: int | None) -> None:
        now = self.clock.now()
        records = [
            observer.stale_record(Sighting(shard, self.sources[source_id], self.keys, after), each, now.wall_ms)
            for each, source_id in stale
        ]
        if told := sum(self._put(records)):
            self.meter.count("stale", told)

    def _put(self, records: Sequence[ObserverRecord]) -> Sequence[bool]:
        if not records:
            return []
        told = self.trail.observe_all(records)
        news = [record for record, new in zip(records, told, strict=True) if new]
        if news:
            self.meter.count("written", len(news), log="observer")
            self.announce([record.event for record in news])
        for record, new in zip(records, told, strict=True):
            place = {telemetry.EVENT: record.type, telemetry.LOG: record.log}
            LOG.info("observed" if new else "observed_before", **place)
        return told
