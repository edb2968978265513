"""A scriptable DynamoDB Streams service in memory, spoken to like boto3's client.

It has what emulators lack: shards that close and have children, listings in pages and with holes, iterators that
expire, trimmed data, records together with a null iterator, empty pages before data, throttling. Several threads may
read and write at once.
"""

import copy
import itertools
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

ITERATOR_LIFE_MS = 15 * 60 * 1000
FIRST_SEQUENCE_NUMBER = 1_100_000_000_017_454_423_009


@dataclass
class FakeShard:
    """One shard: its records, how many of them are trimmed, and how it is listed."""

    shard_id: str
    parent_id: str | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    spoilt: dict[int, int] = field(default_factory=dict)
    trimmed: int = 0
    closed: bool = False
    null_with_records: bool = True
    empty_pages: int = 0
    hidden_listings: int = 0


@dataclass
class FakeStream:
    """One stream and its shards, in the order they were added."""

    status: str = "ENABLED"
    shards: dict[str, FakeShard] = field(default_factory=dict)


@dataclass(frozen=True)
class Iterator:
    """What an iterator stands for: the index of the next record."""

    arn: str
    shard_id: str
    index: int
    issued_ms: int


def client_error(code: str, operation: str, status: int = 400) -> ClientError:
    """Build the error botocore raises for a service's error answer."""
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": _metadata(status)}, operation)


def arn_of(table: str, label: str = "2026-11-23T00:00:00.000") -> str:
    """Name a stream of a table."""
    return f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}/stream/{label}"


