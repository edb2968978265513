"""Streams whose place was taken and whose day is over: what is remembered of them is removed, so that it stays bounded.

A stream counts as drained before its successor begins, so nothing of it is asked for again. For as long as DynamoDB
keeps it, its rows stay all the same: they cost little, and tell what was read. The mark of the stream itself goes last,
so that a crash in between leaves a stream that is known to be drained, never one to read anew. The newest stream's
stays: it tells which streams came before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.gap import RETENTION_MS
from lockside.core.ports import Clock
from lockside.engines.tables import Tables
from lockside.state.checkpoints import Checkpoints

LOG = structlog.get_logger(__name__)

LOOK_MS: Final = 3_600_000
"""How often it is looked whether a stream's day is over."""

FORGOTTEN_AT_A_TIME: Final = 25


@dataclass(slots=True)
class Bygone:
    """The drained streams of one table. Touched by one thread only."""

    tables: Tables
    checkpoints: Checkpoints
    clock: Clock
    _arns: list[str] = field(default_factory=list)
    _look_ms: int | None = None

    def add(self, stream_arns: Iterable[str]) -> None:
        """Take note of streams that are drained and were replaced."""
        self._arns += stream_arns

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return bool(self._arns) and (self._look_ms is None or self.clock.now().mono_ms >= self._look_ms)

    def forget(self) -> None:
        """Remove what is remembered of the oldest whose day is over, if it is time to look; a part at a time.

        Raises FencedError where a later owner has claimed its rows, StoppedError on shutdown.
        """
        if not self.is_due:
            return
        now = self.clock.now()
        for arn in self._arns:
            # Claimed with it: only an owner's term removes a row.
            rows = self.checkpoints.load(arn).shards
            if all(row.finished and row.updated_ms <= now.wall_ms - RETENTION_MS for row in rows.values()):
                self._remove(arn, sorted(rows)[:FORGOTTEN_AT_A_TIME])
                return
        self._look_ms = now.mono_ms + LOOK_MS

    def _remove(self, arn: str, shard_ids: Sequence[str]) -> None:
        for shard_id in shard_ids:
            self.checkpoints.forget(ShardRef(arn, shard_id))
        if not self.checkpoints.load(arn).shards:
            self.checkpoints.forget_start(arn)
            self.tables.forget(arn)
            self._arns.remove(arn)
            LOG.info("stream_forgotten", **{telemetry.TABLE: ShardRef(arn, "").table, telemetry.REASON: arn})
