"""The seams: what the processor needs of its neighbours, and the records that pass through.

Folders on one level do not import each other; `app/` joins an implementation to each protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lockside.core.attributes import Image
from lockside.core.change import ShardRef
from lockside.core.deadlines import Declared, Timer
from lockside.core.entity import EntityKey
from lockside.core.event import Hold
from lockside.core.gap import Gap
from lockside.core.lapse import Verdict
from lockside.core.lately import Notice
from lockside.core.log import LogHead, Placed
from lockside.core.now import Now
from lockside.core.recipe import Source

StartMode = Literal["TRIM_HORIZON", "LATEST"]


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


class Loops(Protocol):
    """Told by each loop of the worker, from its own thread, that it turns or has ended."""

    def beat_here(self) -> None:
        """Note that the calling thread's loop has gone round."""
        ...

    def forget_here(self) -> None:
        """Note that the calling thread's loop has ended as it should."""
        ...


class NoLoops:
    """Keeps nothing, for uses without a health check."""

    def beat_here(self) -> None:
        """Keep nothing."""

    def forget_here(self) -> None:
        """Keep nothing."""


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

    def open(
        self, shard: ShardRef, sources: tuple[Source, ...], start: StartMode, since_ms: int | None = None
    ) -> LogHead:
        """Return the log's head, making genesis and head if there are none.

        Seals a log with another recipe or start mode, and opens the next epoch. Genesis holds `since_ms`, the instant
        that a start at LATEST counts from.
        """
        ...

    def write(self, records: Sequence[Placed]) -> None:
        """Put change records; returns when all are acknowledged."""
        ...

    def write_head(self, head: LogHead) -> None:
        """Move the head forward. Raises FencedError when the log was sealed."""
        ...

    def cut(self, log: str, after: int | None, until: int | None = None) -> LogHead:
        """Seal a log because the stream lost what lies between `after` and `until`; return its final head.

        `open` makes the next one. A log that was opened after this very loss and is still empty stays: the head sealed
        then is returned again.
        """
        ...

    def read_since(self, shard: ShardRef, position: int, epoch: int) -> bool | None:
        """Whether a log after this epoch's records a change that its worker had read; None if no head covers it yet.

        False too where the stream lost it before another worker could read it again.
        """
        ...

    def observe(self, record: ObserverRecord) -> bool:
        """Put an observer record once. False if its identity was there already."""
        ...

    def observe_all(self, records: Sequence[ObserverRecord]) -> Sequence[bool]:
        """Put observer records, each once, as `observe` does; answers in their order."""
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


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A change that could not be understood: why, the id of the record that says so, and the change as it came.

    `raw` may hold any secret of the row, so it shows nowhere and is only ever stored sealed (law 7). `spot` is the line
    of our own that failed, where it was a defect. `epoch` is that of the log its record belongs to, 0 if unknown.
    """

    position: int
    code: str
    record_id: str
    raw: Mapping[str, Any] = field(repr=False)
    spot: str | None = None
    epoch: int = 0


class Undecodables(Protocol):
    """What keeps undecodable changes, sealed, for a later reading. Retries by itself, or raises StoppedError."""

    def keep(self, shard: ShardRef, changes: Sequence[Undecodable]) -> None:
        """Keep changes, in order, until acknowledged; one that is kept already makes no difference.

        Raises UndecodableLimitError at the first that no longer fits; those before it are kept.
        """
        ...


class RowReader(Protocol):
    """Strongly consistent reads of a source's rows, for verification (law 5)."""

    def read(self, source: Source, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Image | None]:
        """Read each row once, all reads begun after the call; a key left out of the answer was not read."""
        ...


class Lapses(Protocol):
    """Proves and declares lapses, each once (law 5). Retries by itself, or raises StoppedError."""

    def test(
        self, shard: ShardRef, timers: Sequence[Timer], after: int | None
    ) -> Sequence[tuple[Timer, Verdict | None]]:
        """Verify due timers by a consistent read and declare what lapsed; None for a row that was not read."""
        ...

    def declare(self, shard: ShardRef, lapse: Declared, source_id: str, via: str, after: int | None) -> None:
        """Declare a lapse that a change itself proves."""
        ...

    def revive(self, shard: ShardRef, lapse: Declared, source_id: str, after: int) -> None:
        """Record that the same owner wrote again after its lapse was declared."""
        ...

    def notice(self, shard: ShardRef, noticed: Notice) -> None:
        """Record what two changes of sessions tell together."""
        ...


Announce = Callable[[Sequence[Mapping[str, Any]]], None]
"""Told of acknowledged CloudEvents, in order; for a terminal. Must not block or raise."""


class Processor(Protocol):
    """What consumes one shard: the five verbs of KCL and `flush`. Called from one thread at a time.

    An engine calls `initialize` first and once. At a shard's end it goes `shard_ended`, `flush`, checkpoint, finished
    marker; on shutdown `shutdown_requested`, `flush`, checkpoint. After `lease_lost` nothing more is called.
    """

    def initialize(self, shard: ShardRef, position: int | None, since_ms: int | None = None) -> LogHead | None:
        """Begin a shard after `position`, its checkpoint, None if it has none; return the head of its log.

        `since_ms` is the instant of a start at LATEST: the engine leaves out what was surely made before it. The head
        tells what was recorded of the shard, also where the checkpoint is lost.
        """
        ...

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Consume raw GetRecords records, in order; returns when their records are acknowledged.

        An empty batch is a tick. Raises FaultyPageError before anything of a faulty page is consumed, StoppedError when
        shutdown ended a wait, and anything else to halt the shard.
        """
        ...

    def gap(self, gap: Gap) -> bool:
        """Record what the stream lost of the shard, before any batch that follows the loss; once, however often told.

        False if nothing was lost: all up to its end was recorded before.

        Holds that began before it keep their deadlines: the verification read decides.
        """
        ...

    def flush(self) -> int | None:
        """Write the head; return the sequence number of the last consumed change, which may now be checkpointed."""
        ...

    def lease_lost(self) -> None:
        """Stop at once and write nothing more: the shard is another worker's, or was halted."""
        ...

    def shard_ended(self) -> None:
        """Learn that no more changes will come; `flush` follows."""
        ...

    def shutdown_requested(self) -> None:
        """Learn that the worker stops; `flush` follows."""
        ...


ProcessorFactory = Callable[[ShardRef], Processor]
"""Makes a shard's processor without I/O; `initialize` does what takes time."""
