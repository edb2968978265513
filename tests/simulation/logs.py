"""Checks of the logs: every record at its one place with the bytes its recipe gives, one root per log and size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lockside.core import merkle
from lockside.core.change import ShardRef
from lockside.core.observer import OBSERVER_LOG
from tests.simulation.gaps import Gaps
from tests.simulation.oracle import Oracle
from tests.simulation.table import Accepted
from tests.simulation.violation import ViolationError

Item = dict[str, Any]


@dataclass
class LogView:
    """One log as it has been written: `base` is the position after which it begins, `roots` the root of each size."""

    name: str
    epoch: int
    digest: str
    base: int
    bodies: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    size: int = 0
    last: int | None = None
    sealed: bool = False
    frontier: tuple[bytes, ...] = ()
    hashed: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)

    def valid(self, index: int) -> bool:
        """Whether a record at this index counts: what lies beyond a sealed size does not."""
        return index < self.size or not self.sealed

    def root_at(self, size: int) -> tuple[bytes, ...]:
        """Recompute the frontier of the stored records, which must all be there."""
        while self.hashed < size:
            if self.hashed not in self.bodies:
                raise ViolationError(
                    f"log {self.name}: its head has size {size}, its record {self.hashed} is not there"
                )
            leaf = merkle.leaf_hash(self.bodies[self.hashed])
            self.frontier = merkle.append(self.hashed, self.frontier, leaf)
            self.hashed += 1
        if self.hashed > size:
            raise ViolationError(f"log {self.name}: its head went back from size {self.hashed} to {size}")
        return self.frontier


class Logs:
    """All logs of the audit table, and the places of all change records."""

    def __init__(self, oracle: Oracle, gaps: Gaps, positions: Mapping[ShardRef, int]) -> None:
        """Start empty; `positions` are the checkpoints as they stand."""
        self._positions = positions
        self._gaps = gaps
        self.views: dict[str, LogView] = {}
        self.epochs: dict[ShardRef, list[LogView]] = {}
        self.places: dict[tuple[ShardRef, int], dict[str, int]] = {}
        self._oracle = oracle
        self._shards: dict[str, ShardRef] = {}

    def shard_of(self, log: str) -> ShardRef:
        """Return the shard whose log has this name."""
        origin = log.rpartition("/")[0]
        if origin not in self._shards:
            known = (shard for history in self._oracle.histories.values() for shard in history.shards)
            self._shards = {shard.origin: shard for shard in known}
        return self._shards[origin]

    def genesis(self, before: Item | None, after: Item | None) -> None:
        """Take in a genesis: put once, for the log that follows a sealed one."""
        if before is not None or after is None:
            raise ViolationError(f"genesis changed: {before} became {after}")
        name = after["pk"]["S"].removeprefix("LOG#")
        origin, _, ending = name.rpartition("/")
        observed = ending == OBSERVER_LOG or origin == "application"
        if not observed and ending == "1":
            self._gaps.meet(self.shard_of(name), self._oracle)
        view = LogView(name, 1 if observed else int(ending), after["digest"]["S"], base=0)
        previous = after.get("previous", {}).get("M")
        if previous is not None:
            sealed = self.views[previous["log"]["S"]]
            facts = (sealed.sealed, str(sealed.size), merkle.root(sealed.root_at(sealed.size)))
            if facts != (True, previous["size"]["N"], previous["root"]["B"]):
                raise ViolationError(f"log {name} goes on from {sealed.name} at {previous}, which is {facts}")
            # What the sealed log's recipe left unrecorded up to the checkpoint is done with.
            last = sealed.last if sealed.last is not None else sealed.base
            shard = self.shard_of(name)
            view.base = max(last, self._positions.get(shard, 0), self._gaps.end(shard))
        elif not observed:
            view.base = self._gaps.end(self.shard_of(name))
        self.views[name] = view
        if not observed:
            self.epochs.setdefault(self.shard_of(name), []).append(view)

    def head(self, before: Item | None, after: Item | None) -> None:
        """Take in a head: forward only, over records that are there, and never once it is sealed."""
        if after is None:
            raise ViolationError(f"head removed: {before}")
        view = self.views[after["pk"]["S"].removeprefix("LOG#")]
        size = int(after["size"]["N"])
        if view.sealed or size < view.size:
            raise ViolationError(f"log {view.name}: head of size {view.size}, sealed={view.sealed}, became {size}")
        if b"".join(view.root_at(size)) != after["frontier"]["B"]:
            raise ViolationError(f"log {view.name}: root of size {size} is not that of the stored records")
        view.size = size
        view.last = int(after["last"]["S"]) if "last" in after else None
        view.sealed = "sealed" in after
        if view.sealed:
            for index in range(size):
                self._once(view, index)

    def change(self, before: Item | None, after: Item | None) -> None:
        """Take in a change record: the bytes and the place that its change has under its log's recipe."""
        if after is None:
            raise ViolationError(f"record removed: {before}")
        if before is not None:
            if before != after:
                raise ViolationError(f"record {after['sk']['S']} was rewritten: {_differ(before, after)}")
            return
        view = self.views[after["lg"]["S"]]
        _, position, _, epoch = after["sk"]["S"].split("#")
        shard = self.shard_of(view.name)
        change = self._oracle.change(shard, int(position))
        if change is None:
            raise ViolationError(f"record {after['sk']['S']} tells of a change that never was")
        index, body = int(after["ix"]["N"]), after["ce"]["S"].encode()
        record = self._oracle.meaning(change, view.digest).record
        if record is None or body != record.body or int(epoch) != view.epoch:
            raise ViolationError(
                f"log {view.name}: change {position} gave {body!r}, its recipe gives {record and record.body!r}"
            )
        expected = self._index(view, change)
        if index != expected or view.places.setdefault(index, after["sk"]["S"]) != after["sk"]["S"]:
            raise ViolationError(f"log {view.name}: change {position} has index {index}, it must have {expected}")
        view.bodies[index] = body
        self.places.setdefault((shard, change.position), {})[view.name] = index
        if index < view.size or view.sealed is False:
            self._once(view, index)

    def lost(self, shard: ShardRef) -> None:
        """Learn of a loss: the newest log begins after it, if it was opened before the loss was told (a crash)."""
        for view in self.epochs.get(shard, [])[-1:]:
            if not view.bodies and not view.sealed:
                view.base = max(view.base, self._gaps.end(shard))

    def observer(self, after: Item) -> dict[str, Any]:
        """Take in an observer record's place; return its event."""
        view = self.views[after["lg"]["S"]]
        index, body = int(after["ix"]["N"]), after["ce"]["S"].encode()
        if index in view.bodies or index != len(view.bodies):
            raise ViolationError(f"log {view.name}: observer record at index {index} of {len(view.bodies)}")
        view.bodies[index] = body
        return dict(orjson.loads(body))

    def valid_places(self, change: Accepted) -> list[tuple[LogView, int]]:
        """List the places of a change's record that count."""
        places = self.places.get((change.shard, change.position), {})
        found = [(self.views[name], index) for name, index in places.items()]
        return [(view, index) for view, index in found if view.valid(index)]

    def _index(self, view: LogView, change: Accepted) -> int:
        """Count the recorded changes of the log before this one."""
        earlier = self._oracle.changes(change.shard, view.base, change.position - 1)
        return sum(
            1
            for each in earlier
            if not self._oracle.before_start(each) and self._oracle.meaning(each, view.digest).record is not None
        )

    def _once(self, view: LogView, index: int) -> None:
        """Require that the change at a place has no other place that counts among sealed logs."""
        sk = view.places.get(index)
        if sk is None:
            return
        shard = self.shard_of(view.name)
        position = int(sk.split("#")[1])
        places = self.places.get((shard, position), {})
        counted = [name for name, at in places.items() if self.views[name].sealed and at < self.views[name].size]
        if view.sealed is False and index < view.size:
            counted.append(view.name)
        if len(set(counted)) > 1:
            raise ViolationError(f"change {position} has a place in each of {counted}")


def _differ(before: Item, after: Item) -> dict[str, Any]:
    names = {*before, *after}
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}
