"""How far each shard has been consumed, in the state table.

One item per shard: `CK#<stream ARN>` / shard id, with the position of the last consumed change and, apart from it, the
mark that the shard was read to its end. A position never goes back. The item `CK#<stream ARN>` / `#start` holds the
instant from which a stream started at LATEST counts, so that a restart before the first checkpoint loses nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.aws.retrying import Retrier, verdict
from lockside.core.change import ShardRef, padded
from lockside.core.failures import Verdict
from lockside.core.ports import Clock
from lockside.errors import FencedError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

START_KEY: Final = "#start"
"""Sort key of a stream's start; every shard id begins with `shardId-`, so none can be equal to it."""

NAMES: Final = {"#position": "position", "#finished": "finished", "#epoch": "epoch", "#updated": "updated_ms"}
OWNED: Final = "(attribute_not_exists(#epoch) OR #epoch <= :epoch)"
FORWARD: Final = "(attribute_not_exists(#position) OR #position <= :position)"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One shard's item. `position` is None for a shard that was finished without a single change."""

    position: int | None
    finished: bool
    epoch: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is remembered of one stream. `since_ms` is the start at LATEST, None where there was none."""

    since_ms: int | None = None
    shards: Mapping[str, Checkpoint] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoint items of the state table. Every call is tried until it succeeds, or raises StoppedError.

    `epoch` is the owner's; a write against a higher one raises FencedError.
    """

    client: "DynamoDBClient"
    table: str
    retrier: Retrier
    clock: Clock
    epoch: int = 0

    def load(self, stream_arn: str) -> StreamState:
        """Read all that is remembered of a stream, strongly consistent."""
        since_ms: int | None = None
        shards: dict[str, Checkpoint] = {}
        for item in self._items(stream_arn):
            if item["sk"]["S"] == START_KEY:
                since_ms = int(item["since_ms"]["N"])
            else:
                shards[item["sk"]["S"]] = _checkpoint(item)
        return StreamState(since_ms, shards)

    def begin(self, stream_arn: str, since_ms: int) -> int:
        """Remember when a stream was started at LATEST; return that instant, of an earlier call if there was one."""
        answer = self.retrier.call(
            "checkpoint_begin",
            lambda: self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": _partition(stream_arn)}, "sk": {"S": START_KEY}},
                UpdateExpression="SET since_ms = if_not_exists(since_ms, :since)",
                ExpressionAttributeValues={":since": {"N": str(since_ms)}},
                ReturnValues="ALL_NEW",
            ),
        )
        return int(answer["Attributes"]["since_ms"]["N"])

    def advance(self, shard: ShardRef, position: int) -> bool:
        """Move a shard's position forward; False if one further on stands there already.

        Call it only when every effect up to `position` is acknowledged (law 4).
        """
        return self._update(
            shard,
            "SET #position = :position, #epoch = :epoch, #updated = :updated",
            f"{FORWARD} AND {OWNED}",
            {":position": {"S": padded(position)}},
        )

    def finish(self, shard: ShardRef) -> None:
        """Mark a shard as read to its end; its children may start."""
        self._update(shard, "SET #finished = :finished, #epoch = :epoch, #updated = :updated", OWNED, _FINISHED)

    def _update(self, shard: ShardRef, change: str, condition: str, values: Mapping[str, Any]) -> bool:
        expressions = change + condition
        names = {alias: name for alias, name in NAMES.items() if alias in expressions}
        all_values = {
            ":epoch": {"N": str(self.epoch)},
            ":updated": {"N": str(self.clock.now().wall_ms)},
            **values,
        }
        try:
            self.retrier.call(
                "checkpoint",
                lambda: self.client.update_item(
                    TableName=self.table,
                    Key={"pk": {"S": _partition(shard.stream_arn)}, "sk": {"S": shard.shard_id}},
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=all_values,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ),
            )
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise
            self._fence(shard, error.response.get("Item"))
            return False
        return True

    def _fence(self, shard: ShardRef, found: object) -> None:
        if isinstance(found, Mapping) and _number(found, "epoch") > self.epoch:
            raise FencedError(
                f"shard {shard.shard_id} of table {shard.table} belongs to another worker now "
                f"(owner epoch {_number(found, 'epoch')}, ours is {self.epoch}); this worker stops writing to it"
            )

    def _items(self, stream_arn: str) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": _partition(stream_arn)}},
            "ConsistentRead": True,
        }
        while True:
            page = self.retrier.call("checkpoint_load", lambda: self.client.query(**request))
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


_FINISHED: Final = {":finished": {"BOOL": True}}


def _partition(stream_arn: str) -> str:
    return f"CK#{stream_arn}"


def _checkpoint(item: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        position=int(item["position"]["S"]) if "position" in item else None,
        finished=bool(item.get("finished", {}).get("BOOL", False)),
        epoch=_number(item, "epoch"),
        updated_ms=_number(item, "updated_ms"),
    )


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(item.get(name, {}).get("N", 0))
