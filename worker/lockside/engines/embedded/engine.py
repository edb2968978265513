"""The embedded engine: every shard of every planned stream, in one process.

Strategy: a coordinator lists shards and starts a reader for each whose parent is done (law 3); a reader moves its own
checkpoint. A shard that cannot be read on (data lost, a faulty page, a shard or stream that is gone) is halted and told
of, while the others go on; when nothing else is left, or on shutdown, its error is raised. Any other error is unknown:
it stops the engine and is raised, and no checkpoint passes what it befell.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from lockside.aws.retrying import Retrier, error_code
from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.ports import ProcessorFactory, Stop
from lockside.engines.embedded.crew import Crew, Outcome
from lockside.engines.embedded.discovery import Discovery
from lockside.engines.embedded.plan import StreamPlan
from lockside.engines.embedded.reader import Progress, Services, ShardReader
from lockside.engines.embedded.watch import StreamWatch
from lockside.errors import FaultyPageError, LocksideError, SetupError, StoppedError, StreamLostError

LOG = structlog.get_logger(__name__)

HALTS: Final = (FaultyPageError, SetupError, StreamLostError)
"""Errors that concern one shard and are understood; the other shards go on."""

NO_LIMIT: Final = 1_000_000
"""Without threads a waiting shard costs a few hundred bytes, and a drained one must not keep others from their turn."""


@dataclass(slots=True)
class Turn:
    """One reader in a run without threads, and when its next step is due."""

    watch: StreamWatch
    reader: ShardReader
    due_ms: int


class EmbeddedEngine:
    """Reads streams until told to stop, or until they are drained."""

    def __init__(self, plans: Iterable[StreamPlan], processors: ProcessorFactory, services: Services) -> None:
        """Prepare to read; nothing is called or started yet."""
        self._services = services
        self._watches = tuple(StreamWatch(plan, processors, services) for plan in plans)

    def halted(self) -> Mapping[ShardRef, LocksideError]:
        """Return the shards that were halted, and why."""
        return {
            ShardRef(watch.plan.stream_arn, shard_id): error
            for watch in self._watches
            for shard_id, error in tuple(watch.halted.items())
        }

    def run(self, stop: Stop) -> None:
        """Read until `stop` is set, or until no stream will ever have more.

        Raises the first unknown error of any shard, else that of a halted shard.
        """
        crew = Crew(self._services.clock, self._services.loops)
        crew.follow(stop)
        discovery = self._discovery(crew.halt)
        failure: Exception | None = None
        try:
            while not crew.halt.is_set() and failure is None:
                self._services.loops.beat_here()
                for watch, reader in self._discover(discovery, self._slots()):
                    crew.start(watch, reader)
                if all(watch.exhausted for watch in self._watches):
                    break
                outcome = crew.outcome(self._seconds_to_listing())
                failure = self._settle(outcome) if outcome else None
        except StoppedError:
            pass
        finally:
            self._services.loops.forget_here()
            crew.stop()
            outcomes, busy = crew.join(self._services.settings.shutdown_seconds)
            failures = [error for error in map(self._settle, outcomes) if error is not None]
            for reader in busy:
                LOG.error("reader_still_busy", **{telemetry.SHARD: reader.shard.shard_id})
        self._raise_first([failure, *failures])

    def run_once(self, stop: Stop) -> None:
        """Read what is there, checkpoint and return; in the caller's thread, one step at a time.

        Raises as `run` does. A shard counts as drained after some empty pages in a row.
        """
        discovery = self._discovery(stop)
        active: list[Turn] = []
        drained: list[Turn] = []
        failures: list[Exception | None] = []
        try:
            while not stop.is_set():
                started = self._discover(discovery, NO_LIMIT)
                active += (Turn(watch, reader, 0) for watch, reader in started)
                if not active and all(watch.settled for watch in self._watches):
                    break
                for turn in self._due(active):
                    self._take(turn, active, drained)
                stop.wait(self._seconds_to_turn(active))
        except StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 raised below, once the other shards are closed
            failures.append(error)
        failures += [self._settle(_closed(turn)) for turn in (*active, *drained)]
        self._raise_first(failures)

    def _take(self, turn: Turn, active: list[Turn], drained: list[Turn]) -> None:
        """Do one step of one reader; raises what is unknown."""
        try:
            step = turn.reader.step()
        except StoppedError:
            raise
        except Exception as error:
            active.remove(turn)
            turn.reader.abandon()
            unknown = self._settle(Outcome(turn.watch, turn.reader.shard.shard_id, ended=False, error=error))
            if unknown is not None:
                raise
            return
        turn.due_ms = self._services.clock.now().mono_ms + round(step.wait_seconds * 1000)
        match step.progress:
            case Progress.READING:
                pass
            case Progress.DRAINED:
                active.remove(turn)
                drained.append(turn)
            case Progress.ENDED:
                active.remove(turn)
                self._settle(Outcome(turn.watch, turn.reader.shard.shard_id, ended=True, error=None))

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

    def _slots(self) -> int:
        return max(0, self._services.settings.readers_max - sum(len(watch.readers) for watch in self._watches))

    def _discover(self, discovery: Discovery, slots: int) -> list[tuple[StreamWatch, ShardReader]]:
        started: list[tuple[StreamWatch, ShardReader]] = []
        for watch in self._watches:
            if watch.listing_due():
                started += ((watch, reader) for reader in watch.discover(discovery, slots - len(started)))
        if started:
            self._tell_open()
        return started

    def _discovery(self, stop: Stop) -> Discovery:
        return Discovery(self._services.streams, Retrier(stop, self._services.meter), stop)

    def _due(self, active: Sequence[Turn]) -> list[Turn]:
        now_ms = self._services.clock.now().mono_ms
        return [turn for turn in active if turn.due_ms <= now_ms]

    def _seconds_to_turn(self, active: Sequence[Turn]) -> float:
        unsettled = [watch.next_listing_ms() for watch in self._watches if not watch.settled]
        return self._seconds_to(min([*(turn.due_ms for turn in active), *unsettled], default=0))

    def _seconds_to_listing(self) -> float:
        return self._seconds_to(min((watch.next_listing_ms() for watch in self._watches), default=0))

    def _seconds_to(self, at_ms: int) -> float:
        return max(0.0, (at_ms - self._services.clock.now().mono_ms) / 1000)

    def _tell_open(self) -> None:
        self._services.meter.gauge("shards_open", float(sum(len(watch.readers) for watch in self._watches)))

    def _raise_first(self, failures: Iterable[Exception | None]) -> None:
        halts = (error for watch in self._watches for error in (*watch.halted.values(), watch.failure))
        for error in (*failures, *halts):
            if error is not None:
                raise error


def _closed(turn: Turn) -> Outcome:
    error: Exception | None = None
    try:
        turn.reader.close()
    except Exception as raised:  # noqa: BLE001 raised by the engine, once the other shards are closed
        turn.reader.abandon()
        error = raised
    return Outcome(turn.watch, turn.reader.shard.shard_id, ended=False, error=error)
