"""The engine that reads, and what joins either one to the rest of a worker."""

import random
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lockside.app import fleet
from lockside.app.sources import Stream
from lockside.audit.write import AuditTrail
from lockside.aws.clients import Clients
from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.now import Now
from lockside.core.ownership import Term
from lockside.core.ports import Clock, Loops, ProcessorFactory
from lockside.core.telemetry import Meter
from lockside.engines.consumer import Keeping
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.plan import Settings as Pace
from lockside.engines.embedded.services import Services
from lockside.engines.kcl.engine import KclEngine
from lockside.engines.kcl.services import Services as KclServices
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import FollowedTables
from lockside.errors import LocksideError
from lockside.settings import Settings
from lockside.state.checkpoints import Checkpoints


class Engine(Protocol):
    """What the worker asks of either engine."""

    def run(self, stop: threading.Event) -> None:
        """Read until told to stop."""
        ...

    def halted(self) -> Mapping[ShardRef, LocksideError]:
        """Return the shards that were halted, and why."""
        ...

    def unread(self, failing_seconds_max: float) -> list[str]:
        """Say what is not read."""
        ...

    def ended(self) -> Collection[ShardRef]:
        """Return the shards that this worker read to their end."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker has ready for whichever engine. `worker_id` is its own in a fleet.

    `heard` is told of the endpoint's clock, `failed` of an error that must end the worker, from whatever thread.
    """

    settings: Settings
    clients: Clients
    trail: AuditTrail
    tables: FollowedTables
    retrier: Retrier
    clock: Clock
    endpoint_clock: Clock
    meter: Meter
    loops: Loops
    pace: Pace
    stop: threading.Event
    processors: ProcessorFactory
    heard: Callable[[Now, int], None]
    failed: Callable[[BaseException], None]
    worker_id: str = ""

    def engine(self, streams: Sequence[Stream], term: Term) -> Engine:
        """Join the engine of the settings, once there is a term that its checkpoints can be conditional on."""
        plans = [plan_of(stream) for stream in streams]
        checkpoints = Checkpoints(
            self.clients.dynamodb, self.settings.state.table, self.retrier, self.clock, term, self.trail.begun_ms
        )
        match self.settings.engine.kind:
            case "embedded":
                return self._embedded(plans, checkpoints)
            case "kcl":
                return self._kcl(plans, checkpoints)

    def highest_epoch(self, arns: Collection[str]) -> int:
        """Return the highest epoch that checkpoints of these streams were saved under, 0 without any."""
        checkpoints = Checkpoints(self.clients.dynamodb, self.settings.state.table, self.retrier, self.clock)
        # Also of streams whose place was taken: they may not be drained yet.
        known = {stream.arn for arn in arns for stream in self.tables.known(arn)}
        return max((checkpoints.highest_epoch(arn) for arn in {*arns, *known}), default=0)

    def _embedded(self, plans: Sequence[StreamPlan], checkpoints: Checkpoints) -> EmbeddedEngine:
        services = Services(
            streams=self.clients.streams,
            checkpoints=checkpoints,
            clock=self.clock,
            meter=self.meter,
            jitter=random.random,
            settings=self.pace,
            loops=self.loops,
            tables=self.tables,
            heard=self.heard,
        )
        return EmbeddedEngine(plans, self.processors, services)

    def _kcl(self, plans: Sequence[StreamPlan], checkpoints: Checkpoints) -> KclEngine:
        pace = self.pace
        services = KclServices(
            member=fleet.member_of(self.settings, self.worker_id),
            streams=self.clients.streams,
            dynamodb=self.clients.dynamodb,
            retrier=self.retrier,
            stop=self.stop,
            # By the endpoint's clock: KCL hands on no page's Date, by which the embedded engine judges what is lost.
            keeping=Keeping(
                checkpoints, self.endpoint_clock, self.meter, pace.checkpoint, pace.page_records, pace.tip_pages
            ),
            processors=self.processors,
            failed=self.failed,
            tables=self.tables,
            heard=self.heard,
        )
        machine = fleet.machine_of(self.settings.engine.kcl)
        return KclEngine(plans, machine, services, self.loops, pace.shutdown_seconds)


def plan_of(stream: Stream) -> StreamPlan:
    """Tell the engine of a stream."""
    return StreamPlan(stream.table, stream.arn, stream.start, stream.sources[0].recipe.precision_ms, stream.on_gap)
