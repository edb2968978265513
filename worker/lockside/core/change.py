"""One stream record, decoded as far as a decision needs it."""

from dataclasses import dataclass
from typing import Literal

from lockside.core.attributes import Image
from lockside.core.entity import EntityKey

Operation = Literal["INSERT", "MODIFY", "REMOVE"]


@dataclass(frozen=True, slots=True)
class ShardRef:
    """One shard of one stream. State is keyed by the ARN: shard ids repeat across streams (moto: across all tables)."""

    stream_arn: str
    shard_id: str

    @property
    def table(self) -> str:
        """The table's name, from the ARN `arn:…:table/NAME/stream/LABEL`."""
        return self.stream_arn.split(":table/", 1)[-1].split("/", 1)[0]

    @property
    def label(self) -> str:
        """The stream's label, its creation time."""
        return self.stream_arn.rsplit("/stream/", 1)[-1]

    @property
    def origin(self) -> str:
        """What names this shard among all: region, account, table, label and shard id."""
        _arn, _partition, _service, region, account, *_ = [*self.stream_arn.split(":"), "", "", "", "", ""]
        return f"{region}/{account}/{self.table}/{self.label}/{self.shard_id}"


@dataclass(frozen=True, slots=True)
class Change:
    """One item's change. Images stay as they came: only what a layout touches is decoded.

    `created_ms` is ApproximateCreationDateTime in epoch milliseconds, rounded down to the recipe's precision.
    An absent image is None; an empty one is an empty map: they are not the same.
    """

    shard: ShardRef
    sequence_number: int
    operation: Operation
    created_ms: int
    key: EntityKey
    old: Image | None
    new: Image | None
    by_ttl: bool


def padded(sequence_number: int) -> str:
    """Spell a sequence number so that text order is number order (40 digits is the API's longest)."""
    return f"{sequence_number:040d}"
