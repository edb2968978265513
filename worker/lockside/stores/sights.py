"""What a client last saw of each lock it asked for: the row, the fence, and since when a held version stands.

It saves the read before an acquisition: the attempt is made on what was seen last, and its refusal hands back what is
there now. What is remembered wrongly costs one refused attempt and never more: every attempt is conditional.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from lockside.stores.lock_row import Absent, Row
from lockside.stores.lock_watch import Watch

LOCKS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Sight:
    """One lock as it was seen last; never seen, it is thought to be free and without a fence."""

    row: Row = Absent()  # noqa: RUF009 - frozen
    fence: int = 0
    watch: Watch | None = None


NEVER_SEEN: Final = Sight()


class Sights:
    """The sights of one client, the least recently used forgotten first."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self._guard = threading.Lock()
        self._seen: OrderedDict[str, Sight] = OrderedDict()

    def of(self, lock: str) -> Sight:
        """Return what was seen last."""
        with self._guard:
            return self._seen.get(lock, NEVER_SEEN)

    def keep(self, lock: str, sight: Sight) -> None:
        """Remember a sight."""
        with self._guard:
            self._seen[lock] = sight
            self._seen.move_to_end(lock)
            while len(self._seen) > LOCKS_MAX:
                self._seen.popitem(last=False)
