"""Which streams of a table are known, in the state table.

A table's stream is replaced when it is switched off and on again, and the old one stays readable for a day. Both are
kept here until the old one is drained, so that a restart in between goes on with it. One item per stream:
`TABLE#<table ARN>` / stream ARN, whose label is its creation time, so that key order is the streams' order; those of a
named reader, one of several, `TABLE#<reader>#<table ARN>`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lockside.aws.retrying import Retrier

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DRAINED: Final = "drained"
FOLLOWS: Final = "follows"


@dataclass(frozen=True, slots=True)
class KnownStream:
    """One stream of a table. `drained`: all of it was consumed, and it gets no more.

    `follows`: it took the place of another, so that it is read from its beginning, however the first one was begun.
    """

    arn: str
    drained: bool = False
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams' items. Every call is tried until it succeeds, or raises StoppedError.

    Nothing here is conditional: what is noted is a fact, whoever notes it.
    """

    client: "DynamoDBClient"
    table: str
    retrier: Retrier
    reader: str = ""

    def load(self, stream_arn: str) -> tuple[KnownStream, ...]:
        """Read all known streams of the table that a stream belongs to, oldest first, strongly consistent."""
        return tuple(
            KnownStream(item["sk"]["S"], _flag(item, DRAINED), _flag(item, FOLLOWS))
            for item in self._items(self._partition(stream_arn))
        )

    def found(self, stream_arn: str, *, follows: bool) -> None:
        """Note a stream; one that is known stays as it is."""
        self._set(stream_arn, f"SET {FOLLOWS} = if_not_exists({FOLLOWS}, :value)", value=follows)

    def drained(self, stream_arn: str) -> None:
        """Note that a stream is consumed to its end: its successor may begin."""
        self._set(stream_arn, f"SET {DRAINED} = :value", value=True)

    def forget(self, stream_arn: str) -> None:
        """Remove a stream that is no more."""
        self.retrier.call(
            "stream_forget", lambda: self.client.delete_item(TableName=self.table, Key=self._key(stream_arn))
        )

    def _set(self, stream_arn: str, expression: str, *, value: bool) -> None:
        self.retrier.call(
            "stream_note",
            lambda: self.client.update_item(
                TableName=self.table,
                Key=self._key(stream_arn),
                UpdateExpression=expression,
                ExpressionAttributeValues={":value": {"BOOL": value}},
            ),
        )

    def _items(self, partition: str) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": partition}},
            "ConsistentRead": True,
        }
        while True:
            page = self.retrier.call("streams_load", lambda: self.client.query(**request))
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _partition(self, stream_arn: str) -> str:
        table_arn = stream_arn.partition("/stream/")[0]
        return f"TABLE#{self.reader}#{table_arn}" if self.reader else f"TABLE#{table_arn}"

    def _key(self, stream_arn: str) -> Any:
        return {"pk": {"S": self._partition(stream_arn)}, "sk": {"S": stream_arn}}


def _flag(item: Mapping[str, Any], name: str) -> bool:
    return bool(item.get(name, {}).get("BOOL", False))
