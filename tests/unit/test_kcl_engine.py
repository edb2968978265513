"""The tables of a fleet's worker, without Java: one that ends or cannot be described holds no other up."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from lockside.core.change import ShardRef
from lockside.core.gap import RETENTION_MS
from lockside.core.ports import NoLoops
from lockside.emulators.emulator import Emulator
from lockside.engines.bygone import LOOK_MS
from lockside.engines.kcl.engine import TURN_SECONDS, KclEngine
from lockside.engines.kcl.leases import Lease
from lockside.engines.kcl.services import Services
from lockside.engines.kcl.stream_run import StreamRun
from lockside.engines.kcl.table import DRAINED_LOOKS
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import FollowedTables
from lockside.errors import FaultyPageError, SetupError, StreamLostError
from lockside.state.streams import Streams
from tests.fakes.kcl_bench import Bench, NoLeases, bench_on
from tests.fakes.streams import spelled

LOOK_SECONDS = 30.0
OURS = "host/0"


class Leases(NoLeases):
    """Leases of which a test says who has them, and who leads."""

    owner: str | None = OURS
    leading: str | None = OURS

    def read(self, shard_id: str) -> Lease | None:
        """Find the lease of any shard."""
        return Lease(shard_id, Leases.owner, "1", 1, 0, ())

    def leases(self) -> tuple[Lease, ...]:
        """Find none unfinished."""
        return ()

    def leader(self) -> str | None:
        """Name the leader."""
        return Leases.leading


class QuietScheduler:
    """A scheduler that leases nothing."""

    alive = False

    def start(self) -> None:
        """Begin."""
        self.alive = True

    def ask_to_stop(self) -> None:
        """End."""
        self.alive = False

    def close(self) -> None:
        """Nothing is open."""


class QuietRun(StreamRun):
    """Reads a stream without Java; its shards are begun by the test."""

    def __init__(self, plan: StreamPlan, services: Services) -> None:
        """Prepare."""
        super().__init__(plan, services)
        self.leases = Leases(services.dynamodb, "leases")

    def _schedule(self) -> Any:
        return QuietScheduler()


class NoMachine:
    """No Java."""

    def start(self) -> None:
        """Start nothing."""


class Stage:
    """A worker over the tables `locks` and `sessions`."""

    def __init__(self, bench: Bench) -> None:
        """Give each table a stream with a shard."""
        self.bench = bench
        self.other = bench.streams.add_stream("sessions")
        bench.streams.add_shard(self.other, "side")
        client: Any = bench.streams
        rows = Streams(bench.services.dynamodb, bench.services.keeping.checkpoints.table, bench.services.retrier)
        self.tables = FollowedTables(client, rows)
        member = replace(bench.services.member, listing_seconds=LOOK_SECONDS)
        self.services = replace(bench.services, tables=self.tables, member=member)
        machine: Any = NoMachine()
        plans = [bench.plan, replace(bench.plan, table="sessions", stream_arn=self.other)]
        self.engine = KclEngine(plans, machine, self.services, NoLoops(), 1.0, make_run=QuietRun)

    def run(self, *, looks: int, then: Callable[[], object] = lambda: None, more: int = 0) -> None:
        """Work for so many looks at the tables, let something happen, work for some more, then stop."""
        clock, stop = self.bench.clock, self.bench.stop
        began_ms = clock.now().mono_ms
        happened: list[object] = []

        def passing() -> None:
            seconds = (clock.now().mono_ms - began_ms) / 1000 - 1
            if seconds >= looks * LOOK_SECONDS and not happened:
                happened.append(then())
            if seconds >= (looks + more) * LOOK_SECONDS:
                stop.set()

        stop.on_wait = passing
        self.engine.run(stop)

    @property
    def shard(self) -> ShardRef:
        """The shard of the table `locks`."""
        return ShardRef(self.bench.arn, spelled("root"))

    def looked_at(self, table: str) -> int:
        """Count the looks at a table."""
        return sum(call["TableName"] == table for call in self.bench.streams.asked("describe_table"))


@pytest.fixture
def stage(moto: Emulator) -> Iterator[Stage]:
    """Return a worker that leads and has all leases."""
    Leases.owner = Leases.leading = OURS
    with bench_on(moto) as bench:
        yield Stage(bench)


def test_one_tables_end_does_not_stop_the_others(stage: Stage) -> None:
    """A deleted table is told of once, and raised at the end; the other one is tended as before."""
    stage.bench.streams.model.delete_table("locks")
    alive: list[bool] = []
    looks = 5 * DRAINED_LOOKS
    with capture_logs() as logs, pytest.raises(SetupError, match='"locks" was deleted'):
        stage.run(looks=looks, then=lambda: alive.extend(table.alive for table in stage.engine._tables), more=looks)
    assert stage.looked_at("sessions") >= 10 * DRAINED_LOOKS
    assert [line["table"] for line in logs if line["event"] == "table_gone_and_read"] == ["locks"]
    assert any("the table is gone" in reason for reason in stage.engine.unread(300))
    # KCL would complain of the stream else, for as long as the other table is read.
    assert alive == [False, True]


def test_when_no_table_is_left_the_worker_ends(stage: Stage) -> None:
    """Nobody told it to."""
    stage.bench.streams.model.delete_table("locks")
    stage.bench.streams.model.delete_table("sessions")
    with pytest.raises(SetupError, match="was deleted"):
        stage.run(looks=100 * DRAINED_LOOKS)
    assert not stage.bench.stop.is_set()


def test_a_table_that_is_made_again_is_read_on(stage: Stage) -> None:
    """Its new stream takes the place of the old one, and nothing is raised at the end."""
    model, clock = stage.bench.streams.model, stage.bench.clock
    stage.services.keeping.checkpoints.finish(stage.shard)
    model.delete_table("locks")
    looks = 5 * DRAINED_LOOKS
    stage.run(looks=looks, then=lambda: model.add_stream("locks", clock.now().wall_ms), more=looks)
    known = stage.tables.known(stage.bench.arn)
    assert [stream.drained for stream in known] == [True, False]


def test_a_stream_that_cannot_be_described_holds_no_other_up(stage: Stage) -> None:
    """One attempt a look, also at the start: the other table's scheduler is started, and its looks come."""
    fail = stage.bench.streams.fail
    before: list[int] = []

    def trouble() -> None:
        assert all(table._runs[0].started for table in stage.engine._tables)
        before.append(stage.looked_at("sessions"))
        fail("describe_stream", "ThrottlingException", times=10_000)

    fail("describe_stream", "ThrottlingException", times=1)
    stage.run(looks=2, then=trouble, more=10)
    assert stage.looked_at("sessions") - before[0] >= 9
    # No call was tried again in place: the only waits are those between two turns.
    assert set(stage.bench.stop.waits) == {TURN_SECONDS}


