"""The fake streams service and the emulators behave alike where they overlap, and the engine reads all three alike."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict
from lockside.emulators.emulator import Emulator
from lockside.engines.discovery import spelled
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.endpoint import endpoint_ms
from lockside.engines.stream import StreamPlan
from tests.fakes.clock import FakeStop
from tests.fakes.rig import Rig
from tests.fakes.state_table import access, dynamodb
from tests.fakes.streams import FakeStreams

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

_NUMBERS = itertools.count()


@dataclass
class Watched:
    """A table with a stream, whoever plays it."""

    client: "DynamoDBStreamsClient"
    arn: str
    put: Callable[[str], None]

    def shard_id(self) -> str:
        """Return its only shard."""
        return self.client.describe_stream(StreamArn=self.arn)["StreamDescription"]["Shards"][0]["ShardId"]

    def iterator(self, kind: Any, **more: str) -> str:
        """Ask for an iterator."""
        return self.client.get_shard_iterator(
            StreamArn=self.arn, ShardId=self.shard_id(), ShardIteratorType=kind, **more
        )["ShardIterator"]


def fake() -> Watched:
    """Watch a table of the fake."""
    streams = FakeStreams()
    arn = streams.add_stream("locks")
    streams.add_shard(arn, "root")
    return Watched(streams.client, arn, lambda key: _none(streams.put(arn, "root", key)))


def real(emulator: Emulator) -> Watched:
    """Watch a table of an emulator."""
    tables = dynamodb(emulator)
    name = f"watched-{next(_NUMBERS)}"
    arn = tables.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]["LatestStreamArn"]
    client = boto3.client("dynamodbstreams", **access(emulator))
    return Watched(client, arn, lambda key: _none(tables.put_item(TableName=name, Item={"id": {"S": key}})))


def _none(_: object) -> None:
    return None


@pytest.fixture(params=["fake", "moto", "dynamodb_local"])
def watched(request: pytest.FixtureRequest) -> Watched:
    """Run a test on the fake and on both emulators."""
    return fake() if request.param == "fake" else real(request.getfixturevalue(request.param))


def keys(page: Any) -> list[str]:
    """Return the keys of a page's records."""
    return [record["dynamodb"]["Keys"]["id"]["S"] for record in page["Records"]]


def test_an_open_shard_is_listed_without_parent_and_end(watched: Watched) -> None:
    """One shard, on one page, of an enabled stream."""
    answer = watched.client.describe_stream(StreamArn=watched.arn)
    listing = answer["StreamDescription"]
    assert listing["StreamStatus"] == "ENABLED"
    assert not listing.get("LastEvaluatedShardId")
    (shard,) = listing["Shards"]
    assert "ParentShardId" not in shard
    assert "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    assert len(shard["ShardId"]) >= 28


def test_records_come_in_order_and_the_iterator_goes_on(watched: Watched) -> None:
    """From the trim horizon everything comes, in pages, and an open shard always has a next iterator."""
    for key in "abc":
        watched.put(key)
    first = watched.client.get_records(ShardIterator=watched.iterator("TRIM_HORIZON"), Limit=2)
    second = watched.client.get_records(ShardIterator=first["NextShardIterator"], Limit=2)
    third = watched.client.get_records(ShardIterator=second["NextShardIterator"], Limit=2)
    assert (keys(first), keys(second), keys(third)) == (["a", "b"], ["c"], [])
    watched.put("d")
    assert keys(watched.client.get_records(ShardIterator=third["NextShardIterator"])) == ["d"]


def test_sequence_numbers_rise_and_are_resumed_after(watched: Watched) -> None:
    """AFTER_SEQUENCE_NUMBER leaves the record itself out, in our spelling of its number too."""
    for key in "abc":
        watched.put(key)
    records = watched.client.get_records(ShardIterator=watched.iterator("TRIM_HORIZON"))["Records"]
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in records]
    assert numbers == sorted(set(numbers))
    after = watched.iterator("AFTER_SEQUENCE_NUMBER", SequenceNumber=spelled(numbers[1]))
    assert keys(watched.client.get_records(ShardIterator=after)) == ["c"]
    last = watched.iterator("AFTER_SEQUENCE_NUMBER", SequenceNumber=spelled(numbers[2]))
    assert keys(watched.client.get_records(ShardIterator=last)) == []


def test_latest_begins_at_the_end(watched: Watched) -> None:
    """Only what is written afterwards comes."""
    watched.put("a")
    iterator = watched.iterator("LATEST")
    watched.put("b")
    assert keys(watched.client.get_records(ShardIterator=iterator)) == ["b"]


def test_an_iterator_may_be_used_twice(watched: Watched) -> None:
    """Reading moves nothing on the server's side."""
    watched.put("a")
    iterator = watched.iterator("TRIM_HORIZON")
    pages = [watched.client.get_records(ShardIterator=iterator) for _ in range(2)]
    assert [keys(page) for page in pages] == [["a"], ["a"]]


def test_the_endpoint_tells_its_time(watched: Watched) -> None:
    """Every answer has a Date header that can be read."""
    assert endpoint_ms(watched.client.describe_stream(StreamArn=watched.arn))


def test_a_stream_that_is_not_there_is_not_found(watched: Watched) -> None:
    """The error is the one that is told apart from a shard's end."""
    with pytest.raises(ClientError) as caught:
        watched.client.describe_stream(StreamArn=watched.arn.replace("table/", "table/not-"))
    assert verdict(caught.value) is Verdict.NOT_FOUND


@pytest.fixture
def four_writers() -> Iterator[ThreadPoolExecutor]:
    """Return writers that write at the same time."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_the_engine_reads_them_alike(watched: Watched, moto: Emulator, four_writers: ThreadPoolExecutor) -> None:
    """Drained, restarted and drained again, the engine has seen every change once and in order."""
    rig = Rig.on(moto)
    rig.settings = replace(rig.settings, page_records=7)

    def drain() -> None:
        services = replace(rig.services(), streams=watched.client)
        EmbeddedEngine([StreamPlan("watched", watched.arn)], rig.recorder, services).run_once(FakeStop(rig.clock))

    for batch in (range(20), range(20, 50)):
        list(four_writers.map(lambda number: watched.put(f"key{number}"), batch))
        drain()
    drain()
    seen = rig.recorder.consumed()
    assert len(seen) == 50
    assert seen == sorted(set(seen))
    assert [position for _, position in rig.recorder.initialized()] == [None, seen[19], seen[49]]
