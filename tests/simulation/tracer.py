"""What stands before a shard's processor in a simulated worker and notes what it was told."""

from collections.abc import Mapping, Sequence
from typing import Any

from lockside.core.change import ShardRef
from lockside.core.gap import Gap
from lockside.core.log import LogHead
from lockside.engines.processor import ShardProcessor


class Tracer:
    """Notes which changes a processor was given itself: what came before, only its predecessor knew.

    `watching`: it was begun, and has not been given up.
    """

    def __init__(self, shard: ShardRef, processor: ShardProcessor) -> None:
        """Watch a processor."""
        self.shard = shard
        self.watching = False
        self._processor = processor
        self._consumed: set[int] = set()

    def initialize(self, shard: ShardRef, position: int | None, since_ms: int | None = None) -> LogHead:
        """Go on."""
        head = self._processor.initialize(shard, position, since_ms)
        self.watching = True
        return head

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Go on, and note what it consumed."""
        self._processor.process_records(records, caught_up=caught_up)
        self._consumed.update(int(record["dynamodb"]["SequenceNumber"]) for record in records)

    def gap(self, gap: Gap) -> bool:
        """Go on."""
        return self._processor.gap(gap)

    def flush(self) -> int | None:
        """Go on."""
        return self._processor.flush()

    def lease_lost(self) -> None:
        """Note that it watches nothing any more."""
        self.watching = False
        self._processor.lease_lost()

    def shard_ended(self) -> None:
        """Go on."""
        self._processor.shard_ended()

    def shutdown_requested(self) -> None:
        """Note that it watches nothing any more."""
        self.watching = False
        self._processor.shutdown_requested()

    def next_deadline(self) -> int | None:
        """Ask when a deadline may be due."""
        return self._processor.next_deadline()

    def tick(self) -> None:
        """Have what is due tested."""
        self._processor.tick()

    @property
    def done(self) -> bool:
        """Whether nothing is left to watch."""
        return self._processor.done

    def saw(self, position: int) -> bool:
        """Whether it consumed a change itself and still watches what that change left held."""
        return self.watching and position in self._consumed
