"""What `lockside status` finds out: who owns the application, and how each shard of each source stands.

It reads the state table only, so it works wherever that can be read, and while the worker is down.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockside.app import sources
from lockside.aws.clients import reached
from lockside.aws.retrying import Retrier
from lockside.core.ownership import OwnerRow
from lockside.core.ports import Clock
from lockside.core.status import BAD_AFTER_MS, ShardStatus, shows_life
from lockside.core.telemetry import NoMeter
from lockside.ops.clock import SystemClock
from lockside.state.checkpoints import Checkpoint, Checkpoints
from lockside.state.ownership import OwnerTable
from lockside.state.status import StatusTable

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.core.ports import Stop
    from lockside.settings import Settings


@dataclass(frozen=True, slots=True)
class ShardReport:
    """One shard: what its worker told last, and how far it is saved."""

    status: ShardStatus
    checkpoint: Checkpoint | None
    is_stale: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole answer, as of `now_ms`. `problems` are the bad news, one a line; none means that all is well.

    A fleet has no owner: `members` are its workers that told of a shard just now.
    """

    application: str
    now_ms: int
    owner: OwnerRow | None
    owner_is_live: bool
    shards: tuple[ShardReport, ...]
    problems: tuple[str, ...]
    members: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the answer is read; `fleet` if KCL's leases rule, and not an owner."""

    application: str
    watched: tuple[str, ...]
    client: "DynamoDBClient"
    table: str
    clock: Clock
    fleet: bool = False

    def report(self, stop: "Stop") -> Report:
        """Read everything once. Raises StoppedError where the table has not answered until `stop`."""
        retrier = Retrier(stop, NoMeter())
        owners = OwnerTable(self.client, self.table, self.clock)
        rows = StatusTable(self.client, self.table, self.application)
        checkpoints = Checkpoints(self.client, self.table, retrier, self.clock)
        owner = retrier.call("owner", lambda: owners.read(self.application))
        told = retrier.call("status", lambda: list(rows.read()))
        saved = {arn: checkpoints.read(arn).shards for arn in sorted({each.shard.stream_arn for each in told})}
        return self._judged(owner, told, saved)

    def _judged(
        self, owner: OwnerRow | None, told: Sequence[ShardStatus], saved: Mapping[str, Mapping[str, Checkpoint]]
    ) -> Report:
        now_ms = self.clock.now().wall_ms
        shards = tuple(
            ShardReport(
                status,
                saved[status.shard.stream_arn].get(status.shard.shard_id),
                status.is_stale(now_ms),
                status.problem(now_ms),
            )
            for status in sorted(told, key=lambda each: (each.shard.table, each.shard.label, each.shard.shard_id))
        )
        members = tuple(sorted({each.status.owner for each in shards if not each.is_stale})) if self.fleet else None
        down = _down(owner, now_ms) if members is None else _deserted(members)
        problems: tuple[str, ...] = (down,) if down is not None else ()
        problems += tuple(_shard_problems(shards, is_down=down is not None))
        problems += tuple(self._unread(shards, settled=down is None and _settled(owner, now_ms)))
        return Report(self.application, now_ms, owner, down is None, shards, problems, members)

    def _unread(self, shards: tuple[ShardReport, ...], *, settled: bool) -> Iterator[str]:
        told = {report.status.shard.table for report in shards}
        for table in self.watched:
            if (shards or settled) and table not in told:
                yield f"table {table}: no shard of it was read yet; `lockside check` says whether it can be"


def reading(settings: "Settings") -> Reading:
    """Connect to the state table. Raises SetupError within seconds if it is not there or does not answer."""
    clients = reached(settings.aws, settings.state.table)
    sources.describe_own(clients.dynamodb, settings.state.table, "state.table")
    watched = tuple(dict.fromkeys(source.table for source in settings.source))
    fleet = settings.engine.kind == "kcl"
    return Reading(settings.application, watched, clients.dynamodb, settings.state.table, SystemClock(), fleet)


def _down(owner: OwnerRow | None, now_ms: int) -> str | None:
    """Say why no worker owns the application, as far as its row tells; None if one does."""
    if owner is None:
        return "no worker has run yet; `lockside run` starts one"
    if owner.owner is None and owner.ended is not None:
        return f"no worker runs: the last one, on {owner.place}, ended: {owner.ended}"
    if owner.owner is None:
        return f"no worker runs: the last one, on {owner.place}, stopped in good order; `lockside run` starts one"
    if shows_life(owner.renewed_ms, owner.lease_ms, now_ms):
        return None
    return (
        f"no worker runs: the last one, on {owner.place}, gave its last sign of life "
        f"{(now_ms - owner.renewed_ms) // 1000} s ago and did not stop in good order; look at its log, start it again"
    )


def _deserted(members: Sequence[str]) -> str | None:
    if members:
        return None
    return "no worker of the fleet tells of a shard; `lockside run` starts one, `lockside kcl leases` shows the leases"


def _settled(owner: OwnerRow | None, now_ms: int) -> bool:
    """Whether the owner has had time to find and to tell of its shards: that it told of none is bad news by now."""
    return owner is not None and now_ms - owner.taken_ms > BAD_AFTER_MS


def _shard_problems(shards: tuple[ShardReport, ...], *, is_down: bool) -> Iterator[str]:
    for report in shards:
        # That all of a dead worker's shards are silent goes without saying, once it was said that it is dead.
        if report.problem is not None and not (is_down and report.is_stale and report.status.state != "halted"):
            yield f"table {report.status.shard.table}, shard {report.status.shard.shard_id}: {report.problem}"
