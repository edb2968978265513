"""The fake in memory, over a socket and before an emulator, and the emulators: alike where they overlap."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lockside.emulators.emulator import Emulator
from lockside.engines.discovery import spelled
from lockside.engines.endpoint import endpoint_ms
from tests.fakes.state_table import access, dynamodb
from tests.fakes.stream_server import StreamServer
from tests.fakes.streams import FakeStreams

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

NUMBERS = itertools.count()
FRONTS = ["memory", "socket", "moto", "dynamodb_local", "before_moto", "before_dynamodb_local"]


@dataclass
class Watched:
    """A table with a stream, whoever plays it. `settled` returns once what was put is in the stream."""

    client: "DynamoDBStreamsClient"
    arn: str
    put: Callable[[str], object]
    settled: Callable[[], object]

    def write(self, *keys: str) -> None:
        """Put items, and see them into the stream."""
        for key in keys:
            self.put(key)
        self.settled()

    def shard_id(self) -> str:
        """Return its only shard."""
        return self.client.describe_stream(StreamArn=self.arn)["StreamDescription"]["Shards"][0]["ShardId"]

    def iterator(self, kind: Any, **more: str) -> str:
        """Ask for an iterator."""
        return self.client.get_shard_iterator(
            StreamArn=self.arn, ShardId=self.shard_id(), ShardIteratorType=kind, **more
        )["ShardIterator"]

    def read(self, iterator: str, **more: Any) -> tuple[list[str], str | None]:
        """Read one page: its keys, and the next iterator."""
        page = self.client.get_records(ShardIterator=iterator, **more)
        keys = [record["dynamodb"]["Keys"]["id"]["S"] for record in page["Records"]]
        return keys, page.get("NextShardIterator")


def in_memory() -> Watched:
    """Watch a table of the fake in memory."""
    streams = FakeStreams()
    arn = streams.add_stream("locks")
    streams.add_shard(arn, "root")
    return Watched(streams.client, arn, lambda key: streams.put(arn, "root", key), lambda: None)


def over_socket(server: StreamServer) -> Watched:
    """Watch a table of the fake alone, through boto3."""
    made = server.control({"create": {"table": "locks"}})
    client = boto3.client("dynamodbstreams", **access(server.emulator))
    return Watched(
        client, made["arn"], lambda key: server.control({"put": {"table": "locks", "keys": [key]}}), lambda: None
    )


def with_tables(endpoint: Emulator, settled: Callable[[], object]) -> Watched:
    """Watch a table made through DynamoDB's own calls."""
    tables = dynamodb(endpoint)
    name = f"alike-{next(NUMBERS)}"
    arn = tables.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]["LatestStreamArn"]
    client = boto3.client("dynamodbstreams", **access(endpoint))
    return Watched(client, arn, lambda key: tables.put_item(TableName=name, Item={"id": {"S": key}}), settled)


@pytest.fixture(params=FRONTS)
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    """Run a test on every front."""
    kind: str = request.param
    backing = kind.removeprefix("before_")
    if kind == "memory":
        yield in_memory()
    elif kind == "socket":
        with StreamServer() as server:
            yield over_socket(server)
    elif backing == kind:
        yield with_tables(request.getfixturevalue(kind), lambda: None)
    else:
        with StreamServer(backing_url=request.getfixturevalue(backing).endpoint_url) as server:
            yield with_tables(server.emulator, lambda: server.control({"state": {}}))


def test_an_open_shard_is_listed_without_parent_and_end(watched: Watched) -> None:
    """One shard, on one page, of an enabled stream."""
    answer = watched.client.describe_stream(StreamArn=watched.arn)
    listing = answer["StreamDescription"]
    assert (listing["StreamArn"], listing["StreamStatus"]) == (watched.arn, "ENABLED")
    assert listing["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert not listing.get("LastEvaluatedShardId")
    (shard,) = listing["Shards"]
    assert "ParentShardId" not in shard
    assert "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    assert 28 <= len(shard["ShardId"]) <= 65
    assert endpoint_ms(answer)


def test_records_come_in_order_and_the_iterator_goes_on(watched: Watched) -> None:
    """From the trim horizon everything comes, in pages, and an open shard always has a next iterator."""
    watched.write(*"abc")
    seen: list[list[str]] = []
    following: str | None = watched.iterator("TRIM_HORIZON")
    for _ in range(3):
        assert following is not None
        page, following = watched.read(following, Limit=2)
        seen.append(page)
    assert seen == [["a", "b"], ["c"], []]
    watched.write("d")
    assert following is not None
    assert watched.read(following)[0] == ["d"]


def test_records_have_the_members_that_the_service_gives(watched: Watched) -> None:
    """Event, images, keys, number, size and a time not in the future."""
    watched.write("a")
    page = watched.client.get_records(ShardIterator=watched.iterator("TRIM_HORIZON"))
    (record,) = page["Records"]
    body = record["dynamodb"]
    assert record["eventName"] == "INSERT"
    assert (body["Keys"], body["NewImage"]) == ({"id": {"S": "a"}}, {"id": {"S": "a"}})
    assert "OldImage" not in body
    assert body["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert body["SizeBytes"] > 0
    assert 21 <= len(body["SequenceNumber"]) <= 40
    told_ms = endpoint_ms(dict(page))
    assert told_ms is not None
    assert body["ApproximateCreationDateTime"].timestamp() * 1000 <= told_ms + 1_000


def test_sequence_numbers_rise_as_integers_and_are_resumed_at_and_after(watched: Watched) -> None:
    """AT gives the record itself, AFTER leaves it out, in our spelling of its number too."""
    watched.write(*"abc")
    records = watched.client.get_records(ShardIterator=watched.iterator("TRIM_HORIZON"))["Records"]
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in records]
    assert numbers == sorted(set(numbers))
    at = watched.iterator("AT_SEQUENCE_NUMBER", SequenceNumber=spelled(numbers[1]))
    after = watched.iterator("AFTER_SEQUENCE_NUMBER", SequenceNumber=spelled(numbers[1]))
    last = watched.iterator("AFTER_SEQUENCE_NUMBER", SequenceNumber=spelled(numbers[2]))
    assert [watched.read(iterator)[0] for iterator in (at, after, last)] == [["b", "c"], ["c"], []]


def test_latest_begins_at_the_end(watched: Watched) -> None:
    """Only what is written afterwards comes."""
    watched.write("a")
    iterator = watched.iterator("LATEST")
    watched.write("b")
    assert watched.read(iterator)[0] == ["b"]


def test_an_iterator_may_be_used_twice(watched: Watched) -> None:
    """Reading moves nothing on the server's side."""
    watched.write("a")
    iterator = watched.iterator("TRIM_HORIZON")
    assert [watched.read(iterator)[0] for _ in range(2)] == [["a"], ["a"]]


def test_what_is_not_there_is_not_found(watched: Watched) -> None:
    """An unknown stream gives the error of its name, with HTTP's 400."""
    with pytest.raises(ClientError) as caught:
        watched.client.describe_stream(StreamArn=watched.arn.replace("table/", "table/not-"))
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
