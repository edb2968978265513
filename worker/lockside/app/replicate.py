"""The replicator: readers of streams that feed replicas, run until told to stop.

Each reader is an application of its own beside the worker: it owns its streams by a row of its own, has checkpoints of
its own, and nothing of it is in the audit path. Replicas that name one reader are fed by one reading of the stream.
"""

import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from ulid import ULID

from lockside.app import sources
from lockside.app.owner import Owner, ownership_of
from lockside.app.pace import pace_of, silence_max_ms
from lockside.app.replica_targets import Joined, SourceTable, eviction, source_table, target
from lockside.app.reporter import Facts, Reporter, StatusRows
from lockside.app.run import EXIT_GOOD, EXIT_UNEXPECTED
from lockside.app.sources import Stream
from lockside.app.worker import UNREADY_SECONDS
from lockside.aws.clients import Clients, clock_offset_ms, reached
from lockside.aws.retrying import Retrier, error_code
from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.ownership import Term
from lockside.core.ports import Clock, Processor
from lockside.core.status import ShardView
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.services import Services
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import FollowedTables
from lockside.errors import ConfigError, FencedError, StoppedError, UsageError
from lockside.ops import logs
from lockside.ops.clock import SystemClock
from lockside.ops.health import HealthServer, Pages
from lockside.ops.heartbeat import Heartbeats
from lockside.ops.metrics import PrometheusMeter
from lockside.ops.shutdown import Shutdown
from lockside.state.checkpoints import Checkpoints
from lockside.state.replicas import Replicas
from lockside.state.status import StatusTable
from lockside.state.streams import Streams as StreamRows
from lockside.stores.replica import Replica
from lockside.stores.replicator import Replicator
from lockside.stores.table_copy import TableCopy
from lockside.stores.target import stale_after_ms

if TYPE_CHECKING:
    from lockside.core.ports import StartMode
    from lockside.settings import ReplicaSettings, Settings

LOG = structlog.get_logger(__name__)

START_SPARE_MS: Final = 60_000
"""A first start counts from so long ago: what is read twice does no harm, what two clocks disagree about might."""

COPY_LOOK_SECONDS: Final = 1.0
JOIN_SECONDS_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """What all readers of one process share."""

    settings: "Settings"
    clients: Clients
    clock: Clock
    meter: PrometheusMeter
    heartbeats: Heartbeats
    stop: threading.Event
    retrier: Retrier


