"""Streams whose place was taken and whose day is over: what is remembered of them is removed, so that it stays bounded.

A stream counts as drained before its successor begins, so nothing of it is asked for again. For as long as DynamoDB
keeps it, its rows stay all the same: they cost little, and tell what was read. The mark of the stream itself goes last,
so that a crash in between leaves a stream that is known to be drained, never one to read anew. The newest stream's
stays: it tells which streams came before.
"""

from collections.abc import Iterable
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

    def forget(self) -> None:
        """Remove what is remembered of the oldest of them, if it is time to and its day is over; a part at a time.

        Raises FencedError where a later owner has claimed its rows, StoppedError on shutdown.
        """
        now = self.clock.now()
        if not self._arns or (self._look_ms is not None and now.mono_ms < self._look_ms):
            return
        arn = self._arns[0]
        # Claimed with it: only an owner's term removes a row.
        rows = self.checkpoints.load(arn).shards
        old_ms = now.wall_ms - RETENTION_MS
        if any(not row.finished or row.updated_ms > old_ms for row in rows.values()):
            self._look_ms = now.mono_ms + LOOK_MS
            return
        for shard_id in sorted(rows)[:FORGOTTEN_AT_A_TIME]:
            self.checkpoints.forget(ShardRef(arn, shard_id))
        if len(rows) <= FORGOTTEN_AT_A_TIME:
            self.checkpoints.forget_start(arn)
            self.tables.forget(arn)
            del self._arns[0]
            LOG.info("stream_forgotten", **{telemetry.TABLE: ShardRef(arn, "").table, telemetry.REASON: arn})
