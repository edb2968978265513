"""The fake streams server in front of an emulator, and as a program: one endpoint for clients and workers alike."""

import itertools
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lockside.emulators.emulator import Emulator
from lockside.emulators.tables import create_lock_table
from tests.fakes.clock import FakeClock
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_backing import made_within
from tests.fakes.stream_control import CommandError, Scene, Script
from tests.fakes.stream_rig import streams_client
from tests.fakes.stream_server import StreamServer

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

NUMBERS = itertools.count()
SPECIFICATION: Any = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


@dataclass
class Front:
    """A server in front of an emulator, and one table made through it."""

    server: StreamServer
    tables: "DynamoDBClient"
    streams: "DynamoDBStreamsClient"
    behind: "DynamoDBClient"
    table: str
    arn: str

    def put(self, key: str, value: str = "") -> None:
        """Put an item through the server."""
        self.tables.put_item(TableName=self.table, Item={"id": {"S": key}, "v": {"S": value}})

    def records(self, arn: str = "") -> dict[str, list[tuple[str, str]]]:
        """Read a whole stream: each shard's keys and values, in order."""
        self.server.control({"state": {}})
        seen: dict[str, list[tuple[str, str]]] = {}
        arn = arn or self.arn
        for shard in self.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
            iterator = self.streams.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            page = self.streams.get_records(ShardIterator=iterator)["Records"]
            images = [record["dynamodb"].get("NewImage", {}) for record in page]
            seen[shard["ShardId"]] = [(image["id"]["S"], image["v"]["S"]) for image in images if image]
        return seen

    def latest(self) -> Any:
        """Describe the table through the server."""
        return self.tables.describe_table(TableName=self.table)["Table"]


@contextmanager
def before(backend: Emulator) -> Iterator[Front]:
    """Put a server in front of an emulator."""
    with StreamServer(backing_url=backend.endpoint_url) as server:
        tables, streams, name = dynamodb(server.emulator), streams_client(server), f"fronted-{next(NUMBERS)}"
        made = tables.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=SPECIFICATION,
        )["TableDescription"]
        yield Front(server, tables, streams, dynamodb(backend), name, made["LatestStreamArn"])
        tables.close()
        streams.close()


@pytest.fixture
def front(backend: Emulator) -> Iterator[Front]:
    """Run a test in front of both emulators."""
    with before(backend) as made:
        yield made


def test_only_the_stream_of_a_description_is_the_fakes(front: Front) -> None:
    """ARN and label are us-east-1's and of this server, the rest is as the emulator says it."""
    ours, theirs = front.latest(), front.behind.describe_table(TableName=front.table)["Table"]
    assert ours["LatestStreamArn"] == front.arn != theirs["LatestStreamArn"]
    assert front.arn.startswith(f"arn:aws:dynamodb:us-east-1:123456789012:table/{front.table}/stream/")
    assert front.arn.endswith(ours["LatestStreamLabel"])
    streamless = {"LatestStreamArn", "LatestStreamLabel"}
    assert {name: ours[name] for name in ours.keys() - streamless} == {
        name: value for name, value in theirs.items() if name not in streamless
    }


def test_what_clients_write_comes_out_in_item_order(front: Front) -> None:
    """Through splits and rolls, with writers in threads: each item's changes are one line."""

    def write(key: str) -> None:
        for number in range(12):
            front.put(key, str(number))

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(write, f"key{number}") for number in range(4)]
        front.server.control({"split": {"table": front.table}})
        front.server.control({"roll": {"table": front.table}})
        for each in done:
            each.result()
    front.server.control({"split": {"table": front.table}})
    front.put("key0", "last")
    seen: dict[str, list[str]] = defaultdict(list)
    for records in front.records().values():
        for key, value in records:
            seen[key].append(value)
    expected = {f"key{number}": [str(value) for value in range(12)] for number in range(4)}
    expected["key0"].append("last")
    assert seen == expected


