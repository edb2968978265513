"""The writing side of the trail: change records in plain batches, observer records once each by a transaction.

Change records need no condition: the same change always makes the same item (law 2), so putting it twice does no harm.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any, Final
from uuid import uuid4

import structlog
from botocore.exceptions import ClientError

from lockside.audit import items
from lockside.audit.begun import begun_ms
from lockside.audit.genesis import OBSERVED, Genesis, InForce, Intent
from lockside.audit.items import Retention
from lockside.audit.log import Logs, Opened, head_update
from lockside.audit.pages import Pages
from lockside.audit.table import AuditTable
from lockside.aws.answers import having
from lockside.aws.retrying import AgainError, verdict
from lockside.aws.tables import PK, SK
from lockside.core import merkle, telemetry
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.core.log import LogHead, Placed
from lockside.core.ports import Clock, ObserverRecord, StartMode
from lockside.core.recipe import Source
from lockside.core.records import rfc3339
from lockside.errors import FencedError

LOG = structlog.get_logger(__name__)

BATCH_ITEMS_MAX: Final = 25
"""BatchWriteItem's limit. Its 16 MB cannot be reached: 25 records of 64 KiB are a tenth of that."""

WRITERS_MAX: Final = 4
"""Batches in flight at once, over all shards of the process."""

CATALOGUED_MAX: Final = 4096
"""Items of the catalogue remembered as put; forgetting one costs a put."""

OPENED_MAX: Final = 4096
"""Logs whose recipe is remembered: more than a process reads shards at a time."""

TRANSACTION_RECORDS_MAX: Final = 50
"""Of 100 actions and 4 MB that TransactWriteItems takes, one is the head's; a record is at most 64 KiB."""

CONTENDED: Final = frozenset(
    {
        "None",
        "ConditionalCheckFailed",
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    }
)
"""Reasons for a cancelled transaction that another attempt may not meet (API reference, TransactWriteItems)."""


def fresh_token() -> str:
    """Make a token that lets DynamoDB know a transaction again when an answer was lost (36 characters at most)."""
    return str(uuid4())


