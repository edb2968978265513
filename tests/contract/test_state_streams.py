"""Which streams of a table are known, and the tips of shards, on both emulators."""

import pytest

from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.state.checkpoints import Checkpoint, Checkpoints
from lockside.state.streams import KnownStream, Streams
from tests.fakes.clock import FakeClock
from tests.fakes.state_table import dynamodb, make_state_table
from tests.fakes.stopping import Impatient

TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/locks"
OLD, NEW = f"{TABLE}/stream/2026-11-23T06:00:00.000", f"{TABLE}/stream/2026-11-23T07:00:00.000"
SHARD = ShardRef(OLD, "shardId-00000001795420800000-abc")


@pytest.fixture
def streams(backend: Emulator) -> Streams:
    """Return the known streams of an empty state table."""
    client = dynamodb(backend)
    return Streams(client, make_state_table(client), Retrier(Impatient(), NoMeter()))


@pytest.fixture
def checkpoints(streams: Streams) -> Checkpoints:
    """Return the checkpoints of the same table."""
    return Checkpoints(streams.client, streams.table, streams.retrier, FakeClock())


def test_streams_come_back_oldest_first(streams: Streams) -> None:
    """Whichever of them is asked by; another table's are not among them."""
    streams.found(NEW, follows=True)
    streams.found(OLD, follows=False)
    streams.found(OLD.replace("locks", "locks2"), follows=False)
    expected = (KnownStream(OLD), KnownStream(NEW, follows=True))
    assert streams.load(OLD) == streams.load(NEW) == expected


def test_what_was_found_first_stays(streams: Streams) -> None:
    """A restart finds the stream again, and does not know any more how it came to be."""
    streams.found(NEW, follows=True)
    streams.drained(NEW)
    streams.found(NEW, follows=False)
    assert streams.load(NEW) == (KnownStream(NEW, drained=True, follows=True),)


def test_a_stream_may_be_forgotten(streams: Streams) -> None:
    """Nothing is left of it."""
    streams.found(OLD, follows=False)
    streams.forget(OLD)
    assert streams.load(OLD) == ()


def test_a_tip_is_remembered_with_and_without_a_position(checkpoints: Checkpoints) -> None:
    """It neither makes a position nor moves one."""
    checkpoints.touch(SHARD, 100)
    assert _row(checkpoints) == (None, False, 100)
    checkpoints.advance(SHARD, 7, 200)
    checkpoints.advance(SHARD, 8)
    checkpoints.touch(SHARD, 300)
    assert _row(checkpoints) == (8, False, 300)
    checkpoints.finish(SHARD, 400)
    assert _row(checkpoints) == (8, True, 400)


def test_only_finished_shards_are_forgotten(checkpoints: Checkpoints) -> None:
    """A position that may still be needed is never removed."""
    checkpoints.advance(SHARD, 7)
    checkpoints.forget(SHARD)
    assert _row(checkpoints) == (7, False, None)
    checkpoints.finish(SHARD)
    checkpoints.forget(SHARD)
    checkpoints.forget(SHARD)
    assert checkpoints.load(OLD).shards == {}


def _row(checkpoints: Checkpoints) -> tuple[int | None, bool, int | None]:
    found: Checkpoint = checkpoints.load(OLD).shards[SHARD.shard_id]
    return found.position, found.finished, found.tip_ms
