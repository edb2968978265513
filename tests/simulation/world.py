"""One world of a seed: tables, people, workers and faults, run until faults stop and then until all is at rest."""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from lockside.aws.tables import audit_table, state_table
from lockside.core.ports import StartMode
from lockside.core.recipe import Source
from tests.fakes.clock import START_MS
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.sources import source
from tests.fakes.stream_model import Options, StreamModel
from tests.simulation.chance import Chance, Faults
from tests.simulation.checks import Checks
from tests.simulation.night import Night
from tests.simulation.oracle import Oracle
from tests.simulation.parts import REAL, Parts
from tests.simulation.people import LockClient, Sweeper, Visitor
from tests.simulation.process import Process
from tests.simulation.rest import Rest
from tests.simulation.scheduler import Scheduler
from tests.simulation.service import StreamsService
from tests.simulation.table import Shaper, WatchedTable
from tests.simulation.truth import Truth
from tests.simulation.violation import ViolationError
from tests.simulation.worker import AUDIT, STATE, Place, Watching, Worker

STORM_MS: Final = 60_000
REST_MS: Final = 90_000
SKEW_MS_MAX: Final = 1_500
"""Clocks are off by less than the recipe's margin of 2 s, which is what they are promised to be."""

DOWN_MS_MAX: Final = 9_000
NOTES_KEPT: Final = 60
LOCK_STYLES: Final = ("pydynlock", "awslabs")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a world came out. `digest` stands for every write in order, so equal runs have equal digests."""

    seed: int
    steps: int
    changes: int
    records: int
    lapses: int
    crashes: int
    digest: str
    violation: str | None
    notes: tuple[str, ...]


class Slot:
    """Where a worker runs: whatever ends it, it is started again, perhaps with another configuration."""

    def __init__(self, world: "World", number: int) -> None:
        """Start the first worker soon."""
        self.name = f"slot {number}"
        self.due_ms: int | None = world.scheduler.now_ms + world.chance.between(0, 3_000)
        self.worker: Worker | None = None
        self.crashes = 0
        self._world = world
        self._runs = 0

    def step(self) -> None:
        """See to it that a worker runs."""
        world, chance = self._world, self._world.chance
        self.due_ms = world.scheduler.now_ms + 500
        worker = self.worker
        if worker is None or worker.process.dead:
            self._start()
        elif worker.halted and chance.random.random() < 0.1:
            # An operator looks at a halted shard and starts the worker anew.
            worker.process.stopping = True
        elif chance.happens("orderly_restart"):
            worker.process.note("is asked to stop")
            worker.process.stopping = True
        elif chance.happens("clock_jump"):
            worker.process.skew_ms = chance.between(-SKEW_MS_MAX, SKEW_MS_MAX)
            worker.process.note(f"its clock is {worker.process.skew_ms} ms off")
        if worker is not None and worker.process.dead:
            self.due_ms = world.scheduler.now_ms + chance.between(100, DOWN_MS_MAX)

    def _start(self) -> None:
        world, chance = self._world, self._world.chance
        if self.worker is not None:
            self.crashes += 1
        self._runs += 1
        skew_ms = chance.between(-SKEW_MS_MAX, SKEW_MS_MAX) if chance.faults.clock_jump else 0
        process = Process(f"{self.name} run {self._runs}", world.scheduler, chance, skew_ms)
        process.note = lambda text: world.note(process.name, text)
        if chance.happens("other_recipe"):
            world.variant = 1 - world.variant
        process.note(f"starts with recipe {world.variant}")
        self.worker = Worker(process, world.place, world.watching())
        self.worker.start()


class Once:
    """Does one thing at one time."""

    def __init__(self, name: str, at_ms: int, act: Callable[[], None]) -> None:
        """Wait for the time."""
        self.name = name
        self.due_ms: int | None = at_ms
        self._act = act

    def put_off(self, milliseconds: int) -> None:
        """Do it so much later."""
        self.due_ms = None if self.due_ms is None else self.due_ms + milliseconds

    def step(self) -> None:
        """Do it."""
        self.due_ms = None
        self._act()


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, parts: Parts = REAL, faults: Faults | None = None, *, verbose: bool = False) -> None:
        """Set the stage; nobody has acted yet."""
        self.seed = seed
        self.chance = Chance(seed, faults)
        self.scheduler = Scheduler(START_MS)
        self.notes: deque[str] = deque(maxlen=NOTES_KEPT)
        self.variant = 0
        self.truth = Truth()
        self._verbose = verbose
        self._digest = hashlib.sha256()
        self.start: StartMode = "LATEST" if self.chance.random.random() < 0.3 else "TRIM_HORIZON"
        kinds = [source(self.chance.one_of(LOCK_STYLES), source_id="locks"), _sessions()]
        chosen = kinds if self.chance.random.random() < 0.5 else [self.chance.one_of(kinds)]
        definitions = [audit_table(AUDIT).create, state_table(STATE).create, *(_definition(each) for each in chosen)]
        self.database = FakeDynamoDB(*definitions, page_items=7, on_commit=self._committed)
        self.model = StreamModel(Options(shards_per_page=3, page_records=15))
        self.place = Place(self.database, StreamsService(self.model, self.scheduler, self.chance), parts)
        self.tables = {each.table: self._table(each) for each in chosen}
        self.oracle = Oracle([table.histories for table in self.tables.values()])
        scheduler = self.scheduler
        self.checks = Checks(self.oracle, self.truth, lambda: scheduler.now_ms, lambda: scheduler.caller)
        self.slots = [Slot(self, number) for number in range(1, 1 + self.chance.one_of((1, 2, 2, 3)))]

    def run(self) -> Outcome:
        """Storm, then calm; return what came out."""
        structlog.configure(processors=[_drop])
        violation: str | None = None
        try:
            self._storm()
            self._calm()
        except ViolationError as broken:
            violation = str(broken)
        return self._outcome(violation)

    def watching(self) -> Sequence[Watching]:
        """Return the streams as a worker that starts now is configured."""
        found = []
        for table in self.tables.values():
            sources = (_variant(table.source, self.variant),)
            self.oracle.learn(sources)
            found.append(Watching(table.source.table, table.arn, self.start, sources))
        return found

    def note(self, who: str, text: str) -> None:
        """Add a line to the transcript."""
        line = f"{self.scheduler.steps:6d} {(self.scheduler.now_ms - START_MS) / 1000:9.3f} {who}: {text}"
        self.notes.append(line)
        if self._verbose:
            print(line)  # noqa: T201 - the transcript is for reading

    def _storm(self) -> None:
        self._people()
        if self.start == "LATEST" or self.chance.random.random() < 0.3:
            self.scheduler.run_until(self.scheduler.now_ms + 10_000)
        for table in self.tables.values():
            self.scheduler.add(Shaper(table, self.scheduler, self.chance))
        for slot in self.slots:
            self.scheduler.add(slot)
        end = Once("world", self.scheduler.now_ms + STORM_MS, self._settle_down)
        self.scheduler.add(end)
        if self.chance.happens("night"):
            self.scheduler.add(Night(self.scheduler, self.chance, self.tables.values(), self._processes, end.put_off))
        while end.due_ms is not None:
            self.scheduler.run_until(end.due_ms)

    def _processes(self) -> list[Process]:
        return [slot.worker.process for slot in self.slots if slot.worker is not None and not slot.worker.process.dead]

    def _settle_down(self) -> None:
        """Stop the faults and the people, also in the midst of somebody's wait."""
        self.chance.calm()
        for actor in self.people:
            self.scheduler.remove(actor)
        self.note("world", "faults stop")
        for slot in self.slots:
            if slot.worker is not None:
                slot.worker.process.skew_ms = 0
                slot.worker.process.stopping = slot.worker.process.stopping or slot.worker.halted
                slot.worker.process.thaw()

    def _calm(self) -> None:
        """Let time pass: everything due must come out by itself."""
        self.scheduler.run_until(self.scheduler.now_ms + REST_MS)
        workers = [slot.worker for slot in self.slots if slot.worker is not None]
        Rest(self.checks, self.oracle, self.truth, self.scheduler.now_ms).check(workers)

    def _people(self) -> None:
        chance, scheduler = self.chance, self.scheduler
        self.people: list[LockClient | Visitor | Sweeper] = []
        for table in self.tables.values():
            style = table.source.recipe.layouts[0][0]
            for number in range(chance.between(2, 5)):
                if table.source.kind == "lock":
                    name, lock = f"client-{number}", f"job-{number % 3}"
                    self.people.append(LockClient(name, table, lock, style, scheduler, chance))
                else:
                    self.people.append(Visitor(f"visitor-{number}", table, scheduler, chance))
            attribute = {"pydynlock": "expiry_time", "flask-session": "expiration"}.get(style)
            if attribute is not None:
                self.people.append(Sweeper(table, attribute, scheduler, chance))
        for actor in self.people:
            scheduler.add(actor)

    def _table(self, watched: Source) -> WatchedTable:
        return WatchedTable(watched, self.database, self.model, self.scheduler, self.chance)

    def _committed(self, table: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        self._digest.update(f"{self.scheduler.now_ms}|{table}|{after}\n".encode())
        if table in self.tables:
            accepted = self.tables[table].committed(before, after)
            if accepted is not None:
                self.truth.accept(self.tables[table].source, accepted, after)
                if self._verbose:
                    self.note(table, f"{accepted.raw['eventName']} {accepted.key.canonical} in {accepted.shard.shard_id[-4:]} at {accepted.position % 1_000_000}")
            return
        if self._verbose:
            item = after if after is not None else before
            assert item is not None
            self.note(table, _told(item, before, after))
        check = self.checks.audit if table == AUDIT else self.checks.state
        try:
            check(_copied(before), _copied(after))
        except Exception as error:
            # As an Exception the worker would take it for an answer of its table.
            raise ViolationError(f"a checker failed on {after}: {error!r}") from error

    def _outcome(self, violation: str | None) -> Outcome:
        return Outcome(
            seed=self.seed,
            steps=self.scheduler.steps,
            changes=sum(len(each.changes) for each in self.oracle.histories.values()),
            records=len(self.checks.logs.places),
            lapses=len(self.checks.lapses),
            crashes=sum(slot.crashes for slot in self.slots),
            digest=self._digest.hexdigest(),
            violation=violation,
            notes=tuple(self.notes),
        )


def _told(item: Mapping[str, Any], before: object, after: object) -> str:
    verb = "put" if before is None else "removed" if after is None else "updated"
    size = f" size {item['size']['N']}" if "size" in item else ""
    place = f" index {item['ix']['N']} of {item['lg']['S'][-6:]}" if "ix" in item else ""
    position = f" position {item['position']['S'][-6:]}" if "position" in item else ""
    marks = "".join(f" {mark}" for mark in ("sealed", "finished") if mark in item and mark != "sealed" or ("sealed" == mark and "size" in item and mark in item))
    kind = f" {item['ty']['S']}" if "ty" in item else ""
    return f"{verb} {item['pk']['S'][-40:]} / {item['sk']['S'][-44:]}{kind}{place}{size}{position}{marks}"


def _copied(item: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if item is None else dict(item)


def _sessions() -> Source:
    made = source("flask-session", source_id="sessions")
    return replace(made, table="sessions")


def _variant(base: Source, variant: int) -> Source:
    """Return a source as one of two configurations has it."""
    if not variant:
        return base
    return replace(base, recipe=replace(base.recipe, pseudonymise=("owner", "principal"), refresh_bucket_ms=20_000))


def _definition(watched: Source) -> dict[str, Any]:
    kinds = ("HASH", "RANGE")
    schema = [
        {"AttributeName": name, "KeyType": kind} for name, kind in zip(watched.key_schema.names, kinds, strict=False)
    ]
    return {"TableName": watched.table, "KeySchema": schema}


def _drop(_logger: object, _method: str, _event: object) -> Any:
    raise structlog.DropEvent
