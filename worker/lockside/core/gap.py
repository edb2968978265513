"""What a stream lost before it was read, and how a true loss is told from a quiet shard.

A position that the stream no longer has proves nothing by itself: a shard without changes has its last position trimmed
too. So each shard's *tip* is remembered: the instant, by the endpoint's clock, up to which all of it was consumed. What
came after the tip is younger, and a stream keeps every change for 24 hours.
"""

from dataclasses import dataclass
from typing import Final, Literal

RETENTION_MS: Final = 24 * 3_600_000
"""A stream record is kept for 24 hours and may go at any time after that (DynamoDB guide, Streams)."""

Loss = Literal["trimmed", "aged_out"]
"""How it went: the shard is there and its first records are not, or the whole shard is gone."""

OnGap = Literal["continue", "halt"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A loss with both its ends: all between `after` and `until`, neither of them lost, may be gone.

    `after` is the last consumed position, None where nothing of the shard was; all was consumed up to `after_ms`.
    `until` is the first change that is there, None where the shard has none left.
    """

    loss: Loss
    after: int | None
    after_ms: int | None
    until: int | None = None
    until_ms: int | None = None


def lost(position: int | None, tip_ms: int | None, now_ms: int) -> bool:
    """Whether what follows a position or tip may be gone, once the stream says that it no longer has it.

    With neither of them nothing was promised: the shard is met for the first time.
    """
    if tip_ms is None:
        return position is not None
    return now_ms - tip_ms >= RETENTION_MS
