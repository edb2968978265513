"""How the trail stands in the audit table: every key and every item, as pure functions of what they hold.

Attribute names are one or two letters where each record repeats them: an item must stay under 1 KB to cost one write
unit. Times in keys are epoch milliseconds in 13 digits, so that text order is time order until the year 2286.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import rfc8785

from lockside.aws.tables import ACTOR_KEY, ACTOR_SORT, LOG_KEY, LOG_SORT, PK, SK, TIME, TTL, TYPE
from lockside.core.change import padded
from lockside.core.log import INDEX_DIGITS, LogHead, Placed
from lockside.core.ports import ObserverRecord
from lockside.core.records import identity_ulid

Item = Mapping[str, Any]
"""One item on the wire."""

BODY: Final = "ce"
INDEX: Final = "ix"
AFTER: Final = "after"
SIZE: Final = "size"
FRONTIER: Final = "frontier"
LAST: Final = "last"
RUNNING_MAX: Final = "max"
SEALED: Final = "sealed"
LOST: Final = "lost"
EPOCH: Final = "epoch"

OBSERVER_PREFIX: Final = "~"
LOG_PREFIX: Final = "LOG#"
CATALOGUE: Final = "CAT"
CATALOGUE_PREFIX: Final = "CAT#"
GENESIS_SORT: Final = "G"
HEAD_SORT: Final = "H"

PARTITION_BYTES_MAX: Final = 2048
"""DynamoDB's limit for a partition key."""

SORT_BYTES_MAX: Final = 1024
"""DynamoDB's limit for a sort key."""

TIME_DIGITS: Final = 13
TIME_MS_MAX: Final = 10**TIME_DIGITS - 1
HASH_BYTES: Final = 32
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records are kept, in days; None keeps them for ever.

    Counted from the record's own time, so that a replay writes an equal item.
    """

    days: int | None = None

    def expiry(self, time_ms: int) -> dict[str, Any]:
        """Return the TTL attribute of a record, or nothing."""
        if self.days is None:
            return {}
        return {TTL: {"N": str(max(0, time_ms) // 1000 + self.days * DAY_SECONDS)}}


def key(pk: str, sk: str) -> dict[str, Any]:
    """Spell a primary key; no text makes it illegal."""
    return {PK: {"S": _fitted(pk, PARTITION_BYTES_MAX)}, SK: {"S": _fitted(sk, SORT_BYTES_MAX)}}


def genesis_key(log: str) -> dict[str, Any]:
    """Spell the key of a log's genesis."""
    return key(LOG_PREFIX + log, GENESIS_SORT)


def head_key(log: str) -> dict[str, Any]:
    """Spell the key of a log's head."""
    return key(LOG_PREFIX + log, HEAD_SORT)


