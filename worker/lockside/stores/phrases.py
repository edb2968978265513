"""An ordered store of key phrases on one DynamoDB table: keys in code-point order under a prefix, over many shards.

Strategy: a prefix's phrases are spread over shards by hash, so that one prefix takes as many writes as its shards
together; a scan merges the shards' orders. Each write leaves a version of its own: it tells writers apart, and whether
a write whose answer was lost was done.
"""

import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.errors import LimitError, SetupError
from lockside.stores import phrase_row, tables
from lockside.stores.calls import Calls
from lockside.stores.machine import Machine, System
from lockside.stores.phrase_batch import Batch
from lockside.stores.phrase_raise import Progress, Raising, silent
from lockside.stores.phrase_row import Address, Phrase
from lockside.stores.phrase_scan import Scan, Shelf, Span
from lockside.stores.phrase_value import Value, checked_bound, checked_key, checked_prefix
from lockside.stores.phrase_write import Change, Entry, Writer
from lockside.stores.placement import Placement, checked_shards
from lockside.stores.placements import Placements

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SHARDS: Final = 8
MS_PER_SECOND: Final = 1_000
TTL_SECONDS_MAX: Final = 100 * 366 * 86_400
PAGE_SLACK: Final = 1
"""A limited scan reads so many items beyond its limit from each shard, for one that `after=` names and leaves out."""

PAGE_ITEMS_MAX: Final = 1_000
SHARD_BYTES_MAX: Final = 4
"""What a shard's number and its mark take in a partition key."""


class KeyPhraseStore:
    """The store in one table. Thread-safe. `prefix` opens one of its prefixes."""

    def __init__(self, client: "DynamoDBClient", table: str, *, machine: Machine | None = None) -> None:
        """Send nothing yet. `client` should be one of `stores.connect.client()`, which repeats nothing by itself."""
        self.table: Final = table
        self._client = client
        self._machine = machine or System()
        self._stop = threading.Event()
        self._calls = Calls(table, self._machine, self._stop)
        self._placements = Placements(client, self._calls)

    @classmethod
    def create(cls, client: "DynamoDBClient", table: str, *, shards: int = SHARDS) -> "KeyPhraseStore":
        """Create the table, its stream and its TTL on, and the store in it; leave what is there.

        Raises:
            LimitError: a number of shards that cannot be.
            SetupError: the table has another key, or holds a store with another number of shards (`raise_shards`).
        """
        checked_shards(shards)
        tables.create(client, tables.phrase_table(table))
        store = cls(client, table)
        store.found(shards)
        return store

    def found(self, shards: int = SHARDS, *, exactly: bool = True) -> None:
        """Make the store in a table that has the right key; the number of shards is settled by who comes first.

        `exactly`: raise SetupError for one that has another number.
        """
        item = phrase_row.placement_item(Placement.settled(checked_shards(shards)))
        try:
            self._calls.write(
                lambda: self._client.put_item(
                    TableName=self.table, Item=item, ConditionExpression="attribute_not_exists(pk)"
                )
            )
        except (ClientError, BotoCoreError):
            # It is there, or the answer was lost: what is read now tells.
            self._placements.forget()
        there = self._placements.current().placement
        if exactly and there.target != shards:
            raise SetupError(
                f'table "{self.table}": its store has {there.target} shards, not {shards}; '
                "leave the number out, or raise it with raise_shards()"
            )

    @property
    def placement(self) -> Placement:
        """The number of shards, and how far a change of it is. Raises SetupError where there is no store."""
        return self._placements.current().placement

    def prefix(self, prefix: str) -> "Phrases":
        """Open a prefix, which need not exist before. Raises LimitError."""
        return Phrases(self, self._client, self._calls, self._placements, checked_prefix(prefix))

    def raise_shards(self, shards: int, progress: Progress = silent) -> None:
        """Spread the store over more shards, while everybody goes on reading and writing; go on where one broke off.

        It takes half a minute and what it takes to read the table and to move a part of it; `progress` is told of each
        step and of the phrases moved. Raises LimitError, SetupError, StoppedError.
        """
        Raising(self._client, self._calls, progress).run(checked_shards(shards))
        self._placements.forget()

    def close(self) -> None:
        """End waits between attempts; calls that are under way come back as failed."""
        self._stop.set()


