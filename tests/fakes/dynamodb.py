"""DynamoDB in memory, spoken to like boto3's client: items, conditions, transactions, batches, queries and indexes.

It never fails by itself but where the service would refuse; who wants faults puts them in front.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from botocore.exceptions import ClientError

from tests.fakes.expressions import Context, ExpressionError, holds, ordered, updated

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")
Key = tuple[Any, ...]
Item = dict[str, Any]

BATCH_WRITE_MAX: Final = 25
BATCH_GET_MAX: Final = 100
TRANSACTION_MAX: Final = 100
ITEM_BYTES_MAX: Final = 400 * 1024


@dataclass
class MemoryTable:
    """One table: its key, its indexes as (partition, sort) attributes, and its items."""

    name: str
    key: tuple[str, ...]
    indexes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    items: dict[Key, Item] = field(default_factory=dict)

    def key_of(self, item: Mapping[str, Any]) -> Key:
        """Return an item's primary key, comparable."""
        missing = [name for name in self.key if name not in item]
        if missing:
            raise ExpressionError(f"the key lacks {missing}")
        return tuple(_typed(item[name]) for name in self.key)


Commit = Callable[[str, Item | None, Item | None], None]
"""Told of every write that took effect: the table, the item before and the item after; must not write itself."""


class FakeDynamoDB:
    """The service. `on_commit` is told of each write as it takes effect; `page_items` stands for the 1 MB of a page."""

    def __init__(
        self, *definitions: Mapping[str, Any], page_items: int = 1_000, on_commit: Commit | None = None
    ) -> None:
        """Create tables of the parameters that CreateTable takes."""
        self.tables = {definition["TableName"]: _table(definition) for definition in definitions}
        self.on_commit = on_commit
        self._page_items = page_items
        self._transactions: dict[str, Any] = {}
        self._one_by_one = threading.RLock()

    @property
    def client(self) -> "DynamoDBClient":
        """The service as a boto3 client."""
        return cast("DynamoDBClient", self)

    def items(self, table: str) -> list[Item]:
        """Return a table's items in key order."""
        found = self.tables[table].items
        return [found[key] for key in sorted(found)]

    def get_item(self, **request: Any) -> dict[str, Any]:
        """Read an item."""
        table = self._table(request, "GetItem")
        item = table.items.get(_checked("GetItem", lambda: table.key_of(request["Key"])))
        return _answer({} if item is None else {"Item": dict(item)})

    def put_item(self, **request: Any) -> dict[str, Any]:
        """Put an item."""
        self._write("PutItem", lambda: _Write.put(self._table(request, "PutItem"), request))
        return _answer({})

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Delete an item."""
        write, _ = self._write("DeleteItem", lambda: _Write.delete(self._table(request, "DeleteItem"), request))
        old = write.before if request.get("ReturnValues") == "ALL_OLD" else None
        return _answer({"Attributes": dict(old)} if old else {})

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Update an item, or make it."""
        write, after = self._write("UpdateItem", lambda: _Write.update(self._table(request, "UpdateItem"), request))
        match request.get("ReturnValues", "NONE"):
            case "ALL_NEW":
                return _answer({"Attributes": dict(after or {})})
            case "ALL_OLD":
                return _answer({"Attributes": dict(write.before or {})} if write.before else {})
            case _:
                return _answer({})

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        """Put and delete up to 25 items, each by itself."""
        writes: list[_Write] = []
        for name, actions in request["RequestItems"].items():
            table = self._table({"TableName": name}, "BatchWriteItem")
            for action in actions:
                if "PutRequest" in action:
                    writes.append(_Write.put(table, action["PutRequest"]))
                else:
                    writes.append(_Write.delete(table, action["DeleteRequest"]))
        keys = [(write.table.name, write.key) for write in writes]
        if not keys or len(keys) > BATCH_WRITE_MAX or len(set(keys)) < len(keys):
            raise service_error("ValidationException", "BatchWriteItem", "no item, too many, or one key twice")
        for write in writes:
            self._commit(write)
        return _answer({"UnprocessedItems": {}})

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Read up to 100 items; absent ones are left out."""
        found: dict[str, list[Item]] = {}
        for name, wanted in request["RequestItems"].items():
            table = self._table({"TableName": name}, "BatchGetItem")
            keys = [table.key_of(key) for key in wanted["Keys"]]
            if not keys or len(keys) > BATCH_GET_MAX or len(set(keys)) < len(keys):
                raise service_error("ValidationException", "BatchGetItem", "no key, too many, or one twice")
            found[name] = [dict(table.items[key]) for key in keys if key in table.items]
        return _answer({"Responses": found, "UnprocessedKeys": {}})

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Do all writes or none; a token that was seen before does nothing again."""
        token = request.get("ClientRequestToken")
        if token is not None and token in self._transactions:
            if self._transactions[token] != request["TransactItems"]:
                raise service_error("IdempotentParameterMismatchException", "TransactWriteItems")
            return _answer({})
        with self._one_by_one:
            writes = [self._of_transaction(action) for action in request["TransactItems"]]
            keys = [(write.table.name, write.key) for write in writes]
            if not keys or len(keys) > TRANSACTION_MAX or len(set(keys)) < len(keys):
                raise service_error("ValidationException", "TransactWriteItems", "no item, too many, or one key twice")
            reasons = [_reason(write) for write in writes]
            if any(reason["Code"] != "None" for reason in reasons):
                raise service_error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
            for write in writes:
                self._commit(write)
            if token is not None:
                self._transactions[token] = request["TransactItems"]
        return _answer({})

    def query(self, **request: Any) -> dict[str, Any]:
        """Read items of one partition of the table or an index, in key order, page by page."""
        table = self._table(request, "Query")
        index = request.get("IndexName")
        order = table.indexes[index] if index is not None else table.key
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        condition = request["KeyConditionExpression"]
        found = [
            item
            for item in table.items.values()
            if all(name in item for name in order) and _held(condition, Context(item, names, values), "Query")
        ]
        tied = (*order, *(name for name in table.key if name not in order))
        found.sort(key=lambda item: _sort_key(item, tied), reverse=not request.get("ScanIndexForward", True))
        start = request.get("ExclusiveStartKey")
        if start is not None:
            place = [_sort_key(item, table.key) for item in found].index(_sort_key(start, table.key))
            found = found[place + 1 :]
        return self._page(found, request, tuple(dict.fromkeys((*order, *table.key))))

    def scan(self, **request: Any) -> dict[str, Any]:
        """Read all items of a table, in no order that anybody may rely on, page by page."""
        table = self._table(request, "Scan")
        keys = sorted(table.items, key=lambda key: hash(str(key)))
        found = [table.items[key] for key in keys]
        start = request.get("ExclusiveStartKey")
        if start is not None:
            after = hash(str(table.key_of(start)))
            found = [table.items[key] for key in keys if hash(str(key)) > after]
        return self._page(found, request, table.key)

    def _page(self, found: Sequence[Item], request: Mapping[str, Any], key: Sequence[str]) -> dict[str, Any]:
        """Cut a page off what was found, filter it, and say where the next one begins."""
        limit = min(request.get("Limit", self._page_items), self._page_items)
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        page = [dict(item) for item in found[:limit]]
        kept = page
        if "FilterExpression" in request:
            kept = [item for item in page if _held(request["FilterExpression"], Context(item, names, values), "Query")]
        answer: dict[str, Any] = {"Count": len(kept), "ScannedCount": len(page)}
        if request.get("Select") != "COUNT":
            answer["Items"] = kept
        if len(found) > limit:
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in key}
        return _answer(answer)

    def _table(self, request: Mapping[str, Any], operation: str) -> MemoryTable:
        if request["TableName"] not in self.tables:
            raise service_error("ResourceNotFoundException", operation)
        return self.tables[request["TableName"]]

    def _of_transaction(self, action: Mapping[str, Any]) -> "_Write":
        ((kind, request),) = action.items()
        table = self._table(request, "TransactWriteItems")
        match kind:
            case "Put":
                return _Write.put(table, request)
            case "Update":
                return _Write.update(table, request)
            case "Delete":
                return _Write.delete(table, request)
            case _:
                return _Write.check(table, request)

    def _write(self, operation: str, made: Callable[[], "_Write"]) -> "tuple[_Write, Item | None]":
        with self._one_by_one:
            write = made()
            reason = _reason(write)
            if reason["Code"] != "None":
                handed_back = {"Item": reason["Item"]} if "Item" in reason else {}
                raise service_error("ConditionalCheckFailedException", operation, **handed_back)
            return write, self._commit(write)

    def _commit(self, write: "_Write") -> Item | None:
        before, after = write.table.items.get(write.key), write.after()
        if write.kind == "check":
            return after
        if after is None:
            write.table.items.pop(write.key, None)
        else:
            write.table.items[write.key] = after
        if self.on_commit is not None:
            self.on_commit(write.table.name, before, after)
        return after


