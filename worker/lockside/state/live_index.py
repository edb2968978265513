"""What is held now, in the state table: one item per held lock and live session, under the shard that wrote it.

Each write is conditional on the position of its change. A condition that fails means that a newer change has been here:
nothing is left to do. The row's key, its actor and its version are sealed; what is in clear (kind, source, lease,
deadline, due time, a keyed digest of the version) is what the walk over the index needs before it opens an entry.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, assert_never

import orjson
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lockside.aws.retrying import Retrier, verdict
from lockside.core.change import ShardRef, padded
from lockside.core.entity import EntityKey, Key, Keys, pseudonym
from lockside.core.event import Hold
from lockside.core.failures import Verdict
from lockside.core.ports import LiveEntry, LiveRemoval
from lockside.errors import ConfigError
from lockside.state.live_statements import STATEMENTS_MAX, Put, Removal, Statements

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")

NONCE_BYTES: Final = 12
"""The nonce length AES-GCM is made for (NIST SP 800-38D, 8.2)."""

OLDER_OR_ABSENT: Final = "attribute_not_exists(pk) OR #position < :position"
NOT_NEWER: Final = "#position <= :position"
POSITION_NAME: Final = {"#position": "position"}


@dataclass(frozen=True, slots=True)
class LiveTable:
    """The live index of core/ports. Every call is tried until it succeeds, or raises StoppedError.

    `pool` bounds the writes under way; `nonce` returns 12 fresh random bytes at each call. With `statements`, 25
    entries go in one call, and singly goes only what that did not settle.
    """

    client: "DynamoDBClient"
    table: str
    keys: Keys
    retrier: Retrier
    pool: Executor
    nonce: Callable[[], bytes]
    statements: Statements | None = None

    def apply(self, shard: ShardRef, entries: Sequence[LiveEntry | LiveRemoval]) -> None:
        """Write begun holds and remove ended ones; returns when all are acknowledged.

        There is at most one entry per entity, so their order among each other does not matter.
        """
        left = entries if self.statements is None else self._in_batches(shard, entries, self.statements)
        if len(left) == 1:
            self._apply_one(shard, left[0])
        elif left:
            self._all([partial(self._apply_one, shard, entry) for entry in left])

    def _in_batches(
        self, shard: ShardRef, entries: Sequence[LiveEntry | LiveRemoval], statements: Statements
    ) -> list[LiveEntry | LiveRemoval]:
        """Attempt to write entries in batches; return those that are left."""
        batches = [entries[start : start + STATEMENTS_MAX] for start in range(0, len(entries), STATEMENTS_MAX)]

        def attempt(batch: Sequence[LiveEntry | LiveRemoval]) -> list[LiveEntry | LiveRemoval]:
            if len(batch) == 1:
                return list(batch)
            left = statements.attempt([self._write_of(shard, entry) for entry in batch])
            return [batch[number] for number in left]

        if len(batches) == 1:
            return attempt(batches[0])
        return [entry for left in self._all([partial(attempt, batch) for batch in batches]) for entry in left]

    def _all(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Make calls in the pool; raise what the first that failed raised."""
        # In the caller's context, so that a retry in the pool counts as a sign of life of the caller's loop.
        futures = [self.pool.submit(copy_context().run, call) for call in calls]
        _, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
        return [future.result() for future in futures if not future.cancelled()]

    def _write_of(self, shard: ShardRef, entry: LiveEntry | LiveRemoval) -> Put | Removal:
        match entry:
            case LiveEntry():
                return Put(to_item(shard, entry, self.keys, self.nonce()))
            case LiveRemoval():
                return Removal(partition(shard), entry.entity_id, padded(entry.position))
            case _:
                assert_never(entry)

    def entries(self, shard: ShardRef) -> Iterator[LiveEntry]:
        """Read all entries of a shard, strongly consistent and opened. For adoption and for status."""
        request: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": partition(shard)}},
            "ConsistentRead": True,
        }
        while True:
            page = self.retrier.call("live_index_read", lambda: self.client.query(**request))
            for item in page["Items"]:
                yield from_item(item, self.keys)
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _apply_one(self, shard: ShardRef, entry: LiveEntry | LiveRemoval) -> None:
        match entry:
            case LiveEntry():
                self._unless_newer("live_index_put", lambda: self._put(shard, entry))
            case LiveRemoval():
                self._unless_newer("live_index_delete", lambda: self._delete(shard, entry))
            case _:
                assert_never(entry)

    def _unless_newer(self, operation: str, write: Callable[[], object]) -> None:
        try:
            self.retrier.call(operation, write)
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise

    def _put(self, shard: ShardRef, entry: LiveEntry) -> None:
        self.client.put_item(
            TableName=self.table,
            Item=to_item(shard, entry, self.keys, self.nonce()),
            ConditionExpression=OLDER_OR_ABSENT,
            ExpressionAttributeNames=POSITION_NAME,
            ExpressionAttributeValues={":position": {"S": padded(entry.position)}},
        )

    def _delete(self, shard: ShardRef, entry: LiveRemoval) -> None:
        self.client.delete_item(
            TableName=self.table,
            Key={"pk": {"S": partition(shard)}, "sk": {"S": entry.entity_id}},
            ConditionExpression=NOT_NEWER,
            ExpressionAttributeNames=POSITION_NAME,
            ExpressionAttributeValues={":position": {"S": padded(entry.position)}},
        )


