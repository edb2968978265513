"""A scriptable DynamoDB Streams service in memory, spoken to like boto3's client.

It answers what tests.fakes.stream_server sends over a socket: one service behind both, and botocore's own parser turns
its bytes into what boto3 returns. Several threads may read and write at once.
"""

import threading
from collections import defaultdict, deque
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from botocore import exceptions as aws
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser

from tests.fakes.clock import FakeClock
from tests.fakes.stream_faults import Kind
from tests.fakes.stream_model import Options, Shard, StreamModel, made_record
from tests.fakes.stream_names import arn_of, spelled
from tests.fakes.stream_service import GARBLED, STREAMS_TARGET, TABLES_TARGET, Reply, StreamService

if TYPE_CHECKING:
    from botocore.model import Shape
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

__all__ = ["FakeStreams", "arn_of", "client_error", "spelled"]

ENDPOINT: Final = "memory://streams"
MODELS: Final = {STREAMS_TARGET: "dynamodbstreams", TABLES_TARGET: "dynamodb"}


def client_error(code: str, operation: str, status: int = 400) -> ClientError:
    """Build the error botocore raises for a service's error answer."""
    metadata: Any = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0, "RequestId": "", "HostId": ""}
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": metadata}, operation)


class FakeStreams:
    """The service. Script it through its methods; hand `client` to what is tested; `calls` lists what was asked."""

    def __init__(
        self, clock: FakeClock | None = None, *, shards_per_page: int = 100, page_bytes_records: int = 1_000
    ) -> None:
        """Start without streams. `page_bytes_records` stands for the 1 MB limit: that many records fill a page."""
        self.clock = clock or FakeClock()
        self.model = StreamModel(Options(shards_per_page, page_bytes_records))
        self.service = StreamService(self.clock, self.model)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._failures: dict[str, deque[Exception]] = defaultdict(deque)
        self._lock = threading.Lock()

    @property
    def client(self) -> "DynamoDBStreamsClient":
        """The service as a boto3 client."""
        return cast("DynamoDBStreamsClient", self)

    @property
    def repeat_cursor(self) -> int:
        """How many listings will name the cursor they were given as the next one."""
        return self.model.options.repeat_cursor

    @repeat_cursor.setter
    def repeat_cursor(self, times: int) -> None:
        self.model.options.repeat_cursor = times

    # -- scripting ---------------------------------------------------------------------------------------------------

    def add_stream(self, table: str = "locks") -> str:
        """Add a stream and return its ARN; a table's second one gets a label of its own."""
        with self.service.lock:
            label = "" if table in self.model.latest else arn_of(table).rpartition("/")[2]
            return self.model.add_stream(table, self.service.now_ms(), label=label).arn

    def add_shard(self, arn: str, shard_id: str, parent_id: str | None = None, *, hidden_listings: int = 0) -> str:
        """Add a shard, left out of the next `hidden_listings` listings; return its id as the service spells it."""
        with self.service.lock:
            parent = spelled(parent_id) if parent_id else None
            shard = self.model.add_shard(self.model.streams[arn], shard_id, parent, self.service.now_ms())
            shard.hidden_listings = hidden_listings
            return shard.shard_id

    def shard(self, arn: str, shard_id: str) -> Shard:
        """Return a shard, to be scripted further."""
        return self.model.streams[arn].shards[spelled(shard_id)]

    def put(self, arn: str, shard_id: str, *keys: str, created_ms: int | None = None) -> list[int]:
        """Append one change per key; return their sequence numbers."""
        with self.service.lock:
            shard = self.shard(arn, shard_id)
            at_ms = created_ms or self.service.now_ms()
            return [self.model.append(shard, made_record(key, self.model.serial), at_ms) for key in keys]

    def spoil(self, arn: str, shard_id: str, index: int, readings: int = 1_000) -> None:
        """Take a record's sequence number away, for so many readings of it."""
        self.shard(arn, shard_id).spoilt[index] = readings

    def close(self, arn: str, *shard_ids: str) -> None:
        """Close shards: after their last record there is no further iterator."""
        with self.service.lock:
            for shard_id in shard_ids:
                self.model.close(self.shard(arn, shard_id), self.service.now_ms())

    def drop(self, arn: str, shard_id: str) -> None:
        """Let a shard age out: it is listed no more, and unknown."""
        with self.service.lock:
            self.model.age_out(self.shard(arn, shard_id))

    def drop_stream(self, arn: str) -> None:
        """Delete a stream."""
        with self.service.lock:
            self.model.delete_stream(arn)

    def set_status(self, arn: str, status: Any) -> None:
        """Set a stream's status."""
        self.model.streams[arn].status = status

    def fail(self, operation: str, code: str, times: int = 1, status: int = 400) -> None:
        """Let the next calls of an operation fail with a service error."""
        self.fail_with(operation, *(client_error(code, operation, status) for _ in range(times)))

    def fail_with(self, operation: str, *errors: Exception) -> None:
        """Let the next calls of an operation raise these errors."""
        self._failures[operation].extend(errors)

    def expire_iterators(self) -> None:
        """Let all iterators given out so far expire."""
        with self.service.lock:
            self.model.iterators_expired = self.model.iterators

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of all calls of an operation."""
        return [parameters for name, parameters in self.calls if name == operation]

    # -- the client --------------------------------------------------------------------------------------------------

    def describe_stream(self, **request: Any) -> dict[str, Any]:
        """List one page of shards."""
        return self._call("describe_stream", "DescribeStream", request)

    def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
        """Give an iterator out."""
        return self._call("get_shard_iterator", "GetShardIterator", request)

    def get_records(self, **request: Any) -> dict[str, Any]:
        """Return one page of records."""
        return self._call("get_records", "GetRecords", request)

    def list_streams(self, **request: Any) -> dict[str, Any]:
        """List one page of streams."""
        return self._call("list_streams", "ListStreams", request)

    def describe_table(self, **request: Any) -> dict[str, Any]:
        """Describe a table, as a client of DynamoDB itself would."""
        return self._call("describe_table", "DescribeTable", request, TABLES_TARGET)

    def _call(self, name: str, operation: str, request: dict[str, Any], target: str = STREAMS_TARGET) -> dict[str, Any]:
        self._begin(name, request)
        return _parsed(target, operation, self.service.call(target, operation, _plain(request)))

    def _begin(self, operation: str, request: dict[str, Any]) -> None:
        with self._lock:
            self.calls.append((operation, dict(request)))
            if self._failures[operation]:
                raise self._failures[operation].popleft()


def _plain(request: dict[str, Any]) -> dict[str, Any]:
    return {name: value.timestamp() if isinstance(value, datetime) else value for name, value in request.items()}


@cache
def _service(target: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(MODELS[target], "service-2"))


def _parsed(target: str, operation: str, reply: Reply) -> dict[str, Any]:
    """Return what boto3 would, or raise what it would.

    botocore takes a body that broke off, or is no JSON, for an answer without members; it does not check its length.
    """
    body = reply.body
    match reply.fault.kind if reply.fault else None:
        case Kind.DROPPED:
            raise aws.ConnectionClosedError(endpoint_url=ENDPOINT)
        case Kind.TRUNCATED:
            body = body[: len(body) // 2]
        case Kind.GARBLED:
            body = GARBLED
        case _:
            pass
    shape = _service(target).operation_model(operation).output_shape
    answer = {"status_code": reply.status, "headers": reply.headers, "body": body}
    parsed: dict[str, Any] = create_parser("json").parse(answer, cast("Shape", shape))
    parsed["ResponseMetadata"] |= {"RetryAttempts": 0, "HostId": ""}
    if reply.status >= 300:
        raise ClientError(cast("Any", parsed), operation)
    return parsed
