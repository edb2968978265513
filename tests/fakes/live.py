"""The live index in memory."""

from collections.abc import Sequence

from lockside.core.change import ShardRef
from lockside.core.ports import LiveEntry, LiveRemoval


class MemoryLive:
    """Implements `core.ports.LiveIndex`, conditions included; `writes` counts what was asked for."""

    def __init__(self) -> None:
        """Start empty."""
        self.entries: dict[str, LiveEntry] = {}
        self.writes = 0
        self.fail: list[Exception] = []

    def apply(self, shard: ShardRef, entries: Sequence[LiveEntry | LiveRemoval]) -> None:
        """Put and remove, unless a newer position is there."""
        del shard
        if self.fail:
            raise self.fail.pop(0)
        for entry in entries:
            self.writes += 1
            there = self.entries.get(entry.entity_id)
            match entry:
                case LiveEntry() if there is None or there.position < entry.position:
                    self.entries[entry.entity_id] = entry
                case LiveRemoval() if there is not None and there.position <= entry.position:
                    del self.entries[entry.entity_id]
                case _:
                    pass
