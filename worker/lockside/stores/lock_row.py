"""The lock row of the awslabs Java client, and the requests that read and write it. Pure: requests are built, not sent.

A row is HELD by a version that changes at each heartbeat, RELEASED with `isReleased`, or absent. Nothing of a clock is
stored: a lease is over for us when we saw one version stand for as long as `leaseDuration` says.

Source: amazon-dynamodb-lock-client 1.4.0, AmazonDynamoDBLockClient.java. Every condition here is one of its own or
stricter, so that either side's write makes the other's condition fail.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lockside.core.attributes import Image
from lockside.errors import LimitError, SetupError

OWNER: Final = "ownerName"
VERSION: Final = "recordVersionNumber"
LEASE: Final = "leaseDuration"
RELEASED: Final = "isReleased"
DATA: Final = "data"
FENCE: Final = "fence"
RELEASED_VALUE: Final = "1"

FENCE_KEY: Final = "key"
"""The only key of the fence table, a string."""

LEASE_MS_MAX: Final = 31 * 86_400_000
LEASE_DIGITS_MAX: Final = 18
PARTITION_BYTES_MAX: Final = 2048
DATA_BYTES_MAX: Final = 390_000
"""Of the 400 KB of an item, with room for its key and the layout's own attributes."""

HELD_BY_US: Final = "#owner = :owner AND (#version = :current OR #version = :next) AND attribute_not_exists(#released)"
"""The next version is known before its heartbeat is sent, so that a heartbeat in between does not break a check."""

NAMES: Final = {"#owner": OWNER, "#version": VERSION, "#released": RELEASED}


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no row."""


@dataclass(frozen=True, slots=True)
class Released:
    """The row was kept when its holder released it."""

    version: str


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody holds the lock, as far as the row tells."""

    version: str
    owner: str
    lease_ms: int


Row = Absent | Released | Held


@dataclass(frozen=True, slots=True)
class LockTable:
    """Names: the lock table, its key attributes, the table of fences. `sort` is an attribute and its one value."""

    name: str
    fences: str
    partition: str = "key"
    sort: tuple[str, str] | None = None

    def key(self, lock: str) -> dict[str, Any]:
        """Return the row's key."""
        key: dict[str, Any] = {self.partition: {"S": lock}}
        if self.sort is not None:
            key[self.sort[0]] = {"S": self.sort[1]}
        return key

    def fence_key(self, lock: str) -> dict[str, Any]:
        """Return the key of the lock's counter. Two sort values under one name have a counter each."""
        text = lock if self.sort is None else f"{len(lock)}:{lock}{self.sort[1]}"
        return {FENCE_KEY: {"S": text}}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a client wants to write: itself under a fresh version, a lease, and data for others to read."""

    owner: str
    version: str
    lease_ms: int
    data: bytes | None = field(default=None, repr=False)


def checked_data(data: bytes | None) -> bytes | None:
    """Return a lock's data if its row can hold them. Raises LimitError, which does not show them."""
    if data is not None and not isinstance(data, bytes):
        raise LimitError(f"data of type {type(data).__name__}: give bytes, or None")
    if data is not None and len(data) > DATA_BYTES_MAX:
        raise LimitError(
            f"data of {len(data)} bytes: a lock's row holds {DATA_BYTES_MAX}; store what is larger elsewhere"
        )
    return data


def checked_name(lock: str) -> str:
    """Return the lock's name if it can be a key. Raises LimitError."""
    try:
        size = len(lock.encode())
    except UnicodeEncodeError:
        raise LimitError(f"lock name {lock!r}: holds a lone surrogate, which UTF-8 cannot spell") from None
    if not 0 < size <= PARTITION_BYTES_MAX:
        raise LimitError(f"lock name of {size} bytes: give 1 to {PARTITION_BYTES_MAX} bytes of UTF-8")
    return lock


def lease_ms(seconds: float) -> int:
    """Return a lease in milliseconds. Raises LimitError for one that nobody could keep or wait for."""
    milliseconds = round(seconds * 1000) if math.isfinite(seconds) else 0
    if not LEASE_MS_MIN <= milliseconds <= LEASE_MS_MAX:
        raise LimitError(f"lease = {seconds} s: give {LEASE_MS_MIN / 1000} s to {LEASE_MS_MAX // 1000} s")
    return milliseconds


LEASE_MS_MIN: Final = 100


def read(item: Image | None, table: str, lock: str) -> Row:
    """Say what a row is. Raises SetupError for one that no client of this layout wrote: its lease cannot be guessed."""
    if not item:
        return Absent()
    version = _text(item, VERSION, table, lock)
    if RELEASED in item:
        return Released(version)
    lease = _text(item, LEASE, table, lock)
    if not (lease.isascii() and lease.isdigit() and len(lease) <= LEASE_DIGITS_MAX):
        raise SetupError(
            f'lock "{lock}" in table "{table}": {LEASE} is not a whole number of milliseconds in a string, as the '
            "awslabs client writes it (a Go dynamolock client writes 20s); use a table that only awslabs and Lockside "
            "clients share"
        )
    return Held(version, _text(item, OWNER, table, lock), int(lease))


