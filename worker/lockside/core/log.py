"""The append-only log of one stream shard: where each record stands, and the head that says how far it goes.

The head is a pure function of the records: size, frontier, the position of the last recorded change and the running
maximum of their times. When it is written does not matter.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lockside.core import merkle
from lockside.core.records import ChangeRecord

INDEX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class LogHead:
    """Head of one log. `last_position` is the sequence number of the last recorded change, None before the first.

    `log` is the log's id, `epoch` its number among those of its shard.
    """

    log: str
    epoch: int
    size: int = 0
    frontier: tuple[bytes, ...] = ()
    last_position: int | None = None
    running_max_ms: int = 0

    @property
    def root(self) -> bytes:
        """The Merkle root over all leaves."""
        return merkle.root(self.frontier)

    def covers(self, sequence_number: int) -> bool:
        """Whether a change was recorded before: it is interpreted for deadlines, and not written again."""
        return self.last_position is not None and sequence_number <= self.last_position


@dataclass(frozen=True, slots=True)
class Placed:
    """A change record and its place in a log."""

    record: ChangeRecord
    log: str
    epoch: int
    index: int
    running_max_ms: int


def append(head: LogHead, records: Iterable[ChangeRecord]) -> tuple[LogHead, list[Placed]]:
    """Add records in stream order; return the new head and each record's place."""
    placed: list[Placed] = []
    for record in records:
        running = max(head.running_max_ms, record.time_ms)
        placed.append(Placed(record, head.log, head.epoch, head.size, running))
        head = replace(
            head,
            size=head.size + 1,
            frontier=merkle.append(head.size, head.frontier, merkle.leaf_hash(record.body)),
            last_position=record.position,
            running_max_ms=running,
        )
    return head, placed
