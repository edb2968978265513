"""The lock table's own history, read from its stream while it is made, and what must be true of it.

A stream's creation times are too coarse to time a lease by. So it is read over and over: a change that one reading
shows and the one before did not was written between the beginning of that one and the end of this.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

SLACK_SECONDS: Final = 0.05
"""The stream may show a change a moment after the table does."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a lock's row, and between which instants it was written."""

    lock: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    after: float
    before: float


class History:
    """Reads a table's stream from its beginning."""

    def __init__(self, streams: "DynamoDBStreamsClient", arn: str) -> None:
        """Begin at the oldest record."""
        self.changes: list[Change] = []
        self._streams = streams
        self._after = time.monotonic()
        shards = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        self._iterators = [
            streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[
                "ShardIterator"
            ]
            for shard in shards
        ]

    def read(self) -> int:
        """Read what is new; return how many changes."""
        begun, seen = time.monotonic(), len(self.changes)
        for at, iterator in enumerate(self._iterators):
            answer = self._streams.get_records(ShardIterator=iterator)
            self._iterators[at] = answer["NextShardIterator"]
            for record in answer["Records"]:
                body: Any = record["dynamodb"]
                name = body["Keys"]["key"]["S"]
                change = Change(name, body.get("OldImage"), body.get("NewImage"), self._after, time.monotonic())
                self.changes.append(change)
        self._after = begun
        return len(self.changes) - seen


@dataclass(frozen=True, slots=True)
class Takeover:
    """A held row that went to another owner, and the most that may have passed since it was last renewed."""

    lock: str
    loser: str
    winner: str
    lease_seconds: float
    passed_seconds_max: float

    @property
    def early(self) -> bool:
        """Whether it certainly came before the lease was over."""
        return self.passed_seconds_max + SLACK_SECONDS < self.lease_seconds


def is_held(row: dict[str, Any] | None) -> bool:
    """Whether a row says that somebody holds the lock."""
    return row is not None and "isReleased" not in row


def takeovers(changes: Sequence[Change]) -> Iterator[Takeover]:
    """Find every change of owner of a held row."""
    renewed: dict[str, Change] = {}
    for change in changes:
        old, new = change.old, change.new
        if old is not None and new is not None and is_held(old) and is_held(new) and _owner(old) != _owner(new):
            passed = change.before - renewed[change.lock].after
            yield Takeover(change.lock, _owner(old), _owner(new), int(old["leaseDuration"]["S"]) / 1000, passed)
        renewed[change.lock] = change


def early(changes: Sequence[Change]) -> list[Takeover]:
    """Return the takeovers that made two holders within one lease."""
    return [takeover for takeover in takeovers(changes) if takeover.early]


def fences(changes: Sequence[Change], lock: str) -> list[int]:
    """Return the fences of a lock's acquisitions by Lockside clients, in the order of the table."""
    seen: list[int] = []
    for change in changes:
        if change.lock == lock and change.new is not None and "fence" in change.new:
            fence = int(change.new["fence"]["N"])
            if change.old is None or change.old.get("fence") != change.new["fence"]:
                seen.append(fence)
    return seen


def _owner(row: dict[str, Any]) -> str:
    return str(row["ownerName"]["S"])
