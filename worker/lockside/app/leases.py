"""What `lockside kcl leases` finds out: which worker has which shard of the fleet, and how far it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockside.app import sources
from lockside.aws.clients import reached
from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.ports import Clock, Stop
from lockside.core.status import ShardStatus
from lockside.core.telemetry import NoMeter
from lockside.engines.kcl.leases import Lease, LeaseTable, lease_table
from lockside.errors import SetupError
from lockside.ops.clock import SystemClock
from lockside.state.status import StatusTable
from lockside.state.streams import Streams

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.settings import Settings


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """One lease, and what its worker told last of the shard. `age_ms` is how long ago that was."""

    table: str
    stream_arn: str
    lease: Lease
    lag_ms: int | None
    age_ms: int | None


@dataclass(frozen=True, slots=True)
class FleetReport:
    """All leases of an application. `leaders` hand out each stream's leases; `problems` are the bad news."""

    application: str
    leaders: Mapping[str, str | None]
    leases: tuple[LeaseReport, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FleetReading:
    """Where the answer is read."""

    settings: "Settings"
    clients: "Clients"
    clock: Clock

    def report(self, stop: Stop) -> FleetReport:
        """Read everything once. Raises StoppedError where a table has not answered until `stop`."""
        retrier, client, settings = Retrier(stop, NoMeter()), self.clients.dynamodb, self.settings
        rows = StatusTable(client, settings.state.table, settings.application)
        told = {status.shard: status for status in retrier.call("status", lambda: list(rows.read()))}
        reports: list[LeaseReport] = []
        leaders: dict[str, str | None] = {}
        problems: list[str] = []
        for arn in self._streams(retrier):
            table = LeaseTable(client, lease_table(settings.application, arn))
            leases = retrier.call("leases", table.leases)
            leaders[arn] = retrier.call("leader", table.leader)
            reports += [self._report(arn, lease, told) for lease in leases]
            problems += _problems(ShardRef(arn, "").table, leases)
        return FleetReport(settings.application, leaders, tuple(reports), tuple(problems))

    def _streams(self, retrier: Retrier) -> Iterator[str]:
        """Name the streams that are read: each table's newest, and older ones that are not drained."""
        streams = Streams(self.clients.dynamodb, self.settings.state.table, retrier)
        for number, table in enumerate(dict.fromkeys(source.table for source in self.settings.source)):
            newest = sources.describe(self.clients.dynamodb, table, f"source[{number}].table").stream_arn
            if newest is None:
                continue
            yield from sorted({newest, *(known.arn for known in streams.load(newest) if not known.drained)})

    def _report(self, arn: str, lease: Lease, told: Mapping[ShardRef, ShardStatus]) -> LeaseReport:
        shard = ShardRef(arn, lease.shard_id)
        status = None if lease.finished else told.get(shard)
        age_ms = None if status is None else max(0, self.clock.now().wall_ms - status.refreshed_ms)
        return LeaseReport(shard.table, arn, lease, None if status is None else status.lag_ms, age_ms)


def _problems(table: str, leases: tuple[Lease, ...]) -> Iterator[str]:
    if not leases:
        yield f"table {table}: no lease yet; the first worker makes them within about half a minute of its start"
    for lease in leases:
        if lease.owner is None and not lease.finished:
            yield f"table {table}, shard {lease.shard_id}: leased to nobody; is a worker running?"


def fleet_reading(settings: "Settings") -> FleetReading:
    """Connect. Raises SetupError where the settings are of no fleet, or nobody answers."""
    if settings.engine.kind != "kcl":
        raise SetupError(
            f'engine.kind = "{settings.engine.kind}": has no leases, one worker reads all; see `lockside status`'
        )
    return FleetReading(settings, reached(settings.aws, settings.state.table), SystemClock())


def as_json(report: FleetReport) -> dict[str, Any]:
    """Return the answer for a script; a sequence number is text, as it is wider than 64 bits."""
    return {
        "application": report.application,
        "leaders": dict(report.leaders),
        "leases": [
            {
                "table": each.table,
                "stream": each.stream_arn,
                "shard": each.lease.shard_id,
                "owner": each.lease.owner,
                "checkpoint": each.lease.checkpoint,
                "finished": each.lease.finished,
                "parents": list(each.lease.parents),
                "lag_ms": each.lag_ms,
                "told_ms_ago": each.age_ms,
            }
            for each in report.leases
        ],
        "problems": list(report.problems),
    }
