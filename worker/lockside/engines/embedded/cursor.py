"""A reader's place in its shard: the position behind what was consumed, and the iterator that leads on from it.

An iterator lives for 15 minutes from its issue, and is only ever got for the page that is asked for next. A new one
begins after the position, never where an old one would have led: what that led past may not have been consumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockside.core import decode
from lockside.core.change import ShardRef
from lockside.engines.discovery import iterator_of, spelled
from lockside.engines.embedded.page import sound
from lockside.errors import FaultyPageError

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient


@dataclass(slots=True)
class Cursor:
    """Where one shard is read. `iterator` is None where a new one is needed, and at the shard's end.

    `from_horizon`: the stream no longer has what follows the position, so the oldest change it has comes next.
    `at_horizon`: the next page is the first of an iterator at the horizon.
    """

    shard: ShardRef
    position: int | None
    iterator: str | None = None
    from_horizon: bool = False
    at_horizon: bool = False

    def fetch(self, client: "DynamoDBStreamsClient", limit: int) -> Mapping[str, Any]:
        """Ask for the next page. Raises what boto3 raises, and as `page.sound` does."""
        if self.iterator is None:
            self.at_horizon = self.position is None or self.from_horizon
            self.iterator = iterator_of(client, {**self._place(), **self._shard()})
        iterator = self.iterator
        return sound(lambda: client.get_records(ShardIterator=iterator, Limit=limit))

    def lose_iterator(self) -> None:
        """Let go of an iterator that led nowhere."""
        self.iterator = None

    def to_horizon(self) -> None:
        """Go on with the oldest change that is there."""
        self.iterator = None
        self.from_horizon = True

    def unread(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Leave out what was consumed before, where the trim horizon may lie before the position.

        Elsewhere an iterator leads behind the position. Raises FaultyPageError for a page that begins at or before it:
        what stands out of its place could only be passed over.
        """
        position = self.position
        if position is None or not records:
            return records
        if self.from_horizon:
            return [record for record in records if decode.sequence_number(record) > position]
        if decode.sequence_number(records[0]) <= position:
            raise FaultyPageError("sequence order")
        return records

    def consumed(self, position: int | None, iterator: str | None) -> None:
        """Move behind a page that was consumed up to `position`; None for one that held nothing unread."""
        if position is not None:
            self.position = position
            self.from_horizon = False
        self.iterator = iterator

    def _shard(self) -> dict[str, Any]:
        return {"StreamArn": self.shard.stream_arn, "ShardId": self.shard.shard_id}

    def _place(self) -> dict[str, Any]:
        if self.position is None or self.from_horizon:
            return {"ShardIteratorType": "TRIM_HORIZON"}
        return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": spelled(self.position)}
