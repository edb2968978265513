"""A shard of a fake stream, and what the KCL engine works with, without Java."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy, Keeping
from lockside.engines.kcl.knobs import PROFILES
from lockside.engines.kcl.leases import Lease, LeaseTable
from lockside.engines.kcl.memory import StreamMemory
from lockside.engines.kcl.services import Member, Services
from lockside.engines.kcl.shard import KclShard
from lockside.engines.stream import StreamPlan
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.kcl import FakeCheckpointer, lines
from tests.fakes.processor import Recorder
from tests.fakes.state_table import dynamodb, make_checkpoints, make_state_table
from tests.fakes.streams import FakeStreams, spelled


class NoLeases(LeaseTable):
    """Leases of shards that came from nothing."""

    def read(self, shard_id: str) -> Lease | None:
        """Find none."""
        del shard_id
        return None


@dataclass
class Bench:
    """A shard `root` of a fake stream, and KCL's part played by the test."""

    clock: FakeClock
    stop: FakeStop
    streams: FakeStreams
    services: Services
    arn: str
    plan: StreamPlan
    memory: StreamMemory
    leases: LeaseTable
    recorder: Recorder
    failures: list[BaseException]
    saver: FakeCheckpointer = field(default_factory=FakeCheckpointer)

    def shard(self, position: int | None = None) -> KclShard:
        """Lease the shard."""
        made = KclShard(self.plan, ShardRef(self.arn, spelled("root")), self.memory, self.leases, self.services)
        made.initialize(position)
        return made

    def put(self, *keys: str) -> list[int]:
        """Append changes."""
        return self.streams.put(self.arn, "root", *keys)

    def page(self, *numbers: int) -> bytes:
        """Spell these records as KCL hands them over."""
        shard = self.streams.shard(self.arn, "root")
        by_number = dict(zip(shard.numbers, shard.records, strict=True))
        return lines([by_number[number] for number in numbers])

    def saved(self) -> int | None:
        """Return the remembered position."""
        row = self.services.keeping.checkpoints.read(self.arn).shards.get(spelled("root"))
        return row.position if row else None

    def trimmed(self, count: int) -> None:
        """Let the stream forget its first records."""
        self.streams.model.trim(self.streams.shard(self.arn, "root"), count)


@contextmanager
def bench_on(emulator: Emulator) -> Iterator[Bench]:
    """Make a bench whose every batch is saved."""
    clock, client = FakeClock(), dynamodb(emulator)
    stop, streams, recorder = FakeStop(clock), FakeStreams(clock), Recorder()
    arn = streams.add_stream("locks")
    streams.add_shard(arn, "root")
    checkpoints = make_checkpoints(client, make_state_table(client), clock, stop)
    failures: list[BaseException] = []
    services = Services(
        member=Member("app", "host/0", PROFILES["default"]),
        streams=streams.client,
        dynamodb=client,
        retrier=Retrier(stop, NoMeter()),
        stop=stop,
        keeping=Keeping(checkpoints, clock, NoMeter(), CheckpointPolicy(records=1), 1_000, 3),
        processors=recorder,
        failed=failures.append,
    )
    plan = StreamPlan("locks", arn, precision_ms=1_000)
    memory = StreamMemory(plan, checkpoints)
    yield Bench(clock, stop, streams, services, arn, plan, memory, NoLeases(client, "leases"), recorder, failures)
    client.close()
