"""What a worker tells of each shard it reads, and what of it is bad news. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

from lockside.core.change import ShardRef
from lockside.core.now import Now
from lockside.core.ports import StartMode

State = Literal["starting", "reading", "caught_up", "stalled", "halted", "ended"]
"""`stalled`: no page was consumed for long, or none at all; `ended`: read to its end, with deadlines left to watch."""

BAD_AFTER_MS: Final = 300_000
"""A change unwritten, or a shard not read, for so long is bad news; the stream forgets after 24 hours."""

STALE_SPARE_MS: Final = 10_000
LIVE_LEASES: Final = 3
LIVE_SPARE_MS: Final = 30_000
"""What is told by one machine's wall clock and read by another's is doubted only beyond their usual difference."""


@dataclass(frozen=True, slots=True)
class ShardView:
    """What a shard's processor tells of itself.

    `position` is the last consumed change; `lag_ms` how old what it has not seen may be, None before its first page;
    `unwritten_ms` the age of the oldest change read and not acknowledged; `held_since_ms` the monotonic instant since
    which that batch is being written.
    """

    state: State
    position: int | None = None
    lag_ms: int | None = None
    unwritten_ms: int | None = None
    held_since_ms: int | None = None
    deadlines: int = 0
    log: str | None = None


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard as the state table tells of it.

    `recipe` and `since_ms` are those in force of its log; `refreshed_ms` is the wall time of the worker that wrote it,
    and `again_ms` how long after it the next refresh is due.
    """

    shard: ShardRef
    sources: tuple[str, ...]
    state: State
    start: StartMode
    position: int | None
    lag_ms: int | None
    unwritten_ms: int | None
    deadlines: int
    halted: str | None
    recipe: str | None
    since_ms: int | None
    owner: str
    epoch: int
    refreshed_ms: int
    again_ms: int

    def is_stale(self, now_ms: int) -> bool:
        """Whether a refresh is long overdue: nothing it says counts any more."""
        return now_ms - self.refreshed_ms > 2 * self.again_ms + STALE_SPARE_MS

    def problem(self, now_ms: int) -> str | None:
        """Say what is bad news about the shard, if anything is."""
        if self.state == "halted":
            return f"halted: {self.halted}"
        if self.is_stale(now_ms):
            return "its worker has told nothing of it for long; is it down?"
        unwritten_ms = self.unwritten_ms or 0
        if unwritten_ms > BAD_AFTER_MS:
            return f"a change is unwritten after {unwritten_ms // 1000} s; its stream forgets it after 24 hours"
        if self.state == "stalled":
            if self.lag_ms is None:
                return "no page of it could be read since its worker began with it, minutes ago"
            return f"it was not read for {self.lag_ms // 1000} s"
        return None


@dataclass(frozen=True, slots=True)
class Progress:
    """How a shard is read: when that began and its last page came, on the monotonic clock; its newest change's time."""

    ended: bool
    caught_up: bool
    began_ms: int
    page_ms: int | None
    newest_ms: int | None

    def state(self, now: Now) -> State:
        """Say where the reading stands."""
        if self.ended:
            return "ended"
        if now.mono_ms - (self.began_ms if self.page_ms is None else self.page_ms) > BAD_AFTER_MS:
            return "stalled"
        if self.page_ms is None:
            return "starting"
        return "caught_up" if self.caught_up else "reading"

    def lag_ms(self, now: Now) -> int | None:
        """Say how old what was not seen yet may be; None before the first page. Of an ended shard all was seen."""
        if self.ended:
            return 0
        if self.caught_up and self.page_ms is not None:
            return now.mono_ms - self.page_ms
        return None if self.newest_ms is None else max(0, now.wall_ms - self.newest_ms)


def shows_life(renewed_ms: int, lease_ms: int, now_ms: int) -> bool:
    """Whether an owner that renewed then may be alive, by wall clocks: good enough for people, for nothing else."""
    return now_ms - renewed_ms <= LIVE_LEASES * lease_ms + LIVE_SPARE_MS
