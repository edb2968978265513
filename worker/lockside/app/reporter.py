"""What the worker says of itself unasked: the rows that `lockside status` reads, and of changes that cannot be written.

On a thread of its own, so that it goes on while every shard is held up. It beats for no health check and stops nothing:
a worker that cannot tell how it does still does its work.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.app.left_rows import LEFT_OVER_MS, LeftRows
from lockside.app.sources import Stream
from lockside.audit.genesis import InForce
from lockside.aws.retrying import error_code
from lockside.core import telemetry, unwritten
from lockside.core.change import ShardRef
from lockside.core.ports import Clock
from lockside.core.status import ShardStatus, ShardView
from lockside.core.unwritten import Told
from lockside.state.status import ROWS_MAX, StatusTable

LOG = structlog.get_logger(__name__)

TELL_MS: Final = 600_000
"""How often it says that its rows cannot be written."""

JOIN_SECONDS_MAX: Final = 5.0


class Escalation:
    """Speaks of shards that are held up by a change which cannot be written: seldom, and louder with time."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._told: dict[ShardRef, Told] = {}

    def check(self, views: Mapping[ShardRef, ShardView], now_ms: int) -> None:
        """Say what is due of shards as they are now, and of those that go on."""
        for shard, view in views.items():
            if view.held_since_ms is None or view.unwritten_ms is None:
                continue
            told = unwritten.tell(view.held_since_ms, view.unwritten_ms, self._told.get(shard), now_ms)
            if told is not None:
                self._told[shard] = told
                self._say(shard, view.unwritten_ms, told)
        for shard, told in list(self._told.items()):
            there = views.get(shard)
            if there is None or there.held_since_ms != told.held_since_ms:
                del self._told[shard]
                if there is not None:
                    LOG.info("change_written_again", **{telemetry.TABLE: shard.table, telemetry.SHARD: shard.shard_id})

    def _say(self, shard: ShardRef, age_ms: int, told: Told) -> None:
        report = {"info": LOG.info, "warning": LOG.warning, "error": LOG.error}[told.level]
        report(
            "change_unwritten",
            age_seconds=age_ms // 1000,
            hours_left=unwritten.hours_left(age_ms),
            **{
                telemetry.TABLE: shard.table,
                telemetry.SHARD: shard.shard_id,
                telemetry.SECONDS: (told.at_ms - told.held_since_ms) // 1000,
            },
        )


