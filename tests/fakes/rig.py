"""The embedded engine over the fake streams service, a recording processor and an emulator's state table.

Time is fake: a wait lets it pass at once.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from lockside.core.change import ShardRef
from lockside.core.gap import OnGap
from lockside.core.ports import ProcessorFactory, StartMode
from lockside.core.telemetry import Meter, NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.plan import Settings
from lockside.engines.embedded.services import Services
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import FollowedTables, NoTables, Tables
from lockside.state.checkpoints import Checkpoint, Checkpoints
from lockside.state.streams import Streams
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.processor import Recorder
from tests.fakes.state_table import dynamodb, make_checkpoints, make_state_table
from tests.fakes.streams import FakeStreams, spelled


@dataclass
class Rig:
    """All that an engine needs, and one stream `arn` of the table `locks`. `follow`: the engine follows its table."""

    state: Checkpoints
    clock: FakeClock
    streams: FakeStreams
    recorder: Recorder = field(default_factory=Recorder)
    settings: Settings = field(default_factory=Settings)
    meter: Meter = field(default_factory=NoMeter)
    start: StartMode = "TRIM_HORIZON"
    precision_ms: int = 1_000
    on_gap: OnGap = "continue"
    follow: bool = False
    arn: str = ""

    def __post_init__(self) -> None:
        """Add the stream."""
        self.arn = self.arn or self.streams.add_stream("locks")

    @classmethod
    def on(cls, emulator: Emulator, **streams: Any) -> "Rig":
        """Build a rig with its state on an emulator."""
        clock = FakeClock()
        client = dynamodb(emulator)
        checkpoints = make_checkpoints(client, make_state_table(client), clock, FakeStop(clock))
        return cls(checkpoints, clock, FakeStreams(clock, **streams))

    def engine(self, *arns: str, processors: ProcessorFactory | None = None) -> EmbeddedEngine:
        """Build an engine, as a process does that starts."""
        plans = [
            StreamPlan(ref(arn).table, arn, self.start, self.precision_ms, self.on_gap) for arn in arns or (self.arn,)
        ]
        return EmbeddedEngine(plans, processors or self.recorder, self.services())

    def services(self) -> Services:
        """Return what the engine's parts share."""
        services = Services(self.streams.client, self.state, self.clock, self.meter, lambda: 0.5, self.settings)
        return replace(services, tables=self.tables())

    def tables(self) -> Tables:
        """Return what the engine knows tables by."""
        client: Any = self.streams
        streams = Streams(self.state.client, self.state.table, self.state.retrier)
        return FollowedTables(client, streams) if self.follow else NoTables()

    def run_once(self, *arns: str) -> FakeStop:
        """Drain the streams with a new engine; return the stop, which knows the waits."""
        stop = FakeStop(self.clock)
        self.engine(*arns).run_once(stop)
        assert not stop.is_set(), "it did not come to an end by itself"
        return stop

    def checkpoint(self, shard_id: str, arn: str | None = None) -> Checkpoint | None:
        """Read a shard's checkpoint."""
        return self.state.load(arn or self.arn).shards.get(spelled(shard_id))

    def is_finished(self, shard_id: str) -> bool:
        """Whether a shard is marked as read to its end."""
        found = self.checkpoint(shard_id)
        return found is not None and found.finished

    def position(self, shard_id: str) -> int | None:
        """Read a shard's remembered position."""
        found = self.checkpoint(shard_id)
        return found.position if found else None


def ref(arn: str, shard_id: str = "") -> ShardRef:
    """Name a shard."""
    return ShardRef(arn, shard_id)