def partition(shard: ShardRef) -> str:
    """Name the partition of a shard's entries."""
    return f"LIVE#{shard.stream_arn}#{shard.shard_id}"


def version_digest(key: Key, entity_id: str, version: str) -> str:
    """Stand for a version under the entity key; equal versions of two entities do not look alike."""
    return pseudonym(key, "live version", f"{entity_id}\0{version}")


def due_ms(hold: Hold) -> int | None:
    """Return when a hold lapses at the earliest in epoch milliseconds, None where nothing is armed.

    A relative lease is renewed by heartbeats that do not come here: its due time is that of the write that began it.
    """
    if not hold.armed:
        return None
    if hold.deadline_ms is not None:
        return hold.deadline_ms + hold.grace_ms
    if hold.stale_ms is not None:
        return hold.created_ms + hold.stale_ms
    return hold.created_ms + hold.lease_ms if hold.lease_ms is not None else None


def to_item(shard: ShardRef, entry: LiveEntry, keys: Keys, nonce: bytes) -> dict[str, dict[str, Any]]:
    """Spell an entry as an item, with the row's key, its actor and its version sealed."""
    hold = entry.hold
    pk = partition(shard)
    plain = orjson.dumps({"key": hold.key.parts, "actor": hold.actor, "version": hold.version})
    numbers = {
        "lease_ms": hold.lease_ms,
        "deadline_ms": hold.deadline_ms,
        "due_ms": due_ms(hold),
        "grace_ms": hold.grace_ms,
        "created_ms": hold.created_ms,
        "stale_ms": hold.stale_ms,
    }
    item: dict[str, dict[str, Any]] = {
        "pk": {"S": pk},
        "sk": {"S": entry.entity_id},
        "kind": {"S": hold.kind},
        "source": {"S": entry.source_id},
        "position": {"S": padded(entry.position)},
        "armed": {"BOOL": hold.armed},
        "seal_key": {"S": keys.seal.id},
        "sealed": {"B": nonce + AESGCM(keys.seal.secret).encrypt(nonce, plain, _bound_to(pk, entry.entity_id))},
        **{name: {"N": str(number)} for name, number in numbers.items() if number is not None},
    }
    if hold.version is not None:
        item["version"] = {"S": version_digest(keys.entity, entry.entity_id, hold.version)}
    return item


def from_item(item: Mapping[str, Any], keys: Keys) -> LiveEntry:
    """Open an item. Raises ConfigError if it was sealed under a key that the keys file does not hold."""
    pk, sk, sealed = item["pk"]["S"], item["sk"]["S"], bytes(item["sealed"]["B"])
    try:
        plain = AESGCM(keys.seal.secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound_to(pk, sk))
    except InvalidTag:
        raise ConfigError(
            f"keys file: an entry of the live index was sealed under seal key {item['seal_key']['S']}, "
            f"the keys file's is {keys.seal.id}; start with the keys file that this state table was written with"
        ) from None
    secret = orjson.loads(plain)
    hold = Hold(
        kind=item["kind"]["S"],
        key=EntityKey(tuple((tag, part) for tag, part in secret["key"])),
        actor=secret["actor"],
        version=secret["version"],
        lease_ms=_number(item, "lease_ms"),
        deadline_ms=_number(item, "deadline_ms"),
        grace_ms=int(item["grace_ms"]["N"]),
        created_ms=int(item["created_ms"]["N"]),
        armed=item["armed"]["BOOL"],
        stale_ms=_number(item, "stale_ms"),
    )
    return LiveEntry(sk, item["source"]["S"], hold, int(item["position"]["S"]))


def _bound_to(pk: str, sk: str) -> bytes:
    """Bind a sealed value to its item, so that it cannot be moved to another."""
    return f"{pk}|{sk}".encode()


def _number(item: Mapping[str, Any], name: str) -> int | None:
    return int(item[name]["N"]) if name in item else None
