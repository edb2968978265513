"""A replica in a second DynamoDB table, of another region, account or endpoint.

Each row is the source's, with one attribute more, its stamp; a deleted row leaves a tombstone, its key with a stamp and
the time when DynamoDB's TTL may remove it. Whoever reads the table leaves out rows that have `lockside_expires`.

Strategy: a write is one conditional PutItem, as BatchWriteItem knows no condition. A page's writes go out side by side:
there is one for each row, and stamps bear any order.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import ClientError

from lockside.aws.answers import having
from lockside.aws.retrying import AgainError, Retrier, error_code, verdict
from lockside.core.attributes import Image
from lockside.core.entity import EntityKey, KeySchema, entity_key, wire_key
from lockside.core.failures import Verdict
from lockside.core.ports import Clock
from lockside.core.replica import EXPIRES, RESERVED, STAMP, Row, Write
from lockside.core.wire_form import for_boto3, for_json
from lockside.errors import FencedError, ReplicaError
from lockside.stores.target import HOUR_MS, Applied, RowPage

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BATCH_GET_MAX: Final = 100
NEWER: Final = "attribute_not_exists(#stamp) OR #stamp < :stamp"
REFUSED: Final = frozenset({"ValidationException", "ItemCollectionSizeLimitExceededException"})
"""What DynamoDB answers to a row that it cannot hold, above all one that its stamp makes larger than 400 KB."""


class DynamoDBTarget:
    """The rows of one replica. Implements `Target`; safe to share between threads."""

    def __init__(  # noqa: PLR0913 - one argument for each neighbour
        self,
        client: "DynamoDBClient",
        table: str,
        schema: KeySchema,
        retrier: Retrier,
        clock: Clock,
        *,
        tombstone_hours: int,
        writers: int,
    ) -> None:
        """Take what is needed; nothing is called yet."""
        self._client = client
        self._table = table
        self._schema = schema
        self._retrier = retrier
        self._clock = clock
        self._tombstone_ms = tombstone_hours * HOUR_MS
        self._pool = ThreadPoolExecutor(writers, thread_name_prefix="replica")

    @property
    def place(self) -> str:
        """Name the table and where it is."""
        return f"{self._table} at {self._client.meta.endpoint_url} in {self._client.meta.region_name}"

    def apply(self, writes: Sequence[Write], until_ms: int) -> Applied:
        """Write rows side by side."""
        if len(writes) == 1:
            taken = int(self._write(writes[0], until_ms))
        else:
            # In our context, so that waits in the pool count as waits of the loop that asked (ops/heartbeat.py).
            jobs = [self._pool.submit(copy_context().run, self._write, write, until_ms) for write in writes]
            outcomes = [job.exception() for job in jobs]
            if failure := next((error for error in outcomes if error is not None), None):
                raise failure
            taken = sum(job.result() for job in jobs)
        return Applied(taken, len(writes) - taken)

    def read(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Row]:
        """Read rows, strongly consistent."""
        found: dict[EntityKey, Row] = {}
        for start in range(0, len(keys), BATCH_GET_MAX):
            items = read_items(
                self._client, self._table, keys[start : start + BATCH_GET_MAX], self._schema, self._retrier
            )
            found.update((row.key, row) for row in map(self._row, items))
        return found

    def page(self, cursor: str | None) -> RowPage:
        """Scan on, strongly consistent."""
        items, following = scan_page(self._client, self._table, cursor, self._retrier)
        return RowPage([self._row(item) for item in items], following)

    def vouch(self, generation: int) -> bool:
        """A table loses nothing by itself."""
        del generation
        return True

    def begin(self, generation: int) -> None:
        """Note nothing: stamps tell."""

    def close(self) -> None:
        """End the threads that write."""
        self._pool.shutdown(cancel_futures=True)

    def _write(self, write: Write, until_ms: int) -> bool:
        item = {**self._item(write), STAMP: {"S": write.stamp}}

        def put() -> bool:
            if self._clock.now().wall_ms > until_ms:
                raise FencedError(
                    f"a change for {self.place} was held up for so long that what would refuse it, if it is outdated, "
                    "may be gone; the replicator stops, and the next one reads it again"
                )
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=NEWER,
                    ExpressionAttributeNames={"#stamp": STAMP},
                    ExpressionAttributeValues={":stamp": {"S": write.stamp}},
                )
            except ClientError as error:
                if verdict(error) is not Verdict.CONDITION:
                    raise
                return False
            return True

        try:
            return self._retrier.call("replicate", put)
        except ClientError as error:
            if error_code(error) not in REFUSED:
                raise
            raise ReplicaError(
                f"{self.place} does not take a row ({error_code(error)}): most likely its stamp makes it larger than "
                "the 400 KB that an item may have; make the row smaller, or replicate the table to Redis"
            ) from error

    def _item(self, write: Write) -> dict[str, Any]:
        if write.image is not None:
            return for_boto3(write.image)
        expires_seconds = (self._clock.now().wall_ms + self._tombstone_ms) // 1000
        return {**wire_key(write.key, self._schema), EXPIRES: {"N": str(expires_seconds)}}

    def _row(self, item: Mapping[str, Any]) -> Row:
        stamp = item.get(STAMP, {}).get("S")
        image = {name: value for name, value in item.items() if name not in RESERVED}
        return Row(entity_key(item, self._schema), stamp, None if stamp is not None and EXPIRES in item else image)


def read_items(
    client: "DynamoDBClient", table: str, keys: Sequence[EntityKey], schema: KeySchema, retrier: Retrier
) -> list[Image]:
    """Read up to `BATCH_GET_MAX` items, strongly consistent; those that are not there are left out."""
    wanted: list[Any] = [wire_key(key, schema) for key in keys]
    found: list[Image] = []

    def get() -> None:
        request: Any = {table: {"Keys": wanted, "ConsistentRead": True}}
        answer = having("Responses", dict, "BatchGetItem", lambda: client.batch_get_item(RequestItems=request))
        found.extend(answer["Responses"].get(table, ()))
        wanted[:] = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        if wanted:
            raise AgainError

    retrier.call("replica_read", get)
    return found


def scan_page(
    client: "DynamoDBClient", table: str, cursor: str | None, retrier: Retrier, limit: int | None = None
) -> tuple[list[Image], str | None]:
    """Scan one page, strongly consistent; return its items and the cursor that leads on, None after the last."""
    request: dict[str, Any] = {"TableName": table, "ConsistentRead": True, **({"Limit": limit} if limit else {})}
    if cursor is not None:
        request["ExclusiveStartKey"] = for_boto3(orjson.loads(cursor))
    ask: Callable[[], Any] = lambda: having("Items", list, "Scan", lambda: client.scan(**request))  # noqa: E731
    page = retrier.call("replica_scan", ask)
    last = page.get("LastEvaluatedKey")
    return page["Items"], orjson.dumps(for_json(last)).decode() if last else None
