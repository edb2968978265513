"""One shard's processor with all its neighbours in memory, and what a crash leaves of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.ports import Clock
from lockside.core.recipe import Source
from lockside.core.telemetry import Meter, NoMeter
from lockside.engines.elders import let_go
from lockside.engines.neighbours import Neighbours
from lockside.engines.processor import ShardProcessor
from lockside.reactions.lapses import LapseWatch
from tests.fakes.clock import FakeClock
from tests.fakes.live import MemoryLive
from tests.fakes.sources import SHARD
from tests.fakes.table import FakeTable
from tests.fakes.trail import MemoryTrail
from tests.fakes.undecodable import MemoryUndecodables


@dataclass
class ShardRig:
    """The trail, live index, table and checkpoint outlive a processor; `restart` makes a new one, as after a crash."""

    source: Source
    clock: FakeClock = field(default_factory=FakeClock)
    trail: MemoryTrail = field(default_factory=MemoryTrail)
    live: MemoryLive = field(default_factory=MemoryLive)
    undecodables: MemoryUndecodables = field(default_factory=MemoryUndecodables)
    heard: list[Mapping[str, Any]] = field(default_factory=list)
    checkpoint: int | None = None
    meter: Meter = field(default_factory=NoMeter)
    ours: Clock | None = None

    def __post_init__(self) -> None:
        """Make the table and the first processor."""
        self.table = FakeTable(self.source.key_schema, self.clock)
        self.elders: list[ShardProcessor] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew after the checkpoint, by a clock of ours if there is one."""
        self.elders.clear()
        self._begin(SHARD, self.checkpoint)

    def roll(self) -> None:
        """End the shard and begin its child: what is written from here on is the child's."""
        self.save()
        self.processor.shard_ended()
        self.elders.append(self.processor)
        self._begin(ShardRef(SHARD.stream_arn, f"{SHARD.shard_id}-{len(self.elders)}"), None)

    def _begin(self, shard: ShardRef, position: int | None) -> None:
        clock = self.ours or self.clock
        lapses = LapseWatch(
            {self.source.id: self.source}, PUBLIC_KEYS, self.table, self.trail, clock, NoMeter(), self._hear
        )
        neighbours = Neighbours(
            self.trail,
            self.live,
            lapses,
            self.undecodables,
            clock,
            self.meter,
            self._hear,
            rearmed=lambda: None,
            elders=lambda shard, met: let_go(self.elders, shard, met),
        )
        self.processor = ShardProcessor(shard, (self.source,), PUBLIC_KEYS, "TRIM_HORIZON", neighbours)
        self.processor.initialize(shard, position)

    def unread(self) -> list[dict[str, Any]]:
        """Return what the stream holds after the checkpoint."""
        after = self.checkpoint or 0
        return [record for record in self.table.records if int(record["dynamodb"]["SequenceNumber"]) > after]

    def consume(self, records: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Hand over records, by default all that follow the checkpoint, and checkpoint."""
        self.processor.process_records(self.unread() if records is None else records, caught_up=True)
        self.save()

    def save(self) -> None:
        """Flush, then checkpoint."""
        self.checkpoint = self.processor.flush()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and test what is due."""
        self.clock.advance(seconds)
        for processor in (*self.elders, self.processor):
            processor.tick()

    def events(self) -> list[tuple[str, str | None]]:
        """Return type and actor of every record kept, log by log."""
        bodies = [json.loads(body) for body in self.trail.all_bodies()]
        return [(body["type"].split(".", 2)[2].rsplit(".", 1)[0], body["data"].get("actor")) for body in bodies]

    def _hear(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.heard += events
