"""Strongly consistent reads of watched rows, in batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lockside.aws.retrying import AgainError, Retrier
from lockside.core.attributes import Image
from lockside.core.entity import EntityKey, entity_key, wire_key
from lockside.core.recipe import Source

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BATCH_KEYS_MAX: Final = 100
"""Keys of one BatchGetItem (API reference)."""


@dataclass(frozen=True, slots=True)
class BatchRowReader:
    """Implements the `RowReader` port with BatchGetItem."""

    client: "DynamoDBClient"
    retrier: Retrier

    def read(self, source: Source, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Image | None]:
        """Read each row once, all reads begun after the call; absent rows are None."""
        found: dict[EntityKey, Image | None] = dict.fromkeys(keys)
        for start in range(0, len(keys), BATCH_KEYS_MAX):
            wanted = [wire_key(key, source.key_schema) for key in dict.fromkeys(keys[start : start + BATCH_KEYS_MAX])]
            for item in self._batch(source.table, wanted):
                found[entity_key(item, source.key_schema)] = item
        return found

    def _batch(self, table: str, wanted: list[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        left: dict[str, Any] = {table: {"Keys": wanted, "ConsistentRead": True}}

        def once() -> None:
            nonlocal left
            answer = self.client.batch_get_item(RequestItems=left)
            items.extend(answer["Responses"].get(table, []))
            left = dict(answer.get("UnprocessedKeys") or {})
            if left:
                raise AgainError

        self.retrier.call("BatchGetItem", once)
        return items
