"""One shard's changes brought to replicas: a processor of the engine, as the one that makes the audit trail is.

The position moves when every replica has acknowledged a page. A page that is read again is written again, and loses
against what stands there (core/replica.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lockside.core import decode, telemetry
from lockside.core.change import ShardRef
from lockside.core.gap import Gap
from lockside.core.ports import Clock
from lockside.core.status import Progress, ShardView
from lockside.errors import WireFaultError
from lockside.stores.replica import Replica
from lockside.stores.target import Applied

LOG = structlog.get_logger(__name__)


class Replicator:
    """Replicates one shard. Implements `core.ports.Processor`."""

    def __init__(self, shard: ShardRef, replicas: Sequence[Replica], clock: Clock) -> None:
        """Keep what is needed; nothing is read or written before `initialize`."""
        self.shard = shard
        self._replicas = replicas
        self._clock = clock
        self._position: int | None = None
        self._ended = False
        self._caught_up = False
        self._began_ms = clock.now().mono_ms
        self._page_ms: int | None = None
        self._newest_ms: int | None = None
        self._held: tuple[int, int] | None = None

    def initialize(self, shard: ShardRef, position: int | None, since_ms: int | None = None) -> None:
        """Begin after a position."""
        del since_ms
        self._position = position
        for replica in self._replicas:
            replica.follow(shard.stream_arn)

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Write a page to every replica; return when all have acknowledged it."""
        began = self._clock.now()
        if records:
            self._held = (began.mono_ms, _created_ms(records[0]) or began.wall_ms)
            applied = [replica.write(records, self.shard, began.wall_ms) for replica in self._replicas]
            self._held = None
            self._position = decode.sequence_number(records[-1])
            self._newest_ms = _created_ms(records[-1]) or self._newest_ms
            self._report(len(records), sum(applied, Applied(0, 0)), began.mono_ms)
        self._caught_up = caught_up
        self._page_ms = self._clock.now().mono_ms

    def gap(self, gap: Gap) -> bool:
        """Take in a loss: only a copy of the table brings what it held."""
        for replica in self._replicas:
            replica.lose(gap.loss)
        return True

    def flush(self) -> int | None:
        """See that no replica was emptied since; return the position that may be checkpointed."""
        for replica in self._replicas:
            replica.vouch()
        return self._position

    def lease_lost(self) -> None:
        """Write nothing more; whatever is under way is refused by what the next owner writes, or equal to it."""
        self._ended = True

    def shard_ended(self) -> None:
        """Learn that no more changes come."""
        self._ended = True

    def shutdown_requested(self) -> None:
        """Learn that the process stops."""
        self._ended = True

    @property
    def done(self) -> bool:
        """Whether nothing more comes of it."""
        return self._ended

    def view(self) -> ShardView:
        """Tell how it stands."""
        now, held = self._clock.now(), self._held
        progress = Progress(self._ended, self._caught_up, self._began_ms, self._page_ms, self._newest_ms)
        return ShardView(
            state=progress.state(now),
            position=self._position,
            lag_ms=progress.lag_ms(now),
            unwritten_ms=None if held is None else max(0, now.wall_ms - held[1]),
            held_since_ms=None if held is None else held[0],
        )

    def _report(self, records: int, applied: Applied, began_ms: int) -> None:
        LOG.info(
            "replicated",
            taken=applied.taken,
            stale=applied.stale,
            **{
                telemetry.TABLE: self.shard.table,
                telemetry.SHARD: self.shard.shard_id,
                telemetry.COUNT: records,
                telemetry.SEQUENCE: str(self._position),
                telemetry.SECONDS: round((self._clock.now().mono_ms - began_ms) / 1000, 3),
            },
        )


def _created_ms(record: Mapping[str, Any]) -> int | None:
    try:
        return decode.created_ms(record["dynamodb"], 1)
    except WireFaultError:
        return None