class AuditTrail:
    """The `Trail` port over one audit table. Shared by all shards of a process; `close` ends its threads."""

    def __init__(
        self,
        table: AuditTable,
        clock: Clock,
        retention: Retention | None = None,
        tokens: Callable[[], str] = fresh_token,
    ) -> None:
        """Keep what it works with; nothing is called and no thread started.

        The clock only says under which day a log is listed for those who follow the trail, and when it was begun.
        """
        self._table = table
        self._clock = clock
        self._retention = retention or Retention()
        self._tokens = tokens
        self._logs = Logs(table)
        self._writers = ThreadPoolExecutor(WRITERS_MAX, thread_name_prefix="audit-write")
        self._catalogued: dict[tuple[str, str], None] = {}
        self._catalogue_lock = Lock()
        self._in_force: dict[str, InForce] = {}
        self._in_force_lock = Lock()

    def open(
        self, shard: ShardRef, sources: tuple[Source, ...], start: StartMode, since_ms: int | None = None
    ) -> LogHead:
        """Return the head of the shard's log, made if there is none; see `Logs.open` for other recipes."""
        opened = self._logs.open(shard.origin, Intent.of(sources, start), self._clock.now().wall_ms, since_ms)
        with self._in_force_lock:
            self._in_force[opened.head.log] = opened.in_force
            while len(self._in_force) > OPENED_MAX:
                del self._in_force[next(iter(self._in_force))]
        _tell_recipe(shard, opened)
        return opened.head

    def begun_ms(self, stream_arn: str, latest: bool) -> int | None:  # noqa: FBT001 - a fact, no switch
        """Tell when a stream was begun, as far as its logs know."""
        return begun_ms(Pages(self._table), stream_arn, "LATEST" if latest else "TRIM_HORIZON")

    def in_force(self, log: str) -> InForce | None:
        """Return the recipe of a log that was opened here; None for one that nobody asked of for long."""
        with self._in_force_lock:
            found = self._in_force.pop(log, None)
            if found is not None:
                self._in_force[log] = found
        return found

    def write(self, records: Sequence[Placed]) -> None:
        """Put change records, several batches at once; returns when all are acknowledged."""
        self._catalogue_all(records)
        puts = list(_distinct(items.change_item(placed, self._retention) for placed in records).values())
        batches = [puts[start : start + BATCH_ITEMS_MAX] for start in range(0, len(puts), BATCH_ITEMS_MAX)]
        if len(batches) == 1:
            self._write_batch(batches[0])
        else:
            # In the caller's context, so that a retry in the pool counts as a sign of life of the caller's loop.
            futures = [self._writers.submit(copy_context().run, self._write_batch, batch) for batch in batches]
            wait(futures)
            for future in futures:
                future.result()

    def write_head(self, head: LogHead) -> None:
        """Move the head forward; see `Logs.advance`."""
        self._logs.advance(head)

    def cut(self, log: str, after: int | None, until: int | None = None) -> LogHead:
        """Seal a log for what the stream lost; see `Logs.cut`."""
        return self._logs.cut(log, after, until)

    def read_since(self, shard: ShardRef, position: int, epoch: int) -> bool | None:
        """Tell whether a later log records a change; see `Logs.read_since`."""
        return self._logs.read_since(shard.origin, position, epoch)

    def observe(self, record: ObserverRecord) -> bool:
        """Put an observer record once, with its log's head; False if its identity was there already."""
        return self.observe_all([record])[0]

    def observe_all(self, records: Sequence[ObserverRecord]) -> list[bool]:
        """Put observer records, each once; many of one log share a transaction, so that a mass lapse is told soon."""
        new: set[tuple[str, str]] = set()
        by_log: dict[str, dict[tuple[str, str], ObserverRecord]] = {}
        for record in records:
            by_log.setdefault(record.log, {})[_place(record)] = record
        for log, places in by_log.items():
            for start in range(0, len(places), TRANSACTION_RECORDS_MAX):
                chunk = dict(list(places.items())[start : start + TRANSACTION_RECORDS_MAX])
                new |= self._table.retrier.call("observe", partial(self._observe_chunk, log, chunk))
        told: list[bool] = []
        for record in records:
            told.append(_place(record) in new)
            new.discard(_place(record))
        return told

    def close(self) -> None:
        """End the writing threads; what they write is acknowledged first, or given up when shutdown is asked for."""
        self._writers.shutdown()

    def _write_batch(self, batch: Sequence[dict[str, Any]]) -> None:
        pending: list[Any] = [{"PutRequest": {"Item": item}} for item in batch]

        def attempt() -> None:
            nonlocal pending
            ask = partial(self._table.client.batch_write_item, RequestItems={self._table.name: pending})
            # Without the member it is somebody else's answer, and acknowledges nothing.
            answer = having("UnprocessedItems", dict, "BatchWriteItem", ask)
            pending = answer["UnprocessedItems"].get(self._table.name, [])
            if pending:
                raise AgainError

        self._table.retrier.call("batch_write_item", attempt)

    def _observe_chunk(self, log: str, places: Mapping[tuple[str, str], ObserverRecord]) -> set[tuple[str, str]]:
        """Put those records of one log that are not there yet, all in one transaction; return their places."""
        there = self._there(places)
        fresh = {place: record for place, record in places.items() if place not in there}
        if not fresh:
            return set()
        head = self._observer_head(log)
        self._catalogue(log, {t for r in fresh.values() for t in (r.time_ms, max(head.running_max_ms, r.time_ms))})
        transaction = self._transaction(list(fresh.values()), head)
        token = self._tokens()
        try:
            self._table.retrier.call(
                "transact_write_items",
                lambda: self._table.client.transact_write_items(TransactItems=transaction, ClientRequestToken=token),
            )
        except ClientError as error:
            if verdict(error) is Verdict.CONDITION and _reasons(error) <= CONTENDED:
                raise AgainError from error
            raise
        return set(fresh)

    def _there(self, places: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Find which of these observer records exist."""
        left: dict[str, Any] = {
            self._table.name: {
                "Keys": [items.key(pk, sk) for pk, sk in places],
                "ConsistentRead": True,
                "ProjectionExpression": f"{PK}, {SK}",
            }
        }
        found: set[tuple[str, str]] = set()

        def attempt() -> None:
            nonlocal left
            ask = partial(self._table.client.batch_get_item, RequestItems=left)
            answer = having("Responses", dict, "BatchGetItem", ask)
            found.update((item[PK]["S"], item[SK]["S"]) for item in answer["Responses"].get(self._table.name, ()))
            left = dict(answer.get("UnprocessedKeys") or {})
            if left:
                raise AgainError

        self._table.retrier.call("batch_get_item", attempt)
        return found

    def _observer_head(self, log: str) -> LogHead:
        stored = self._logs.head(log)
        if stored is None:
            _, stored = self._logs.ensure(Genesis(log, OBSERVED, self._clock.now().wall_ms), epoch=1)
        if stored.sealed:
            raise FencedError(f"audit log {log}: sealed, so nothing can be observed in it; observer logs stay open")
        return stored.head

    def _transaction(self, records: Sequence[ObserverRecord], head: LogHead) -> list[Any]:
        puts: list[Any] = []
        grown = head
        for record in records:
            put = {
                "TableName": self._table.name,
                "Item": items.observer_item(record, grown, self._retention),
                "ConditionExpression": "attribute_not_exists(#pk)",
                "ExpressionAttributeNames": {"#pk": PK},
            }
            puts.append({"Put": put})
            leaf = merkle.leaf_hash(items.observer_body(record))
            grown = replace(
                grown,
                size=grown.size + 1,
                frontier=merkle.append(grown.size, grown.frontier, leaf),
                running_max_ms=max(grown.running_max_ms, record.time_ms),
            )
        seen = {":seen": {"N": str(head.size)}}
        return [*puts, {"Update": head_update(self._table.name, grown, "#size = :seen", seen)}]

    def _catalogue_all(self, records: Iterable[Placed]) -> None:
        times: dict[str, set[int]] = {}
        for placed in records:
            times.setdefault(placed.log, set()).update((placed.record.time_ms, placed.running_max_ms))
        for log, touched in times.items():
            self._catalogue(log, touched)

    def _catalogue(self, log: str, times_ms: Iterable[int]) -> None:
        """List a log under the days of its records, and of their writing, before they are written.

        So a reader of any day finds every log that has records of it, and a follower needs to look at today only.
        """
        days = {items.day_of(time_ms) for time_ms in (*times_ms, self._clock.now().wall_ms)}
        for day in sorted(days):
            for item in items.catalogue_items(log, day):
                self._catalogue_once(item)

    def _catalogue_once(self, item: dict[str, Any]) -> None:
        listed = (item[PK]["S"], item[SK]["S"])
        with self._catalogue_lock:
            if listed in self._catalogued:
                return
        self._logs.catalogue(item)
        with self._catalogue_lock:
            self._catalogued[listed] = None
            while len(self._catalogued) > CATALOGUED_MAX:
                del self._catalogued[next(iter(self._catalogued))]


def _tell_recipe(shard: ShardRef, opened: Opened) -> None:
    since_ms = opened.in_force.since_ms
    LOG.info(
        "log_opened",
        epoch=opened.head.epoch,
        start=opened.in_force.start,
        since=None if since_ms is None else rfc3339(since_ms),
        **{
            telemetry.TABLE: shard.table,
            telemetry.SHARD: shard.shard_id,
            telemetry.RECIPE: opened.in_force.recipe,
            telemetry.COUNT: opened.head.size,
        },
    )


def _distinct(puts: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Merge equal keys, which BatchWriteItem refuses; the later item stands, as it would after separate puts."""
    return {(put[PK]["S"], put[SK]["S"]): put for put in puts}


def _place(record: ObserverRecord) -> tuple[str, str]:
    key = items.observer_key(record)
    return key[PK]["S"], key[SK]["S"]


def _reasons(error: ClientError) -> frozenset[str]:
    response: Any = error.response
    return frozenset(str(reason.get("Code", "None")) for reason in response.get("CancellationReasons", ()))
