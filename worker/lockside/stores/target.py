"""What every replica's target does, whatever holds it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lockside.core.entity import EntityKey
from lockside.core.replica import Row, Write

HOUR_MS: Final = 3_600_000

REPLAY_MS: Final = 25 * HOUR_MS
"""How old a change can be that a stream still hands out: 24 hours, and some time until it is really gone."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of writes: so many took effect, and so many found something newer or the same in their place."""

    taken: int
    stale: int

    def __add__(self, other: "Applied") -> "Applied":
        """Add up."""
        return Applied(self.taken + other.taken, self.stale + other.stale)


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some of a target's rows, and where to go on; `cursor` None with the last."""

    rows: Sequence[Row]
    cursor: str | None


class Target(Protocol):
    """A place that holds a replica. Calls retry by themselves until acknowledged, or raise StoppedError."""

    @property
    def place(self) -> str:
        """Name it for people, and tell it from any other place; holds no secret."""
        ...

    def apply(self, writes: Sequence[Write], until_ms: int) -> Applied:
        """Write rows, each only over a smaller stamp; returns when all are acknowledged.

        Raises FencedError once the wall clock has passed `until_ms`: by then a tombstone may be gone that would have
        refused one of them. Raises ReplicaError for a row that the place cannot hold.
        """
        ...

    def read(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Row]:
        """Read rows as they are now, tombstones too; a key left out has no row."""
        ...

    def page(self, cursor: str | None) -> RowPage:
        """Read some of all rows, in any order, tombstones too; one may come twice."""
        ...

    def vouch(self, generation: int) -> bool:
        """Whether it still holds what was written to it in this generation, as far as it can tell."""
        ...

    def begin(self, generation: int) -> None:
        """Note that a generation begins."""
        ...

    def close(self) -> None:
        """End its threads and connections."""
        ...


def stale_after_ms(tombstone_hours: int) -> int:
    """Return how long after it was read a change may still be written: tombstones must outlive every replay of it."""
    return tombstone_hours * HOUR_MS - REPLAY_MS


def pages(target: Target, cursor: str | None = None) -> Iterator[RowPage]:
    """Read all rows, page by page, from a cursor on."""
    while True:
        page = target.page(cursor)
        yield page
        if page.cursor is None:
            return
        cursor = page.cursor
