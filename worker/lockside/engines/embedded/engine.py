"""The embedded engine: every shard of every watched table, in one process.

Strategy: a coordinator asks for streams and shards, one call at a time, and gives each shard whose parent is done (law
3) a reader in the rota; a fixed number of threads takes the turns, earliest due first, and a reader moves its own
checkpoint. A shard that cannot be read on (a faulty page, data lost where that is to halt it) is halted and told of,
while the others go on; when nothing else is left, or on shutdown, its error is raised. Any other error is unknown: it
stops the engine and is raised, and no checkpoint passes what it befell.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import structlog

from lockside.aws.retrying import error_code
from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.ports import ProcessorFactory, Stop
from lockside.engines.consumer import HALTS
from lockside.engines.discovery import Discovery
from lockside.engines.embedded.crew import Crew, Outcome, closed
from lockside.engines.embedded.rota import Rota, Turn
from lockside.engines.embedded.services import Services
from lockside.engines.embedded.step import Progress
from lockside.engines.embedded.table import TableWatch
from lockside.engines.stream import StreamPlan
from lockside.errors import LocksideError, StoppedError

LOG = structlog.get_logger(__name__)

TURN_SECONDS_MAX: Final = 10.0
"""Longest wait of the coordinator: the health check wants to see it turn, however seldom shards are listed."""


def nothing() -> None:
    """Do nothing."""


class EmbeddedEngine:
    """Reads streams until told to stop, or until they are drained."""

    def __init__(self, plans: Iterable[StreamPlan], processors: ProcessorFactory, services: Services) -> None:
        """Prepare to read; nothing is called or started yet."""
        self._services = services
        self._tables = tuple(TableWatch(plan, processors, services) for plan in plans)
        self._discovery = Discovery(services.streams)
        self._rota = Rota(services.clock, services.settings.in_flight_bytes)

    def halted(self) -> Mapping[ShardRef, LocksideError]:
        """Return the shards that were halted, and why."""
        return {shard: error for table in self._tables for shard, error in table.halted.items()}

    def unread(self, failing_seconds_max: float) -> list[str]:
        """Say what is not read: streams not listed yet, off or gone, shards halted or failing for longer than that."""
        return [reason for table in self._tables for reason in table.unread(failing_seconds_max)]

    def ended(self) -> Collection[ShardRef]:
        """Return none in particular: one worker reads all shards, and what it does not tell of has ended."""
        return ()

    def run(self, stop: Stop) -> None:
        """Read until `stop` is set, or until no table will ever have more.

        Raises the first unknown error of any shard, else that of a halted shard.
        """
        services = self._services
        crew = Crew(self._rota, services.settings.threads, services.clock, services.loops)
        crew.start(stop)
        failure: Exception | None = None
        try:
            while not crew.halt.is_set() and failure is None:
                services.loops.beat_here()
                self._discover()
                if all(table.exhausted for table in self._tables):
                    break
                outcome = crew.outcome(min(TURN_SECONDS_MAX, self._seconds_to(self._asking_ms())))
                failure = self._settle(outcome) if outcome else None
        except StoppedError:
            pass
        finally:
            services.loops.forget_here()
            crew.stop()
            outcomes, busy = crew.join(services.settings.shutdown_seconds)
            failures = [error for error in map(self._settle, outcomes) if error is not None]
            for reader in busy:
                LOG.error("reader_still_busy", **{telemetry.SHARD: reader.shard.shard_id})
        self._raise_first([failure, *failures])

    def run_once(self, stop: Stop, drained: Callable[[], None] = nothing) -> None:
        """Read what is there, checkpoint and return; in the caller's thread, one step at a time.

        Raises as `run` does. A shard counts as drained after some empty pages in a row, or with the first change made
        after the start of this run: a table that is written to without a pause must not keep it for ever. `drained` is
        called when nothing is left to read, before the shards are closed.
        """
        idle: list[Turn] = []
        failures: list[Exception | None] = []
        try:
            while not stop.is_set():
                self._services.loops.beat_here()
                self._discover()
                if self._rota.next_ms is None and all(table.settled for table in self._tables):
                    drained()
                    break
                # Each once: a shard with a backlog is due again at once, and must not keep the listing waiting.
                for _ in range(len(self._rota)):
                    if (turn := self._rota.take_due()) is not None:
                        self._take(turn, idle)
                stop.wait(self._seconds_to(self._next_ms()))
        except StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 raised below, once the other shards are closed
            failures.append(error)
        finally:
            self._services.loops.forget_here()
        while (left := self._rota.leave()) is not None:
            idle.append(left)
        failures += [self._settle(closed(turn)) for turn in idle]
        self._raise_first(failures)

    def _take(self, turn: Turn, idle: list[Turn]) -> None:
        """Do one step of one reader; raises what is unknown."""
        wait_seconds: float | None = None
        try:
            step = turn.reader.step(lambda page_bytes: self._rota.sized(turn, page_bytes))
            match step.progress:
                case Progress.READING if turn.reader.read_past_its_start:
                    idle.append(turn)
                case Progress.READING | Progress.MISSING:
                    wait_seconds = step.wait_seconds
                case Progress.DRAINED:
                    idle.append(turn)
                case Progress.ENDED:
                    self._settle(Outcome(turn.watch, turn.reader.shard.shard_id, ended=True, error=None))
        except StoppedError:
            wait_seconds = 0.0
            raise
        except Exception as error:
            turn.reader.abandon(error)
            if self._settle(Outcome(turn.watch, turn.reader.shard.shard_id, ended=False, error=error)) is not None:
                raise
        finally:
            self._rota.give_back(turn, wait_seconds)

    def _settle(self, outcome: Outcome) -> Exception | None:
        """Note how a reader came to an end; return the error if it is one that stops the engine."""
        unknown: Exception | None = None
        match outcome.error:
            case None if outcome.ended:
                outcome.watch.ended(outcome.shard_id)
            case None:
                outcome.watch.stopped(outcome.shard_id)
            case LocksideError() as error if isinstance(error, HALTS):
                outcome.watch.halt(outcome.shard_id, error)
            case error:
                outcome.watch.stopped(outcome.shard_id)
                place = {telemetry.TABLE: outcome.watch.plan.table, telemetry.SHARD: outcome.shard_id}
                LOG.error("shard_failed", **place, **{telemetry.ERROR: error_code(error)})
                unknown = error
        self._tell_open()
        return unknown

    def _discover(self) -> None:
        """Ask for streams and shards what is due, and give each shard that may be read turns."""
        now_ms = self._services.clock.now().mono_ms
        for table in self._tables:
            if table.due_ms() <= now_ms:
                for watch, reader in table.discover(self._discovery):
                    self._rota.add(Turn(watch, reader))
        self._tell_open()

    def _asking_ms(self) -> int:
        return min((table.due_ms() for table in self._tables), default=0)

    def _next_ms(self) -> int:
        asking = [table.due_ms() for table in self._tables if not table.settled]
        turn_ms = self._rota.next_ms
        return min([*asking, *([] if turn_ms is None else [turn_ms])], default=0)

    def _seconds_to(self, at_ms: int) -> float:
        return max(0.0, (at_ms - self._services.clock.now().mono_ms) / 1000)

    def _tell_open(self) -> None:
        open_shards = sum(len(table.current.readers) for table in self._tables)
        self._services.meter.gauge("shards_open", float(open_shards))

    def _raise_first(self, failures: Iterable[Exception | None]) -> None:
        halts = (error for table in self._tables for error in (*table.halted.values(), table.failure))
        for error in (*failures, *halts):
            if error is not None:
                raise error
