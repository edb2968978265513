"""Up to which instant a shard was surely consumed: its tip (core/gap.py), and when to remember it."""

from dataclasses import dataclass
from typing import Final

REFRESH_MS: Final = 3_600_000
"""How often the tip of a quiet shard is written: one write an hour, and an hour less of the stream's day to lean on."""

DELIVERY_MS: Final = 60_000
"""A change may show up in its stream some seconds after it was made; a minute is ample."""

SILENCE_MS: Final = 12 * 3_600_000
"""Within half the stream's day nothing can be lost: what was begun in so short a silence is still there after it."""


@dataclass(slots=True)
class Reach:
    """The tip of one shard. None until its first change was read, unless it goes on from a shard that was.

    Before that nothing was promised: a first start takes what the stream still has.
    """

    tip_ms: int | None
    written_ms: int | None = None
    promised_ms: int | None = None
    _reading_since_ms: int | None = None
    _read_ms: int = 0

    def begin(self, created_ms: int) -> None:
        """Take in the creation time of the first change there is: what came before it was never promised."""
        self._move(created_ms)

    def caught_up(self, now_ms: int) -> None:
        """Take in that nothing more was there, at `now_ms` of the endpoint's clock.

        After a long silence that may be the end of a shard which was closed in the midst of it, and its children began
        then: only when it was read for a while, and has not ended, nothing of what came of it is as old.
        """
        if self._reading_since_ms is None or now_ms - self._read_ms > DELIVERY_MS:
            self._reading_since_ms = now_ms
        self._read_ms = now_ms
        last_ms = self.promised_ms if self.tip_ms is None else self.tip_ms
        silent = last_ms is not None and now_ms - last_ms > SILENCE_MS
        if not silent or now_ms - self._reading_since_ms >= DELIVERY_MS:
            self._move(now_ms - DELIVERY_MS)

    def consumed(self, created_ms: int | None) -> None:
        """Take in the creation time of a consumed change: in a shard nothing that follows is older."""
        if self.tip_ms is not None and created_ms is not None:
            self._move(created_ms)

    @property
    def is_due(self) -> bool:
        """Whether the tip is to be written though no position moved."""
        if self.tip_ms is None:
            return False
        return self.written_ms is None or self.tip_ms - self.written_ms >= REFRESH_MS

    @property
    def is_written(self) -> bool:
        """Whether what is remembered is as far."""
        return self.tip_ms == self.written_ms

    def wrote(self) -> None:
        """Note that the tip was written."""
        self.written_ms = self.tip_ms

    def _move(self, tip_ms: int) -> None:
        self.tip_ms = tip_ms if self.tip_ms is None else max(self.tip_ms, tip_ms)
