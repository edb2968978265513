"""What goes into a shard's reader and what comes out of it: where it begins, and what one step came to."""

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


@dataclass(frozen=True, slots=True)
class Start:
    """Where a shard is begun: after `position`, else at the trim horizon, leaving out changes before `since_ms`.

    All of the shard, or of those it came from, was consumed up to `tip_ms`; None where that is not known. `tip_kept`:
    it is remembered for this very shard. Of a shard without a position nothing may be lost since `promised_ms`.
    """

    position: int | None = None
    since_ms: int | None = None
    tip_ms: int | None = None
    tip_kept: bool = False
    promised_ms: int | None = None
