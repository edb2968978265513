"""A bounded, consistent look at a table's rows. What it reads may hold any secret: it is compared, and never shown."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from lockside.aws.answers import having
from lockside.core.attributes import Image
from lockside.core.entity import KeySchema
from lockside.layouts.detect import Sample

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

PAGES_MAX: Final = 64
"""A page is 1 MB at most, so this many is what a sample may cost."""

Progress = Callable[[int], None]


def scan(
    client: "DynamoDBClient", table: str, rows_max: int, progress: Progress = lambda _count: None
) -> tuple[list[Image], bool]:
    """Read up to `rows_max` rows, strongly consistent, page by page; say whether they are all there are.

    Raises ClientError or BotoCoreError.
    """
    rows: list[Image] = []
    request: dict[str, Any] = {"TableName": table, "ConsistentRead": True}
    for _ in range(PAGES_MAX):
        request["Limit"] = rows_max - len(rows)
        page: Any = having("Items", list, "Scan", lambda: client.scan(**request))
        rows += page["Items"]
        if "LastEvaluatedKey" not in page:
            return rows, True
        progress(len(rows))
        if len(rows) >= rows_max:
            break
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    return rows, False


def samples(rows: Sequence[Image], schema: KeySchema) -> list[Sample]:
    """Take rows for detection, with the key in the table's order."""
    return [
        Sample({name: row[name] for name in schema.names}, row, in_order=True)
        for row in rows
        if all(name in row for name in schema.names)
    ]
