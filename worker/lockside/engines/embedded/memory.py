"""What is remembered of one stream's shards: their checkpoints, and from where a shard is begun."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog

from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.gap import RETENTION_MS
from lockside.engines.embedded.catalogue import ABSENT_LISTINGS, Catalogue
from lockside.engines.embedded.plan import StreamPlan
from lockside.engines.embedded.services import Services
from lockside.engines.embedded.step import Start
from lockside.state.checkpoints import Checkpoint, StreamState

LOG = structlog.get_logger(__name__)

FORGOTTEN_AT_A_TIME: Final = 10


class StreamMemory:
    """The checkpoints of one stream as this worker found and left them."""

    def __init__(self, plan: StreamPlan, services: Services) -> None:
        """Remember nothing yet; `load` reads."""
        self.rows: dict[str, Checkpoint] = {}
        self.is_loaded = False
        self._plan = plan
        self._services = services
        self._since_ms: int | None = None
        self._promised_ms: int | None = None

    @property
    def finished(self) -> set[str]:
        """The shards that were read to their end."""
        return {shard_id for shard_id, row in self.rows.items() if row.finished}

    @property
    def unfinished(self) -> Iterable[str]:
        """The shards that were begun and not read to their end."""
        return (shard_id for shard_id, row in self.rows.items() if not row.finished)

    def load(self, endpoint_ms: int | None) -> None:
        """Take up what an earlier run left. A first start at LATEST is made an instant that a restart finds again."""
        if self.is_loaded:
            return
        checkpoints = self._services.checkpoints
        now_ms = self._services.clock.now().wall_ms if endpoint_ms is None else endpoint_ms
        state = checkpoints.load(self._plan.stream_arn)
        if self._plan.start == "LATEST":
            self._since_ms = state.since_ms
            if state.since_ms is None and not state.shards:
                self._since_ms = checkpoints.begin(self._plan.stream_arn, now_ms)
        self._promised_ms = self._promise(state, now_ms)
        self.rows = dict(state.shards)
        self.is_loaded = True
        self._tell_old(state.shards, now_ms)

    def ended(self, shard_id: str, tip_ms: int | None) -> None:
        """Take in that a shard was marked as read to its end."""
        now_ms = self._services.clock.now().wall_ms
        row = self.rows.get(shard_id, Checkpoint(None, finished=True, epoch=0, updated_ms=now_ms))
        self.rows[shard_id] = replace(row, finished=True, updated_ms=now_ms, tip_ms=tip_ms)

    def start_of(self, shard_id: str, parent_id: str | None, catalogue: Catalogue) -> Start:
        """Tell from where a shard is begun, and up to when it was consumed, by us or as a part of what it came from."""
        row = self.rows.get(shard_id)
        if row is not None and (row.position is not None or row.tip_ms is not None):
            return Start(row.position, self._since_ms, row.tip_ms, tip_kept=row.tip_ms is not None)
        tips: list[int | None] = []
        if parent_id in self.rows:
            tips = [self.rows[parent_id].tip_ms]
        elif parent_id is not None:
            # The lineage between what was finished and this shard is gone: it may go back to any of which no child is
            # listed.
            tips = [row.tip_ms for each, row in self.rows.items() if row.finished and catalogue.ends_with(each)]
            # And what it came from may never have been begun: of that, only the promise is known.
            tips = [*tips, self._promised_ms] if tips else []
        known = [tip_ms for tip_ms in tips if tip_ms is not None]
        return Start(None, self._since_ms, min(known, default=None), promised_ms=self._promised_ms)

    def forget_gone(self, catalogue: Catalogue, begun: Collection[str]) -> None:
        """Remove finished shards that several whole listings left out, so that what is remembered stays bounded.

        Not before the stream's day is over: one that listings left out may be listed again, and would be read anew.
        As long as a listed shard that nothing is remembered of has a parent in no listing, all may be needed to tell a
        gap. `begun` are shards of which something is remembered since this worker began.
        """
        known = {*self.rows, *begun}
        strangers = (shard for shard in catalogue.shards.values() if shard.shard_id not in known)
        if any(shard.parent_id is not None and shard.parent_id not in catalogue.shards for shard in strangers):
            return
        old_ms = self._services.clock.now().wall_ms - RETENTION_MS
        old = (shard_id for shard_id, row in self.rows.items() if row.finished and row.updated_ms <= old_ms)
        gone = [shard_id for shard_id in old if catalogue.absences(shard_id) >= ABSENT_LISTINGS]
        for shard_id in sorted(gone)[:FORGOTTEN_AT_A_TIME]:
            self._services.checkpoints.forget(ShardRef(self._plan.stream_arn, shard_id))
            del self.rows[shard_id]

    def _promise(self, state: StreamState, now_ms: int) -> int:
        """Return from when on no change may be lost in silence: since we began, or since the stream is there.

        A stream that took another's place is ours from its first change on.
        """
        if self._since_ms is not None:
            return self._since_ms
        if self._plan.follows:
            return created_ms(self._plan.stream_arn, now_ms)
        if state.begun_ms is not None:
            return state.begun_ms
        return self._services.checkpoints.begin(self._plan.stream_arn, now_ms, latest=False)

    def _tell_old(self, rows: Mapping[str, Checkpoint], now_ms: int) -> None:
        for shard_id, row in rows.items():
            at_ms = row.updated_ms if row.tip_ms is None else row.tip_ms
            if not row.finished and now_ms - at_ms >= RETENTION_MS:
                LOG.error(
                    "checkpoint_older_than_the_stream",
                    **{
                        telemetry.TABLE: self._plan.table,
                        telemetry.SHARD: shard_id,
                        telemetry.SECONDS: round((now_ms - at_ms) / 1000),
                    },
                )


def created_ms(stream_arn: str, otherwise_ms: int) -> int:
    """Return when a stream was made: its label says so (API reference, StreamLabel)."""
    try:
        made = datetime.fromisoformat(ShardRef(stream_arn, "").label).replace(tzinfo=UTC)
    except ValueError:
        return otherwise_ms
    return round(made.timestamp() * 1000)