def test_a_table_that_was_there_before_is_watched_when_described(front: Front, backend: Emulator) -> None:
    """A second server in front of the same emulator draws the stream from its beginning."""
    front.put("a")
    with StreamServer(backing_url=backend.endpoint_url) as other:
        tables, streams = dynamodb(other.emulator), streams_client(other)
        arn = tables.describe_table(TableName=front.table)["Table"]["LatestStreamArn"]
        again = Front(other, tables, streams, front.behind, front.table, arn)
        assert list(again.records().values()) == [[("a", "")]]
        tables.close()
        streams.close()


def test_creation_times_are_of_the_second(front: Front) -> None:
    """DynamoDB Local tells the minute only; what it made just now is stamped as it is drawn."""
    before = front.server.service.now_ms()
    front.put("a")
    front.server.control({"state": {}})
    after = front.server.service.now_ms()
    (stream,) = [each for each in front.server.service.model.streams.values() if each.arn == front.arn]
    (record,) = [record for shard in stream.shards.values() for record in shard.records]
    told = record["dynamodb"]["ApproximateCreationDateTime"]
    assert before // 1000 <= told <= after // 1000


@pytest.mark.parametrize(
    ("told", "drawn", "made"),
    [
        (60_000, 60_000, 60_000),
        (60_000, 119_999, 119_999),
        (60_000, 120_001, 119_999),
        (60_000, 124_999, 119_999),
        (60_000, 125_000, 60_000),
        (60_000, 59_999, 60_000),
    ],
    ids=["at once", "within the minute", "just after it", "at the limit", "long ago", "a clock that lags"],
)
def test_a_time_told_to_the_minute_is_made_exact_within_it(told: int, drawn: int, made: int) -> None:
    """What is drawn just after the minute's end was made before it: neither a minute early nor in the next one."""
    assert made_within(told, drawn) == made


def test_removals_and_batches_come_through(front: Front) -> None:
    """Every kind of write is a record, with the images that the emulator gave it."""
    request: Any = {"PutRequest": {"Item": {"id": {"S": "a"}, "v": {"S": ""}}}}
    front.tables.batch_write_item(RequestItems={front.table: [request]})
    front.tables.delete_item(TableName=front.table, Key={"id": {"S": "a"}})
    front.server.control({"state": {}})
    stream = front.server.service.model.streams[front.arn]
    records = [record for shard in stream.shards.values() for record in shard.records]
    assert [record["eventName"] for record in records] == ["INSERT", "REMOVE"]
    assert "NewImage" not in records[1]["dynamodb"]
    assert records[1]["dynamodb"]["OldImage"]["id"] == {"S": "a"}


def test_switching_the_stream_off_and_on_makes_a_new_one(dynamodb_local: Emulator) -> None:
    """Through UpdateTable, which moto does not take twice: the old ARN stays readable, the new one begins empty."""
    with before(dynamodb_local) as front:
        front.put("a")
        front.tables.update_table(TableName=front.table, StreamSpecification={"StreamEnabled": False})
        assert "StreamSpecification" not in front.latest()
        assert front.streams.describe_stream(StreamArn=front.arn)["StreamDescription"]["StreamStatus"] == "DISABLED"
        front.put("unseen")
        front.tables.update_table(TableName=front.table, StreamSpecification=SPECIFICATION)
        arn = front.latest()["LatestStreamArn"]
        assert arn != front.arn
        front.put("b")
        assert list(front.records().values()) == [[("a", "")]]
        assert list(front.records(arn).values()) == [[("b", "")]]


def test_the_fakes_stream_can_be_switched_by_itself(front: Front) -> None:
    """A command makes a new stream while the emulator's goes on; clients see the new ARN only."""
    front.put("a")
    front.server.control({"disable": {"table": front.table}})
    assert "StreamSpecification" not in front.latest()
    front.put("unseen")
    made = front.server.control({"enable": {"table": front.table}})
    front.put("b")
    assert front.latest()["LatestStreamArn"] == made["arn"] != front.arn
    assert [list(front.records(arn).values()) for arn in (front.arn, made["arn"])] == [[[("a", "")]], [[("b", "")]]]


def test_a_deleted_table_takes_its_stream_along(front: Front) -> None:
    """Table and stream are not found."""
    front.tables.delete_table(TableName=front.table)
    for call in (front.latest, lambda: front.streams.describe_stream(StreamArn=front.arn)):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            call()


