"""The items of a table of key phrases, and the requests on one of them. Pure.

A data item's partition is `<shard>#<prefix>`, its sort key the phrase's key: DynamoDB sorts text by its UTF-8 bytes,
which is code-point order. The placement is one item whose partition no shard's number can begin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lockside.aws.tables import PK, SK
from lockside.errors import SetupError
from lockside.stores import phrase_value
from lockside.stores.phrase_value import Value
from lockside.stores.placement import Placement, Step
from lockside.stores.tables import EXPIRES

VERSION: Final = "ver"
MS_PER_SECOND: Final = 1_000

PLACEMENT_KEY: Final = {PK: {"S": "placement"}, SK: {"S": "placement"}}
SHARDS: Final = "shards"
TARGET: Final = "target"
STEP: Final = "step"
RAISED: Final = "raised"

NOT_THERE: Final = "attribute_not_exists(#pk)"
LAPSED: Final = "#expires <= :now"
"""A row past its time is gone to everybody, though DynamoDB removes it within days."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A key with its value. `version` is another after every write; `expires_ms` is None if it stays."""

    key: str
    value: Value
    version: str
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a phrase is in one placement."""

    table: str
    prefix: str
    key: str
    shard: int

    @property
    def partition(self) -> str:
        """The partition key."""
        return partition_of(self.shard, self.prefix)

    @property
    def wire(self) -> dict[str, Any]:
        """The item's key."""
        return {PK: {"S": self.partition}, SK: {"S": self.key}}


def partition_of(shard: int, prefix: str) -> str:
    """Return the partition key of a shard under a prefix."""
    return f"{shard}#{prefix}"


def prefix_of(partition: str) -> str | None:
    """Return the prefix that a partition key holds, None for the placement's."""
    shard, mark, prefix = partition.partition("#")
    return prefix if mark and shard.isdecimal() else None


def attributes_of(value: Value, key_bytes: int, version: str, expires_s: int | None) -> tuple[dict[str, Any], int]:
    """Build all attributes of a data item but its key; return them and the item's size in bytes, rounded up.

    Raises LimitError for a value that does not fit.
    """
    wire, size_bytes = phrase_value.encode(value, key_bytes)
    built = {**wire, VERSION: {"S": version}}
    if expires_s is not None:
        built[EXPIRES] = {"N": str(expires_s)}
    return built, size_bytes


def is_lapsed(item: Mapping[str, Any], now_s: int) -> bool:
    """Whether a row's time is over."""
    return EXPIRES in item and int(item[EXPIRES]["N"]) <= now_s


def phrase_of(item: Mapping[str, Any] | None, now_ms: int) -> Phrase | None:
    """Read a data item; None where there is none, or its time is over. Raises SetupError for one of another kind."""
    if not item:
        return None
    expires_ms = int(item[EXPIRES]["N"]) * MS_PER_SECOND if EXPIRES in item else None
    if expires_ms is not None and expires_ms <= now_ms:
        return None
    version = item.get(VERSION, {}).get("S")
    if version is None:
        raise SetupError(
            f'the item "{item[SK]["S"]}" has no {VERSION}; it was written by something else than this store'
        )
    return Phrase(item[SK]["S"], phrase_value.decode(item), version, expires_ms)


ANY_VERSION: Final = None
NO_ROW: Final = ""


def condition(if_version: str | None, now_ms: int) -> dict[str, Any]:
    """Build the condition of a write: any row (None), no row (""), or the row of one version."""
    now_s = {":now": {"N": str(now_ms // MS_PER_SECOND)}}
    if if_version is None:
        return {}
    if not if_version:
        return {
            "ConditionExpression": f"{NOT_THERE} OR {LAPSED}",
            "ExpressionAttributeNames": {"#pk": PK, "#expires": EXPIRES},
            "ExpressionAttributeValues": now_s,
        }
    return {
        "ConditionExpression": f"#version = :version AND (attribute_not_exists(#expires) OR NOT {LAPSED})",
        "ExpressionAttributeNames": {"#version": VERSION, "#expires": EXPIRES},
        "ExpressionAttributeValues": {":version": {"S": if_version}, **now_s},
    }


def absent(address: Address) -> dict[str, Any]:
    """Build the item of a transaction that holds only where a phrase is not at an address."""
    return {
        "ConditionCheck": {
            "TableName": address.table,
            "Key": address.wire,
            "ConditionExpression": NOT_THERE,
            "ExpressionAttributeNames": {"#pk": PK},
        }
    }


def placement_item(placement: Placement) -> dict[str, Any]:
    """Build the placement's item."""
    return {
        **PLACEMENT_KEY,
        SHARDS: {"N": str(placement.shards)},
        TARGET: {"N": str(placement.target)},
        STEP: {"S": placement.step},
        RAISED: {"BOOL": placement.raised},
    }


def placement_of(item: Mapping[str, Any] | None, table: str) -> Placement:
    """Read the placement's item. Raises SetupError where there is none."""
    if not item:
        raise SetupError(
            f'table "{table}": holds no key phrase store; KeyPhraseStore.create() or `lockside init` makes one'
        )
    step: Step = item[STEP]["S"]
    return Placement(int(item[SHARDS]["N"]), int(item[TARGET]["N"]), step, item[RAISED]["BOOL"])