class StatusRows:
    """Keeps the rows of one application like its shards: a bounded part of them in each round, the oldest first."""

    def __init__(
        self, table: StatusTable, seconds: float, fleet_ended: Callable[[], Collection[ShardRef]] | None = None
    ) -> None:
        """Nothing was written yet; a round comes every so many seconds.

        In a fleet the rows of others are theirs: `fleet_ended` tells the shards that were read to their end here,
        whose rows are ours to remove, whoever wrote them.
        """
        self._fleet_ended = fleet_ended
        self._table = table
        self._round_ms = round(seconds * 1000)
        self._there: dict[ShardRef, int] | None = None
        self._rounds = 0
        self._removed: set[ShardRef] = set()

    def refresh(self, statuses: Sequence[ShardStatus], *, last: bool = False) -> None:
        """Write the rows that wait longest, and remove those of shards that ended.

        What an earlier owner left stays until its shards have had time to be found; the last round removes nothing.
        """
        if self._there is None:
            self._there = {} if self._fleet_ended is not None else {row.shard: 0 for row in self._table.read()}
        there, now = self._there, {status.shard for status in statuses}
        settled = self._rounds * self._round_ms >= LEFT_OVER_MS
        ended = [shard for shard, written in there.items() if shard not in now and (written or settled)]
        if self._fleet_ended is not None:
            there, ended = self._in_fleet(self._fleet_ended(), there, now)
        gone = [] if last else ended[:ROWS_MAX]
        again_ms = self._round_ms * max(1, -(-len(statuses) // ROWS_MAX))
        # There is no round after the last one: what halted comes first.
        waiting = sorted(statuses, key=lambda each: (last and each.state != "halted", there.get(each.shard, 0)))
        chosen = [replace(status, again_ms=again_ms) for status in waiting[: ROWS_MAX - len(gone)]]
        self._table.refresh(chosen, gone)
        self._rounds += 1
        there.update((status.shard, self._rounds) for status in chosen)
        for shard in gone:
            there.pop(shard, None)
            self._removed.add(shard)

    def _in_fleet(
        self, ended: Collection[ShardRef], there: Mapping[ShardRef, int], now: Collection[ShardRef]
    ) -> tuple[dict[ShardRef, int], list[ShardRef]]:
        """Of rows that are left behind, keep hands off those whose shards went to another worker.

        The row of a shard that ended here may be an earlier worker's, which died before it could tell of the end.
        """
        self._removed.intersection_update(ended)
        self._there = {shard: written for shard, written in there.items() if shard in now or shard in ended}
        return self._there, [shard for shard in ended if shard not in now and shard not in self._removed]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told of each shard besides its own view. `streams` are those of each table."""

    streams: Mapping[str, Stream]
    owner: str
    epoch: int
    halted: Callable[[], Mapping[ShardRef, Exception]]
    in_force: Callable[[str], InForce | None]

    def statuses(self, views: Mapping[ShardRef, ShardView], now_ms: int) -> list[ShardStatus]:
        """Join both; a halted shard is told of though nobody reads it any more."""
        halted = self.halted()
        unseen = {shard: ShardView("halted") for shard in halted if shard not in views}
        return [
            self._status(shard, view, halted.get(shard), now_ms)
            for shard, view in {**views, **unseen}.items()
            if shard.table in self.streams
        ]

    def _status(self, shard: ShardRef, view: ShardView, halt: Exception | None, now_ms: int) -> ShardStatus:
        stream = self.streams[shard.table]
        in_force = None if view.log is None else self.in_force(view.log)
        return ShardStatus(
            shard=shard,
            sources=tuple(source.id for source in stream.sources),
            state="halted" if halt is not None else view.state,
            start=stream.start,
            position=view.position,
            lag_ms=view.lag_ms,
            unwritten_ms=view.unwritten_ms,
            deadlines=view.deadlines,
            halted=None if halt is None else str(halt) or type(halt).__name__,
            recipe=in_force.recipe if in_force else None,
            since_ms=in_force.since_ms if in_force else None,
            owner=self.owner,
            epoch=self.epoch,
            refreshed_ms=now_ms,
            again_ms=0,
        )


class Reporter:
    """The thread that does both, every few seconds."""

    def __init__(  # noqa: PLR0913 - each is asked for something of its own
        self,
        rows: StatusRows,
        facts: Facts,
        views: Callable[[], Mapping[ShardRef, ShardView]],
        clock: Clock,
        seconds: float,
        *,
        left: LeftRows | None = None,
    ) -> None:
        """Take whom to ask; no thread is started yet. `left` removes what others of a fleet left behind."""
        self._rows = rows
        self._left = left
        self._facts = facts
        self._views = views
        self._clock = clock
        self._seconds = seconds
        self._escalation = Escalation()
        self._ended = threading.Event()
        self._told_ms: int | None = None
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """Report no more."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS_MAX)

    def report_last(self) -> None:
        """Report once more after the end, so that a short run is told of too; for an owner that was not taken over."""
        if not self._thread.is_alive():
            self._safely(last=True)

    def report(self, *, last: bool = False) -> None:
        """Report once."""
        views, now = self._views(), self._clock.now()
        self._escalation.check(views, now.mono_ms)
        self._rows.refresh(self._facts.statuses(views, now.wall_ms), last=last)
        if self._left is not None and not last:
            self._left.remove(views.keys(), now)

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._safely()

    def _safely(self, *, last: bool = False) -> None:
        """Report; whatever goes wrong is said seldom and stops nothing."""
        try:
            self.report(last=last)
        except (ClientError, BotoCoreError) as error:
            if self._time_to_tell():
                LOG.warning("status_not_refreshed", **{telemetry.ERROR: error_code(error)})
        except Exception:
            if self._time_to_tell():
                LOG.exception("status_not_refreshed")

    def _time_to_tell(self) -> bool:
        now_ms = self._clock.now().mono_ms
        due = self._told_ms is None or now_ms - self._told_ms >= TELL_MS
        self._told_ms = now_ms if due else self._told_ms
        return due
