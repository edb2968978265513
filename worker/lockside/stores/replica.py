"""One replica at work: its target, what is remembered of it, and the generation that its writes bear.

Shared by the processors of all shards and by the copy of the table that may run beside them.
"""

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import structlog

from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.entity import KeySchema
from lockside.core.ports import Clock
from lockside.core.replica import Row, Write, generation_of, writes_of
from lockside.core.telemetry import Meter
from lockside.errors import ReplicaError
from lockside.state.replicas import Phase, Replicas, ReplicaState
from lockside.stores.target import Applied, Target, pages

LOG = structlog.get_logger(__name__)

OnLoss = Literal["bootstrap", "advise"]

EMPTIED: Final = "target_emptied"
REPLACED: Final = "stream_replaced"
FIRST_PAGES_MAX: Final = 10


class Replica:
    """One replica. `stale_after_ms` bounds how long after its reading a change may be written (`target.py`)."""

    def __init__(  # noqa: PLR0913 - one argument for each neighbour
        self,
        name: str,
        schema: KeySchema,
        target: Target,
        states: Replicas,
        *,
        clock: Clock,
        meter: Meter,
        stale_after_ms: int,
        on_loss: OnLoss = "bootstrap",
    ) -> None:
        """Know nothing yet; `open` reads what is remembered. `copy_wanted` is set where the table is to be copied."""
        self.name = name
        self.schema = schema
        self.target = target
        self.copy_wanted = threading.Event()
        self._states = states
        self._clock = clock
        self._meter = meter
        self._stale_after_ms = stale_after_ms
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._state = ReplicaState(target.place)

    @property
    def state(self) -> ReplicaState:
        """What is remembered of it."""
        return self._state

    def open(self) -> None:
        """Take up what an earlier run left; a copy that was not finished goes on.

        Raises ReplicaError where the target holds rows of a replica that is not this one.
        """
        found = self._states.read(self.name)
        if found is None or found.place != self.target.place:
            self._refuse_later(self._first_rows(), 0 if found is None else found.generation)
            self._states.begin(self.name, self.target.place)
            found = self._states.read(self.name) or self._state
            self.target.begin(found.generation)
        self._state = found
        lost = found.lost is not None and not found.is_complete
        if found.phase != "done" or (lost and self._on_loss == "bootstrap"):
            self.copy_wanted.set()
        self._tell()

    def write(self, records: Sequence[Mapping[str, Any]], shard: ShardRef, read_ms: int) -> Applied:
        """Bring a page's changes to the target; returns when all are acknowledged."""
        return self.apply(writes_of(records, self.schema, self._state.generation, shard.label), read_ms)

    def apply(self, writes: Sequence[Write], read_ms: int) -> Applied:
        """Write rows that were read at `read_ms` of our wall clock."""
        applied = self.target.apply(writes, read_ms + self._stale_after_ms)
        self._meter.count("replicated", applied.taken, replica=self.name, outcome="taken")
        self._meter.count("replicated", applied.stale, replica=self.name, outcome="stale")
        return applied

    def follow(self, stream_arn: str) -> None:
        """Take in which stream is read. What was written while the table had none is in no stream: that is a loss."""
        with self._lock:
            before = self._state.stream_arn
            # Streams of a table are drained in the order of their labels; an older one brings nothing new.
            if stream_arn <= before:
                return
            self._states.follow(self.name, stream_arn)
            self._state = replace(self._state, stream_arn=stream_arn)
            if before:
                self._lose(REPLACED)

    def lose(self, reason: str) -> None:
        """Take in that the replica may lack something, until the table is copied anew."""
        with self._lock:
            self._lose(reason)

    def vouch(self) -> None:
        """See that the target still holds what it was given."""
        with self._lock:
            if not self.target.vouch(self._state.generation):
                self._lose(EMPTIED)

    def refuse_later(self, rows: Sequence[Row]) -> None:
        """Raise ReplicaError where rows bear a later generation than any copy of ours: we replace none of them."""
        if self._latest(rows) > self._state.generation:
            # Another process may have begun a later copy of this replica.
            remembered = self._states.read(self.name) or self._state
            self._refuse_later(rows, remembered.generation)

    def _refuse_later(self, rows: Sequence[Row], generation: int) -> None:
        latest = self._latest(rows)
        if latest > generation:
            raise ReplicaError(
                f'replica "{self.name}": {self.target.place} holds rows of generation {latest}, and this replica is at '
                f"{generation}: they were written under another id, or with another state table, and would never be "
                "replaced; empty the target, or use the earlier id and state table"
            )

    @staticmethod
    def _latest(rows: Sequence[Row]) -> int:
        return max((generation_of(row.stamp) for row in rows if row.stamp is not None), default=0)

    def _first_rows(self) -> Sequence[Row]:
        """Read some rows of the target, none where its first pages are empty; the sweep of a copy sees all."""
        for page in itertools.islice(pages(self.target), FIRST_PAGES_MAX):
            if page.rows:
                return page.rows
        return ()

    def begin_copy(self) -> int:
        """Begin a copy, or go on with one that was not finished; return its generation.

        The generation is remembered before anything bears it, and each write bears it from then on.
        """
        with self._lock:
            if self._state.phase == "done":
                self._states.begin_copy(self.name, self._state.generation)
                # Also where the answer was lost, or another process was quicker: what is remembered counts.
                self._state = self._states.read(self.name) or self._state
            if self._state.phase == "scan" and self._state.cursor is None:
                self.target.begin(self._state.generation)
            return self._state.generation

    def copying(self, phase: Phase, cursor: str | None) -> None:
        """Remember how far the copy is."""
        with self._lock:
            self._states.copying(self.name, self._state.generation, phase, cursor)
            self._state = replace(self._state, phase=phase, cursor=cursor)

    def copied(self) -> None:
        """Remember that the copy is finished."""
        with self._lock:
            now_ms, generation = self._clock.now().wall_ms, self._state.generation
            self._states.copied(self.name, generation, now_ms)
            self._state = replace(self._state, phase="done", cursor=None, copied=generation, copied_ms=now_ms)
            self._tell()

    def _lose(self, reason: str) -> None:
        state = self._state
        if state.lost != state.generation or state.phase != "done":
            self._states.lost(self.name, state.generation, reason)
            self._state = replace(state, lost=state.generation, reason=reason)
            advice = "it is copied anew" if self._on_loss == "bootstrap" else "run `lockside replicate --bootstrap`"
            LOG.error("replica_incomplete", advice=advice, **{telemetry.REPLICA: self.name, telemetry.REASON: reason})
        if self._on_loss == "bootstrap":
            self.copy_wanted.set()
        self._tell()

    def _tell(self) -> None:
        self._meter.gauge("replica_incomplete", 0.0 if self._state.is_complete else 1.0, replica=self.name)
