"""What stands before a shard's processor in a simulated worker and notes what it was told."""

from collections.abc import Mapping, Sequence
from typing import Any

from lockside.core.change import ShardRef
from lockside.core.gap import Gap
from lockside.engines.processor import ShardProcessor


class Tracer:
    """Notes where a processor started and how far it came: what lies before, only its predecessor knew."""

    def __init__(self, shard: ShardRef, processor: ShardProcessor) -> None:
        """Watch a processor."""
        self.shard = shard
        self.processor = processor
        self.start: int | None = None
        self.begun = False
        self.consumed = -1

    def initialize(self, shard: ShardRef, position: int | None, since_ms: int | None = None) -> None:
        """Note the position, and go on."""
        self.start = position
        self.processor.initialize(shard, position, since_ms)
        self.begun = True

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Go on, and note how far it came."""
        self.processor.process_records(records, caught_up=caught_up)
        if records:
            self.consumed = int(records[-1]["dynamodb"]["SequenceNumber"])

    def gap(self, gap: Gap) -> None:
        """Go on."""
        self.processor.gap(gap)

    def flush(self) -> int | None:
        """Go on."""
        return self.processor.flush()

    def lease_lost(self) -> None:
        """Note that it watches nothing any more."""
        self.begun = False
        self.processor.lease_lost()

    def shard_ended(self) -> None:
        """Go on."""
        self.processor.shard_ended()

    def shutdown_requested(self) -> None:
        """Note that it watches nothing any more."""
        self.begun = False
        self.processor.shutdown_requested()

    def saw(self, position: int) -> bool:
        """Whether it consumed a change itself and still watches what it holds."""
        return self.begun and (self.start is None or self.start < position) and position <= self.consumed
