"""What the worker tells of its shards, in the state table: `STATUS#<application>` / stream ARN and shard.

For people, and never read to decide anything. So nothing here is tried twice: the next refresh comes soon.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import ClientError

from lockside.aws.retrying import verdict
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.core.status import ShardStatus

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ROWS_MAX: Final = 25
"""BatchWriteItem's limit, and so a refresh's."""

TOLD: Final = "told"


@dataclass(frozen=True, slots=True)
class StatusTable:
    """The rows of one application."""

    client: "DynamoDBClient"
    table: str
    application: str

    def refresh(self, rows: Sequence[ShardStatus], gone: Sequence[ShardRef]) -> None:
        """Put and remove rows in one call, `ROWS_MAX` at most. What the service leaves undone is left to the next."""
        items = [{**self._key(row.shard), TOLD: {"S": _told(row)}} for row in rows]
        actions: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        actions += [{"DeleteRequest": {"Key": self._key(shard)}} for shard in gone]
        if actions:
            self.client.batch_write_item(RequestItems={self.table: actions})

    def read(self) -> Iterator[ShardStatus]:
        """Read all rows, strongly consistent; what is no row of this version is passed over."""
        request: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": self._partition}},
            "ConsistentRead": True,
        }
        while True:
            page = self.client.query(**request)
            for item in page["Items"]:
                row = _row(item)
                if row is not None:
                    yield row
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def remove_unchanged(self, row: ShardStatus) -> None:
        """Remove a row that still is as it was read; one that was refreshed since stays."""
        try:
            self.client.delete_item(
                TableName=self.table,
                Key=self._key(row.shard),
                ConditionExpression=f"{TOLD} = :told",
                ExpressionAttributeValues={":told": {"S": _told(row)}},
            )
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise

    @property
    def _partition(self) -> str:
        return f"STATUS#{self.application}"

    def _key(self, shard: ShardRef) -> dict[str, Any]:
        return {"pk": {"S": self._partition}, "sk": {"S": f"{shard.stream_arn}#{shard.shard_id}"}}


def _told(row: ShardStatus) -> str:
    fields = {name: getattr(row, name) for name in ShardStatus.__slots__ if name != "shard"}
    # As text: a sequence number is wider than the 64 bits that JSON writers take for an integer.
    fields["position"] = None if row.position is None else str(row.position)
    return orjson.dumps(fields).decode()


def _row(item: Mapping[str, Any]) -> ShardStatus | None:
    arn, _, shard_id = item["sk"]["S"].rpartition("#")
    try:
        fields = orjson.loads(item[TOLD]["S"])
        position = None if fields["position"] is None else int(fields["position"])
        told = {**fields, "position": position, "sources": tuple(fields["sources"])}
        return ShardStatus(shard=ShardRef(arn, shard_id), **told)
    except (KeyError, TypeError, ValueError):
        return None
