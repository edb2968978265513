"""What the embedded engine is told to read, and at what pace."""

from dataclasses import dataclass, field
from typing import Final

from lockside.core.ports import StartMode
from lockside.engines.embedded.pace import BackOff, Idle

RECORDS_MAX: Final = 1_000
"""GetRecords' own limit; a higher one is refused (API reference)."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream to read. `precision_ms` is what creation times are rounded down to: a minute at the coarsest."""

    table: str
    stream_arn: str
    start: StartMode = "TRIM_HORIZON"
    precision_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """A checkpoint is due this long after the last one, or this many records after it, whichever comes first."""

    interval_seconds: float = 5.0
    records: int = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The engine's pace and limits.

    `tip_pages` empty pages in a row mean that nothing more is there: an empty page alone may stand before data.
    `readers_max` bounds the shards read at once, and with them threads and pages in memory.
    """

    idle: Idle = field(default_factory=Idle)
    back_off: BackOff = field(default_factory=BackOff)
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    page_records: int = RECORDS_MAX
    tip_pages: int = 3
    discovery_interval_seconds: float = 30.0
    child_interval_seconds: float = 1.0
    shutdown_seconds: float = 20.0
    readers_max: int = 256
