"""The ownership row and the checkpoints under it: in memory and on the real conditions of both emulators."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from lockside.aws.tables import state_table
from lockside.core.change import ShardRef
from lockside.core.ownership import Standing, Term
from lockside.emulators.emulator import Emulator
from lockside.errors import FencedError
from lockside.state.checkpoints import Checkpoints
from lockside.state.ownership import Candidate, Ownership, OwnerTable
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.state_table import dynamodb, make_checkpoints, make_state_table
from tests.fakes.streams import arn_of

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ARN = arn_of("locks")
SHARD = ShardRef(ARN, "shardId-a")
OTHER = ShardRef(ARN, "shardId-b")
LEASE_SECONDS = 9


@dataclass
class Desk:
    """One state table, and the workers that reach for it."""

    client: "DynamoDBClient"
    table: str
    clock: FakeClock

    def worker(self, name: str, clock: FakeClock | None = None, client: Any = None) -> Ownership:
        """Return a worker that owns nothing yet, on a clock of its own if it has one."""
        candidate = Candidate("app", name, f"host of {name}", LEASE_SECONDS * 1000)
        owners = OwnerTable(client or self.client, self.table, clock or self.clock)
        return Ownership(owners, candidate, lambda: self.checkpoints().highest_epoch(ARN))

    def checkpoints(self, worker: Ownership | None = None) -> Checkpoints:
        """Return the checkpoints as a worker writes them."""
        term = worker.term if worker else Term()
        return make_checkpoints(self.client, self.table, self.clock, FakeStop(self.clock), term)

    def owner(self, name: str) -> tuple[Ownership, Checkpoints]:
        """Return a worker that took a free row, and its checkpoints."""
        worker = self.worker(name)
        assert worker.look() is Standing.MINE
        return worker, self.checkpoints(worker)

    def taken_over(self, name: str) -> tuple[Ownership, Checkpoints]:
        """Return a worker that waited for one lease in which nobody renewed."""
        worker = self.worker(name)
        assert [worker.look() for _ in self.seconds(LEASE_SECONDS)] == [Standing.WAIT] * LEASE_SECONDS
        assert worker.look() is Standing.MINE
        return worker, self.checkpoints(worker)

    def seconds(self, number: int) -> Any:
        """Let a second pass after each round."""
        for second in range(number):
            yield second
            self.clock.advance(1)


@pytest.fixture(params=["memory", "moto", "dynamodb-local"])
def desk(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> Desk:
    """Return an empty state table of each kind."""
    if request.param == "memory":
        return Desk(FakeDynamoDB(state_table("state").create).client, "state", FakeClock())
    client = dynamodb(emulator_of(request.param))
    return Desk(client, make_state_table(client), FakeClock())


def test_the_first_worker_owns_and_the_second_stands_by(desk: Desk) -> None:
    """A living owner is never displaced, however long a standby looks."""
    first, _ = desk.owner("first")
    second = desk.worker("second")
    for second_passed in desk.seconds(30):
        if second_passed % 3 == 0:
            assert first.renew() is Standing.MINE
        assert second.look() is Standing.WAIT
    assert (first.term, second.term) == (Term("app", 1), Term("app", 0))
    assert second.holder is not None
    assert second.holder.place == "host of first"


def test_of_many_that_race_one_gets_each_epoch(desk: Desk) -> None:
    """Ten workers reach for a free row at once; one owns it, the others find it owned."""
    workers = [desk.worker(f"worker-{number}") for number in range(10)]
    together = threading.Barrier(len(workers))
    found: list[Standing] = []

    def race(worker: Ownership) -> None:
        together.wait()
        found.append(worker.look())

    threads = [threading.Thread(target=race, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(standing.name for standing in found) == ["MINE"] + ["WAIT"] * 9
    assert sorted(worker.term.epoch for worker in workers) == [0] * 9 + [1]
    assert {worker.look() for worker in workers if not worker.term.epoch} == {Standing.WAIT}


def test_two_standbys_that_saw_the_same_do_not_both_take_over(desk: Desk) -> None:
    """The second one's condition does not hold any more; it waits for the new owner's lease."""
    desk.owner("gone")
    left, right = desk.worker("left"), desk.worker("right")
    for _ in desk.seconds(LEASE_SECONDS):
        assert {left.look(), right.look()} == {Standing.WAIT}
    assert [left.look(), right.look()] == [Standing.MINE, Standing.WAIT]
    assert [left.term.epoch, right.term.epoch] == [2, 0]


def test_a_standby_takes_over_after_one_lease_on_its_own_clock(desk: Desk) -> None:
    """An owner that does not renew is gone after the lease it had promised."""
    first, _ = desk.owner("first")
    second, _ = desk.taken_over("second")
    assert second.term == Term("app", 2)
    assert first.renew() is Standing.LOST


def test_wall_clocks_may_jump_as_they_like(desk: Desk) -> None:
    """A standby whose wall is a day ahead or behind waits for the same lease."""
    desk.owner("first")
    own = FakeClock()
    second = desk.worker("second", own)
    for jump in itertools.islice(itertools.cycle((86_400, -172_800)), LEASE_SECONDS):
        assert second.look() is Standing.WAIT
        own.step_wall(jump)
        own.advance(1)
    assert second.look() is Standing.MINE


def test_a_row_handed_back_is_taken_at_once(desk: Desk) -> None:
    """An orderly stop costs no lease, and the epoch goes on."""
    first, _ = desk.owner("first")
    second = desk.worker("second")
    assert second.look() is Standing.WAIT
    assert first.release()
    assert second.look() is Standing.MINE
    assert second.term.epoch == 2
    assert not first.release()
    assert second.renew() is Standing.MINE


def test_a_zombie_is_fenced_at_its_next_checkpoint(desk: Desk) -> None:
    """It moves nothing that the new owner has claimed, and the new owner goes on from where it had come."""
    _, zombie = desk.owner("zombie")
    zombie.advance(SHARD, 10)
    _, ours = desk.taken_over("new")
    assert ours.load(ARN).shards["shardId-a"].position == 10
    for write in (lambda: zombie.advance(SHARD, 20), lambda: zombie.finish(SHARD), lambda: zombie.touch(SHARD, 1)):
        with pytest.raises(FencedError, match="owner epoch 2, ours is 1"):
            write()
    assert ours.advance(SHARD, 15)
    assert (ours.read(ARN).shards["shardId-a"].position, ours.read(ARN).shards["shardId-a"].epoch) == (15, 2)


def test_a_zombie_cannot_make_a_checkpoint(desk: Desk) -> None:
    """A shard that nobody had checkpointed bears no epoch: its first checkpoint looks at the owner's row."""
    _, zombie = desk.owner("zombie")
    _, ours = desk.taken_over("new")
    assert ours.load(ARN).shards == {}
    for write in (lambda: zombie.advance(SHARD, 20), lambda: zombie.finish(OTHER), lambda: zombie.touch(OTHER, 1)):
        with pytest.raises(FencedError, match="a later one"):
            write()
    assert ours.advance(SHARD, 5)
    assert {name: each.position for name, each in ours.read(ARN).shards.items()} == {"shardId-a": 5}