class Reader:
    """One reader: the replicas it feeds, the engine that reads for them, and the copies of the table that they want."""

    def __init__(
        self, name: str, source: SourceTable, replicas: Sequence[Replica], process: Process, *, bootstrap: bool
    ) -> None:
        """Join the parts; nothing is called and no thread started yet."""
        self.name = name
        self.source = source
        self.failure: BaseException | None = None
        self._replicas = replicas
        self._process = process
        self._bootstrap = bootstrap
        self._copying = threading.Event()
        self._run_id = str(ULID.from_bytes(os.urandom(16)))
        self._processors: dict[ShardRef, Replicator] = {}
        self._engine: EmbeddedEngine | None = None
        settings = process.settings.model_copy(update={"application": application_of(process.settings, name)})
        self._application = settings.application
        ownership = ownership_of(settings, process.clients.prompt, process.clock, self._run_id, self._highest_epoch)
        self._owner = Owner(ownership, process.clock, process.heartbeats, process.meter, self._failed)
        streams = StreamRows(process.clients.dynamodb, settings.state.table, process.retrier, name)
        self._tables = FollowedTables(process.clients.dynamodb, streams)

    def run(self, *, once: bool) -> None:
        """Stand by until the streams are ours; then replicate until stopped, or with `once` until all is drained.

        Raises what stopped it.
        """
        try:
            term = self._owner.acquire(self._process.stop, once=once)
        except StoppedError:
            return
        try:
            self._run(term, once=once)
        finally:
            self._owner.release()

    def unready(self) -> list[str]:
        """Say why it does not do its whole job; nothing if it does."""
        reasons = self._owner.unready()
        if self._engine is not None:
            reasons += self._engine.unread(UNREADY_SECONDS)
        lacking = (each for each in self._replicas if not each.state.is_complete)
        return [*reasons, *(f"replica {each.name}: may lack rows until its table is copied" for each in lacking)]

    def refresh(self) -> None:
        """Bring the lag up to now."""
        for shard, view in self._views().items():
            for replica in self._replicas:
                lag_seconds = max(view.lag_ms or 0, view.unwritten_ms or 0) / 1000
                meter = self._process.meter
                meter.gauge("replica_lag_seconds", lag_seconds, replica=replica.name, shard=shard.shard_id)

    def close(self) -> None:
        """End the targets' threads and connections."""
        for replica in self._replicas:
            replica.target.close()

    def _run(self, term: Term, *, once: bool) -> None:
        stop, ended = self._process.stop, threading.Event()
        checkpoints = self._checkpoints(term)
        for replica in self._replicas:
            replica.open()
        # Positions first: what happens from here on comes by the stream, whatever the scan meets (streams guide, 42).
        start = self._start(checkpoints)
        if self._bootstrap:
            for replica in self._replicas:
                # Remembered before anything else: whoever comes after a crash goes on with it, unasked.
                replica.begin_copy()
                replica.copy_wanted.set()
        engine = self._engine = self._make_engine(start, checkpoints)
        reporter = self._reporter(engine, term, start)
        copier = threading.Thread(target=self._copy_wanted, args=(ended,), name=f"copy-{self.name}", daemon=True)
        reporter.start()
        copier.start()
        try:
            if once:
                self._drain(engine)
            else:
                engine.run(stop)
        finally:
            ended.set()
            copier.join(JOIN_SECONDS_MAX)
            reporter.stop()
        if self.failure is not None:
            raise self.failure
        reporter.report_last()

    def _drain(self, engine: EmbeddedEngine) -> None:
        """Read what the streams hold now, and finish the copies that are wanted."""
        engine.run_once(self._process.stop)
        while not self._process.stop.is_set() and (
            self._copying.is_set() or any(each.copy_wanted.is_set() for each in self._replicas)
        ):
            self._process.heartbeats.beat_here()
            self._process.stop.wait(COPY_LOOK_SECONDS)
        self._process.heartbeats.forget_here()

    def _start(self, checkpoints: Checkpoints) -> "StartMode":
        """Return where shards begin that have no checkpoint. A copy at the first start makes all before it needless."""
        remembered = checkpoints.read(self.source.stream_arn)
        if self._bootstrap and remembered.since_ms is None and remembered.begun_ms is None and not remembered.shards:
            clients, clock = self._process.clients, self._process.clock
            ahead_ms = clock_offset_ms(clients.dynamodb, self.source.name, clock) or 0
            checkpoints.begin(self.source.stream_arn, clock.now().wall_ms - max(0, ahead_ms) - START_SPARE_MS)
            return "LATEST"
        return "TRIM_HORIZON" if remembered.since_ms is None else "LATEST"

    def _copy_wanted(self, ended: threading.Event) -> None:
        """Copy the table for each replica that wants it, until the end."""
        beats = self._process.heartbeats
        try:
            while not (ended.wait(COPY_LOOK_SECONDS) or self._process.stop.is_set()):
                beats.beat_here()
                for replica in self._replicas:
                    if replica.copy_wanted.is_set():
                        self._copy(replica)
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by the thread that runs the reader
            self._failed(error)
        finally:
            beats.forget_here()

    def _copy(self, replica: Replica) -> None:
        process = self._process
        copy = TableCopy(
            process.clients.dynamodb, self.source.name, process.retrier, process.clock, process.meter, process.stop
        )
        copy.beat = process.heartbeats.beat_here
        self._copying.set()
        # Before it begins: what is lost while it goes on wants another.
        replica.copy_wanted.clear()
        copy.run(replica)
        self._copying.clear()

    def _make_engine(self, start: "StartMode", checkpoints: Checkpoints) -> EmbeddedEngine:
        process = self._process
        precision_ms = sources.precision_ms(process.settings.recipe.time_precision_ms, self.source.stream_arn)
        plan = StreamPlan(self.source.name, self.source.stream_arn, start, precision_ms)
        services = Services(
            streams=process.clients.streams,
            checkpoints=checkpoints,
            clock=process.clock,
            meter=process.meter,
            jitter=random.random,
            settings=pace_of(process.settings),
            loops=process.heartbeats,
            tables=self._tables,
        )
        return EmbeddedEngine([plan], self._processor, services)

    def _processor(self, shard: ShardRef) -> Processor:
        for known, processor in list(self._processors.items()):
            if processor.done and self._processors.pop(known, None) is not None:
                for replica in self._replicas:
                    self._process.meter.forget(replica=replica.name, shard=known.shard_id)
        made = self._processors[shard] = Replicator(shard, self._replicas, self._process.clock)
        return made

    def _reporter(self, engine: EmbeddedEngine, term: Term, start: "StartMode") -> Reporter:
        process, seconds = self._process, self._process.settings.ops.status_seconds
        rows = StatusRows(StatusTable(process.clients.prompt, process.settings.state.table, self._application), seconds)
        stream = Stream(self.source.name, self.source.stream_arn, start, ())
        facts = Facts({stream.table: stream}, self._run_id, term.epoch, engine.halted, lambda _log: None)
        return Reporter(rows, facts, self._views, process.clock, seconds)

    def _views(self) -> Mapping[ShardRef, ShardView]:
        return {shard: processor.view() for shard, processor in list(self._processors.items()) if not processor.done}

    def _checkpoints(self, term: Term) -> Checkpoints:
        process = self._process
        table = process.settings.state.table
        return Checkpoints(process.clients.dynamodb, table, process.retrier, process.clock, term, reader=self.name)

    def _highest_epoch(self) -> int:
        checkpoints = self._checkpoints(Term("", 0))
        known = {each.arn for each in self._tables.known(self.source.stream_arn)}
        return max((checkpoints.highest_epoch(arn) for arn in {self.source.stream_arn, *known}), default=0)

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self._process.stop.set()


