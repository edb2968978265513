"""From where a shard is begun, by what any worker of the fleet has left in the state table and in KCL's leases."""

from dataclasses import replace

from lockside.core.change import ShardRef
from lockside.core.gap import RETENTION_MS
from lockside.engines.beginning import beginning_of
from lockside.engines.consumer import Start
from lockside.engines.kcl.leases import Lease
from lockside.engines.stream import StreamPlan
from lockside.state.checkpoints import Checkpoints

FORGET_MS = 2 * RETENTION_MS
"""A finished shard is of use until its children are begun: a day after its end they have lost their changes anyway."""


class StreamMemory:
    """What is remembered of one stream. Read anew for each shard: other workers write there too."""

    def __init__(self, plan: StreamPlan, checkpoints: Checkpoints) -> None:
        """Keep where to look."""
        self._plan = plan
        self._checkpoints = checkpoints

    def begin(self, now_ms: int) -> None:
        """Make a start at LATEST concrete before KCL takes its time; `now_ms` is the endpoint's clock."""
        beginning_of(self._plan, self._checkpoints, self._checkpoints.load(self._plan.stream_arn), now_ms)

    def start_of(self, shard_id: str, lease: Lease | None, kcl_position: int | None, now_ms: int) -> Start:
        """Tell from where a shard is begun. The further one of both positions counts: all up to either was acked."""
        arn = self._plan.stream_arn
        state = self._checkpoints.load(arn)
        begun = beginning_of(self._plan, self._checkpoints, state, now_ms)
        row = state.shards.get(shard_id)
        start = Start(None, begun.since_ms, promised_ms=begun.promised_ms)
        if row is not None and (row.position is not None or row.tip_ms is not None):
            start = replace(start, position=row.position, tip_ms=row.tip_ms, tip_kept=row.tip_ms is not None)
        else:
            parents = [state.shards[each] for each in (lease.parents if lease else ()) if each in state.shards]
            tips = [parent.tip_ms for parent in parents if parent.tip_ms is not None]
            start = replace(start, tip_ms=min(tips, default=None))
        known = [position for position in (start.position, kcl_position) if position is not None]
        return replace(start, position=max(known, default=None))

    def forget_old(self, now_ms: int) -> None:
        """Remove shards that were finished long ago, so that what is remembered stays bounded."""
        arn = self._plan.stream_arn
        for shard_id, row in self._checkpoints.read(arn).shards.items():
            if row.finished and row.updated_ms <= now_ms - FORGET_MS:
                self._checkpoints.forget(ShardRef(arn, shard_id))
