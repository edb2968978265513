"""A worker in virtual time: the real engine logic, processors, ownership and writer, joined as `app` joins them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lockside.app.timer import DeadlineTimer
from lockside.audit.table import AuditTable
from lockside.aws.retrying import Retrier
from lockside.core import observer
from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.event import ObserverType
from lockside.core.gap import OnGap
from lockside.core.ownership import Term
from lockside.core.ports import NoLoops, Processor, StartMode
from lockside.core.recipe import Source
from lockside.core.telemetry import NoMeter
from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.elders import let_go
from lockside.engines.embedded.crew import Crew
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.pace import BackOff, Idle
from lockside.engines.embedded.plan import Settings
from lockside.engines.embedded.services import Services
from lockside.engines.neighbours import Neighbours
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import FollowedTables
from lockside.errors import FencedError, StoppedError
from lockside.reactions.rows import BatchRowReader
from lockside.state.live_index import NONCE_BYTES, LiveTable
from lockside.state.ownership import Candidate, Ownership, OwnerTable
from lockside.state.streams import Streams
from lockside.state.undecodable import UndecodableTable
from tests.simulation.chance import Chance
from tests.simulation.parts import Parts
from tests.simulation.process import Line, Process
from tests.simulation.scheduler import Scheduler
from tests.simulation.threads import Coordinator, Owning, Reading, Timing
from tests.simulation.tracer import Tracer
from tests.simulation.violation import ViolationError

if TYPE_CHECKING:
    from lockside.engines.processor import ShardProcessor

AUDIT: Final = "audit"
STATE: Final = "state"
APPLICATION: Final = "app"
LEASE_MS: Final = 5_000

PACE: Final = Settings(
    idle=Idle(0.3, 2.0),
    back_off=BackOff(0.2, 3.0),
    checkpoint=CheckpointPolicy(interval_seconds=2.0, records=40),
    page_records=20,
    discovery_interval_seconds=6.0,
    child_interval_seconds=1.0,
    drained_seconds=10.0,
    threads=2,
)
"""Pages of at most one BatchWriteItem, so that the trail writes in the calling thread."""


class Inline(Executor):
    """Runs what is submitted at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run it; a crash of the process goes through."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 handed over, as an executor does
            done.set_exception(error)
        return done


@dataclass(frozen=True, slots=True)
class Watching:
    """One table to watch, its newest stream, and the sources on it as this worker is configured."""

    table: str
    arn: str
    start: StartMode
    sources: tuple[Source, ...]
    on_gap: OnGap = "continue"


@dataclass(frozen=True, slots=True)
class Place:
    """What all workers of a world share."""

    database: Any
    streams: Any
    parts: Parts
    scheduler: Scheduler
    chance: Chance
    note: Callable[[str, str], None]