def application_of(settings: "Settings", reader: str) -> str:
    """Name a reader's application; no worker's name has a slash."""
    return f"{settings.application}/{reader}"


def chosen(settings: "Settings", ids: Sequence[str]) -> dict[int, "ReplicaSettings"]:
    """Return the replicas of these ids by their number among all, or all. Raises ConfigError for one that is none."""
    if not settings.replica:
        raise ConfigError(
            "replica: nothing is replicated; add a [[replica]] with id, table and to; config/lockside.toml shows them"
        )
    known = [replica.id for replica in settings.replica]
    if unknown := [each for each in ids if each not in known]:
        raise ConfigError(f'replica: there is none of the id "{unknown[0]}"; there are {", ".join(known)}')
    return {number: each for number, each in enumerate(settings.replica) if not ids or each.id in ids}


def readers_of(process: Process, replicas: Mapping[int, "ReplicaSettings"], *, bootstrap: bool) -> list[Reader]:
    """Find sources and targets, and join them. Raises SetupError for what is not as it must be."""
    settings = process.settings
    sources.describe_own(process.clients.dynamodb, settings.state.table, "state.table")
    # A reader that another process runs for a part of its replicas would leave the others behind: all or none.
    names = {each.reader_name for each in replicas.values()}
    joined = Joined(settings.aws, process.retrier, process.clock, process.stop)
    made: dict[str, tuple[SourceTable, list[Replica]]] = {}
    for number, each in enumerate(settings.replica):
        if each.reader_name not in names:
            continue
        setting = f"replica[{number}]"
        source = source_table(process.clients, each.table, f"{setting}.table")
        place = target(each, setting, source, joined, create=bootstrap)
        if each.to == "redis" and (policy := eviction(place)) is not None:
            way_out = f"Redis drops rows when its memory is full (maxmemory-policy {policy}); set noeviction"
            LOG.warning("replica_may_lose_rows", **{telemetry.REPLICA: each.id, telemetry.REASON: way_out})
        replica = Replica(
            each.id,
            source.schema,
            place,
            Replicas(process.clients.dynamodb, settings.state.table, process.retrier),
            clock=process.clock,
            meter=process.meter,
            stale_after_ms=stale_after_ms(each.tombstone_hours),
            on_loss=each.on_loss,
        )
        made.setdefault(each.reader_name, (source, []))[1].append(replica)
    return [Reader(name, source, each, process, bootstrap=bootstrap) for name, (source, each) in made.items()]


def run(settings: "Settings", ids: Sequence[str] = (), *, bootstrap: bool = False, once: bool = False) -> int:
    """Replicate in this process until a signal stops it; return its exit code.

    Raises UsageError where it cannot start or run on for a reason that its user can mend.
    """
    logs.configure(settings.ops.log_level, settings.ops.log_format)
    stop, clock, meter = threading.Event(), SystemClock(), PrometheusMeter()
    heartbeats = Heartbeats(clock, silence_max_ms(settings))
    with ExitStack() as stack:
        stack.enter_context(Shutdown(stop, settings.ops.shutdown_seconds).handlers())
        wanted = chosen(settings, ids)
        clients = reached(settings.aws, settings.state.table)
        retrier = Retrier(stop, meter, heartbeats.wait_here)
        process = Process(settings, clients, clock, meter, heartbeats, stop, retrier)
        readers = readers_of(process, wanted, bootstrap=bootstrap)
        for reader in readers:
            stack.callback(reader.close)
        if settings.ops.listen:
            _serve(stack, process, readers)
        try:
            _run_all(readers, stop, once=once)
        except UsageError:
            raise
        except FencedError as error:
            LOG.error("fenced", **{telemetry.REASON: str(error)})  # noqa: TRY400 - its text tells all
            return EXIT_UNEXPECTED
        except Exception as error:
            LOG.exception("replicator_stopped", **{telemetry.ERROR: error_code(error)})
            return EXIT_UNEXPECTED
    LOG.info("stopped")
    return EXIT_GOOD


def _serve(stack: ExitStack, process: Process, readers: Sequence[Reader]) -> None:
    def refresh() -> None:
        for reader in readers:
            reader.refresh()

    process.meter.refresh_with(refresh)
    ready: Callable[[], list[str]] = lambda: [why for reader in readers for why in reader.unready()]  # noqa: E731
    pages = Pages(live=process.heartbeats.silent, ready=ready, fit=ready, metrics=process.meter.render)
    host, port = stack.enter_context(HealthServer(process.settings.ops.listen, pages)).address
    LOG.info("listening", host=host, port=port)


def _run_all(readers: Sequence[Reader], stop: threading.Event, *, once: bool) -> None:
    """Run each reader in a thread; the end of one by an error ends all. Raises the first error."""
    failures: list[BaseException] = []

    def run_one(reader: Reader) -> None:
        try:
            reader.run(once=once)
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=run_one, args=(each,), name=f"reader-{each.name}") for each in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