def test_calls_of_tables_can_be_made_to_fail_too(front: Front) -> None:
    """A write that is refused is not carried out; one whose answer is lost is."""
    front.server.control({"fail": {"operation": "PutItem", "code": "ConditionalCheckFailedException"}})
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        front.put("a")
    front.server.control({"fail": {"operation": "PutItem", "kind": "dropped"}})
    front.put("b")
    keys = [key for records in front.records().values() for key, _ in records]
    assert "a" not in keys
    assert "b" in keys


def test_the_demos_lock_table_can_be_made_through_it(front: Front) -> None:
    """TTL and waiters included."""
    arn = create_lock_table(front.tables, f"{front.table}-locks")
    assert ":us-east-1:" in arn


# -- control -----------------------------------------------------------------------------------------------------------


def post(endpoint_url: str, order: bytes) -> Any:
    """Send a command over HTTP."""
    request = urllib.request.Request(f"{endpoint_url}/_control", order, method="POST")  # noqa: S310 - our own loopback
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own loopback
        return json.load(answer)["answer"]


def test_the_control_path_takes_commands() -> None:
    """What a process in another language would do."""
    with StreamServer() as server:
        made = post(server.endpoint_url, b'{"create": {"table": "locks", "shards": 2}}')
        assert len(made["shards"]) == 2
        post(server.endpoint_url, b'{"split": {"table": "locks"}}')
        (stream,) = post(server.endpoint_url, b'{"state": {}}')["streams"]
        assert (stream["arn"], len(stream["shards"])) == (made["arn"], 6)


@pytest.mark.parametrize(
    "order", [b"no json", b'{"no_such": {}}', b'{"roll": {"table": "nowhere"}}', b'{"set": {"no_such": 1}}', b"{}"]
)
def test_a_command_that_makes_no_sense_is_told_so(order: bytes) -> None:
    """HTTP 400, and what would have been right."""
    with StreamServer() as server, pytest.raises(urllib.error.HTTPError) as caught:
        post(server.endpoint_url, order)
    with caught.value:
        assert caught.value.code == 400
        assert json.load(caught.value)["error"]


def test_a_command_in_process_raises() -> None:
    """The same check for tests."""
    with StreamServer() as server, pytest.raises(CommandError, match="chaos"):
        server.control({"chaos": {"no_such": 1}})


def test_a_script_plays_its_scenes_in_time_and_by_calls() -> None:
    """A roll after two seconds, a refusal before the third listing."""
    clock = FakeClock()
    with StreamServer(clock=clock) as server:
        arn = server.control({"create": {"table": "locks"}})["arn"]
        refuse = {"fail": {"operation": "DescribeStream", "code": "ThrottlingException"}}
        scenes = [
            Scene({"roll": {"table": "locks"}}, after_ms=2_000),
            Scene(refuse, operation="DescribeStream", calls=2),
        ]
        Script(server.service, scenes)
        client = streams_client(server)

        def listed() -> int:
            return len(client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"])

        assert listed() == 1
        clock.advance(2)
        assert listed() == 2
        with pytest.raises(ClientError, match="Throttling"):
            listed()
        assert listed() == 2
        client.close()


def test_it_runs_as_a_program() -> None:
    """It says where it is, lives by itself as it was told to, and ends on SIGTERM with exit code 0."""
    orders = ["--table", "locks", "--history", "120", "--do", '{"put": {"table": "locks", "keys": ["a"]}}']
    line = [sys.executable, "-m", "tests.fakes.stream_server", *orders]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        assert process.stdout is not None
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        told = json.loads(process.stdout.readline())
        client = boto3.client("dynamodbstreams", endpoint_url=told["endpoint_url"])
        listing = client.describe_stream(StreamArn=told["streams"][0])["StreamDescription"]
        client.close()
        process.terminate()
        assert process.wait(30) == 0
        watchdog.cancel()
    assert len(listing["Shards"]) == 100
    assert "LastEvaluatedShardId" in listing


def test_its_help_names_what_it_can_do() -> None:
    """Every option has a word of help."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.fakes.stream_server", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(option in said for option in ("--backing", "--roll-seconds", "--chaos", "--script", "--seed"))