def _text(item: Image, name: str, table: str, lock: str) -> str:
    value = item.get(name, {}).get("S")
    if not isinstance(value, str):
        raise SetupError(
            f'lock "{lock}" in table "{table}": its row has no string {name}, so that it is no lock of the awslabs '
            "layout; use another table or lock name"
        )
    return value


def fence_of(item: Image | None) -> int:
    """Return the fence that a counter row stands at, 0 where there is none."""
    return int(item[FENCE]["N"]) if item else 0


def taking(table: LockTable, lock: str, seen: Row, fence: int, claim: Claim) -> list[dict[str, Any]]:
    """Build the transaction that takes a lock as it was seen and raises its fence from `fence` to `fence + 1`.

    A refusal hands back the rows that were not as seen.
    """
    condition, values = _as_seen(seen)
    names = {"#partition": table.partition} if isinstance(seen, Absent) else {"#version": VERSION}
    if isinstance(seen, Released):
        names["#released"] = RELEASED
    item = {
        **table.key(lock),
        OWNER: {"S": claim.owner},
        VERSION: {"S": claim.version},
        LEASE: {"S": str(claim.lease_ms)},
        FENCE: {"N": str(fence + 1)},
    }
    if claim.data is not None:
        item[DATA] = {"B": claim.data}
    put: dict[str, Any] = {
        "TableName": table.name,
        "Item": item,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if values:
        put["ExpressionAttributeValues"] = values
    return [{"Put": put}, {"Update": _raising(table, lock, fence)}]


def _as_seen(seen: Row) -> tuple[str, dict[str, Any]]:
    match seen:
        case Absent():
            return "attribute_not_exists(#partition)", {}
        case Released(version=version):
            values = {":version": {"S": version}, ":released": {"S": RELEASED_VALUE}}
            return "#version = :version AND #released = :released", values
        case Held(version=version):
            return "#version = :version", {":version": {"S": version}}


def _raising(table: LockTable, lock: str, fence: int) -> dict[str, Any]:
    request: dict[str, Any] = {
        "TableName": table.fences,
        "Key": table.fence_key(lock),
        "UpdateExpression": "SET #fence = :raised",
        "ConditionExpression": "#fence = :seen" if fence else "attribute_not_exists(#fence)",
        "ExpressionAttributeNames": {"#fence": FENCE},
        "ExpressionAttributeValues": {":raised": {"N": str(fence + 1)}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if fence:
        request["ExpressionAttributeValues"][":seen"] = {"N": str(fence)}
    return request


@dataclass(frozen=True, slots=True)
class Tenure:
    """What the row of a lock that we hold shows: this version, or the next one if a heartbeat has landed."""

    owner: str
    current: str
    next: str

    def values(self) -> dict[str, Any]:
        """Return the values of HELD_BY_US."""
        return {":owner": {"S": self.owner}, ":current": {"S": self.current}, ":next": {"S": self.next}}


def beating(table: LockTable, lock: str, tenure: Tenure, lease: int) -> dict[str, Any]:
    """Build the heartbeat: the next version, if the row still has the current one and our name."""
    return {
        "TableName": table.name,
        "Key": table.key(lock),
        "UpdateExpression": "SET #version = :next, #lease = :lease",
        "ConditionExpression": "#owner = :owner AND #version = :current AND attribute_not_exists(#released)",
        "ExpressionAttributeNames": {**NAMES, "#lease": LEASE},
        "ExpressionAttributeValues": {**tenure.values(), ":lease": {"S": str(lease)}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def deleting(table: LockTable, lock: str, tenure: Tenure) -> dict[str, Any]:
    """Build the release that removes the row, the Java client's default."""
    return {**_held(table, lock, tenure), "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


def marking(table: LockTable, lock: str, tenure: Tenure) -> dict[str, Any]:
    """Build the release that keeps the row."""
    request = {**deleting(table, lock, tenure), "UpdateExpression": "SET #released = :released"}
    request["ExpressionAttributeValues"] = {**tenure.values(), ":released": {"S": RELEASED_VALUE}}
    return request


def checking(table: LockTable, lock: str, tenure: Tenure) -> dict[str, Any]:
    """Build the item of a caller's transaction that holds only while the row is ours."""
    return {"ConditionCheck": _held(table, lock, tenure)}


def _held(table: LockTable, lock: str, tenure: Tenure) -> dict[str, Any]:
    return {
        "TableName": table.name,
        "Key": table.key(lock),
        "ConditionExpression": HELD_BY_US,
        "ExpressionAttributeNames": dict(NAMES),
        "ExpressionAttributeValues": tenure.values(),
    }


def is_version(item: Mapping[str, Any] | None, version: str) -> bool:
    """Whether a row that was handed back bears this version."""
    return bool(item) and item is not None and item.get(VERSION, {}).get("S") == version
