"""Strongly consistent reads of watched rows, in batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.answers import having
from lockside.aws.retrying import PASSING, error_code, verdict
from lockside.core import telemetry
from lockside.core.attributes import Image
from lockside.core.entity import EntityKey, entity_key, wire_key
from lockside.core.failures import Verdict
from lockside.core.recipe import Source

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOG = structlog.get_logger(__name__)

BATCH_KEYS_MAX: Final = 100
"""Keys of one BatchGetItem (API reference)."""

UNREADABLE: Final = PASSING | {Verdict.NOT_FOUND}
"""What leaves rows unread: faults that pass, and a table that is gone, of which its stream's readers tell."""


@dataclass(frozen=True, slots=True)
class BatchRowReader:
    """Implements the `RowReader` port with BatchGetItem.

    It never waits: what cannot be read is left out and asked for again by whoever wants it, so that one table which
    refuses does not hold up the deadlines of all the others.
    """

    client: "DynamoDBClient"

    def read(self, source: Source, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Image | None]:
        """Read each row once, all reads begun after the call; absent rows are None, unread ones are left out."""
        found: dict[EntityKey, Image | None] = {}
        for start in range(0, len(keys), BATCH_KEYS_MAX):
            try:
                found |= self._batch(source, keys[start : start + BATCH_KEYS_MAX])
            except (ClientError, BotoCoreError) as error:
                if verdict(error) not in UNREADABLE:
                    raise
                about = {telemetry.TABLE: source.table, telemetry.ERROR: error_code(error)}
                LOG.warning("rows_not_read", **about, **{telemetry.COUNT: len(keys) - start})
                break
        return found

    def _batch(self, source: Source, keys: Sequence[EntityKey]) -> dict[EntityKey, Image | None]:
        found: dict[EntityKey, Image | None] = dict.fromkeys(keys)
        left: list[dict[str, Any]] = [wire_key(key, source.key_schema) for key in found]
        while left:
            request: Any = {source.table: {"Keys": left, "ConsistentRead": True}}
            answer = having(
                "Responses", dict, "BatchGetItem", partial(self.client.batch_get_item, RequestItems=request)
            )
            items = answer["Responses"].get(source.table, [])
            found |= {entity_key(item, source.key_schema): item for item in items}
            left = list(answer.get("UnprocessedKeys", {}).get(source.table, {}).get("Keys", []))
            if not items:
                break
        for key in left:
            found.pop(entity_key(key, source.key_schema), None)
        return found
