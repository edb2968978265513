"""The replicator from a table's stream to its replicas: rolls and splits, copies, losses, and what it refuses.

The real parts throughout: an emulator behind the fake streams server, DynamoDB as a target, and Redis.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import pytest

from lockside.aws.clients import connect
from lockside.core.change import ShardRef
from lockside.core.gap import Gap
from lockside.core.replica import STAMP
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.errors import ReplicaError, SetupError
from lockside.settings import load
from lockside.state.replicas import Replicas, ReplicaState
from lockside.stores.replicator import Replicator
from lockside.stores.table_copy import TableCopy
from tests.fakes.redis_server import RedisServer
from tests.fakes.replication import Replication, replication
from tests.fakes.stream_server import StreamServer

BEFORE = [(partition, sort) for partition in "abz" for sort in range(6)]
PATIENCE_SECONDS = 30.0


@pytest.fixture
def front(moto: Emulator) -> Iterator[StreamServer]:
    """Stand in front of moto, with shards that roll and split all the time."""
    with StreamServer(backing_url=moto.endpoint_url) as server, pytest.MonkeyPatch.context() as patch:
        for variable, value in server.emulator.environment.items():
            patch.setenv(variable, value)
        server.control({"life": {"roll_seconds": 0.3, "split": 0.3, "late_seconds": 0.05}})
        yield server


@pytest.fixture
def pair(front: StreamServer, redis: RedisServer, tmp_path: Path) -> Replication:
    """Make a table with rows and what its two replicas need."""
    return replication(front.emulator, redis, tmp_path, rows=BEFORE)


@pytest.fixture
def plain(moto: Emulator, redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replication:
    """Make the same on moto alone."""
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    return replication(moto, redis, tmp_path, rows=BEFORE)


def state_of(pair: Replication, name: str = "copy") -> ReplicaState:
    """Read what is remembered of a replica."""
    process, _ = pair.readers()
    found = Replicas(pair.client, pair.settings.state.table, process.retrier).read(name)
    assert found is not None
    return found


def until(holds: Callable[[], bool], pair: Replication) -> None:
    """Wait until something is so: the replicator works in threads of its own."""
    process, _ = pair.readers()
    limit = monotonic() + PATIENCE_SECONDS
    while not holds():
        assert monotonic() < limit, "not within the time"
        process.stop.wait(0.1)


@pytest.mark.parametrize("seed", range(2))
def test_replicas_follow_through_rolls_and_splits(pair: Replication, front: StreamServer, seed: int) -> None:
    """Copied while it is written to, in shards that come and go; alike in the end, and none too many."""
    chance = Random(seed)  # noqa: S311 - no secret hangs on it
    with pair.running(bootstrap=True):
        for _ in range(6):
            pair.write(chance, 20)
        pair.delete("z", 0)
        assert len(front.service.model.streams[stream_of(pair)].shards) > 3
        # A machine under load reads lineages more slowly than they would go on growing.
        front.control({"life": {"roll_seconds": 3_600}})
        pair.check_alike()
    assert state_of(pair).is_complete
    assert state_of(pair, "cache").is_complete


def stream_of(pair: Replication) -> str:
    """Return the ARN of the table's stream."""
    return str(pair.client.describe_table(TableName=pair.table)["Table"]["LatestStreamArn"])


def test_what_was_there_before_the_stream_is_copied_and_what_is_gone_is_swept(plain: Replication) -> None:
    """A second copy also removes what the source lost while nobody read its stream."""
    plain.run_once(bootstrap=True)
    plain.check_alike()
    assert plain.compare(0)["copy"].comparison.rows == len(BEFORE)
    for replica in ("copy", "cache"):
        assert state_of(plain, replica).copied == 1
    # As if the stream had lost it: no reader is told.
    copy: Any = plain.client
    copy.put_item(
        TableName=f"{plain.table}-copy",
        Item={**plain.key("ghost", 1), STAMP: {"S": "00000001#2026-01-01T00:00:00.000#" + "1".zfill(40)}},
    )
    assert [each.kind for each in plain.compare(0)["copy"].comparison.differences] == ["extra"]
    plain.run_once(bootstrap=True)
    plain.check_alike()
    assert state_of(plain).copied == 2