def test_a_stream_that_cannot_be_described_at_first_is_asked_ever_later(stage: Stage) -> None:
    """It is no reason to end, and is said to be unread meanwhile."""
    stage.bench.streams.fail("describe_stream", "ThrottlingException", times=10_000)
    with capture_logs() as logs:
        stage.run(looks=10)
    said = [line for line in logs if line["event"] == "stream_not_described" and line["table"] == "locks"]
    assert 10 <= len(said) <= 20
    assert "table locks: its scheduler does not run" in stage.engine.unread(300)


def test_a_stop_in_the_midst_of_a_call_masks_no_halt(stage: Stage) -> None:
    """The worker ends with what halted the shard, not as if all were well."""
    stage.services.halts[stage.shard] = StreamLostError("halted")
    stage.bench.streams.fail("describe_stream", "ThrottlingException", times=10_000)

    def refused() -> None:
        stage.bench.stop.set()
        stage.services.retrier.call("lease_tables", throttled)

    def throttled() -> None:
        stage.bench.streams.client.describe_stream(StreamArn=stage.bench.arn)

    stage.engine._tables[1].tend = refused  # type: ignore[method-assign]
    with pytest.raises(StreamLostError, match="halted"):
        stage.engine.run(stage.bench.stop)


def halt(stage: Stage) -> None:
    """Halt the shard of `locks`."""
    stage.services.halts[stage.shard] = FaultyPageError("x")


def test_a_halted_shard_is_unread_while_it_is_halted_here(stage: Stage) -> None:
    """However long that is."""
    halt(stage)
    with pytest.raises(FaultyPageError):
        stage.run(looks=3)
    reasons = stage.engine.unread(300)
    assert f"table locks, shard {spelled('root')}: halted (FaultyPageError)" in reasons


def test_a_halt_is_forgotten_once_another_worker_has_the_lease(stage: Stage) -> None:
    """It halts the shard anew, or reads on: this one is ready, and ends well."""
    halt(stage)

    def move() -> None:
        assert stage.shard in stage.engine.halted()
        Leases.owner = "host/1"

    stage.run(looks=2, then=move, more=1)
    assert not stage.engine.halted()
    assert not any("halted" in reason for reason in stage.engine.unread(300))


@pytest.mark.parametrize("leader", [OURS, "host/1"])
def test_what_is_remembered_of_a_replaced_stream_is_removed_once_its_day_is_over(stage: Stage, leader: str) -> None:
    """By the leader alone; the newest stream's mark stays."""
    Leases.leading = leader
    streams, clock, arn = stage.bench.streams, stage.bench.clock, stage.bench.arn
    checkpoints = stage.services.keeping.checkpoints
    streams.model.disable("locks", clock.now().wall_ms)
    checkpoints.finish(stage.shard)
    clock.advance(1)
    newest = streams.model.add_stream("locks", clock.now().wall_ms).arn

    def a_day_later() -> None:
        assert [stream.arn for stream in stage.tables.known(newest)] == [arn, newest]
        clock.advance((RETENTION_MS + LOOK_MS) / 1000)

    more = round((RETENTION_MS + LOOK_MS) / 1000 / LOOK_SECONDS) + 3
    stage.run(looks=2 * DRAINED_LOOKS, then=a_day_later, more=more)
    left = [stream.arn for stream in stage.tables.known(newest)]
    assert left == ([newest] if leader == OURS else [arn, newest])
    assert bool(checkpoints.read(arn).shards) is (leader != OURS)
