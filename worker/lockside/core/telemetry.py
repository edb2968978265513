"""Names of metrics and log keys, and the small protocol through which any part reports.

One list, so that a typo is a type error and the documentation can be checked against it.
"""

from typing import Final, Literal, Protocol

Counter = Literal[
    "records",  # stream records consumed, by table
    "events",  # events interpreted, by type
    "written",  # audit records acknowledged, by log kind (change, observer)
    "retries",  # calls tried again, by operation
    "undecodable",  # records that became stream.undecodable, by code
    "unclaimed",  # records no layout claimed, by table
    "uneventful",  # records of a source that give no event, by reason
    "lapses",  # lapses declared, by via
    "stale",  # locks without a lease told as stale
    "verifications",  # verification reads, by verdict
    "checkpoints",  # checkpoints written
    "gaps",  # losses of the stream recorded, by table
    "leases_taken",  # shards that KCL leased to this worker, by table and how (first, again, moved from another)
    "leases_lost",  # leases that went to another worker while this one held them, by table
    "replicated",  # writes to a replica, by replica and outcome (taken, stale)
    "copied",  # rows scanned for a replica, by replica
]
Gauge = Literal[
    "lag_seconds",  # how old what was not seen may be, by table and shard
    "oldest_unwritten_seconds",  # age of the oldest change read and not yet acknowledged, by table and shard
    "live_deadlines",  # deadlines armed
    "shards_open",  # shards being read
    "shards_halted",  # shards that stand still until a person acts
    "owner",  # 1 while this worker owns the application, 0 while it stands by or was taken over
    "fleet",  # whether this worker is one of a fleet, which has no owner
    "leases_held",  # shards that KCL has leased to this worker, by table
    "undecodable_kept",  # undecodable changes kept for redrive, by table and shard
    "replica_lag_seconds",  # how old what a replica has not seen may be, by replica and shard
    "replica_incomplete",  # 1 while a replica may lack rows until it is copied anew, by replica
]
Timing = Literal[
    "batch_seconds",  # one batch, from decode to acknowledgement
    "delay_seconds",  # from a change's creation to its record's acknowledgement
    "lapse_delay_seconds",  # from the legal instant to the declaration
]

TABLE: Final = "table"
SHARD: Final = "shard"
SOURCE: Final = "source"
COUNT: Final = "count"
WRITTEN: Final = "written"
EVENT: Final = "event_type"
REASON: Final = "reason"
ATTRIBUTES: Final = "attributes"
CODE: Final = "code"
SEQUENCE: Final = "sequence_number"
UNTIL: Final = "until_sequence_number"
SECONDS: Final = "seconds"
ATTEMPT: Final = "attempt"
ERROR: Final = "error"
OPERATION: Final = "operation"
LOG: Final = "audit_log"
RECIPE: Final = "recipe"
APPLICATION: Final = "application"
REPLICA: Final = "replica"


class Meter(Protocol):
    """Where numbers go."""

    def count(self, name: Counter, by: int = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def gauge(self, name: Gauge, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...

    def timing(self, name: Timing, seconds: float) -> None:
        """Observe a duration."""
        ...


class NoMeter:
    """A meter that keeps nothing, for uses without one."""

    def count(self, name: Counter, by: int = 1, **labels: str) -> None:
        """Keep nothing."""

    def gauge(self, name: Gauge, value: float, **labels: str) -> None:
        """Keep nothing."""

    def timing(self, name: Timing, seconds: float) -> None:
        """Keep nothing."""
