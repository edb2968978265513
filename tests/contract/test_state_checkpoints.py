"""Checkpoints on real conditions of both emulators."""

from dataclasses import replace

import pytest

from lockside.core.change import ShardRef
from lockside.core.ownership import Term
from lockside.emulators.emulator import Emulator
from lockside.errors import FencedError
from lockside.state.checkpoints import Checkpoint, Checkpoints, StreamState
from tests.fakes.clock import START_MS, FakeClock, FakeStop
from tests.fakes.state_table import dynamodb, make_checkpoints, make_state_table
from tests.fakes.streams import arn_of

ARN = arn_of("locks")
SHARD = ShardRef(ARN, "shardId-a")
OTHER = ShardRef(ARN, "shardId-b")


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands."""
    return FakeClock()


@pytest.fixture
def checkpoints(backend: Emulator, clock: FakeClock) -> Checkpoints:
    """Return the checkpoints of a new state table."""
    client = dynamodb(backend)
    return make_checkpoints(client, make_state_table(client), clock, FakeStop(clock))


def test_a_stream_never_read_has_no_state(checkpoints: Checkpoints) -> None:
    """What was never written is told from what was."""
    assert checkpoints.load(ARN) == StreamState()


def test_a_position_is_remembered_with_its_time(checkpoints: Checkpoints, clock: FakeClock) -> None:
    """A checkpoint is read back as it was written, for its own shard and stream only."""
    clock.advance(5)
    assert checkpoints.advance(SHARD, 10)
    checkpoints.advance(ShardRef(arn_of("locks", "another"), "shardId-a"), 99)
    assert checkpoints.load(ARN).shards == {
        "shardId-a": Checkpoint(10, finished=False, epoch=0, updated_ms=START_MS + 5_000)
    }


def test_a_position_never_goes_back(checkpoints: Checkpoints) -> None:
    """A write that comes late leaves the further position, as numbers are compared and not texts."""
    assert checkpoints.advance(SHARD, 10**22)
    assert not checkpoints.advance(SHARD, 9 * 10**20)
    assert checkpoints.load(ARN).shards["shardId-a"].position == 10**22


def test_the_same_position_again_is_no_fault(checkpoints: Checkpoints) -> None:
    """A write tried again after a lost answer succeeds."""
    assert checkpoints.advance(SHARD, 10)
    assert checkpoints.advance(SHARD, 10)


def test_finished_stands_beside_the_position(checkpoints: Checkpoints) -> None:
    """The mark neither needs a position nor touches one."""
    checkpoints.advance(SHARD, 10)
    checkpoints.finish(SHARD)
    checkpoints.finish(OTHER)
    shards = checkpoints.load(ARN).shards
    assert (shards["shardId-a"].position, shards["shardId-a"].finished) == (10, True)
    assert (shards["shardId-b"].position, shards["shardId-b"].finished) == (None, True)


def test_a_late_position_leaves_the_mark(checkpoints: Checkpoints) -> None:
    """A finished shard stays finished."""
    checkpoints.finish(SHARD)
    checkpoints.advance(SHARD, 10)
    assert checkpoints.load(ARN).shards["shardId-a"].finished


def test_a_lower_epoch_is_fenced(checkpoints: Checkpoints) -> None:
    """Once another owner has written, a worker of an earlier epoch neither checkpoints nor finishes."""
    replace(checkpoints, term=Term("", 2)).advance(SHARD, 10)
    with pytest.raises(FencedError, match="owner epoch 2, ours is 0"):
        checkpoints.advance(SHARD, 20)
    with pytest.raises(FencedError):
        checkpoints.finish(SHARD)
    assert checkpoints.load(ARN).shards["shardId-a"] == Checkpoint(10, finished=False, epoch=2, updated_ms=START_MS)


def test_a_start_at_latest_is_remembered_once(checkpoints: Checkpoints) -> None:
    """The first instant stands, and is no shard."""
    assert checkpoints.begin(ARN, 1_000) == 1_000
    assert checkpoints.begin(ARN, 2_000) == 1_000
    assert checkpoints.load(ARN) == StreamState(1_000)


def test_more_shards_than_a_page_are_all_read(moto: Emulator, clock: FakeClock) -> None:
    """A listing of over 1 MB comes in pages."""
    client = dynamodb(moto)
    table = make_state_table(client)
    for number in range(12):
        client.put_item(
            TableName=table,
            Item={"pk": {"S": f"CK#{ARN}"}, "sk": {"S": f"shardId-{number}"}, "filler": {"S": "x" * 100_000}},
        )
    assert len(make_checkpoints(client, table, clock, FakeStop(clock)).load(ARN).shards) == 12
