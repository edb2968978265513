"""Who owns an application's shards: decided from one row, seen again and again on one's own clock that never steps.

Wall clocks never enter: an owner is gone when its row stood unchanged before our eyes for one whole lease of its own.
A worker that was taken over goes on in good faith until a condition refuses it: safety hangs on the epoch, never on
time.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Self

PAUSE_MS: Final = 3_000
"""Between two looks so much may pass, however short the owner's lease is: it may have another setting than ours."""


class Standing(Enum):
    """What one look at the row means for us."""

    WAIT = "wait"  # another worker owns it, as far as we know
    TAKE = "take"  # nobody does, or its owner is gone
    MINE = "mine"  # we do
    LOST = "lost"  # we did, and another has taken over


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """The ownership row. `owner` is a worker's run id, None when the last owner handed it back.

    `beat` is raised at each renewal, so that two equal rows mean that nobody renewed between them. `place`,
    `renewed_ms`, `taken_ms` and `ended` are for people; nothing is decided by them. `ended` says what ended the last
    owner, None where it stopped in good order.
    """

    epoch: int
    owner: str | None
    beat: int
    lease_ms: int
    place: str = ""
    renewed_ms: int = 0
    taken_ms: int = 0
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """An application under one owner. Epoch 0 is nobody's: no worker took it, and no row is asked for."""

    application: str = ""
    epoch: int = 0


UNOWNED = Term()
"""For uses without a second worker to fear, such as tests of one engine."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What a worker has seen of the row so far. `epoch` is the one it took, 0 while it has taken none."""

    me: str
    epoch: int = 0
    seen: OwnerRow | None = None
    unchanged_since_ms: int = 0
    looked_ms: int = 0

    def took(self, epoch: int) -> Self:
        """Return the watch of a worker that took the row over at this epoch."""
        return replace(self, epoch=epoch, seen=None)

    def observe(self, row: OwnerRow | None, asked_ms: int, answered_ms: int) -> tuple[Self, Standing]:
        """Judge the row as a read showed it, asked for and answered at these instants of our monotonic clock.

        It stood unchanged at least from the answer of the first such read to the question of the last. A pause of our
        own that is longer than the lease proves nothing: whatever held us up may have held up the owner too, so that
        it is given a whole lease again.
        """
        if self.epoch:
            mine = row is not None and row.owner == self.me and row.epoch == self.epoch
            return self, Standing.MINE if mine else Standing.LOST
        if row is None or row.owner is None:
            return replace(self, seen=row), Standing.TAKE
        if row.owner == self.me:
            # Our own take-over, whose answer was lost on its way.
            return self.took(row.epoch), Standing.MINE
        held_up = asked_ms - self.looked_ms > max(row.lease_ms, PAUSE_MS)
        if self.seen is None or _moved(self.seen, row) or held_up:
            return replace(self, seen=row, unchanged_since_ms=answered_ms, looked_ms=answered_ms), Standing.WAIT
        gone = asked_ms - self.unchanged_since_ms >= row.lease_ms
        return replace(self, seen=row, looked_ms=answered_ms), Standing.TAKE if gone else Standing.WAIT


def _moved(before: OwnerRow, now: OwnerRow) -> bool:
    return (before.epoch, before.owner, before.beat) != (now.epoch, now.owner, now.beat)