def test_a_zombie_that_comes_before_the_claim_does_no_harm(desk: Desk) -> None:
    """Between take-over and claim it still moves forward what it had acknowledged; the new owner reads that."""
    _, zombie = desk.owner("zombie")
    zombie.advance(SHARD, 10)
    _, ours = desk.taken_over("new")
    assert zombie.advance(SHARD, 20)
    assert ours.load(ARN).shards["shardId-a"].position == 20
    with pytest.raises(FencedError):
        zombie.advance(SHARD, 30)


def test_a_crash_between_take_over_and_claim_loses_nothing(desk: Desk) -> None:
    """The next owner's epoch is higher still, and it claims all rows again."""
    _, zombie = desk.owner("zombie")
    zombie.advance(SHARD, 10)
    zombie.finish(OTHER)
    desk.taken_over("crashed before it claimed")
    _, ours = desk.taken_over("third")
    shards = ours.load(ARN).shards
    assert {(each.position, each.finished, each.epoch) for each in shards.values()} == {(10, False, 3), (None, True, 3)}
    with pytest.raises(FencedError, match="owner epoch 3, ours is 1"):
        zombie.advance(SHARD, 20)


def test_a_claim_makes_no_rows_and_moves_nothing(desk: Desk) -> None:
    """A claimed stream reads as before, but for the epoch; another stream is not touched."""
    _, first = desk.owner("first")
    first.advance(SHARD, 10, tip_ms=7)
    first.begin(ARN, 1_000)
    apart = ShardRef(arn_of("locks", "another"), "shardId-a")
    first.advance(apart, 1)
    before = first.read(ARN)
    _, ours = desk.taken_over("second")
    claimed = ours.load(ARN)
    assert claimed.since_ms == before.since_ms
    assert claimed.shards == {"shardId-a": replace(before.shards["shardId-a"], epoch=2)}
    assert ours.read(apart.stream_arn).shards["shardId-a"].epoch == 1


