"""What `lockside replicate --compare` finds out of each replica: what differs, and how late it is told to be."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockside.app import sources
from lockside.app.replica_targets import Joined, SourceTable, source_table, target
from lockside.app.replicate import application_of, chosen
from lockside.aws.clients import Clients, reached
from lockside.aws.retrying import Retrier
from lockside.core.telemetry import NoMeter
from lockside.ops.clock import SystemClock
from lockside.state.ownership import OwnerTable
from lockside.state.replicas import Replicas
from lockside.state.status import StatusTable
from lockside.stores.comparison import Comparer, Comparison

if TYPE_CHECKING:
    from lockside.core.ports import Clock, Stop
    from lockside.settings import ReplicaSettings, Settings
    from lockside.stores.target import Target


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """One replica, compared. `lag_seconds` is what its replicator last told, None if none tells anything now.

    `incomplete` says why rows may be lacking that no stream brings any more; empty if none are.
    """

    name: str
    table: str
    place: str
    comparison: Comparison
    lag_seconds: float | None
    incomplete: str
    settle_seconds: float

    @property
    def is_settled(self) -> bool:
        """Whether what differs was looked at for longer than its replicator is behind, as far as that is told."""
        return self.lag_seconds is None or self.lag_seconds <= self.settle_seconds


@dataclass(frozen=True, slots=True)
class Comparing:
    """One replica about to be compared."""

    name: str
    source: SourceTable
    target: "Target"
    settings: "Settings"
    clients: Clients
    retrier: Retrier
    clock: "Clock"
    stop: "Stop"
    application: str

    @property
    def rows_estimate(self) -> int:
        """About how many rows its source has: DynamoDB counts them every six hours."""
        return self.source.rows_estimate

    def compare(self, settle_seconds: float, progress: Callable[[int], None]) -> ReplicaReport:
        """Compare it. Raises StoppedError where nobody answers in time."""
        comparer = Comparer(
            self.clients.dynamodb,
            self.source.name,
            self.source.schema,
            self.target,
            self.retrier,
            self.clock,
            self.stop,
            progress,
        )
        found = comparer.run(settle_seconds)
        return ReplicaReport(
            self.name,
            self.source.name,
            self.target.place,
            found,
            self._lag_seconds(),
            self._incomplete(),
            settle_seconds,
        )

    def _lag_seconds(self) -> float | None:
        owner = OwnerTable(self.clients.dynamodb, self.settings.state.table, self.clock).read(self.application)
        if owner is None or owner.owner is None:
            return None
        rows = StatusTable(self.clients.dynamodb, self.settings.state.table, self.application).read()
        now_ms = self.clock.now().wall_ms
        told = [row for row in rows if not row.is_stale(now_ms) and row.lag_ms is not None]
        lags = (max(row.lag_ms or 0, row.unwritten_ms or 0) + now_ms - row.refreshed_ms for row in told)
        return max(lags, default=0) / 1000 if told else None

    def _incomplete(self) -> str:
        state = Replicas(self.clients.dynamodb, self.settings.state.table, self.retrier).read(self.name)
        if state is None or state.place != self.target.place:
            return "it was never replicated to this place"
        if state.is_complete:
            return ""
        if state.phase != "done":
            return "a copy of the table is under way, or was broken off"
        return "the table was never copied" if state.copied == 0 else f"something was lost ({state.reason})"


def comparing(settings: "Settings", ids: Sequence[str], stopping: "Callable[[], Stop]") -> Iterator[Comparing]:
    """Find the replicas to compare, one after another. Raises SetupError for what is not as it must be.

    `stopping` makes a stop for each: one that is slow to answer takes nothing of the others' time.
    """
    wanted = chosen(settings, ids)
    clients, clock = reached(settings.aws, settings.state.table), SystemClock()
    sources.describe_own(clients.dynamodb, settings.state.table, "state.table")
    for number, replica in wanted.items():
        stop = stopping()
        retrier = Retrier(stop, NoMeter())
        yield from _one(settings, replica, f"replica[{number}]", clients, Joined(settings.aws, retrier, clock, stop))


def _one(
    settings: "Settings", replica: "ReplicaSettings", setting: str, clients: Clients, joined: Joined
) -> Iterator[Comparing]:
    source = source_table(clients, replica.table, f"{setting}.table")
    with closing(target(replica, setting, source, joined, create=False)) as place:
        application = application_of(settings, replica.reader_name)
        yield Comparing(
            replica.id, source, place, settings, clients, joined.retrier, joined.clock, joined.stop, application
        )
