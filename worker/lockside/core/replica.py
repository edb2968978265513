"""What a replica makes of a table's changes. Pure: records and scanned rows in, writes out.

Strategy: each write bears a *stamp*, kept beside the value, and takes effect only over a smaller one. So a write may
come late, twice, or beside another process that was taken for dead: the newest stays. A deletion is a write too, whose
row (a tombstone) stays until nothing older can come again.

A stamp is text whose order is the changes' order: `generation#label#sequence number`.
- Sequence numbers differ in length, so they are padded. They order one item's changes in its shard and along the
  lineage of shards that it moves through, and nothing else (DynamoDB guide, Streams).
- A stream that was switched off and on again counts anew; its label is its creation time, and comes before the number.
- The *generation* counts the copies of the whole table (`--bootstrap`). A scanned row has no number: its stamp is
  `generation#`, which is above all that was written before the copy began, and below each change read since. So a scan
  replaces what is old, never overwrites what is newer, and brings nothing back that was deleted meanwhile.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lockside.core import decode
from lockside.core.attributes import Image
from lockside.core.change import padded
from lockside.core.entity import EntityKey, KeySchema, entity_key
from lockside.core.wire_form import image_of
from lockside.errors import ReplicaError, WireFaultError

STAMP: Final = "lockside_stamp"
"""Attribute of a replica's rows in DynamoDB."""

EXPIRES: Final = "lockside_expires"
"""Attribute of tombstones there: when DynamoDB's TTL may remove them, in epoch seconds."""

RESERVED: Final = frozenset({STAMP, EXPIRES})
GENERATION_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Write:
    """One row as a replica is to hold it: `image` None for a row that is gone."""

    key: EntityKey
    stamp: str
    image: Image | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row as a replica holds it. A tombstone has no image; a row that no replication wrote has no stamp."""

    key: EntityKey
    stamp: str | None
    image: Image | None


def change_stamp(generation: int, label: str, sequence_number: int) -> str:
    """Return the stamp of a streamed change."""
    return f"{copy_stamp(generation)}{label}#{padded(sequence_number)}"


def copy_stamp(generation: int) -> str:
    """Return the stamp of a scanned row, which is below that of each change of the generation."""
    return f"{generation:0{GENERATION_DIGITS}d}#"


def generation_of(stamp: str) -> int:
    """Return the generation that a stamp bears."""
    return int(stamp[:GENERATION_DIGITS])


def wins(stamp: str, over: str | None) -> bool:
    """Whether a write takes effect where a row bears the stamp `over`, or none: the rule that each target applies."""
    return over is None or over < stamp


def writes_of(records: Sequence[Mapping[str, Any]], schema: KeySchema, generation: int, label: str) -> list[Write]:
    """Return what a page asks for, one write per row: of a row's changes, only the last leaves a trace.

    Raises ReplicaError for a change that cannot be read, or that replication itself wrote.
    """
    last: dict[EntityKey, Write] = {}
    for record in records:
        write = _write_of(record, schema, generation, label)
        known = last.get(write.key)
        if known is None or wins(write.stamp, known.stamp):
            last[write.key] = write
    return list(last.values())


def copied(items: Iterable[Image], schema: KeySchema, generation: int) -> Iterator[Write]:
    """Return the writes for scanned rows. Raises ReplicaError as `writes_of` does."""
    stamp = copy_stamp(generation)
    for item in items:
        try:
            key = entity_key(item, schema)
        except WireFaultError as error:
            raise ReplicaError(
                f"a scanned row cannot be read ({error.code}); nothing of its page was copied"
            ) from error
        _refuse_replica(item)
        yield Write(key, stamp, item)


def _write_of(record: Mapping[str, Any], schema: KeySchema, generation: int, label: str) -> Write:
    number = decode.sequence_number(record)
    try:
        body = record["dynamodb"]
        key = entity_key(image_of(body.get("Keys"), "keys"), schema)
        image = _new_image(record.get("eventName"), body)
    except WireFaultError as error:
        raise ReplicaError(
            f"the change at {number} cannot be read ({error.code}), so its shard is halted before it; upgrade "
            "Lockside, or let it age out of the stream within 24 hours: that is a loss, and the table is copied anew"
        ) from error
    if image is not None:
        _refuse_replica(image)
    return Write(key, change_stamp(generation, label, number), image)


def _new_image(event: object, body: Mapping[str, Any]) -> Image | None:
    match event:
        case "REMOVE":
            return None
        case "INSERT" | "MODIFY":
            return image_of(body.get("NewImage"), "image")
        case _:
            raise WireFaultError("operation")


def _refuse_replica(image: Image) -> None:
    if RESERVED & image.keys():
        raise ReplicaError(
            f"a row bears the attribute {STAMP}: the table is itself a replica's target, and its rows would go round "
            "in a circle or be copied with their tombstones; replicate from the table where they are written"
        )