def test_a_new_owner_that_was_overtaken_hears_so_when_it_claims(desk: Desk) -> None:
    """A row that bears a later epoch is not ours to read."""
    _, first = desk.owner("first")
    first.advance(SHARD, 10)
    _, slow = desk.taken_over("slow")
    _, quick = desk.taken_over("quick")
    quick.load(ARN)
    with pytest.raises(FencedError, match="owner epoch 3, ours is 2"):
        slow.load(ARN)


def test_checkpoints_of_a_version_without_owners_are_claimed(desk: Desk) -> None:
    """They bear no epoch, or 0; also those that such a worker still writes after the claim."""
    desk.checkpoints().advance(SHARD, 10)
    _, ours = desk.owner("first")
    assert ours.load(ARN).shards["shardId-a"].epoch == 1
    key = {"pk": {"S": f"CK#{ARN}"}, "sk": {"S": "shardId-b"}}
    desk.client.put_item(TableName=desk.table, Item={**key, "position": {"S": "9".zfill(40)}})
    assert not ours.advance(OTHER, 8)
    assert ours.advance(OTHER, 10)
    assert ours.read(ARN).shards["shardId-b"].epoch == 1


def test_a_removed_row_does_not_begin_below_its_checkpoints(desk: Desk) -> None:
    """Somebody tidied up: the next owner goes on above every epoch that a checkpoint bears, and is not fenced by it."""
    first, before = desk.owner("first")
    before.advance(SHARD, 10)
    first.release()
    _, second = desk.owner("second")
    second.load(ARN)
    desk.client.delete_item(TableName=desk.table, Key={"pk": {"S": "OWNER#app"}, "sk": {"S": "owner"}})
    third, ours = desk.owner("third")
    assert third.term.epoch == 3
    assert ours.load(ARN).shards["shardId-a"].position == 10
    assert ours.advance(SHARD, 11)


class LostAnswers:
    """A client whose next writes take effect, and whose answers get lost."""

    def __init__(self, client: Any, losses: int) -> None:
        """Lose so many."""
        self._client = client
        self._left = losses

    def __getattr__(self, name: str) -> Any:
        """Call the real client, then perhaps lose what it said."""
        call = getattr(self._client, name)

        def calling(**request: Any) -> Any:
            answer = call(**request)
            if self._left and name not in {"get_item", "query"}:
                self._left -= 1
                raise ConnectionResetError(name)
            return answer

        return calling


def test_a_lost_answer_to_a_take_over_is_made_good(desk: Desk) -> None:
    """The next look finds the row under our own name and epoch."""
    worker = desk.worker("first", client=LostAnswers(desk.client, 1))
    with pytest.raises(ConnectionResetError):
        worker.look()
    assert worker.look() is Standing.MINE
    assert worker.term.epoch == 1
    assert worker.renew() is Standing.MINE


def test_a_lost_answer_to_a_renewal_is_made_good(desk: Desk) -> None:
    """The row is still ours, with a beat of ours."""
    worker = desk.worker("first", client=LostAnswers(desk.client, 2))
    for call in (worker.look, worker.look, worker.renew):
        try:
            call()
        except ConnectionResetError:
            continue
    assert worker.renew() is Standing.MINE
