"""Undecodable changes kept in memory."""

from collections.abc import Sequence

from lockside.core.change import ShardRef
from lockside.core.ports import Undecodable
from lockside.errors import UndecodableLimitError


class MemoryUndecodables:
    """Implements `core.ports.Undecodables` with a limit in number; `fail` holds errors that the next calls raise."""

    def __init__(self, changes_max: int = 1_000_000) -> None:
        """Start empty."""
        self.kept: dict[tuple[ShardRef, int], Undecodable] = {}
        self.changes_max = changes_max
        self.fail: list[Exception] = []

    def keep(self, shard: ShardRef, changes: Sequence[Undecodable]) -> None:
        """Keep changes in order, up to the limit."""
        if self.fail:
            raise self.fail.pop(0)
        for change in changes:
            there = sum(1 for kept_shard, _ in self.kept if kept_shard == shard)
            if (shard, change.position) not in self.kept and there >= self.changes_max:
                raise UndecodableLimitError(f"{there} changes are kept", change.position)
            self.kept[shard, change.position] = change
