"""The seams: what the processor needs of its neighbours, and the records that pass through.

Folders on one level do not import each other; `app/` joins an implementation to each protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lockside.core.change import ShardRef
from lockside.core.event import Hold
from lockside.core.log import LogHead, Placed
from lockside.core.recipe import Source

StartMode = Literal["TRIM_HORIZON", "LATEST"]


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks, in milliseconds: the wall's epoch time, and one that never steps."""

    wall_ms: int
    mono_ms: int


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> Now:
        """Read both clocks."""
        ...


class Stop(Protocol):
    """A shutdown that anybody may wait for. `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether shutdown was asked for."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds; True as soon as shutdown is asked for."""
        ...


@dataclass(frozen=True, slots=True)
class ObserverRecord:
    """What no single change can tell. `identity` makes it one and the same whoever declares it.

    `pk` is the entity's partition key, `log` the observer log it joins, `event` the CloudEvent without id.
    """

    type: str
    pk: str
    identity: str
    log: str
    event: Mapping[str, Any]
    actor: str | None
    time_ms: int
    after: str | None


class Trail(Protocol):
    """The audit table's writing side. Every call retries by itself until acknowledged, or raises StoppedError."""

    def open(self, shard: ShardRef, sources: tuple[Source, ...], start: StartMode) -> LogHead:
        """Return the log's head, making genesis and head if there are none.

        Seals a log with another recipe or start mode, and opens the next epoch.
        """
        ...

    def write(self, records: Sequence[Placed]) -> None:
        """Put change records; returns when all are acknowledged."""
        ...

    def write_head(self, head: LogHead) -> None:
        """Move the head forward. Raises FencedError when the log was sealed."""
        ...

    def observe(self, record: ObserverRecord) -> bool:
        """Put an observer record once. False if its identity was there already."""
        ...


@dataclass(frozen=True, slots=True)
class LiveEntry:
    """What the live index holds of one hold; `position` is the sequence number of the change that wrote it."""

    entity_id: str
    source_id: str
    hold: Hold
    position: int


@dataclass(frozen=True, slots=True)
class LiveRemoval:
    """The end of one hold in the live index."""

    entity_id: str
    position: int


class LiveIndex(Protocol):
    """What is held now. Conditional on position; retries by itself until acknowledged, or raises StoppedError."""

    def apply(self, shard: ShardRef, entries: Sequence[LiveEntry | LiveRemoval]) -> None:
        """Write begun holds and remove ended ones; at most one entry per entity."""
        ...


class RowReader(Protocol):
    """Strongly consistent reads of a source's rows, for verification (law 5)."""

    def read(self, source: Source, holds: Sequence[Hold]) -> Mapping[Hold, Mapping[str, Any] | None]:
        """Read each hold's row; a hold left out of the answer was not read and stays due."""
        ...


Announce = Callable[[Sequence[Mapping[str, Any]]], None]
"""Told of acknowledged CloudEvents, in order; for a terminal. Must not block or raise."""