class Worker:
    """One run of a worker over all watched tables, driven by the scheduler."""

    def __init__(self, process: Process, place: Place, watching: Sequence[Watching]) -> None:
        """Join the parts; nothing is called yet."""
        self.process = process
        self.tracers: list[Tracer] = []
        self._processors: list[ShardProcessor] = []
        self.lease_ms = LEASE_MS
        self.begun = self.leaving = False
        self.timer = DeadlineTimer(process, NoLoops(), self.fail)
        self._watching = {each.table: each for each in watching}
        self._parts = place.parts
        margins_ms = [source.recipe.clock_margin_ms for each in watching for source in each.sources]
        self._clock = place.parts.clock(process, min(margins_ms))
        database: Any = Line(process, place.database)
        self._database = database
        self._streams: Any = place.parts.streams(Line(process, place.streams))
        self._retrier = Retrier(process, NoMeter())
        tokens = process.chance.token
        self._trail = place.parts.trail(AuditTable(database, AUDIT, self._retrier), process, tokens=tokens)
        self._neighbours = self._join_neighbours()
        candidate = Candidate(APPLICATION, process.name, "simulation", LEASE_MS)
        self.ownership = Ownership(OwnerTable(database, STATE, process), candidate, self._highest_epoch)

    @property
    def term(self) -> Term:
        """The term it holds."""
        return self.ownership.term

    @property
    def halted(self) -> bool:
        """Whether a shard was halted."""
        return self.begun and bool(self.engine.halted())

    @property
    def exhausted(self) -> bool:
        """Whether nothing will come any more, so that the engine would return."""
        return all(table.exhausted for table in self.engine._tables)

    def start(self) -> None:
        """Stand by."""
        Owning(self)

    def begin(self) -> None:
        """Set the engine and the timer going: the application is ours."""
        self.process.note(f"owns the application in epoch {self.term.epoch}")
        services = Services(
            streams=self._streams,
            checkpoints=self._parts.checkpoints(
                self._database, STATE, self._retrier, self.process, self.term, self._trail.begun_ms
            ),
            clock=self.process,
            meter=NoMeter(),
            jitter=self.process.chance.random.random,
            settings=PACE,
            tables=FollowedTables(self._streams, Streams(self._database, STATE, self._retrier)),
            heard=self._clock.heard,
        )
        plans = [StreamPlan(each.table, each.arn, each.start, 1_000, each.on_gap) for each in self._watching.values()]
        self.engine = EmbeddedEngine(plans, self._processor, services)
        self.rota = self.engine._rota
        self.crew = Crew(self.rota, PACE.threads, self.process, NoLoops())
        self.begun = True
        self.timing = Timing(self)
        self.readings = [Reading(self) for _ in range(PACE.threads)]
        self.coordinator = Coordinator(self)

    def settle(self) -> None:
        """Let the engine note which readers came to their end; an error it does not know stops the worker."""
        outcomes = self.crew._outcomes
        while not outcomes.empty():
            outcome = outcomes.get()
            error = None if outcome is None else self.engine._settle(outcome)
            if error is not None:
                self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Stop the worker, in good order, because it was fenced; nothing else may stop it in this world."""
        self.process.note(f"stops: {type(error).__name__}: {error}")
        if not isinstance(error, FencedError):
            raise ViolationError(f"{self.process.name} ends with {error!r}") from error
        self.process.stop()

    def tell(self, type_: ObserverType) -> None:
        """Record what becomes of the worker itself."""
        record = observer.worker_record(type_, APPLICATION, self.process.name, self.process.now().wall_ms, {})
        try:
            self._neighbours.trail.observe(record)
        except StoppedError:
            self.process.note(f"could not record {type_}")

    def _join_neighbours(self) -> Neighbours:
        chance, database = self.process.chance, self._database

        def nonce() -> bytes:
            return chance.random.randbytes(NONCE_BYTES)

        lapses = self._parts.lapses(
            sources={source.id: source for each in self._watching.values() for source in each.sources},
            keys=PUBLIC_KEYS,
            reader=self._parts.rows(BatchRowReader(database)),
            trail=self._trail,
            clock=self._clock,
            meter=NoMeter(),
            announce=_nobody,
        )
        live = LiveTable(database, STATE, PUBLIC_KEYS, self._retrier, Inline(), nonce)
        kept = UndecodableTable(database, STATE, PUBLIC_KEYS.seal, self._retrier, nonce)
        return Neighbours(
            self._trail,
            live,
            lapses,
            kept,
            self._clock,
            NoMeter(),
            _nobody,
            rearmed=self._rearmed,
            elders=lambda shard, met: let_go(self._processors, shard, met),
        )

    def _highest_epoch(self) -> int:
        checkpoints = self._parts.checkpoints(self._database, STATE, self._retrier, self.process)
        return max((checkpoints.highest_epoch(each.arn) for each in self._watching.values()), default=0)

    def _processor(self, shard: ShardRef) -> Processor:
        each = self._watching[shard.table]
        processor = self._parts.processor(shard, each.sources, PUBLIC_KEYS, each.start, self._neighbours)
        self._processors.append(processor)
        tracer = Tracer(shard, processor)
        self.tracers.append(tracer)
        self.timer.add(shard, tracer)
        return tracer

    def _rearmed(self) -> None:
        self.timing.rearmed()


def _nobody(_events: Sequence[Mapping[str, Any]]) -> None:
    """Tell nobody."""
