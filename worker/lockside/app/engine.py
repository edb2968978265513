"""The engine of a worker, either one: what it is told of the streams, at what pace, and with what it works."""

import random
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from lockside.app import fleet
from lockside.app.sources import Stream
from lockside.aws.clients import ATTEMPTS_MAX, Clients
from lockside.aws.retrying import WAIT_MAX_SECONDS, Retrier
from lockside.core.change import ShardRef
from lockside.core.ports import Clock, Loops, ProcessorFactory
from lockside.core.telemetry import Meter
from lockside.engines.consumer import CheckpointPolicy, Keeping
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.pace import Idle
from lockside.engines.embedded.plan import Settings as Pace
from lockside.engines.embedded.services import Services
from lockside.engines.kcl.engine import KclEngine
from lockside.engines.kcl.services import Services as KclServices
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import Tables
from lockside.errors import LocksideError
from lockside.ops.heartbeat import SILENCE_MAX_MS
from lockside.settings import Settings
from lockside.state.checkpoints import Checkpoints

DRAIN_SHARE: Final = 0.8
"""Of the time for shutdown, what the engine may take for its last batches; the rest is for what follows it."""


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
class Parts:
    """What an engine is joined to."""

    settings: Settings
    clients: Clients
    clock: Clock
    meter: Meter
    retrier: Retrier
    stop: threading.Event
    loops: Loops
    tables: Tables
    heard: Callable[[int, int], None]
    processors: ProcessorFactory
    failed: Callable[[BaseException], None]


def made(parts: Parts, streams: Iterable[Stream], checkpoints: Checkpoints, worker_id: str) -> Engine:
    """Join the engine that the settings name; `worker_id` is this worker's in a fleet."""
    plans = [plan_of(stream) for stream in streams]
    if parts.settings.engine.kind == "kcl":
        return _in_fleet(parts, plans, checkpoints, worker_id)
    services = Services(
        streams=parts.clients.streams,
        checkpoints=checkpoints,
        clock=parts.clock,
        meter=parts.meter,
        jitter=random.random,
        settings=pace_of(parts.settings),
        loops=parts.loops,
        tables=parts.tables,
        heard=parts.heard,
    )
    return EmbeddedEngine(plans, parts.processors, services)


def _in_fleet(parts: Parts, plans: Iterable[StreamPlan], checkpoints: Checkpoints, worker_id: str) -> KclEngine:
    pace = pace_of(parts.settings)
    services = KclServices(
        member=fleet.member_of(parts.settings, worker_id),
        streams=parts.clients.streams,
        dynamodb=parts.clients.dynamodb,
        retrier=parts.retrier,
        stop=parts.stop,
        keeping=Keeping(checkpoints, parts.clock, parts.meter, pace.checkpoint, pace.page_records, pace.tip_pages),
        processors=parts.processors,
        failed=parts.failed,
        tables=parts.tables,
        heard=parts.heard,
    )
    machine = fleet.machine_of(parts.settings.engine.kcl)
    return KclEngine(plans, machine, services, parts.loops, pace.shutdown_seconds)


def plan_of(stream: Stream) -> StreamPlan:
    """Tell the engine of a stream."""
    return StreamPlan(stream.table, stream.arn, stream.start, stream.sources[0].recipe.precision_ms, stream.on_gap)


def silence_max_ms(settings: Settings) -> int:
    """Return how long a turning loop may be silent: one wait, then two calls (iterator, page) that nobody answers."""
    call_seconds = ATTEMPTS_MAX * (settings.aws.connect_timeout_seconds + settings.aws.read_timeout_seconds)
    longest_seconds = max(WAIT_MAX_SECONDS, settings.engine.idle_max_ms / 1000) + 2 * call_seconds
    return max(SILENCE_MAX_MS, round(longest_seconds * 1000))


def pace_of(settings: Settings) -> Pace:
    """Translate the settings of `[engine]`."""
    engine = settings.engine
    return Pace(
        idle=Idle(engine.idle_min_ms / 1000, engine.idle_max_ms / 1000),
        checkpoint=CheckpointPolicy(engine.checkpoint_interval_seconds),
        page_records=engine.page_limit,
        discovery_interval_seconds=engine.shard_listing_seconds,
        shutdown_seconds=settings.ops.shutdown_seconds * DRAIN_SHARE,
        threads=engine.threads,
        in_flight_bytes=engine.in_flight_bytes,
    )