def test_a_deletion_between_a_scan_and_its_write_is_not_undone(plain: Replication) -> None:
    """The page is read, the row deleted and its deletion streamed; then comes the page's write."""
    plain.run_once(bootstrap=True)
    process, (reader,) = plain.readers()
    replica = reader._replicas[0]
    replica.open()
    clients = connect(plain.settings.aws)

    class Overtaken:
        """A client whose every scan is overtaken by a deletion."""

        def scan(self, **request: Any) -> Any:
            page = clients.dynamodb.scan(**request)
            plain.delete("a", 1)
            plain.put("a", 2, "newer")
            replica.write(
                [
                    record("REMOVE", plain.key("a", 1), None, 10**30),
                    record("MODIFY", plain.key("a", 2), {**plain.key("a", 2), "v": {"S": "newer"}}, 10**30 + 1),
                ],
                SHARD,
                process.clock.now().wall_ms,
            )
            return page

    client: Any = Overtaken()
    copy = TableCopy(client, plain.table, process.retrier, process.clock, NoMeter(), process.stop)
    copy.run(replica)
    held = {row.key.canonical: row for row in replica.target.page(None).rows}
    assert held["S1:a,N1:1"].image is None
    kept = held["S1:a,N1:2"].image
    assert kept is not None
    assert kept["v"] == {"S": "newer"}
    reader.close()


STREAMS = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/"
SHARD = ShardRef(f"{STREAMS}2030-01-01T00:00:00.000", "shardId-" + "1" * 20)
LATER = ShardRef(f"{STREAMS}2031-01-01T00:00:00.000", "shardId-" + "2" * 20)


def record(event: str, keys: Any, image: Any, number: int) -> dict[str, Any]:
    """Return a stream's record."""
    body = {"Keys": keys, "SequenceNumber": str(number), "ApproximateCreationDateTime": 1_795_421_400}
    return {"eventName": event, "dynamodb": body if image is None else {**body, "NewImage": image}}


def test_a_copy_that_was_broken_off_goes_on_where_it_was(plain: Replication) -> None:
    """Page by page, under the same generation."""
    plain.run_once(bootstrap=True)
    process, (reader,) = plain.readers()
    replica = reader._replicas[0]
    replica.open()
    copy = TableCopy(plain.client, plain.table, process.retrier, process.clock, NoMeter(), process.stop, page_rows=4)
    beats: list[int] = []

    def stop_after_two() -> None:
        beats.append(1)
        if len(beats) == 2:
            raise KeyboardInterrupt

    copy.beat = stop_after_two
    with pytest.raises(KeyboardInterrupt):
        copy.run(replica)
    left = state_of(plain)
    assert (left.generation, left.copied, left.phase) == (2, 1, "scan")
    assert left.cursor is not None
    reader.close()
    _, (again,) = plain.readers()
    resumed = again._replicas[0]
    resumed.open()
    assert resumed.copy_wanted.is_set()
    copy.beat = lambda: None
    copy.run(resumed)
    assert copy.rows == len(BEFORE) - 8
    assert state_of(plain).copied == 2
    again.close()


def test_a_gap_is_a_loss_and_the_table_is_copied_anew(plain: Replication) -> None:
    """Or advised to be, where the settings say so; either way it is remembered until it is mended."""
    plain.run_once(bootstrap=True)
    process, (reader,) = plain.readers()
    replicas = reader._replicas
    for replica in replicas:
        replica.open()
    assert Replicator(SHARD, replicas, process.clock).gap(Gap("trimmed", 1, 1))
    assert all(replica.copy_wanted.is_set() for replica in replicas)
    assert not state_of(plain).is_complete
    assert plain.compare(0)["copy"].incomplete == "something was lost (trimmed)"
    reader.close()
    # It is remembered, so that the next run brings it about.
    plain.run_once()
    assert state_of(plain).is_complete


def test_an_emptied_redis_is_filled_again(plain: Replication) -> None:
    """It is noticed before the next checkpoint, and nobody has to ask for it."""
    with plain.running(bootstrap=True):
        plain.check_alike()
        until(lambda: state_of(plain, "cache").is_complete, plain)
        with plain.redis.client() as raw:
            raw.delete(*(name for name in raw.scan_iter(f"{plain.table}:*")))
        plain.put("a", 1, "wakes the checkpoint")
        until(lambda: state_of(plain, "cache").copied == 2, plain)
        plain.check_alike()
    assert state_of(plain, "copy").copied == 1