def catalogue_items(log: str, day: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """List a day among those with records, and a log under a day that one of its records belongs to."""
    return key(CATALOGUE, day), key(CATALOGUE_PREFIX + day, log)


def change_item(placed: Placed, retention: Retention) -> dict[str, Any]:
    """Return a change record's item. Equal records give equal items, whoever writes them."""
    record = placed.record
    return {
        **key(record.pk, f"{record.sort}#{placed.epoch}"),
        **_recorded(placed.log, placed.index, placed.running_max_ms),
        **_described(record.type, record.time_ms, record.actor, record.id),
        **retention.expiry(record.time_ms),
        BODY: {"S": record.body.decode()},
    }


def observer_item(record: ObserverRecord, head: LogHead, retention: Retention) -> dict[str, Any]:
    """Return an observer record's item, placed at the end of its log."""
    return {
        **observer_key(record),
        **_recorded(record.log, head.size, max(head.running_max_ms, record.time_ms)),
        **_described(record.type, record.time_ms, record.actor, identity_ulid(record.identity)),
        **retention.expiry(record.time_ms),
        **({} if record.after is None else {AFTER: {"S": record.after}}),
        BODY: {"S": observer_body(record).decode()},
    }


def observer_key(record: ObserverRecord) -> dict[str, Any]:
    """Spell an observer record's key: one per entity, event and identity."""
    digest = hashlib.sha256(record.identity.encode()).hexdigest()
    return key(record.pk, f"{OBSERVER_PREFIX}{record.type}#{digest}")


def observer_body(record: ObserverRecord) -> bytes:
    """Return the bytes of an observer record: RFC 8785 JSON of its CloudEvent."""
    return rfc8785.dumps({**record.event, "id": identity_ulid(record.identity)})


def head_item(head: LogHead) -> dict[str, Any]:
    """Return the item of a head."""
    return {**head_key(head.log), **head_values(head)}


def head_values(head: LogHead) -> dict[str, Any]:
    """Return what a head says, without its key. The position has up to 40 digits, too many for a DynamoDB number."""
    return {
        EPOCH: {"N": str(head.epoch)},
        SIZE: {"N": str(head.size)},
        FRONTIER: {"B": b"".join(head.frontier)},
        RUNNING_MAX: {"N": str(head.running_max_ms)},
        **({} if head.last_position is None else {LAST: {"S": padded(head.last_position)}}),
    }


def read_head(log: str, item: Item) -> LogHead:
    """Read a head back."""
    raw = bytes(item[FRONTIER]["B"])
    return LogHead(
        log=log,
        epoch=int(item[EPOCH]["N"]),
        size=int(item[SIZE]["N"]),
        frontier=tuple(raw[start : start + HASH_BYTES] for start in range(0, len(raw), HASH_BYTES)),
        last_position=int(item[LAST]["S"]) if LAST in item else None,
        running_max_ms=int(item[RUNNING_MAX]["N"]),
    )


def time_key(time_ms: int) -> str:
    """Spell a time so that text order is time order; what 13 digits cannot hold becomes the nearest they can."""
    return f"{min(max(0, time_ms), TIME_MS_MAX):0{TIME_DIGITS}d}"


def log_sort(running_max_ms: int, index: int) -> str:
    """Spell a record's place in its log for the index by log."""
    return f"{time_key(running_max_ms)}#{index:0{INDEX_DIGITS}d}"


def actor_key(actor: str, month: str) -> str:
    """Spell the partition of the index by actor: one per actor and month."""
    return _fitted(f"A#{actor}", PARTITION_BYTES_MAX - len(f"#{month}")) + f"#{month}"


def day_of(time_ms: int) -> str:
    """Name the UTC day of a time, `yyyy-mm-dd`."""
    return _utc(time_ms).strftime("%Y-%m-%d")


def month_of(time_ms: int) -> str:
    """Name the UTC month of a time, `yyyy-mm`."""
    return _utc(time_ms).strftime("%Y-%m")


def _utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(min(max(0, time_ms), TIME_MS_MAX) // 1000, UTC)


def _recorded(log: str, index: int, running_max_ms: int) -> dict[str, Any]:
    return {
        LOG_KEY: {"S": _fitted(log, PARTITION_BYTES_MAX)},
        LOG_SORT: {"S": log_sort(running_max_ms, index)},
        INDEX: {"N": str(index)},
    }


def _described(event_type: str, time_ms: int, actor: str | None, identifier: str) -> dict[str, Any]:
    described: dict[str, Any] = {TYPE: {"S": event_type}, TIME: {"N": str(time_ms)}}
    if actor:
        described[ACTOR_KEY] = {"S": actor_key(actor, month_of(time_ms))}
        described[ACTOR_SORT] = {"S": f"{time_key(time_ms)}#{identifier}"}
    return described


def _fitted(text: str, bytes_max: int) -> str:
    raw = text.encode()
    if len(raw) <= bytes_max:
        return text
    digest = f"…sha256:{hashlib.sha256(raw).hexdigest()}"
    return raw[: bytes_max - len(digest.encode())].decode(errors="ignore") + digest
