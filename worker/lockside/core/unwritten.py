"""When to speak of a change that cannot be written, and how loudly: it holds its shard, and its stream forgets it."""

from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["info", "warning", "error"]

KEPT_MS: Final = 24 * 3_600_000
"""A stream keeps a change for 24 hours."""

LEVELS: Final[tuple[tuple[int, Level], ...]] = ((300_000, "error"), (60_000, "warning"), (10_000, "info"))
"""How long a batch was held, and what that is worth."""

LATE_MS: Final = KEPT_MS // 2
"""A change of this age is an error however short it was held: what is left may go in one bad night."""

AGAIN_MS: Final = 300_000
"""How often the same is said again."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was said last of a held batch, known by the instant at which its writing began."""

    held_since_ms: int
    level: Level
    at_ms: int


def level_of(held_ms: int, age_ms: int) -> Level | None:
    """Judge a batch held for so long, whose oldest change is so old; None while it is not worth a word."""
    for least_ms, level in LEVELS:
        if held_ms >= least_ms:
            return "error" if age_ms >= LATE_MS else level
    return None


def tell(held_since_ms: int, age_ms: int, told: Told | None, now_ms: int) -> Told | None:
    """Return what to say now of a held batch; None for nothing: the same was said a moment ago."""
    level = level_of(now_ms - held_since_ms, age_ms)
    if level is None:
        return None
    same = told is not None and (told.held_since_ms, told.level) == (held_since_ms, level)
    if same and told is not None and now_ms - told.at_ms < AGAIN_MS:
        return None
    return Told(held_since_ms, level, now_ms)


def hours_left(age_ms: int) -> float:
    """Return how many hours the stream still keeps a change of this age."""
    return round(max(0, KEPT_MS - age_ms) / 3_600_000, 1)
