"""The rows a worker writes of its shards: bounded, in turn, and never in the way."""

from collections.abc import Mapping
from typing import Any

from structlog.testing import capture_logs

from lockside.app.left_rows import LEFT_OVER_MS
from lockside.app.reporter import TELL_MS, Facts, Reporter, StatusRows
from lockside.app.sources import Stream
from lockside.audit.genesis import InForce
from lockside.aws.tables import state_table
from lockside.core.change import ShardRef
from lockside.core.status import ShardView
from lockside.errors import StreamLostError
from lockside.state.status import ROWS_MAX, StatusTable
from tests.fakes.clock import START_MS, FakeClock
from tests.fakes.dynamodb import FakeDynamoDB, service_error
from tests.fakes.sources import source
from tests.fakes.streams import arn_of

ARN = arn_of("locks")
SECONDS = 5.0


def shard(number: int) -> ShardRef:
    """Name a shard."""
    return ShardRef(ARN, f"shardId-{number:04d}")


class Counting:
    """A client that counts batch writes, and fails them while it is told to."""

    def __init__(self) -> None:
        """Start with an empty state table."""
        self.database = FakeDynamoDB(state_table("state").create)
        self.sizes: list[int] = []
        self.error: Exception | None = None

    def query(self, **request: Any) -> Any:
        """Read."""
        return self.database.query(**request)

    def batch_write_item(self, **request: Any) -> Any:
        """Count, and write or fail."""
        self.sizes.append(len(request["RequestItems"]["state"]))
        if self.error is not None:
            raise self.error
        return self.database.batch_write_item(**request)


class Desk:
    """A worker's reporter over shards that a test sets."""

    def __init__(self, client: Counting | None = None, epoch: int = 1) -> None:
        """Report of no shard yet."""
        self.clock = FakeClock()
        self.client = client or Counting()
        self.views: dict[ShardRef, ShardView] = {}
        self.halted: dict[ShardRef, Exception] = {}
        self.table = StatusTable(self.client, "state", "app")  # type: ignore[arg-type]
        stream = Stream("locks", ARN, "TRIM_HORIZON", (source("pydynlock"),))
        facts = Facts({"locks": stream}, "run", epoch, lambda: self.halted, self._in_force)
        self.reporter = Reporter(StatusRows(self.table, SECONDS), facts, lambda: self.views, self.clock, SECONDS)

    def rounds(self, number: int = 1) -> None:
        """Report so many times."""
        for _ in range(number):
            self.clock.advance(SECONDS)
            self.reporter._safely()

    def rows(self) -> Mapping[str, Any]:
        """Read the rows by shard id."""
        return {row.shard.shard_id: row for row in self.table.read()}

    def _in_force(self, log: str) -> InForce:
        assert log == "the-log"
        return InForce("abc", "TRIM_HORIZON", START_MS)


def test_a_row_says_what_its_shard_does() -> None:
    """What the processor tells, the source, the recipe in force and since when, and who says so."""
    desk = Desk()
    desk.views[shard(1)] = ShardView("caught_up", 10**22, 400, 7_000, 0, 3, "the-log")
    desk.rounds()
    (row,) = desk.table.read()
    assert (row.shard, row.sources, row.state, row.start) == (shard(1), ("src",), "caught_up", "TRIM_HORIZON")
    assert (row.position, row.lag_ms, row.unwritten_ms, row.deadlines) == (10**22, 400, 7_000, 3)
    assert (row.recipe, row.since_ms, row.owner, row.epoch) == ("abc", START_MS, "run", 1)
    assert (row.refreshed_ms, row.again_ms) == (START_MS + 5_000, 5_000)


def test_many_shards_take_turns_in_one_write_a_round() -> None:
    """Each round writes 25 rows at most; every row says when it will be refreshed, and is by then."""
    desk = Desk()
    desk.views = {shard(number): ShardView("reading") for number in range(60)}
    for _ in range(3):
        desk.rounds(3)
        oldest = min(row.refreshed_ms for row in desk.rows().values())
        assert desk.clock.now().wall_ms - oldest < desk.rows()["shardId-0000"].again_ms == 15_000
    assert desk.client.sizes == [ROWS_MAX] * 9
    assert len(desk.rows()) == 60


def test_rows_of_ended_shards_are_removed() -> None:
    """A shard with nothing left to watch is told of no more; a halted one is, though nobody reads it."""
    desk = Desk()
    desk.views = {shard(number): ShardView("reading") for number in range(4)}
    desk.rounds()
    del desk.views[shard(0)], desk.views[shard(1)]
    desk.halted[shard(1)] = StreamLostError("the stream no longer holds it")
    desk.rounds()
    assert sorted(desk.rows()) == ["shardId-0001", "shardId-0002", "shardId-0003"]
    assert (desk.rows()["shardId-0001"].state, desk.rows()["shardId-0001"].halted) == (
        "halted",
        "the stream no longer holds it",
    )


def test_what_an_earlier_owner_left_is_kept_until_its_shards_had_time_to_be_found() -> None:
    """A stream that cannot be listed yet must not lose what is known of it."""
    client = Counting()
    before = Desk(client)
    before.views = {shard(1): ShardView("reading"), shard(2): ShardView("reading")}
    before.rounds()
    after = Desk(client, epoch=2)
    after.views = {shard(2): ShardView("reading")}
    after.rounds(int(LEFT_OVER_MS / 1000 / SECONDS))
    assert [row.epoch for row in after.rows().values()] == [1, 2]
    after.rounds()
    assert list(after.rows()) == ["shardId-0002"]


def test_the_last_report_removes_nothing() -> None:
    """Its processors are closed by then, and what they did is worth reading."""
    desk = Desk()
    desk.views = {shard(1): ShardView("reading")}
    desk.rounds()
    desk.views = {}
    desk.reporter.report_last()
    assert list(desk.rows()) == ["shardId-0001"]


def test_a_failed_refresh_is_told_seldom_and_stops_nothing() -> None:
    """One line each ten minutes; the first round that succeeds has everything."""
    desk = Desk()
    desk.views = {shard(1): ShardView("reading")}
    desk.client.error = service_error("ProvisionedThroughputExceededException", "BatchWriteItem")
    with capture_logs() as logs:
        desk.rounds(round(2 * TELL_MS / 1000 / SECONDS))
    assert [line["event"] for line in logs] == ["status_not_refreshed"] * 2
    desk.client.error = None
    desk.rounds()
    assert list(desk.rows()) == ["shardId-0001"]


def test_a_fault_of_our_own_stops_nothing_either() -> None:
    """Telling is never worth the work that is told of."""
    desk = Desk()
    desk.views = {shard(1): ShardView("reading", log="another-log")}
    with capture_logs() as logs:
        desk.rounds(3)
    assert [line["event"] for line in logs] == ["status_not_refreshed"]


def test_rows_of_another_version_are_passed_over() -> None:
    """What cannot be read is no reason to tell nothing."""
    desk = Desk()
    desk.client.database.put_item(
        TableName="state", Item={"pk": {"S": "STATUS#app"}, "sk": {"S": f"{ARN}#shardId-9"}, "told": {"S": "{}"}}
    )
    assert list(desk.table.read()) == []
