"""From when on a stream is read: a start at LATEST made an instant, and the promise that nothing after it is lost."""

from dataclasses import dataclass
from datetime import UTC, datetime

from lockside.core.change import ShardRef
from lockside.engines.stream import StreamPlan
from lockside.state.checkpoints import Checkpoints, StreamState


@dataclass(frozen=True, slots=True)
class Beginning:
    """`since_ms` is a start at LATEST, None without one; no change since `promised_ms` may be lost in silence."""

    since_ms: int | None
    promised_ms: int


def beginning_of(plan: StreamPlan, checkpoints: Checkpoints, state: StreamState, now_ms: int) -> Beginning:
    """Find from when on a stream is read; a first start is remembered, so that a restart finds it again.

    The promise counts since we began, or since the stream is there: one that took another's place is ours from its
    first change on.
    """
    since_ms = state.since_ms if plan.start == "LATEST" else None
    if plan.start == "LATEST" and since_ms is None and not state.shards:
        since_ms = checkpoints.begin(plan.stream_arn, now_ms)
    if since_ms is not None:
        return Beginning(since_ms, since_ms)
    if plan.follows:
        return Beginning(None, created_ms(plan.stream_arn, now_ms))
    if state.begun_ms is not None:
        return Beginning(None, state.begun_ms)
    return Beginning(None, checkpoints.begin(plan.stream_arn, now_ms, latest=False))


def created_ms(stream_arn: str, otherwise_ms: int) -> int:
    """Return when a stream was made: its label says so (API reference, StreamLabel)."""
    try:
        made = datetime.fromisoformat(ShardRef(stream_arn, "").label).replace(tzinfo=UTC)
    except ValueError:
        return otherwise_ms
    return round(made.timestamp() * 1000)
