"""The rows that a fleet's workers keep of its shards: each its own, and nobody's for ever."""

from typing import Any

from lockside.app.left_rows import LEFT_OVER_MS, LeftRows
from lockside.app.reporter import Facts, Reporter, StatusRows
from lockside.app.sources import Stream
from lockside.aws.retrying import Retrier
from lockside.aws.tables import state_table
from lockside.core.change import ShardRef
from lockside.core.status import ShardView
from lockside.core.telemetry import NoMeter
from lockside.state.checkpoints import Checkpoints
from lockside.state.status import ROWS_MAX, StatusTable
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.sources import source
from tests.fakes.streams import arn_of

ARN = arn_of("locks")
SECONDS = 5.0
LONG = round(2 * LEFT_OVER_MS / 1000 / SECONDS)
"""Rounds after which a worker has looked for what others left."""


def shard(number: int) -> ShardRef:
    """Name a shard."""
    return ShardRef(ARN, f"shardId-{number:04d}")


class Fleet:
    """A state table, and workers whose shards a test sets."""

    def __init__(self) -> None:
        """Start with no worker."""
        self.clock = FakeClock()
        client: Any = FakeDynamoDB(state_table("state").create)
        self.table = StatusTable(client, "state", "app")
        self.checkpoints = Checkpoints(client, "state", Retrier(FakeStop(self.clock), NoMeter()), self.clock)

    def worker(self, name: str) -> "Member":
        """Start a worker."""
        return Member(self, name)

    def rows(self) -> dict[str, str]:
        """Read who told of each shard last."""
        return {row.shard.shard_id: row.owner for row in self.table.read()}


class Member:
    """One worker's report. `views` are its shards, `ended` those it read to their end."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        """Tell of no shard yet."""
        self.views: dict[ShardRef, ShardView] = {}
        self.ended: list[ShardRef] = []
        self._fleet = fleet
        stream = Stream("locks", ARN, "TRIM_HORIZON", (source("pydynlock"),))
        facts = Facts({"locks": stream}, name, 1, dict, lambda _log: None)
        rows = StatusRows(fleet.table, SECONDS, fleet_ended=lambda: self.ended)
        left = LeftRows(fleet.table, fleet.checkpoints)
        self.reporter = Reporter(rows, facts, lambda: self.views, fleet.clock, SECONDS, left=left)

    def reads(self, *numbers: int) -> "Member":
        """Read these shards, and no other, and tell of them."""
        self.views = {shard(number): ShardView("reading") for number in numbers}
        return self.round()

    def round(self, times: int = 1) -> "Member":
        """Report so many times."""
        for _ in range(times):
            self._fleet.clock.advance(SECONDS)
            self.reporter.report()
        return self


def test_whoever_ends_a_shard_removes_the_row_that_a_killed_worker_left() -> None:
    """It was read to its end before its new owner's first round."""
    fleet = Fleet()
    fleet.worker("killed").reads(1)
    ours = fleet.worker("ours").reads(2)
    ours.ended.append(shard(1))
    ours.round()
    assert fleet.rows() == {"shardId-0002": "ours"}


def test_a_row_that_was_removed_is_not_removed_again() -> None:
    """Another worker could not tell of a shard of the same name meanwhile; and each removal is a write."""
    fleet = Fleet()
    ours = fleet.worker("ours").reads(2)
    ours.ended.append(shard(1))
    ours.round()
    fleet.worker("other").reads(1)
    ours.round()
    assert fleet.rows() == {"shardId-0001": "other", "shardId-0002": "ours"}


def test_a_shard_that_ended_here_with_deadlines_left_keeps_its_row() -> None:
    """Until there is nothing left to watch."""
    fleet = Fleet()
    ours = fleet.worker("ours").reads(1, 2)
    ours.ended.append(shard(1))
    ours.views[shard(1)] = ShardView("ended", deadlines=3)
    ours.round()
    assert sorted(fleet.rows()) == ["shardId-0001", "shardId-0002"]
    ours.reads(2)
    assert sorted(fleet.rows()) == ["shardId-0002"]


def test_rows_of_shards_that_are_over_are_removed_by_whoever_is_left() -> None:
    """Whoever ended them died too. Of a finished shard, or one that is remembered no more, nobody will tell again."""
    fleet = Fleet()
    fleet.worker("killed").reads(1, 2, 3)
    fleet.checkpoints.finish(shard(1))
    fleet.checkpoints.advance(shard(2), 7)
    fleet.worker("ours").reads(4).round(LONG)
    assert fleet.rows() == {"shardId-0002": "killed", "shardId-0004": "ours"}


def test_rows_that_may_not_go_yet_keep_no_other_from_going() -> None:
    """A whole fleet died, and most of its shards are read by nobody yet."""
    fleet = Fleet()
    fleet.worker("killed").reads(*range(1, ROWS_MAX + 1))
    fleet.worker("killed too").reads(99)
    for number in range(1, ROWS_MAX + 1):
        fleet.checkpoints.advance(shard(number), 7)
    fleet.checkpoints.finish(shard(99))
    fleet.worker("ours").reads(100).round(3 * LONG)
    assert shard(99).shard_id not in fleet.rows()
    assert len(fleet.rows()) == ROWS_MAX + 1


def test_the_row_of_a_worker_that_lives_stays() -> None:
    """It watches the deadlines of a shard that ended."""
    fleet = Fleet()
    ours, other = fleet.worker("ours"), fleet.worker("other")
    fleet.checkpoints.finish(shard(1))
    for _ in range(LONG):
        ours.reads(2)
        other.reads(1)
    assert fleet.rows() == {"shardId-0001": "other", "shardId-0002": "ours"}


def test_a_row_that_was_refreshed_since_it_was_read_stays() -> None:
    """Whoever refreshed it lives."""
    fleet = Fleet()
    other = fleet.worker("other").reads(1)
    (read,) = fleet.table.read()
    other.round()
    fleet.table.remove_unchanged(read)
    assert sorted(fleet.rows()) == ["shardId-0001"]