class Phrases:
    """The phrases under one prefix. Thread-safe."""

    def __init__(
        self,
        store: KeyPhraseStore,
        client: "DynamoDBClient",
        calls: Calls,
        placements: Placements,
        prefix: str,
    ) -> None:
        """Made by `KeyPhraseStore.prefix`."""
        self.name: Final = prefix
        self.store: Final = store
        self._client = client
        self._calls = calls
        self._placements = placements
        self._writer = Writer(client, calls, placements)

    def read(self, key: str) -> Phrase | None:
        """Read a phrase, strongly consistent; None if there is none. Raises LimitError or NotFoundOutError."""
        checked_key(key)
        while True:
            known = self._placements.current()
            item = None
            # The one it leaves first: it may go to the other in between, and never comes back.
            for shard in known.placement.places(self.name, key):
                request: dict[str, Any] = {
                    "TableName": self._calls.table,
                    "Key": Address(self._calls.table, self.name, key, shard).wire,
                    "ConsistentRead": True,
                }
                item = self._calls.read(partial(self._client.get_item, **request)).get("Item") or item
            if not self._placements.outdated(known):
                return phrase_row.phrase_of(item, self._calls.machine.wall_ms())

    def write(self, key: str, value: Value, *, if_version: str | None = None, ttl: float | None = None) -> str:
        """Write a phrase; return its new version.

        Args:
            key: 1 to 1,024 bytes of UTF-8.
            value: JSON, bytes, int or Decimal, up to 400 KB with its key.
            if_version: write only over this version; "" only where there is no phrase; None over anything.
            ttl: seconds after which the phrase is gone, rounded up to whole seconds; None: it stays.

        Raises:
            VersionError: the phrase has another version, or is there, or is not.
            LimitError: a key or a value that cannot be kept.
            OutcomeUnknownError: no answer, and the row does not tell whether it was written.
        """
        entry = self._entry(key, value, ttl)
        self._writer.put(self.name, entry, if_version)
        return entry.version

    def delete(self, key: str, *, if_version: str | None = None) -> None:
        """Delete a phrase; one that is not there is no error unless a version is asked for. Raises as `write`."""
        if not (if_version is None or if_version):
            raise LimitError('if_version = "": what is not there cannot be deleted; give a version, or None')
        self._writer.delete(self.name, Change(checked_key(key), self._calls.machine.version()), if_version)

    def update(self, values: Mapping[str, Value], *, ttl: float | None = None) -> dict[str, str]:
        """Write many phrases over whatever is there, 25 a call, each by itself; return their versions.

        All keys and values are looked at before anything is sent.

        Raises:
            PartlyWrittenError: some were not written; it says which were, which were not, and which is not known.
            LimitError: a key or a value that cannot be kept; nothing was sent.
        """
        entries = [self._entry(key, value, ttl) for key, value in values.items()]
        Batch(self._client, self._calls, self._placements, self._writer, self.name).put(entries)
        return {entry.key: entry.version for entry in entries}

    def phrases(
        self,
        start: str | None = None,
        end: str | None = None,
        limit: int | None = None,
        *,
        reverse: bool = False,
        after: str | None = None,
    ) -> Scan:
        """Scan phrases in code-point order of their keys, page by page as they are asked for, strongly consistent.

        Args:
            start: the first key, None from the beginning.
            end: the first key left out, None to the end.
            limit: how many at most.
            reverse: from the last key to the first.
            after: the cursor of an earlier scan, to go on behind it in the same direction.

        Raises LimitError for a limit or a bound that cannot be one.
        """
        if limit is not None and limit < 0:
            raise LimitError(f"limit = {limit}: give 0 or more, or None")
        for what, bound in (("start", start), ("end", end), ("after", after)):
            checked_bound(what, bound)
        span = Span(start, end, after, reverse)
        page_items = None if limit is None else min(limit + PAGE_SLACK, PAGE_ITEMS_MAX)
        # Also so that a table without a store is told here, rather than by the first phrase.
        self._placements.current()
        shelf = Shelf(self._client, self._calls, self.name, self._placements, page_items)
        return Scan(shelf, span, limit, after)

    def count(self) -> int:
        """Count the phrases, by reading all of them within DynamoDB: it costs as much as a scan, and sends nothing."""
        known = self._placements.current()
        if not known.placement.raised:
            count = sum(self._counted(shard) for shard in range(known.placement.shards))
            if not self._placements.outdated(known):
                return count
        # One that moves would be counted twice or not at all.
        return sum(1 for _ in self.phrases())

    def _counted(self, shard: int) -> int:
        now_s = self._calls.machine.wall_ms() // MS_PER_SECOND
        request: dict[str, Any] = {
            "TableName": self._calls.table,
            "KeyConditionExpression": "#pk = :pk",
            "FilterExpression": "attribute_not_exists(#expires) OR #expires > :now",
            "ExpressionAttributeNames": {"#pk": "pk", "#expires": tables.EXPIRES},
            "ExpressionAttributeValues": {
                ":pk": {"S": phrase_row.partition_of(shard, self.name)},
                ":now": {"N": str(now_s)},
            },
            "Select": "COUNT",
            "ConsistentRead": True,
        }
        count = 0
        while True:
            page = self._calls.read(lambda: self._client.query(**request))
            count += page["Count"]
            if "LastEvaluatedKey" not in page:
                return count
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _entry(self, key: str, value: Value, ttl: float | None) -> Entry:
        expires_s = None
        if ttl is not None:
            if not 0 < ttl <= TTL_SECONDS_MAX:
                raise LimitError(f"ttl = {ttl} s: give more than 0 and at most {TTL_SECONDS_MAX}, or None")
            expires_s = -int(-(self._calls.machine.wall_ms() + ttl * MS_PER_SECOND) // MS_PER_SECOND)
        version = self._calls.machine.version()
        key_bytes = len(checked_key(key).encode()) + len(self.name.encode()) + SHARD_BYTES_MAX
        attributes, size_bytes = phrase_row.attributes_of(value, key_bytes, version, expires_s)
        return Entry(key, version, attributes, size_bytes)
