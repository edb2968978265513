"""Paginated reads of the audit table: lazily, so that a reader holds one page of each question at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from lockside.audit.items import Item, key
from lockside.audit.stored import Stored, read_stored
from lockside.audit.table import AuditTable
from lockside.aws.answers import having
from lockside.aws.retrying import AgainError
from lockside.aws.tables import PK, SK, TYPE

PAGE_ITEMS: Final = 200
"""Items of one Query page."""

FILTERED_PAGE_ITEMS: Final = 1000
"""Items read for one page of which only those of one type come back."""

BATCH_GET_MAX: Final = 100
"""BatchGetItem's limit. Its 16 MB cannot be reached: 100 records of 64 KiB are less than half of that."""


@dataclass(frozen=True, slots=True)
class Question:
    """One Query: a partition, a condition on the sort key, and a direction.

    `condition` speaks of `#sk` and of the placeholders in `values`; `index` None asks the table itself, consistently.
    `only_type` leaves out records of other types; `limit` ends the answer.
    """

    partition: tuple[str, str]
    sort_name: str = SK
    condition: str = ""
    values: tuple[tuple[str, str], ...] = ()
    index: str | None = None
    newest_first: bool = False
    only_type: str | None = None
    limit: int | None = None

    def parameters(self, table: str) -> dict[str, Any]:
        """Spell the question for boto3."""
        attribute, partition = self.partition
        names, values = {"#pk": attribute}, {":pk": {"S": partition}}
        asked = "#pk = :pk"
        if self.condition:
            asked += f" AND {self.condition}"
            names["#sk"] = self.sort_name
            values.update({name: {"S": text} for name, text in self.values})
        filtered: dict[str, Any] = {}
        if self.only_type is not None:
            filtered["FilterExpression"] = "#ty = :ty"
            names["#ty"] = TYPE
            values[":ty"] = {"S": self.only_type}
        page_items = PAGE_ITEMS if self.only_type is None else FILTERED_PAGE_ITEMS
        return {
            "TableName": table,
            **({"ConsistentRead": True} if self.index is None else {"IndexName": self.index}),
            "KeyConditionExpression": asked,
            **filtered,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not self.newest_first,
            "Limit": min(page_items, self.limit or page_items),
        }


@dataclass(frozen=True, slots=True)
class Pages:
    """The reading calls on one audit table."""

    table: AuditTable

    def ask(self, question: Question) -> Iterator[Item]:
        """Yield a question's items, page by page."""
        parameters = question.parameters(self.table.name)
        given = 0
        while True:
            page = self.table.retrier.call("query", lambda: self.table.client.query(**parameters))
            for item in page.get("Items", []):
                yield item
                given += 1
                if given == question.limit:
                    return
            if "LastEvaluatedKey" not in page:
                return
            parameters["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def get(self, keys: Sequence[Mapping[str, Any]]) -> list[Item]:
        """Read up to 100 items by key, consistently, in no order; what is not there is left out."""
        found: list[Item] = []
        pending: Any = {self.table.name: {"Keys": list(keys), "ConsistentRead": True}}

        def attempt() -> None:
            nonlocal pending
            ask = partial(self.table.client.batch_get_item, RequestItems=pending)
            answer = having("Responses", dict, "BatchGetItem", ask)
            found.extend(answer["Responses"].get(self.table.name, []))
            pending = answer.get("UnprocessedKeys", {})
            if pending:
                raise AgainError

        if keys:
            self.table.retrier.call("batch_get_item", attempt)
        return found

    def stored(self, keys: Iterable[tuple[str, str]]) -> Iterator[Stored]:
        """Fetch records by partition and sort key, in their order; what retention has removed meanwhile is left out."""
        for chunk in _chunks(keys):
            items = self.get([key(pk, sk) for pk, sk in dict.fromkeys(chunk)])
            records = {(item[PK]["S"], item[SK]["S"]): item for item in items}
            yield from (read_stored(records[pair]) for pair in chunk if pair in records)


def _chunks(keys: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    source = iter(keys)
    while chunk := list(islice(source, BATCH_GET_MAX)):
        yield chunk