@dataclass
class _Write:
    """One write, as far as it is known before it takes effect."""

    kind: str
    table: MemoryTable
    key: Key
    request: Mapping[str, Any]
    before: Item | None

    @classmethod
    def put(cls, table: MemoryTable, request: Mapping[str, Any]) -> "_Write":
        key = _checked("PutItem", lambda: table.key_of(request["Item"]))
        if _size(request["Item"]) > ITEM_BYTES_MAX:
            raise service_error("ValidationException", "PutItem", "item size has exceeded the maximum allowed size")
        return cls("put", table, key, request, table.items.get(key))

    @classmethod
    def update(cls, table: MemoryTable, request: Mapping[str, Any]) -> "_Write":
        return cls._keyed("update", table, request)

    @classmethod
    def delete(cls, table: MemoryTable, request: Mapping[str, Any]) -> "_Write":
        return cls._keyed("delete", table, request)

    @classmethod
    def check(cls, table: MemoryTable, request: Mapping[str, Any]) -> "_Write":
        return cls._keyed("check", table, request)

    @classmethod
    def _keyed(cls, kind: str, table: MemoryTable, request: Mapping[str, Any]) -> "_Write":
        key = _checked(kind, lambda: table.key_of(request["Key"]))
        return cls(kind, table, key, request, table.items.get(key))

    def met(self) -> bool:
        """Whether its condition holds; refuses placeholders that nothing uses, as the service does."""
        context = self._context(self.before or {})
        met = True
        if "ConditionExpression" in self.request:
            met = _held(self.request["ConditionExpression"], context, self.kind)
        if self.kind == "update":
            _checked(self.kind, lambda: updated(self.request["UpdateExpression"], context))
        unused = (set(context.names) | set(context.values)) - context.used
        if unused:
            raise service_error("ValidationException", self.kind, f"unused in expressions: {sorted(unused)}")
        return met

    def after(self) -> Item | None:
        """Return the item as the write leaves it."""
        match self.kind:
            case "put":
                return dict(self.request["Item"])
            case "update":
                base = self.before if self.before is not None else self.request["Key"]
                return updated(self.request["UpdateExpression"], self._context(base))
            case "delete":
                return None
            case _:
                return self.before

    def _context(self, item: Item) -> Context:
        names = self.request.get("ExpressionAttributeNames", {})
        return Context(item, names, self.request.get("ExpressionAttributeValues", {}))


