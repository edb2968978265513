"""Either engine over the fake streams server, on the real clock, with one set of levers: the contract is tested once.

KCL's leases are in DynamoDB Local, as is what both engines remember. KCL finds its leases as a first start makes them.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from lockside.app import fleet
from lockside.aws.retrying import Retrier
from lockside.core.gap import OnGap
from lockside.core.ports import NoLoops, StartMode
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy, Keeping
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.pace import BackOff, Idle
from lockside.engines.embedded.plan import Settings
from lockside.engines.embedded.services import Services
from lockside.engines.kcl.engine import KclEngine, Machine
from lockside.engines.kcl.knobs import Knobs
from lockside.engines.kcl.leases import LeaseTable, lease_table
from lockside.engines.kcl.provision import first_lease, make_tables
from lockside.engines.kcl.services import Member
from lockside.engines.kcl.services import Services as KclServices
from lockside.engines.stream import StreamPlan
from lockside.ops.clock import SystemClock
from lockside.state.checkpoints import Checkpoint, Checkpoints
from tests.fakes.processor import Recorder
from tests.fakes.state_table import dynamodb, make_checkpoints, make_state_table
from tests.fakes.stream_names import spelled
from tests.fakes.stream_rig import streams_client
from tests.fakes.stream_server import StreamServer

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Kind = Literal["embedded", "kcl"]

QUICK: Final = Knobs(
    failover_ms=1_000,
    lease_assignment_ms=300,
    shard_sync_ms=200,
    parent_poll_ms=100,
    dispatch_ms=50,
    leader_lease_ms=1_000,
    leader_heartbeat_ms=300,
    worker_report_ms=300,
    idle_ms=50,
)
PAGE_RECORDS: Final = 7
TIP_PAGES: Final = 3
POLICY: Final = CheckpointPolicy(interval_seconds=0.2)
SHUTDOWN_SECONDS: Final = 20.0
WAIT_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.02


@dataclass
class EngineRig:
    """One stream `arn` of the table `locks`, and engines of one kind over it, one after the other."""

    kind: Kind
    server: StreamServer
    client: "DynamoDBClient"
    state: Checkpoints
    arn: str
    recorder: Recorder = field(default_factory=Recorder)
    start_mode: StartMode = "TRIM_HORIZON"
    on_gap: OnGap = "continue"
    stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _raised: list[BaseException] = field(default_factory=list)

    # -- the engine --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start an engine, as a process does."""
        self.stop = threading.Event()
        self._raised = []
        engine = self._embedded() if self.kind == "embedded" else self._kcl()

        def run() -> None:
            try:
                engine.run(self.stop)
            except Exception as error:  # noqa: BLE001 - given to whoever ends it
                self._raised.append(error)

        self._thread = threading.Thread(target=run, name=f"engine {self.kind}")
        self._thread.start()

    def end(self) -> BaseException | None:
        """Stop the engine in good order; return what it raised, or what it said must end the worker."""
        self.stop.set()
        return self.ended()

    def ended(self) -> BaseException | None:
        """Wait for its end."""
        if self._thread is not None:
            self._thread.join(WAIT_SECONDS_MAX)
            assert not self._thread.is_alive(), "the engine does not end"
            self._thread = None
        return self._raised[0] if self._raised else None

    def run_until(self, done: Callable[[], bool], what: str = "that did not come about") -> None:
        """Run an engine until something is so, then stop it in good order. Raises what it raised."""
        self.start()
        try:
            self.until(done, what)
        finally:
            error = self.end()
        if error is not None:
            raise error

    def until(self, done: Callable[[], bool], what: str = "that did not come about") -> None:
        """Wait until something is so."""
        limit = time.monotonic() + WAIT_SECONDS_MAX
        while not done():
            assert time.monotonic() < limit, f"{what}; {self.recorder.log[-20:]} {self._raised}"
            time.sleep(POLL_SECONDS)

    def _embedded(self) -> EmbeddedEngine:
        settings = Settings(
            idle=Idle(0.02, 0.05),
            back_off=BackOff(0.01, 0.05),
            checkpoint=POLICY,
            page_records=PAGE_RECORDS,
            tip_pages=TIP_PAGES,
            discovery_interval_seconds=0.2,
            child_interval_seconds=0.02,
            shutdown_seconds=SHUTDOWN_SECONDS,
        )
        streams = streams_client(self.server)
        services = Services(streams, self.state, SystemClock(), NoMeter(), lambda: 0.5, settings)
        return EmbeddedEngine([self._plan()], self.recorder, services)

    def _kcl(self) -> KclEngine:
        clock, meter = SystemClock(), NoMeter()
        self._seed_leases()
        services = KclServices(
            member=Member("rig", "rig/0", QUICK, PAGE_RECORDS, listing_seconds=0.5),
            streams=streams_client(self.server),
            dynamodb=self.client,
            retrier=Retrier(self.stop, meter),
            stop=self.stop,
            keeping=Keeping(self.state, clock, meter, POLICY, PAGE_RECORDS, TIP_PAGES),
            processors=self.recorder,
            failed=self._failed,
        )
        machine = Machine(fleet.fetch_jars())
        return KclEngine([self._plan()], machine, services, NoLoops(), SHUTDOWN_SECONDS)

    def _failed(self, error: BaseException) -> None:
        self._raised.append(error)
        self.stop.set()

    def _plan(self) -> StreamPlan:
        return StreamPlan("locks", self.arn, self.start_mode, 1, self.on_gap)

    def _seed_leases(self) -> None:
        """Leave the leases of a first start, where there are none."""
        name = lease_table("rig", self.arn)
        make_tables(self.client, name, Retrier(self.stop, NoMeter()))
        if not LeaseTable(self.client, name).leases():
            for shard_id, shard in self.server.service.model.streams[self.arn].shards.items():
                self.client.put_item(TableName=name, Item=first_lease(shard_id, shard.parent_id))

    # -- the stream --------------------------------------------------------------------------------------------------

    def order(self, verb: str, **arguments: Any) -> Any:
        """Give the server a command on the table `locks`."""
        return self.server.control({verb: {"table": "locks", **arguments}})

    def add(self, shard_id: str, parent_id: str | None = None, **quirks: Any) -> None:
        """Add a shard under a short name."""
        self.order("add_shard", shard_id=shard_id, parent_id=parent_id, **quirks)

    def put(self, shard_id: str, *keys: str, **more: Any) -> list[int]:
        """Append one change per key to a shard; return their sequence numbers."""
        return [int(number) for number in self.order("put", shard_id=shard_id, keys=keys, **more)["numbers"]]

    # -- what is remembered ------------------------------------------------------------------------------------------

    def checkpoint(self, shard_id: str) -> Checkpoint | None:
        """Read what is remembered of a shard."""
        return self.state.read(self.arn).shards.get(spelled(shard_id))

    def position(self, shard_id: str) -> int | None:
        """Read a shard's remembered position."""
        found = self.checkpoint(shard_id)
        return found.position if found else None

    def is_finished(self, shard_id: str) -> bool:
        """Whether a shard is marked as read to its end."""
        found = self.checkpoint(shard_id)
        return found is not None and found.finished

    def saved_with_kcl(self, shard_id: str) -> int | None:
        """Return the position in KCL's own lease."""
        leases = LeaseTable(self.client, lease_table("rig", self.arn)).leases()
        return next(lease.position for lease in leases if lease.shard_id == spelled(shard_id))


@contextmanager
def engine_rig(kind: Kind, local: Emulator) -> Iterator[EngineRig]:
    """Build a rig whose stream has no shards yet."""
    client = dynamodb(local)
    stopped = threading.Event()
    state = make_checkpoints(client, make_state_table(client), SystemClock(), stopped)
    with StreamServer() as server:
        arn = server.control({"create": {"table": "locks", "shards": 0}})["arn"]
        rig = EngineRig(kind, server, client, state, arn)
        try:
            yield rig
        finally:
            rig.end()
            client.close()
