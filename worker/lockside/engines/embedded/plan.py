"""What the embedded engine is told to read, and at what pace."""

from dataclasses import dataclass, field
from typing import Final

from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.embedded.pace import BackOff, Idle

RECORDS_MAX: Final = 1_000
"""GetRecords' own limit; a higher one is refused (API reference)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The engine's pace and limits.

    `tip_pages` empty pages in a row mean that nothing more is there: an empty page alone may stand before data.
    A stream that gets no more shards counts as drained when nothing unread showed up for `drained_seconds`.
    `threads` read all shards, and `in_flight_bytes` bounds the pages they hold at once: a page is in memory from its
    answer until all that follows from it is acknowledged.
    """

    idle: Idle = field(default_factory=Idle)
    back_off: BackOff = field(default_factory=BackOff)
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    page_records: int = RECORDS_MAX
    tip_pages: int = 10
    discovery_interval_seconds: float = 30.0
    child_interval_seconds: float = 1.0
    drained_seconds: float = 30.0
    shutdown_seconds: float = 20.0
    threads: int = 8
    in_flight_bytes: int = 8 << 20