def _reason(write: _Write) -> dict[str, Any]:
    if write.met():
        return {"Code": "None"}
    reason: dict[str, Any] = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
    if write.request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and write.before is not None:
        reason["Item"] = dict(write.before)
    return reason


def service_error(code: str, operation: str, message: str = "", status: int = 400, **members: Any) -> ClientError:
    """Build the error botocore raises for a service's error answer."""
    answer: Any = {
        "Error": {"Code": code, "Message": message or code},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0, "RequestId": ""},
        **members,
    }
    return ClientError(answer, operation)


def _table(definition: Mapping[str, Any]) -> MemoryTable:
    indexes = definition.get("GlobalSecondaryIndexes", ())
    return MemoryTable(
        definition["TableName"],
        _key_names(definition["KeySchema"]),
        {index["IndexName"]: _key_names(index["KeySchema"]) for index in indexes},
    )


def _key_names(schema: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(element["AttributeName"] for element in sorted(schema, key=lambda each: each["KeyType"] != "HASH"))


def _typed(value: Mapping[str, Any]) -> Any:
    kind, held = next(iter(value.items()))
    return ordered(kind, held)


def _sort_key(item: Mapping[str, Any], order: Sequence[str]) -> Key:
    return tuple(_typed(item[name]) for name in order)


def _size(item: Mapping[str, Any]) -> int:
    return sum(len(name) + len(str(value)) for name, value in item.items())


def _held(condition: str, context: Context, operation: str) -> bool:
    return _checked(operation, lambda: holds(condition, context))


def _checked(operation: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except ExpressionError as error:
        raise service_error("ValidationException", operation, str(error)) from error


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}, "RetryAttempts": 0, "RequestId": ""}}
