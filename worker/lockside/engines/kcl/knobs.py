"""KCL's knobs: how soon a fleet notices a death or a new shard, and what that costs in requests.

Two profiles: `default` hands over within ten seconds, `conservative` has KCL 3.3's own values, which take two to three
minutes and cost next to nothing. Measured in docs/decisions.
"""

from dataclasses import dataclass
from typing import Final, Literal

Profile = Literal["default", "conservative"]

RENEWALS: Final = 3
"""KCL renews each lease so many times in one `failover_ms`."""

BATCH_BYTES_MAX: Final = 8 << 20
"""Bytes of pages that wait in memory for one shard (KCL's own limit)."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """All in milliseconds. Each is one of KCL's own settings; config/lockside.toml says what it is good for."""

    failover_ms: int
    lease_assignment_ms: int
    shard_sync_ms: int
    parent_poll_ms: int
    dispatch_ms: int
    leader_lease_ms: int
    leader_heartbeat_ms: int
    worker_report_ms: int
    idle_ms: int


PROFILES: Final[dict[Profile, Knobs]] = {
    "default": Knobs(
        failover_ms=3_000,
        lease_assignment_ms=1_000,
        shard_sync_ms=2_000,
        parent_poll_ms=500,
        dispatch_ms=100,
        leader_lease_ms=3_000,
        leader_heartbeat_ms=1_000,
        worker_report_ms=1_000,
        idle_ms=500,
    ),
    "conservative": Knobs(
        failover_ms=10_000,
        lease_assignment_ms=20_000,
        shard_sync_ms=60_000,
        parent_poll_ms=10_000,
        dispatch_ms=1_000,
        leader_lease_ms=120_000,
        leader_heartbeat_ms=30_000,
        worker_report_ms=30_000,
        idle_ms=1_000,
    ),
}
