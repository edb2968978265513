"""What DescribeStream says of a stream: its shards, on all pages, or none at all.

A listing that broke off is never handed on: a parent missing from it would be taken for one that is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.aws.retrying import AgainError, Retrier, verdict
from lockside.core.failures import Verdict
from lockside.core.ports import Stop
from lockside.engines.embedded.endpoint import endpoint_ms
from lockside.engines.embedded.lineage import ListedShard
from lockside.engines.embedded.plan import StreamPlan
from lockside.errors import SetupError, StoppedError

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

PAGE_PAUSE_SECONDS: Final = 0.1
"""DescribeStream bears 10 calls a second for a stream (API reference), whoever makes them."""

PAGES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Listing:
    """One whole listing. `endpoint_ms` is the endpoint's own clock as its Date header has it, None without one."""

    status: str
    shards: tuple[ListedShard, ...]
    endpoint_ms: int | None

    @property
    def grows(self) -> bool:
        """Whether new shards may still appear: a disabled stream stays readable for a day, but gets none."""
        return self.status not in {"DISABLED", "DISABLING"}


@dataclass(frozen=True, slots=True)
class Discovery:
    """Lists shards; each call is tried until it succeeds, or raises StoppedError."""

    client: "DynamoDBStreamsClient"
    retrier: Retrier
    stop: Stop

    def list_shards(self, plan: StreamPlan) -> Listing:
        """List a stream's shards. Raises SetupError if there is no such stream."""
        try:
            return self.retrier.call("describe_stream_pages", lambda: self._pages(plan))
        except ClientError as error:
            if verdict(error) is not Verdict.NOT_FOUND:
                raise
            raise SetupError(
                f"stream {plan.stream_arn} of table {plan.table}: not found (ResourceNotFoundException); the table was "
                "deleted, or its stream was switched off and on again: `lockside check` tells which"
            ) from error

    def _pages(self, plan: StreamPlan) -> Listing:
        shards: dict[str, ListedShard] = {}
        cursors: set[str] = set()
        request: dict[str, Any] = {"StreamArn": plan.stream_arn}
        while True:
            answer = self.retrier.call("describe_stream", lambda: self.client.describe_stream(**request))
            page: Mapping[str, Any] = answer["StreamDescription"]
            shards.update((raw["ShardId"], _shard(raw)) for raw in page.get("Shards", ()))
            cursor = page.get("LastEvaluatedShardId")
            if not cursor:
                return Listing(page["StreamStatus"], tuple(shards.values()), endpoint_ms(answer))
            if cursor in cursors or len(cursors) >= PAGES_MAX:
                raise AgainError(f"listing of {plan.table} does not come to an end")
            cursors.add(cursor)
            request["ExclusiveStartShardId"] = cursor
            if self.stop.wait(PAGE_PAUSE_SECONDS):
                raise StoppedError("describe_stream")


def _shard(raw: Mapping[str, Any]) -> ListedShard:
    return ListedShard(
        shard_id=raw["ShardId"],
        parent_id=raw.get("ParentShardId"),
        closed=raw.get("SequenceNumberRange", {}).get("EndingSequenceNumber") is not None,
    )
