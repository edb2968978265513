"""The worker: all parts joined, run until told to stop.

What `lockside run` starts (see run.py), and what the demo and the live tests start too.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from ulid import ULID

from lockside import __version__
from lockside.app import fleet, sources
from lockside.app.engine import Engine, Surroundings
from lockside.app.left_rows import LeftRows
from lockside.app.neighbours import Grounds
from lockside.app.owner import Owner, last_words, ownership_of
from lockside.app.pace import pace_of, silence_max_ms
from lockside.app.reporter import Facts, Reporter, StatusRows
from lockside.app.sources import Stream
from lockside.app.timer import DeadlineTimer
from lockside.audit.items import Retention
from lockside.audit.table import AuditTable
from lockside.audit.write import AuditTrail
from lockside.aws.clients import Clients, reached
from lockside.aws.retrying import Retrier
from lockside.core import observer, telemetry
from lockside.core.batch import Met, Revival
from lockside.core.change import ShardRef
from lockside.core.entity import Keys
from lockside.core.event import ObserverType
from lockside.core.ownership import Term
from lockside.core.ports import Announce, Clock, Processor
from lockside.core.recipe import recipe_digest, recipe_json
from lockside.core.status import ShardView
from lockside.engines.elders import let_go
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.plan import Settings as Pace
from lockside.engines.processor import ShardProcessor
from lockside.engines.tables import FollowedTables
from lockside.errors import FencedError, LocksideError, StoppedError, UsageError
from lockside.ops.clock import EndpointClock, SystemClock
from lockside.ops.heartbeat import Heartbeats
from lockside.ops.metrics import PrometheusMeter
from lockside.settings import Settings
from lockside.state import keys_file
from lockside.state.checkpoints import Checkpoints
from lockside.state.status import StatusTable
from lockside.state.streams import Streams as StreamRows

LOG = structlog.get_logger(__name__)

LIVE_WRITERS_MAX: Final = 8
"""Writes to the live index in flight at once."""

UNREADY_SECONDS: Final = 300.0
"""A change unwritten, or a shard not read, for so long makes the worker unready; the stream forgets after 24 hours."""


def quiet(_events: Sequence[Mapping[str, Any]]) -> None:
    """Tell nobody of written events."""


class Worker:
    """One worker over the configured sources. Made ready by `connected`, run once, then closed."""

    def __init__(  # noqa: PLR0913 - the composition root is handed everything
        self,
        settings: Settings,
        clients: Clients,
        keys: Keys,
        streams: Sequence[Stream],
        *,
        stop: threading.Event,
        clock: Clock,
        announce: Announce = quiet,
        worker_id: str = "",
        pace: Pace | None = None,
    ) -> None:
        """Join the parts; nothing is called and no thread started yet. `worker_id` is this worker's in a fleet.

        `pace` is how fast it reads, where it is not to be the settings'.
        """
        self.meter = PrometheusMeter()
        self._settings = settings
        self._keys = keys
        self._clients = clients
        self._streams = {stream.arn: stream for stream in streams}
        self._by_table = {stream.table: stream for stream in streams}
        self._stop = stop
        self._clock = clock
        self._deadline_clock = EndpointClock(clock, settings.recipe.clock_margin_ms)
        self._failure: BaseException | None = None
        self._heartbeats = Heartbeats(clock, silence_max_ms(settings))
        self._processors: dict[ShardRef, ShardProcessor] = {}
        self._processors_guard = threading.Lock()
        self._run_id = str(ULID.from_bytes(os.urandom(16)))
        retrier = self._retrier = Retrier(stop, self.meter, self._heartbeats.wait_here)
        self._tables = FollowedTables(clients.dynamodb, StreamRows(clients.dynamodb, settings.state.table, retrier))
        retention = Retention(settings.audit.retention_days or None)
        self._trail = AuditTrail(AuditTable(clients.writer, settings.audit.table, retrier), clock, retention)
        self._pool = ThreadPoolExecutor(LIVE_WRITERS_MAX, thread_name_prefix="live-index")
        self._timer = DeadlineTimer(clock, self._heartbeats, self._failed)
        grounds = Grounds(
            settings, clients, keys, retrier, self._pool, self._trail, self._deadline_clock, self.meter, announce
        )
        self._neighbours = grounds.neighbours(streams, self._timer.rearmed, self._elders)
        self._surroundings = self._look_around(pace or pace_of(settings), worker_id)
        self._engine: Engine | None = None
        ownership = ownership_of(settings, clients.prompt, clock, self._run_id, self._highest_epoch)
        self._owner = Owner(ownership, clock, self._heartbeats, self.meter, self._failed)

    @classmethod
    def connected(  # noqa: PLR0913 - each but the first has a name
        cls,
        settings: Settings,
        *,
        stop: threading.Event,
        clock: Clock | None = None,
        announce: Announce = quiet,
        worker_id: str = "",
        pace: Pace | None = None,
    ) -> "Worker":
        """Connect and find the tables.

        Raises UsageError within seconds for whatever keeps the worker from running.
        """
        clients = reached(settings.aws, settings.audit.table)
        keys = keys_file.load(settings.keys.file)
        for section, table in (("audit", settings.audit.table), ("state", settings.state.table)):
            sources.describe_own(clients.dynamodb, table, f"{section}.table")
        streams = sources.resolve(clients.dynamodb, settings, keys)
        timing: Any = {"stop": stop, "clock": clock or SystemClock(), "pace": pace}
        return cls(settings, clients, keys, streams, **timing, announce=announce, worker_id=worker_id)

    def run(self, *, once: bool = False) -> None:
        """Stand by until the application is ours; then consume until stopped, or with `once` until all is drained.

        A fleet has no owner: there KCL's leases say what is whose. Raises what stopped the worker.
        """
        self._tell_start()
        if self._in_fleet:
            self.meter.gauge("fleet", 1.0)
            term = fleet.term_of(self._settings, self._clients, self._clock, self._highest_epoch)
            self._run(term, once=once)
            return
        try:
            term = self._owner.acquire(self._stop, once=once)
        except StoppedError:
            LOG.info("stopped_before_start")
            return
        ended: str | None = None
        try:
            self._run(term, once=once)
        except BaseException as error:
            ended = last_words(error)
            raise
        finally:
            self._owner.release(ended)

    def _run(self, term: Term, *, once: bool) -> None:
        engine = self._engine = self._surroundings.engine(list(self._streams.values()), term)
        reporter = self._make_reporter(engine, term)
        fenced = False
        try:
            self._consume(engine, reporter, once=once)
        except FencedError:
            fenced = True
            raise
        finally:
            # Also of a run that failed: `lockside status` tells what halted it. Fenced, the rows are the new owner's.
            if not fenced:
                reporter.report_last()
        try:
            self._observe("worker.stopped", {"version": __version__})
        except StoppedError:
            # The trail did not answer while we are stopping: that the worker stopped is told by the next start.
            LOG.warning("stop_not_recorded")

    def _consume(self, engine: Engine, reporter: Reporter, *, once: bool) -> None:
        """Let the engine read until it ends, or is told to; all threads have ended by then. Raises what ended it."""
        self._timer.start()
        try:
            self._observe("worker.started", {"version": __version__, "once": once})
            reporter.start()
            if once and isinstance(engine, EmbeddedEngine):
                engine.run_once(self._stop, self._timer.test_due)
            else:
                engine.run(self._stop)
        except StoppedError:
            LOG.info("stopped_before_start")
        except UsageError:
            # An error that nobody understands weighs more than a halted shard: it is raised below.
            if self._failure is None:
                raise
        finally:
            # Also when the engine raised: whatever still waits for AWS in another thread must come to its end.
            self._stop.set()
            self._timer.stop(self._settings.ops.shutdown_seconds)
            reporter.stop()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the threads that write."""
        self._pool.shutdown(cancel_futures=True)
        self._trail.close()

    def live(self) -> list[str]:
        """Say why the worker does not turn any more; nothing if it does."""
        return self._heartbeats.silent()

    def ready(self, *, standby_is_ready: bool = False) -> list[str]:
        """Say why the worker does not do its whole job; nothing if it does."""
        reasons = [] if self._in_fleet else self._owner.unready(standby_is_ready=standby_is_ready)
        if self._engine is None:
            return [*reasons, "starting"] if self._in_fleet else reasons
        reasons += self._engine.unread(UNREADY_SECONDS)
        for processor in list(self._processors.values()):
            seconds = processor.unwritten_seconds
            if seconds > UNREADY_SECONDS:
                shard = processor.shard
                reasons.append(
                    f"table {shard.table}, shard {shard.shard_id}: a change is unwritten since {seconds:.0f} s"
                )
        return reasons

    def refresh(self) -> None:
        """Bring the gauges up to now, before they are read: ages grow also where nothing happens any more."""
        halted = self._halted()
        for processor in list(self._processors.values()):
            shard, behind = processor.shard, processor.behind_seconds
            # Of a halted shard nothing more is written: what it has not seen is held up too, and may be as old.
            unwritten = max(processor.unwritten_seconds, behind if shard in halted else 0.0)
            self.meter.gauge("lag_seconds", behind, table=shard.table, shard=shard.shard_id)
            self.meter.gauge("oldest_unwritten_seconds", unwritten, table=shard.table, shard=shard.shard_id)
        self._forget_done()
        self.meter.gauge("shards_halted", float(len(halted)))
        self.meter.gauge("live_deadlines", float(self.deadlines_armed()))

    def deadlines_armed(self) -> int:
        """Count the deadlines armed in all shards."""
        return sum(processor.deadlines_armed() for processor in list(self._processors.values()))

    def _halted(self) -> Mapping[ShardRef, LocksideError]:
        return {} if self._engine is None else self._engine.halted()

    def _highest_epoch(self) -> int:
        return self._surroundings.highest_epoch(self._streams)

    @property
    def _in_fleet(self) -> bool:
        return self._settings.engine.kind == "kcl"

    def _look_around(self, pace: Pace, worker_id: str) -> Surroundings:
        return Surroundings(
            settings=self._settings,
            clients=self._clients,
            trail=self._trail,
            tables=self._tables,
            retrier=self._retrier,
            clock=self._clock,
            endpoint_clock=self._deadline_clock,
            meter=self.meter,
            loops=self._heartbeats,
            pace=pace,
            stop=self._stop,
            processors=self._processor,
            heard=self._deadline_clock.heard,
            failed=self._failed,
            worker_id=worker_id,
        )

    def _make_reporter(self, engine: "Engine", term: Term) -> Reporter:
        settings, seconds = self._settings, self._settings.ops.status_seconds
        table = StatusTable(self._clients.prompt, settings.state.table, settings.application)
        rows = StatusRows(table, seconds, fleet_ended=engine.ended if self._in_fleet else None)
        checkpoints = Checkpoints(self._clients.prompt, settings.state.table, self._retrier, self._clock)
        left = LeftRows(table, checkpoints) if self._in_fleet else None
        streams = {stream.table: stream for stream in self._streams.values()}
        facts = Facts(
            streams, self._surroundings.worker_id or self._run_id, term.epoch, engine.halted, self._trail.in_force
        )
        return Reporter(rows, facts, self._views, self._clock, seconds, left=left)

    def _views(self) -> Mapping[ShardRef, ShardView]:
        """Look at every shard but those that ended with nothing left to watch; after the run, at how it left them.

        In a fleet a shard that went to another worker is that one's to tell of.
        """
        if self._in_fleet and not self._stop.is_set():
            self._forget_done()
        views = [(shard, processor.view(), processor.done) for shard, processor in list(self._processors.items())]
        return {shard: view for shard, view, done in views if not (done and view.state == "ended")}

    def _processor(self, shard: ShardRef) -> Processor:
        self._forget_done()
        # By table: a stream that takes another's place has the same sources.
        stream = self._by_table[shard.table]
        processor = ShardProcessor(shard, stream.sources, self._keys, stream.start, self._neighbours)
        with self._processors_guard:
            self._processors[shard] = processor
        self._timer.add(shard, processor)
        return processor

    def _elders(self, shard: ShardRef, met: Sequence[Met]) -> list[Revival]:
        return let_go(list(self._processors.values()), shard, met)

    def _forget_done(self) -> None:
        """Let go of shards with nothing left to watch: they come and go for as long as the worker runs.

        One that was halted stays, so that its age is told until somebody acts.
        """
        halted = self._halted()
        for shard, processor in list(self._processors.items()):
            if not processor.done or shard in halted:
                continue
            with self._processors_guard:
                # By now the shard may be here again, with another processor.
                if self._processors.get(shard) is not processor:
                    continue
                del self._processors[shard]
            self.meter.forget(table=shard.table, shard=shard.shard_id)

    def _observe(self, type_: ObserverType, facts: Mapping[str, Any]) -> None:
        now = self._clock.now()
        record = observer.worker_record(type_, self._settings.application, self._run_id, now.wall_ms, facts)
        if self._trail.observe(record):
            self.meter.count("written", log="observer")
            self._neighbours.announce([record.event])

    def _tell_start(self) -> None:
        for stream in self._streams.values():
            LOG.info(
                "watching",
                start=stream.start,
                **{
                    telemetry.TABLE: stream.table,
                    telemetry.SOURCE: [source.id for source in stream.sources],
                    telemetry.RECIPE: recipe_digest(recipe_json(stream.sources))[:16],
                    telemetry.APPLICATION: self._settings.application,
                },
            )

    def _failed(self, error: BaseException) -> None:
        # The first one is the cause; others may follow from it.
        self._failure = self._failure or error
        self._stop.set()
