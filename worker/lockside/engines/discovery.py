"""What DescribeStream says of a stream, one call at a time: a page of its shards, or the children of one shard.

Nothing here waits or tries again: whoever asks decides when to ask again, and keeps what it was told so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.aws.answers import BrokenAnswerError, having
from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict
from lockside.engines.endpoint import endpoint_ms

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

STREAM_PAGES_MAX: Final = 100
"""A table has a stream for each time it was switched on within a day; a listing without end runs in a circle."""


@dataclass(frozen=True, slots=True)
class ListedShard:
    """One shard as DescribeStream lists it. `closed`: it has an ending sequence number."""

    shard_id: str
    parent_id: str | None
    closed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing. `endpoint_ms` is the endpoint's own clock as its Date header has it, None without one."""

    status: str
    shards: tuple[ListedShard, ...]
    cursor: str | None
    endpoint_ms: int | None

    @property
    def grows(self) -> bool:
        """Whether new shards may still appear: a disabled stream stays readable for a day, but gets none."""
        return self.status not in {"DISABLED", "DISABLING"}


@dataclass(frozen=True, slots=True)
class Discovery:
    """Asks of streams and shards. Calls raise what boto3 raises.

    An answer without its members raises BrokenAnswerError: it must not be taken for a stream without shards.
    """

    client: "DynamoDBStreamsClient"

    def page(self, stream_arn: str, after: str | None) -> Page:
        """List the shards that follow another, or the first ones."""
        request: dict[str, Any] = {"StreamArn": stream_arn}
        if after is not None:
            request["ExclusiveStartShardId"] = after
        return self._described(request)

    def streams(self, table: str) -> tuple[str, ...]:
        """List all streams of a table that can still be read, oldest first: the ARN ends with the creation time."""
        arns: set[str] = set()
        request: dict[str, Any] = {"TableName": table}
        asked: set[str] = set()
        while True:
            answer = having("Streams", list, "ListStreams", partial(self.client.list_streams, **request))
            arns.update(stream["StreamArn"] for stream in answer["Streams"])
            after = answer.get("LastEvaluatedStreamArn")
            if not after or after in asked or len(asked) >= STREAM_PAGES_MAX:
                return tuple(sorted(arns))
            asked.add(after)
            request["ExclusiveStartStreamArn"] = after

    def children(self, stream_arn: str, shard_id: str) -> Page:
        """List the children of a closed shard.

        Emulators ignore the filter and answer with the shard itself, or with everything.
        """
        return self._described({"StreamArn": stream_arn, "ShardFilter": {"Type": "CHILD_SHARDS", "ShardId": shard_id}})

    def exists(self, stream_arn: str, shard_id: str) -> bool:
        """Whether a shard is there, listed or not."""
        place: dict[str, Any] = {"StreamArn": stream_arn, "ShardId": shard_id, "ShardIteratorType": "TRIM_HORIZON"}
        try:
            iterator_of(self.client, place)
        except ClientError as error:
            # DynamoDB Local says of a shard it has forgotten that its data is trimmed.
            if verdict(error) in {Verdict.NOT_FOUND, Verdict.TRIMMED}:
                return False
            raise
        return True

    def _described(self, request: Mapping[str, Any]) -> Page:
        ask = partial(self.client.describe_stream, **request)
        answer = having("StreamDescription", Mapping, "DescribeStream", ask)
        description: Mapping[str, Any] = answer["StreamDescription"]
        try:
            return Page(
                status=description["StreamStatus"],
                shards=tuple(_shard(raw) for raw in description["Shards"]),
                cursor=description.get("LastEvaluatedShardId") or None,
                endpoint_ms=endpoint_ms(answer),
            )
        except KeyError as error:
            raise BrokenAnswerError("DescribeStream") from error


def iterator_of(client: "DynamoDBStreamsClient", place: Mapping[str, Any]) -> str:
    """Get an iterator at a place in a shard."""
    answer = having("ShardIterator", str, "GetShardIterator", partial(client.get_shard_iterator, **place))
    iterator: str = answer["ShardIterator"]
    return iterator


def spelled(position: int) -> str:
    """Spell a position as GetShardIterator takes it: 21 digits at least (botocore's model), as emulators pad it."""
    return f"{position:021d}"


def _shard(raw: Mapping[str, Any]) -> ListedShard:
    return ListedShard(
        shard_id=raw["ShardId"],
        parent_id=raw.get("ParentShardId"),
        closed=raw.get("SequenceNumberRange", {}).get("EndingSequenceNumber") is not None,
    )
