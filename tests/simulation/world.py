"""One world of a seed: tables, people, workers and faults, run until faults stop and then until all is at rest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from lockside.aws.tables import audit_table, state_table
from tests.fakes.clock import START_MS
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.stream_model import Options, StreamModel
from tests.simulation import settings
from tests.simulation.chance import Chance, Faults
from tests.simulation.checks import Checks
from tests.simulation.night import Night
from tests.simulation.oracle import Oracle
from tests.simulation.outcome import Outcome
from tests.simulation.parts import REAL, Parts
from tests.simulation.people import LockClient, Sweeper, Visitor
from tests.simulation.process import Process
from tests.simulation.rest import Rest
from tests.simulation.scheduler import Scheduler
from tests.simulation.service import StreamsService
from tests.simulation.slot import Slot
from tests.simulation.table import Shaper, WatchedTable
from tests.simulation.transcript import Transcript
from tests.simulation.truth import Truth
from tests.simulation.violation import ViolationError
from tests.simulation.worker import AUDIT, STATE, Place, Watching, Worker

PROLOGUE_MS: Final = 6_000
STORM_MS: Final = 30_000
STORM_SLICE_MS: Final = 1_000
REST_MS_MAX: Final = 300_000
REST_SLICE_MS: Final = 1_000
PAGE_ITEMS: Final = 7
SHARDS_PER_PAGE: Final = 3
PAGE_RECORDS: Final = 15
TTL_ATTRIBUTES: Final = {"pydynlock": "expiry_time", "flask-session": "expiration"}


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, parts: Parts = REAL, faults: Faults | None = None, *, verbose: bool = False) -> None:
        """Set the stage; nobody has acted yet."""
        self.seed = seed
        self._chance = chance = Chance(seed, faults)
        self._scheduler = scheduler = Scheduler(START_MS)
        self._transcript = Transcript(scheduler, verbose=verbose)
        self._other_recipe = False
        self._truth = Truth()
        self._from_latest = chance.random.random() < 0.3
        kinds = [settings.locks(chance.one_of(settings.LOCK_STYLES)), settings.sessions()]
        watched = kinds if chance.random.random() < 0.5 else [chance.one_of(kinds)]
        tables = [audit_table(AUDIT).create, state_table(STATE).create, *map(settings.definition, watched)]
        database = FakeDynamoDB(*tables, page_items=PAGE_ITEMS, on_commit=self._committed)
        model = StreamModel(Options(shards_per_page=SHARDS_PER_PAGE, page_records=PAGE_RECORDS))
        self._tables = {each.table: WatchedTable(each, database, model, scheduler, chance) for each in watched}
        service = StreamsService(model, scheduler, chance)
        self._oracle = Oracle([table.histories for table in self._tables.values()], service.served)
        for each in watched:
            for other in (False, True):
                self._oracle.learn((settings.configured(each, other=other),))
        self._checks = Checks(self._oracle, self._truth, lambda: scheduler.now_ms, lambda: scheduler.caller)
        self._rest = Rest(self._checks, self._oracle, self._truth)
        self._people: list[LockClient | Visitor | Sweeper] = []
        place = Place(database, service, parts, scheduler, chance, self._transcript.note)
        self._slots = [Slot(number, place, self._watching) for number in range(1, 1 + chance.one_of((1, 2, 2, 3)))]

    def run(self) -> Outcome:
        """Storm, then calm; return what came out."""
        structlog.configure(wrapper_class=_Silence, cache_logger_on_first_use=False)
        violation: str | None = None
        try:
            self._storm()
            self._calm()
        except ViolationError as broken:
            violation = str(broken)
        return self._outcome(violation)

    def _storm(self) -> None:
        """Let everything act, and go wrong, for a while; a night comes on top of it."""
        chance, scheduler = self._chance, self._scheduler
        self._bring_people()
        if self._from_latest or chance.random.random() < 0.3:
            scheduler.run_until(scheduler.now_ms + PROLOGUE_MS)
        tables = list(self._tables.values())
        for actor in (*(Shaper(table, scheduler, chance) for table in tables), *self._slots):
            scheduler.add(actor)
        night = Night(scheduler, chance, tables, self._processes, STORM_MS)
        if chance.happens("night"):
            scheduler.add(night)
        end_ms = scheduler.now_ms + STORM_MS
        while scheduler.now_ms < end_ms + night.lasted_ms:
            scheduler.run_until(scheduler.now_ms + STORM_SLICE_MS)

    def _calm(self) -> None:
        """Stop the faults and the people; let time pass: everything due must come out by itself."""
        self._transcript.note("world", "faults stop")
        self._chance.calm()
        for actor in self._people:
            self._scheduler.remove(actor)
        for slot in self._slots:
            slot.settle_down()
        until_ms = self._scheduler.now_ms + REST_MS_MAX
        while self._scheduler.now_ms < until_ms and self._rest.unsettled(self._workers()) is not None:
            self._scheduler.run_until(self._scheduler.now_ms + REST_SLICE_MS)
        self._rest.check(self._workers())

    def _watching(self) -> Sequence[Watching]:
        """Return the streams as a worker that starts now is configured."""
        if self._chance.happens("other_recipe"):
            self._other_recipe = not self._other_recipe
            self._transcript.note("world", f"the other recipe is configured: {self._other_recipe}")
        found: list[Watching] = []
        for name, table in self._tables.items():
            sources = (settings.configured(table.source, other=self._other_recipe),)
            found.append(Watching(name, table.arn, "LATEST" if self._from_latest else "TRIM_HORIZON", sources))
        return found

    def _workers(self) -> list[Worker]:
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def _processes(self) -> list[Process]:
        return [worker.process for worker in self._workers() if not worker.process.dead]

    def _bring_people(self) -> None:
        chance, scheduler = self._chance, self._scheduler
        for table in self._tables.values():
            style = table.source.recipe.layouts[0][0]
            for number in range(chance.between(2, 5)):
                if table.source.kind == "lock":
                    name, lock = f"client-{number}", f"job-{number % 3}"
                    self._people.append(LockClient(name, table, lock, style, scheduler, chance))
                else:
                    self._people.append(Visitor(f"visitor-{number}", table, scheduler, chance))
            if style in TTL_ATTRIBUTES:
                self._people.append(Sweeper(table, TTL_ATTRIBUTES[style], scheduler, chance))
        for actor in self._people:
            scheduler.add(actor)

    def _committed(self, table: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        """Take in a write the moment it takes effect, and check it."""
        self._transcript.write(table, before, after)
        if table in self._tables:
            accepted = self._tables[table].committed(before, after)
            if accepted is not None:
                self._truth.accept(self._tables[table].source, accepted, after)
                self._transcript.change(accepted)
            return
        check = self._checks.audit if table == AUDIT else self._checks.state
        try:
            check(None if before is None else dict(before), None if after is None else dict(after))
        except Exception as error:
            # As an Exception the worker would take it for an answer of its table.
            raise ViolationError(f"a checker failed on {after}: {error!r}") from error

    def _outcome(self, violation: str | None) -> Outcome:
        checks = self._checks
        return Outcome(
            seed=self.seed,
            steps=self._scheduler.steps,
            changes=sum(len(each.changes) for each in self._oracle.histories.values()),
            records=len(checks.logs.places),
            lapses=len(checks.lapses),
            gaps=sum(len(each) for each in checks.gaps.declared.values()),
            faults=Counter(self._chance.struck),
            digest=self._transcript.digest,
            violation=violation,
            notes=self._transcript.notes,
        )


def outcome_of(seed: int) -> Outcome:
    """Run the world of a seed."""
    return World(seed).run()


class _Silence(structlog.BoundLoggerBase):
    """Logs nothing: a worker's lines are no part of what it promises."""

    def _nothing(self, event: str, **context: object) -> None:
        """Take a line and keep nothing."""

    debug = info = warning = error = exception = _nothing

    def bind(self, **context: object) -> "_Silence":
        """Stay silent, whatever is bound."""
        del context
        return self