def test_another_stream_of_the_table_is_a_loss(plain: Replication) -> None:
    """What was written while it had none is in no stream. Its numbers begin anew, and yet its changes win."""
    plain.run_once(bootstrap=True)
    process, (reader,) = plain.readers()
    replica = reader._replicas[0]
    replica.open()
    now_ms = process.clock.now().wall_ms
    image = {**plain.key("a", 1), "v": {"S": "old stream"}}
    replica.write([record("MODIFY", plain.key("a", 1), image, 10**35)], SHARD, now_ms)
    Replicator(SHARD, [replica], process.clock).initialize(LATER, None)
    assert replica.copy_wanted.is_set()
    assert state_of(plain).reason == "stream_replaced"
    assert state_of(plain).stream_arn == LATER.stream_arn
    image = {**plain.key("a", 1), "v": {"S": "new stream"}}
    assert replica.write([record("MODIFY", plain.key("a", 1), image, 7)], LATER, now_ms).taken == 1
    # The old one's last shard may still be read.
    Replicator(SHARD, [replica], process.clock).initialize(SHARD, None)
    assert replica.write([record("MODIFY", plain.key("a", 1), image, 10**36)], SHARD, now_ms).stale == 1
    assert state_of(plain).stream_arn == LATER.stream_arn
    reader.close()


def test_a_table_that_is_a_replica_itself_is_refused(plain: Replication) -> None:
    """By its rows' own mark, so that a circle over two installations is found too."""
    plain.run_once(bootstrap=True)
    process, (reader,) = plain.readers()
    replica = reader._replicas[0]
    marked = {**plain.key("a", 1), STAMP: {"S": "1"}}
    with pytest.raises(ReplicaError, match="itself a replica's target"):
        replica.write([record("INSERT", plain.key("a", 1), marked, 1)], SHARD, process.clock.now().wall_ms)
    reader.close()


def test_a_change_that_cannot_be_read_is_not_passed_over(plain: Replication) -> None:
    """Its shard halts before it; nothing of its page was written."""
    plain.run_once(bootstrap=True)
    process, (reader,) = plain.readers()
    page = [
        record("INSERT", plain.key("new", 1), plain.key("new", 1), 1),
        record("MODIFY", plain.key("a", 1), {"p": {"X": 1}}, 2),
        record("SUDDEN", plain.key("a", 1), plain.key("a", 1), 3),
    ]
    with pytest.raises(ReplicaError, match="cannot be read"):
        reader._replicas[0].write(page, SHARD, process.clock.now().wall_ms)
    reader.close()
    plain.check_alike()


@pytest.mark.parametrize("kind", ["missing_table", "same_table", "other_key"])
def test_a_target_that_cannot_be_is_named_with_the_way_out(
    plain: Replication, moto: Emulator, tmp_path: Path, kind: str
) -> None:
    """One that is not there, the source itself by another address, and one with another key."""
    text = plain.config.read_text(encoding="utf-8")
    match kind:
        case "same_table":
            other = moto.endpoint_url.replace("127.0.0.1", "localhost")
            ours = f'target_table = "{plain.table}"\nendpoint_url = "{other}"\nregion = "us-east-1"'
            text = text.replace(f'target_table = "{plain.table}-copy"', ours)
            wanted = "is the source itself"
        case "other_key":
            text = text.replace(f'"{plain.table}-copy"', f'"{plain.settings.state.table}-other"')
            plain.client.create_table(
                TableName=f"{plain.settings.state.table}-other",
                KeySchema=[{"AttributeName": "p", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "p", "AttributeType": "N"}],
                BillingMode="PAY_PER_REQUEST",
            )
            wanted = r"its key is p \(N, HASH\), the source's is p \(S, HASH\), s \(N, RANGE\)"
        case _:
            wanted = "there is no such table .*--bootstrap` makes it"
    config = tmp_path / "other.toml"
    config.write_text(text, encoding="utf-8")
    plain.settings = load(config)
    with pytest.raises(SetupError, match=wanted):
        plain.readers()
