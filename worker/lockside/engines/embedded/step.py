"""What one step of a shard's reader came to."""

from dataclasses import dataclass
from enum import Enum


class Progress(Enum):
    """Where a reader stands after a step."""

    READING = "reading"
    DRAINED = "drained"  # nothing more is there for now
    MISSING = "missing"  # the stream says that there is no such shard; it is asked for again
    ENDED = "ended"  # the shard was read to its end, and is marked so


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to, and how long to wait before the next."""

    progress: Progress
    wait_seconds: float = 0.0
