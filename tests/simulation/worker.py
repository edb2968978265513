"""A worker in virtual time: the real engine logic, processors, ownership and writer, joined as `app` joins them."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Final

from lockside.audit.table import AuditTable
from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.ownership import Term
from lockside.core.ports import Processor, StartMode
from lockside.core.recipe import Source
from lockside.core.telemetry import NoMeter
from lockside.engines.embedded.crew import Outcome
from lockside.engines.embedded.discovery import Discovery
from lockside.engines.embedded.engine import HALTS
from lockside.engines.embedded.pace import BackOff, Idle
from lockside.engines.embedded.plan import CheckpointPolicy, Settings, StreamPlan
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.embedded.services import Services
from lockside.engines.embedded.table import TableWatch
from lockside.engines.embedded.tables import FollowedTables
from lockside.engines.processor import Neighbours
from lockside.errors import FencedError, LocksideError
from lockside.reactions.rows import BatchRowReader
from lockside.state.live_index import NONCE_BYTES, LiveTable
from lockside.state.ownership import Candidate, Ownership, OwnerTable
from lockside.state.streams import Streams
from lockside.state.undecodable import UndecodableTable
from tests.simulation.parts import Parts
from tests.simulation.process import Line, Process
from tests.simulation.threads import Coordinator, Owning, Reading, Timing
from tests.simulation.tracer import Tracer
from tests.simulation.violation import ViolationError

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


@dataclass(frozen=True, slots=True)
class Place:
    """What all workers of a world share."""

    database: Any
    streams: Any
    parts: Parts


class Worker:
    """One run of a worker over all watched tables, driven by the scheduler."""

    def __init__(self, process: Process, place: Place, watching: Sequence[Watching]) -> None:
        """Join the parts; nothing is called yet."""
        self.process = process
        self.tracers: list[Tracer] = []
        self.endings: deque[Outcome] = deque()
        self.tasks: dict[ShardReader, Reading] = {}
        self.tables: list[TableWatch] = []
        self.lease_ms = LEASE_MS
        self.begun = self.released = False
        self._watching = {each.table: each for each in watching}
        self._parts = place.parts
        self._database: Any = Line(process, place.database)
        self._streams: Any = place.parts.streams(Line(process, place.streams))
        self._retrier = Retrier(process, NoMeter())
        self.discovery = Discovery(self._streams)
        self._neighbours = self._join_neighbours()
        candidate = Candidate(APPLICATION, process.name, "simulation", LEASE_MS)
        owners = OwnerTable(self._database, STATE, process)
        self.ownership = Ownership(owners, candidate, self._highest_epoch)

    @property
    def term(self) -> Term:
        """The term it holds."""
        return self.ownership.term

    def start(self) -> None:
        """Stand by."""
        self.process.scheduler.add(Owning(self))

    def begin(self) -> None:
        """Set the engine and the timer going: the application is ours."""
        self.process.note(f"owns the application in epoch {self.term.epoch}")
        services = Services(
            streams=self._streams,
            checkpoints=self._parts.checkpoints(self._database, STATE, self._retrier, self.process, self.term),
            clock=self.process,
            meter=NoMeter(),
            jitter=self.process.chance.random.random,
            settings=PACE,
            tables=FollowedTables(self._streams, Streams(self._database, STATE, self._retrier)),
        )
        for each in self._watching.values():
            plan = StreamPlan(each.table, each.arn, each.start, 1_000)
            self.tables.append(TableWatch(plan, self._processor, services))
        self.begun = True
        self.process.scheduler.add(Coordinator(self))
        self.process.scheduler.add(Timing(self))

    def settle(self, ending: Outcome) -> None:
        """Note how a reader came to its end, as the engine does; an error it does not know stops the worker."""
        match ending.error:
            case None if ending.ended:
                ending.watch.ended(ending.shard_id)
            case None:
                ending.watch.stopped(ending.shard_id)
            case LocksideError() as error if isinstance(error, HALTS):
                self.process.note(f"halts {ending.shard_id[-4:]}: {error}")
                ending.watch.halt(ending.shard_id, error)
            case error:
                ending.watch.stopped(ending.shard_id)
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """Stop the worker, in good order, because it was fenced; nothing else may stop it in this world."""
        self.process.note(f"stops: {type(error).__name__}: {error}")
        if not isinstance(error, FencedError):
            raise ViolationError(f"{self.process.name} ends with {error!r}") from error
        self.process.stopping = True

    @property
    def halted(self) -> bool:
        """Whether a shard was halted."""
        return any(table.halted for table in self.tables)

    def _join_neighbours(self) -> Neighbours:
        chance, process, database = self.process.chance, self.process, self._database
        trail = self._parts.trail(AuditTable(database, AUDIT, self._retrier), process, tokens=chance.token)

        def nonce() -> bytes:
            return chance.random.randbytes(NONCE_BYTES)

        lapses = self._parts.lapses(
            sources={source.id: source for each in self._watching.values() for source in each.sources},
            keys=PUBLIC_KEYS,
            reader=self._parts.rows(BatchRowReader(database)),
            trail=trail,
            clock=process,
            meter=NoMeter(),
            announce=_nobody,
        )
        live = LiveTable(database, STATE, PUBLIC_KEYS, self._retrier, Inline(), nonce)
        kept = UndecodableTable(database, STATE, PUBLIC_KEYS.seal, self._retrier, nonce)
        return Neighbours(trail, live, lapses, kept, process, NoMeter(), _nobody, rearmed=_nothing)

    def _highest_epoch(self) -> int:
        checkpoints = self._parts.checkpoints(self._database, STATE, self._retrier, self.process)
        return max((checkpoints.highest_epoch(each.arn) for each in self._watching.values()), default=0)

    def _processor(self, shard: ShardRef) -> Processor:
        each = self._watching[shard.table]
        processor = self._parts.processor(shard, each.sources, PUBLIC_KEYS, each.start, self._neighbours)
        tracer = Tracer(shard, processor)
        self.tracers.append(tracer)
        return tracer


def _nobody(_events: Sequence[Mapping[str, Any]]) -> None:
    """Tell nobody."""


def _nothing() -> None:
    """Do nothing: the timer looks for itself."""
