"""An audit trail in memory: it behaves as the one in DynamoDB does, kept to that by a contract suite."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import rfc8785

from lockside.core import merkle
from lockside.core.change import ShardRef
from lockside.core.log import LogHead, Placed
from lockside.core.ports import ObserverRecord, StartMode
from lockside.core.recipe import Source, recipe_json
from lockside.core.records import identity_ulid
from lockside.errors import FencedError


@dataclass(slots=True)
class KeptLog:
    """One log: what it was opened for, its head, its records by index, and whether it is sealed."""

    intent: tuple[bytes, str]
    head: LogHead
    previous: LogHead | None = None
    sealed: bool = False
    lost: str | None = None
    lost_before: str | None = None
    records: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryTrail:
    """Implements `core.ports.Trail`. `fail` holds errors that the next calls raise before they do anything."""

    logs: dict[str, KeptLog] = field(default_factory=dict)
    items: dict[tuple[str, str], bytes] = field(default_factory=dict)
    fail: list[Exception] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def open(
        self, shard: ShardRef, sources: tuple[Source, ...], start: StartMode, since_ms: int | None = None
    ) -> LogHead:
        """Return the head of the newest epoch, sealing logs that were opened for something else."""
        del since_ms
        self._maybe_fail()
        with self._lock:
            return self._open(shard, sources, start)

    def write(self, records: Sequence[Placed]) -> None:
        """Put change records; equal keys overwrite."""
        self._maybe_fail()
        for placed in records:
            self.items[placed.record.pk, f"{placed.record.sort}#{placed.epoch}"] = placed.record.body
            self.logs[placed.log].records[placed.index] = placed.record.body

    def write_head(self, head: LogHead) -> None:
        """Move a head forward, never back, never on a sealed log."""
        self._maybe_fail()
        kept = self.logs[head.log]
        if (kept.sealed and kept.head.size != head.size) or (
            kept.head.size == head.size and kept.head.root != head.root
        ):
            raise FencedError(f"audit log {head.log}: fenced at size {kept.head.size}")
        if head.size > kept.head.size:
            kept.head = head

    def cut(self, log: str, after: int | None, until: int | None = None) -> LogHead:
        """Seal a log for what the stream lost; one that was opened after this very loss and is empty stays."""
        self._maybe_fail()
        with self._lock:
            kept, lost = self.logs[log], f"{after} < {until}"
            if kept.previous is not None and kept.lost_before == lost and not kept.head.size and not kept.sealed:
                return kept.previous
            if kept.sealed and kept.lost is None:
                raise FencedError(f"audit log {log}: sealed for another reason")
            if not kept.sealed:
                kept.sealed, kept.lost = True, lost
            return kept.head

    def read_since(self, shard: ShardRef, position: int, epoch: int) -> bool | None:
        """Whether a later epoch than this is the first to cover a position; a cut before it leaves that open."""
        self._maybe_fail()
        later = epoch
        while (kept := self.logs.get(f"{shard.origin}/{later}")) is not None:
            if kept.head.covers(position):
                return later > epoch
            if kept.lost is not None:
                return False
            later += 1
        return None

    def observe(self, record: ObserverRecord) -> bool:
        """Put an observer record once."""
        self._maybe_fail()
        with self._lock:
            return self._observe(record)

    def observe_all(self, records: Sequence[ObserverRecord]) -> list[bool]:
        """Put observer records, each once."""
        return [self.observe(record) for record in records]

    def bodies(self, log: str) -> list[bytes]:
        """Return a log's records in order; beyond the size of a sealed log there are none."""
        kept = self.logs[log]
        return [body for index, body in sorted(kept.records.items()) if not kept.sealed or index < kept.head.size]

    def all_bodies(self) -> Iterator[bytes]:
        """Yield all records, log by log."""
        for log in self.logs:
            yield from self.bodies(log)

    def _maybe_fail(self) -> None:
        if self.fail:
            raise self.fail.pop(0)

    def _open(self, shard: ShardRef, sources: tuple[Source, ...], start: StartMode) -> LogHead:
        intent = (rfc8785.dumps(recipe_json(sources)), start)
        previous: LogHead | None = None
        lost: str | None = None
        epoch = 0
        while True:
            epoch += 1
            log = f"{shard.origin}/{epoch}"
            last = previous.last_position if previous else None
            fresh = KeptLog(intent, LogHead(log, epoch, last_position=last), previous, lost_before=lost)
            kept = self.logs.setdefault(log, fresh)
            if kept.intent == intent and not kept.sealed:
                return kept.head
            kept.sealed = True
            previous, lost = kept.head, kept.lost

    def _observe(self, record: ObserverRecord) -> bool:
        key = (record.pk, f"~{record.type}#{record.identity}")
        if key in self.items:
            return False
        body = rfc8785.dumps({**record.event, "id": identity_ulid(record.identity)})
        kept = self.logs.setdefault(record.log, KeptLog((b"{}", "OBSERVED"), LogHead(record.log, 1)))
        kept.records[kept.head.size] = body
        kept.head = replace(
            kept.head,
            size=kept.head.size + 1,
            frontier=merkle.append(kept.head.size, kept.head.frontier, merkle.leaf_hash(body)),
            running_max_ms=max(kept.head.running_max_ms, record.time_ms),
        )
        self.items[key] = body
        return True