class FakeStreams:
    """The service. Script it through its methods; hand `client` to what is tested; `calls` lists what was asked."""

    def __init__(
        self, clock: FakeClock | None = None, *, shards_per_page: int = 100, page_bytes_records: int = 1_000
    ) -> None:
        """Start without streams. `page_bytes_records` stands for the 1 MB limit: that many records fill a page."""
        self.clock = clock or FakeClock()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.repeat_cursor = 0
        self._shards_per_page = shards_per_page
        self._page_records = page_bytes_records
        self._streams: dict[str, FakeStream] = {}
        self._iterators: dict[str, Iterator] = {}
        self._failures: dict[str, deque[Exception]] = defaultdict(deque)
        self._serials = itertools.count()
        self._lock = threading.Lock()

    @property
    def client(self) -> "DynamoDBStreamsClient":
        """The service as a boto3 client."""
        return cast("DynamoDBStreamsClient", self)

    # -- scripting ---------------------------------------------------------------------------------------------------

    def add_stream(self, table: str = "locks") -> str:
        """Add a stream and return its ARN."""
        arn = arn_of(table)
        self._streams[arn] = FakeStream()
        return arn

    def add_shard(self, arn: str, shard_id: str, parent_id: str | None = None, *, hidden_listings: int = 0) -> str:
        """Add a shard, left out of the next `hidden_listings` listings; return its id as the service spells it."""
        name = spelled(shard_id)
        parent = spelled(parent_id) if parent_id else None
        self._streams[arn].shards[name] = FakeShard(name, parent, hidden_listings=hidden_listings)
        return name

    def shard(self, arn: str, shard_id: str) -> FakeShard:
        """Return a shard, to be scripted further."""
        return self._streams[arn].shards[spelled(shard_id)]

    def put(self, arn: str, shard_id: str, *keys: str, created_ms: int | None = None) -> list[int]:
        """Append one change per key; return their sequence numbers."""
        shard = self.shard(arn, shard_id)
        numbers: list[int] = []
        with self._lock:
            for key in keys:
                number = FIRST_SEQUENCE_NUMBER + 10 * next(self._serials)
                numbers.append(number)
                shard.numbers.append(number)
                shard.records.append(_record(key, number, created_ms or self.clock.now().wall_ms))
        return numbers

    def spoil(self, arn: str, shard_id: str, index: int, readings: int = 1_000) -> None:
        """Take a record's sequence number away, for so many readings of it."""
        self.shard(arn, shard_id).spoilt[index] = readings

    def close(self, arn: str, *shard_ids: str) -> None:
        """Close shards: after their last record there is no further iterator."""
        for shard_id in shard_ids:
            self.shard(arn, shard_id).closed = True

    def drop(self, arn: str, shard_id: str) -> None:
        """Let a shard age out: it is listed no more, and unknown."""
        del self._streams[arn].shards[spelled(shard_id)]

    def drop_stream(self, arn: str) -> None:
        """Delete a stream."""
        del self._streams[arn]

    def set_status(self, arn: str, status: str) -> None:
        """Set a stream's status."""
        self._streams[arn].status = status

    def fail(self, operation: str, code: str, times: int = 1, status: int = 400) -> None:
        """Let the next calls of an operation fail with a service error."""
        self.fail_with(operation, *(client_error(code, operation, status) for _ in range(times)))

    def fail_with(self, operation: str, *errors: Exception) -> None:
        """Let the next calls of an operation raise these errors."""
        self._failures[operation].extend(errors)

    def expire_iterators(self) -> None:
        """Let all iterators given out so far expire."""
        with self._lock:
            self._iterators = {token: _aged(iterator) for token, iterator in self._iterators.items()}

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of all calls of an operation."""
        return [parameters for name, parameters in self.calls if name == operation]

    # -- the client --------------------------------------------------------------------------------------------------

    def describe_stream(self, **request: Any) -> dict[str, Any]:
        """List one page of shards."""
        with self._lock:
            self._begin("describe_stream", request)
            stream = self._stream(request["StreamArn"], "DescribeStream")
            names = list(stream.shards)
            start = request.get("ExclusiveStartShardId")
            first = names.index(start) + 1 if start in stream.shards else 0
            page = names[first : first + self._shards_per_page]
            description: dict[str, Any] = {
                "StreamArn": request["StreamArn"],
                "StreamStatus": stream.status,
                "Shards": [_listed(stream.shards[name]) for name in page if not self._hidden(stream.shards[name])],
            }
            if first + self._shards_per_page < len(names):
                description["LastEvaluatedShardId"] = page[-1]
            if self.repeat_cursor and start is not None:
                self.repeat_cursor -= 1
                description["LastEvaluatedShardId"] = start
            return {"StreamDescription": description, "ResponseMetadata": self._answered()}

    def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
        """Give an iterator out."""
        with self._lock:
            self._begin("get_shard_iterator", request)
            shard = self._shard(request["StreamArn"], request["ShardId"], "GetShardIterator")
            index = _index(shard, request["ShardIteratorType"], request.get("SequenceNumber"))
            if index < shard.trimmed:
                raise client_error("TrimmedDataAccessException", "GetShardIterator")
            token = self._issue(request["StreamArn"], shard, index)
            return {"ShardIterator": token, "ResponseMetadata": self._answered()}

    def get_records(self, **request: Any) -> dict[str, Any]:
        """Return one page of records."""
        with self._lock:
            self._begin("get_records", request)
            iterator = self._iterators.get(request["ShardIterator"])
            if iterator is None or self.clock.now().wall_ms - iterator.issued_ms > ITERATOR_LIFE_MS:
                raise client_error("ExpiredIteratorException", "GetRecords")
            if request.get("Limit", 1_000) > 1_000:
                raise client_error("LimitExceededException", "GetRecords")
            shard = self._shard(iterator.arn, iterator.shard_id, "GetRecords")
            if iterator.index < shard.trimmed:
                raise client_error("TrimmedDataAccessException", "GetRecords")
            return self._page(iterator, shard, min(request.get("Limit", 1_000), self._page_records))

    def _page(self, iterator: Iterator, shard: FakeShard, limit: int) -> dict[str, Any]:
        records = shard.records[iterator.index : iterator.index + limit]
        if records and shard.empty_pages:
            shard.empty_pages -= 1
            records = []
        following = iterator.index + len(records)
        answer: dict[str, Any] = {"Records": copy.deepcopy(records), "ResponseMetadata": self._answered()}
        for index in range(iterator.index, following):
            if shard.spoilt.get(index, 0) > 0:
                shard.spoilt[index] -= 1
                del answer["Records"][index - iterator.index]["dynamodb"]["SequenceNumber"]
        at_end = shard.closed and following == len(shard.records) and (shard.null_with_records or not records)
        if not at_end:
            answer["NextShardIterator"] = self._issue(iterator.arn, shard, following)
        return answer

    def _begin(self, operation: str, request: dict[str, Any]) -> None:
        self.calls.append((operation, dict(request)))
        if self._failures[operation]:
            raise self._failures[operation].popleft()

    def _stream(self, arn: str, operation: str) -> FakeStream:
        if arn not in self._streams:
            raise client_error("ResourceNotFoundException", operation)
        return self._streams[arn]

    def _shard(self, arn: str, shard_id: str, operation: str) -> FakeShard:
        stream = self._stream(arn, operation)
        if shard_id not in stream.shards:
            raise client_error("ResourceNotFoundException", operation)
        return stream.shards[shard_id]

    def _issue(self, arn: str, shard: FakeShard, index: int) -> str:
        token = f"{arn}|{shard.shard_id}|{next(self._serials)}"
        self._iterators[token] = Iterator(arn, shard.shard_id, index, self.clock.now().wall_ms)
        return token

    def _hidden(self, shard: FakeShard) -> bool:
        if shard.hidden_listings:
            shard.hidden_listings -= 1
            return True
        return False

    def _answered(self) -> dict[str, Any]:
        metadata: dict[str, Any] = _metadata(200)
        moment = datetime.fromtimestamp(self.clock.now().wall_ms // 1000, UTC)
        return {**metadata, "HTTPHeaders": {"date": format_datetime(moment, usegmt=True)}}


def spelled(shard_id: str) -> str:
    """Spell a short name as the service does: a shard id has 28 characters at least."""
    return shard_id if shard_id.startswith("shardId-") else f"shardId-{0:020d}-{shard_id}"


def _index(shard: FakeShard, kind: str, sequence_number: str | None) -> int:
    match kind:
        case "TRIM_HORIZON":
            return shard.trimmed
        case "LATEST":
            return len(shard.numbers)
        case _:
            wanted = int(sequence_number or 0) + (kind == "AFTER_SEQUENCE_NUMBER")
            return next((index for index, number in enumerate(shard.numbers) if number >= wanted), len(shard.numbers))


def _listed(shard: FakeShard) -> dict[str, Any]:
    first = shard.numbers[0] if shard.numbers else FIRST_SEQUENCE_NUMBER
    listed: dict[str, Any] = {"ShardId": shard.shard_id, "SequenceNumberRange": {"StartingSequenceNumber": str(first)}}
    if shard.closed:
        listed["SequenceNumberRange"]["EndingSequenceNumber"] = str(shard.numbers[-1] if shard.numbers else first)
    if shard.parent_id is not None:
        listed["ParentShardId"] = shard.parent_id
    return listed


def _record(key: str, number: int, created_ms: int) -> dict[str, Any]:
    return {
        "eventID": f"{number:032x}",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": datetime.fromtimestamp(created_ms // 1000, UTC),
            "Keys": {"id": {"S": key}},
            "NewImage": {"id": {"S": key}},
            "SequenceNumber": str(number),
            "SizeBytes": 10,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }


def _aged(iterator: Iterator) -> Iterator:
    return Iterator(iterator.arn, iterator.shard_id, iterator.index, iterator.issued_ms - ITERATOR_LIFE_MS - 1)


def _metadata(status: int) -> Any:
    return {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0, "RequestId": "", "HostId": ""}
