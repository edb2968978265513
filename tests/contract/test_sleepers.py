"""Workers that slept for a day or more: what they find when they wake, and what they may still do.

Readers with real processors are stepped by hand over one audit table and one state table with real conditions.
"""

from dataclasses import replace
from typing import Any

import pytest

from lockside.audit.table import AuditTable
from lockside.audit.write import AuditTrail
from lockside.aws.retrying import Retrier
from lockside.aws.tables import audit_table, state_table
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.gap import OnGap
from lockside.core.ownership import Standing, Term
from lockside.core.telemetry import NoMeter
from lockside.engines.consumer import CheckpointPolicy, Start
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.neighbours import Neighbours
from lockside.engines.processor import ShardProcessor
from lockside.engines.stream import StreamPlan
from lockside.errors import FencedError
from lockside.reactions.lapses import LapseWatch
from lockside.state.ownership import Candidate, Ownership, OwnerTable
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.live import MemoryLive
from tests.fakes.rig import Rig, ref
from tests.fakes.sources import lock_keys, pydynlock, source
from tests.fakes.state_table import make_checkpoints
from tests.fakes.stream_model import made_record
from tests.fakes.streams import FakeStreams, spelled
from tests.fakes.table import FakeTable
from tests.fakes.undecodable import MemoryUndecodables

HOUR = 3_600.0
LEASE_MS = 9_000


class Night:
    """One shard of a lock table, and workers that take each other's place."""

    def __init__(self) -> None:
        """Start with an empty open shard."""
        self.clock = FakeClock()
        self.database = FakeDynamoDB(state_table("state").create, audit_table("audit").create)
        self.stop = FakeStop(self.clock)
        self.source = source("pydynlock")
        checkpoints = make_checkpoints(self.database.client, "state", self.clock, self.stop)
        self.rig = Rig(checkpoints, self.clock, FakeStreams(self.clock))
        self.rig.streams.add_shard(self.rig.arn, "root")
        self.shard = ref(self.rig.arn, spelled("root"))
        self.written = 0

    def write(self, number: int) -> None:
        """Take so many locks."""
        streams = self.rig.streams
        for _ in range(number):
            record = made_record("x", self.written)
            keys = lock_keys(f"job-{self.written}")
            record["dynamodb"] |= {"Keys": keys, "NewImage": {**keys, **pydynlock("alpha", f"v{self.written}")}}
            streams.model.append(streams.shard(self.rig.arn, "root"), record, streams.service.now_ms())
            self.written += 1

    def trim(self, number: int) -> None:
        """Forget the first records, and every iterator."""
        self.rig.streams.expire_iterators()
        self.rig.streams.model.trim(self.rig.streams.shard(self.rig.arn, "root"), number)

    def ownership(self, name: str) -> Ownership:
        """Return a worker that owns the application, taking it over if need be."""
        owners = OwnerTable(self.database.client, "state", self.clock)
        ownership = Ownership(owners, Candidate("app", name, name, LEASE_MS), lambda: 0)
        while ownership.look() is not Standing.MINE:
            self.clock.advance(1)
        return ownership

    def reader(self, term: Term, on_gap: OnGap = "continue") -> ShardReader:
        """Begin to read as the worker of a term, from its checkpoint on."""
        clock = self.clock
        trail = AuditTrail(AuditTable(self.database.client, "audit", Retrier(self.stop, NoMeter())), clock)
        table = FakeTable(self.source.key_schema, clock)
        lapses = LapseWatch({self.source.id: self.source}, PUBLIC_KEYS, table, trail, clock, NoMeter(), _nobody)
        neighbours = Neighbours(
            trail, MemoryLive(), lapses, MemoryUndecodables(), clock, NoMeter(), _nobody, lambda: None
        )
        checkpoints = make_checkpoints(self.database.client, "state", clock, self.stop, term)
        settings = replace(self.rig.settings, checkpoint=CheckpointPolicy(records=1))
        row = checkpoints.load(self.rig.arn).shards.get(self.shard.shard_id)
        start = Start() if row is None else Start(row.position, None, row.tip_ms, tip_kept=row.tip_ms is not None)
        processor = ShardProcessor(self.shard, (self.source,), PUBLIC_KEYS, "TRIM_HORIZON", neighbours)
        services = replace(self.rig.services(), checkpoints=checkpoints, settings=settings)
        plan = StreamPlan("locks", self.rig.arn, precision_ms=1_000, on_gap=on_gap)
        return ShardReader(plan, self.shard, start, processor, services)

    def kept(self) -> list[Any]:
        """Return what the audit table holds."""
        return list(self.database.items("audit"))

    def gaps(self) -> list[Any]:
        """Return the gaps that were told."""
        return [item for item in self.kept() if item["sk"]["S"].startswith("~stream.gap")]

    def recorded(self) -> int:
        """Count the change records."""
        return sum("ce" in item and not item["sk"]["S"].startswith("~") for item in self.kept())


def _nobody(_events: object) -> None:
    """Listen to nothing."""


def steps(reader: ShardReader, number: int) -> None:
    """Step a reader so many times."""
    for _ in range(number):
        reader.step()


def test_a_zombie_that_slept_for_a_day_tells_no_gap_and_seals_nothing() -> None:
    """Its iterator expired and its position is trimmed, yet all was recorded by its successor, who goes on."""
    night = Night()
    zombie = night.reader(night.ownership("zombie").term)
    night.write(2)
    steps(zombie, 5)
    successor = night.reader(night.ownership("successor").term)
    night.write(4)
    steps(successor, 3)
    for hour in range(31):
        night.clock.advance(HOUR)
        night.rig.streams.expire_iterators()
        night.write(1 if hour > 25 else 0)
        steps(successor, 3)
    night.trim(6)
    before = night.kept()
    with pytest.raises(FencedError, match="belongs to another worker"):
        steps(zombie, 6)
    assert night.kept() == before
    night.write(1)
    steps(successor, 3)
    assert not night.gaps()
    assert night.recorded() == night.written


def test_what_the_head_covers_halts_nothing() -> None:
    """Killed between head and checkpoint, then down for a day: all was recorded, so on_gap = "halt" has no cause."""
    night = Night()
    term = night.ownership("worker").term
    first = night.reader(term)
    night.write(2)
    steps(first, 4)
    night.write(2)
    client = night.rig.streams.client
    place: Any = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": f"{first._cursor.position:021d}"}
    iterator = client.get_shard_iterator(StreamArn=night.rig.arn, ShardId=night.shard.shard_id, **place)
    page = client.get_records(ShardIterator=iterator["ShardIterator"], Limit=1_000)
    first._consumer._processor.process_records(page["Records"], caught_up=True)
    first._consumer._processor.flush()
    night.clock.advance(30 * HOUR)
    night.trim(3)
    second = night.reader(term, on_gap="halt")
    steps(second, 4)
    assert not night.gaps()
    night.write(1)
    steps(second, 2)
    assert night.recorded() == night.written
