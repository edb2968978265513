"""Rows of a fleet's status that nobody keeps: their worker died, and another has read the shard to its end since.

Whoever reads a shard on overwrites its row, and whoever ends it removes it, unless it dies too. So each worker looks
now and then. Only what the checkpoints say is over goes, and only as it was read: a living row stays.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from lockside.core.change import ShardRef
from lockside.core.now import Now
from lockside.state.checkpoints import Checkpoints
from lockside.state.status import ROWS_MAX, StatusTable

LEFT_OVER_MS: Final = 600_000
"""How long a row is kept that nobody refreshes: its shard may not have been met again yet."""


@dataclass(slots=True)
class LeftRows:
    """Looks for them. Each call of AWS is made once, and raises what boto3 raises."""

    table: StatusTable
    checkpoints: Checkpoints
    _look_ms: int | None = None
    _asked: set[ShardRef] = field(default_factory=set)

    def remove(self, ours: Collection[ShardRef], now: Now) -> None:
        """Remove them, if it is time to look; a bounded part of them. `ours` are the shards told of here."""
        if self._look_ms is not None and now.mono_ms < self._look_ms:
            return
        self._look_ms = now.mono_ms + LEFT_OVER_MS
        left = [
            row
            for row in self.table.read()
            if now.wall_ms - row.refreshed_ms > LEFT_OVER_MS and row.is_stale(now.wall_ms) and row.shard not in ours
        ]
        # Rows that may not go yet must not stand before those that may: they take turns.
        waiting = [row for row in left if row.shard not in self._asked]
        if len(waiting) <= ROWS_MAX:
            self._asked.clear()
        for row in waiting[:ROWS_MAX]:
            if len(waiting) > ROWS_MAX:
                self._asked.add(row.shard)
            if self.checkpoints.is_over(row.shard):
                self.table.remove_unchanged(row)
