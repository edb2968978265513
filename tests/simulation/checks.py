"""The checkers: told of every write that takes effect, they hold it against what truly happened.

A write is checked in the moment it takes effect, so a fault is found at the very call that makes it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.recipe import Source
from lockside.core.records import Naming
from tests.simulation.gaps import Gaps
from tests.simulation.logs import Logs
from tests.simulation.oracle import Oracle
from tests.simulation.table import Accepted
from tests.simulation.truth import Name, Truth, label, name_of, undecodable
from tests.simulation.violation import ViolationError

Item = dict[str, Any]

STATED_EARLY_MS_MAX: Final = 1_000
"""A creation time is rounded down by up to a second; a worker's clock, however wrong, makes no instant earlier."""


class Checks:
    """Watches the audit table and the state table."""

    def __init__(
        self, oracle: Oracle, truth: Truth, now_ms: Callable[[], int], writer: Callable[[], str | None]
    ) -> None:
        """Start before the first write; `writer` tells which process is writing."""
        self.owners: dict[int, str] = {}
        self._writer = writer
        self.positions: dict[ShardRef, int] = {}
        self.gaps = Gaps()
        self.logs = Logs(oracle, self.gaps, self.positions)
        self.lapses: set[Name] = set()
        self.finished: set[ShardRef] = set()
        self.live: set[tuple[str, str]] = set()
        self.kept: set[tuple[str, int]] = set()
        self._oracle = oracle
        self._truth = truth
        self._now_ms = now_ms

    def audit(self, before: Item | None, after: Item | None) -> None:
        """Check a write to the audit table."""
        item = after if after is not None else before
        assert item is not None
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if pk.startswith("LOG#"):
            (self.logs.genesis if sk == "G" else self.logs.head)(before, after)
        elif pk.startswith("E#") and sk.startswith("~"):
            self._observer(before, after)
        elif pk.startswith("E#"):
            self.logs.change(before, after)
            if before is None and after is not None:
                self._parents_first(after)
                self._kept_first(after)

    def state(self, before: Item | None, after: Item | None) -> None:
        """Check a write to the state table; one that removes what is not there any more changes nothing."""
        item = after if after is not None else before
        if item is None:
            return
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if pk.startswith("LIVE#"):
            (self.live.discard if after is None else self.live.add)((pk, sk))
        elif pk.startswith("OWNER#") and after is not None:
            self._owner(after)
        elif pk.startswith("UNDEC#") and sk.startswith("M#"):
            self.kept.add((pk, int(sk.removeprefix("M#"))))
        elif pk.startswith("TABLE#"):
            self._oracle.met(sk)
        elif pk.startswith("CK#") and sk == "#start" and after is not None:
            self._start(pk.removeprefix("CK#"), after)
        elif pk.startswith("CK#") and sk.startswith("shardId") and after is not None:
            self._owned(before, after)
            self._promise(ShardRef(pk.removeprefix("CK#"), sk), after)
            self._checkpoint(ShardRef(pk.removeprefix("CK#"), sk), after)

    def explained(self, change: Accepted) -> str | None:
        """Say what is wrong with how a change that a checkpoint has passed is kept; None if nothing is."""
        if self._oracle.before_start(change) or self.gaps.excuse(change, self._oracle):
            return None
        places = self.logs.valid_places(change)
        if len(places) == 1:
            view, index = places[0]
            return None if index < view.size else f"its record is beyond the head of {view.name}"
        if places:
            return f"it has {len(places)} records"
        views = self.logs.epochs.get(change.shard, [])
        if any(self._oracle.meaning(change, view.digest).record is None for view in views):
            return None
        return "it has no record"

    def _observer(self, before: Item | None, after: Item | None) -> None:
        if before is not None or after is None:
            raise ViolationError(f"observer record written again: {before} became {after}")
        event = self.logs.observer(after)
        if event["type"].endswith(".gap.v1"):
            shard = self.logs.shard_of(after["lg"]["S"])
            for change in self.gaps.add(event, shard, self._oracle):
                if any(index < view.size for view, index in self.logs.valid_places(change)):
                    raise ViolationError(f"a gap covers change {change.position}, which has its record: {event}")
            self.logs.lost(shard)
        elif event["type"].endswith(".expired.v1"):
            self._lapse(event)
        elif event["type"].endswith(".revived.v1"):
            kind = event["type"].split(".")[2]
            if not any(name[0] == f"{kind}.expired" and name[1] == after["pk"]["S"] for name in self.lapses):
                raise ViolationError(f"revived without a lapse: {event}")

    def _lapse(self, event: dict[str, Any]) -> None:
        name = name_of(event)
        if name in self.lapses:
            raise ViolationError(f"second lapse of {name}: {event}")
        self.lapses.add(name)
        spans = [span for span in self._truth.spans.get(name, []) if span.lapsed and span.legal_ms <= self._now_ms()]
        if not spans:
            truly = self._truth.spans.get(name)
            raise ViolationError(f"at {self._now_ms()} a lapse that never was: {event}; truly {truly}")
        stated_ms = datetime.fromisoformat(event["data"]["legal_instant"]).timestamp() * 1000
        if all(stated_ms < span.legal_ms - STATED_EARLY_MS_MAX for span in spans):
            raise ViolationError(f"a lapse at an instant at which it was held: {event}; truly {spans}")

    def _owner(self, after: Item) -> None:
        """Require each epoch to have one owner, and to be the highest there was."""
        epoch = int(after["epoch"]["N"])
        if epoch < max(self.owners, default=0):
            raise ViolationError(f"the application fell back from epoch {max(self.owners)} to {epoch}")
        if "owner" in after and self.owners.setdefault(epoch, after["owner"]["S"]) != after["owner"]["S"]:
            raise ViolationError(f"epoch {epoch} has two owners: {self.owners[epoch]} and {after['owner']['S']}")

    def _owned(self, before: Item | None, after: Item) -> None:
        """Require a checkpoint to be written by the owner of its epoch, and epochs never to fall."""
        epoch = int(after.get("epoch", {"N": "0"})["N"])
        writer = self._writer()
        if self.owners.get(epoch) != writer:
            raise ViolationError(f"{writer} wrote a checkpoint of epoch {epoch}, which is {self.owners.get(epoch)}'s")
        if before is not None and int(before.get("epoch", {"N": "0"})["N"]) > epoch:
            raise ViolationError(f"a checkpoint fell back to epoch {epoch}: {before}")

    def _start(self, arn: str, after: Item) -> None:
        """Require the instants that a stream was begun at to stay as they are."""
        if arn not in self._oracle.since_ms and arn not in self._oracle.begun_ms:
            self.gaps.begin(arn, self._oracle)
        for name, known in (("since_ms", self._oracle.since_ms), ("begun_ms", self._oracle.begun_ms)):
            if name in after and known.setdefault(arn, int(after[name]["N"])) != int(after[name]["N"]):
                raise ViolationError(f"{name} of {arn} moved from {known[arn]} to {after[name]}")

    def _promise(self, shard: ShardRef, after: Item) -> None:
        """Learn that a change of a shard was read, or is about to be: from here on nothing may be lost in silence."""
        if shard not in self.gaps.promised:
            self.gaps.meet(shard, self._oracle)
            self.logs.lost(shard)
            if "position" in after or "tip_ms" in after:
                self.gaps.promised.add(shard)

    def _parents_first(self, after: Item) -> None:
        shard = self.logs.shard_of(after["lg"]["S"])
        history = self._oracle.histories[shard.stream_arn]
        parent = history.parent(shard)
        earlier = [] if parent is None else [parent]
        if parent is None:
            older = [each for arn, each in self._oracle.histories.items() if self._came_before(shard.stream_arn, arn)]
            earlier = [each for history in older for each in history.shards]
        for each in earlier:
            aged_out = self._oracle.histories[each.stream_arn].shard(each).aged_out
            if each not in self.finished and not aged_out:
                raise ViolationError(f"{label(shard)} is recorded before {label(each)} is finished")

    def _came_before(self, arn: str, other: str) -> bool:
        """Whether another stream of the same table was there before, and is promised to be read first."""
        same = arn.partition("/stream/")[0] == other.partition("/stream/")[0]
        return same and other < arn and self._oracle.promised(other)

    def _kept_first(self, after: Item) -> None:
        """Require what could not be decoded to be kept before it is told of."""
        if after["ty"]["S"] != "stream.undecodable":
            return
        shard, position = self.logs.shard_of(after["lg"]["S"]), int(after["sk"]["S"].split("#")[1])
        if (f"UNDEC#{shard.stream_arn}#{shard.shard_id}", position) not in self.kept:
            raise ViolationError(f"{label(shard)}: change {position} is told of as undecodable and was not kept")

    def _checkpoint(self, shard: ShardRef, after: Item) -> None:
        position = int(after["position"]["S"]) if "position" in after else 0
        passed = self.positions.get(shard, 0)
        if position < passed:
            raise ViolationError(f"checkpoint of {label(shard)} went back from {passed} to {position}")
        self._passes(shard, passed, position)
        self.positions[shard] = position
        if after.get("finished", {}).get("BOOL") and shard not in self.finished:
            history = self._oracle.histories[shard.stream_arn]
            if not history.shard(shard).closed:
                raise ViolationError(f"{label(shard)} is finished while it is open")
            self._passes(shard, position, history.shards[shard][-1].position if history.shards[shard] else 0)
            self.finished.add(shard)

    def _passes(self, shard: ShardRef, after: int, until: int) -> None:
        """Require that all effects of the changes within (after, until] are acknowledged (law 4)."""
        changes = self._oracle.changes(shard, after, until)
        for change in changes:
            fault = self.explained(change)
            if fault is not None:
                raise ViolationError(f"{label(shard)}: a checkpoint passes change {change.position}, yet {fault}")
        told = [change for change in changes if not self.gaps.excuse(change, self._oracle)]
        for change in told:
            self._proven(change)
        self._indexed(shard, told)

    def _proven(self, change: Accepted) -> None:
        """Require the lapse that a change itself proves."""
        views = self.logs.epochs.get(change.shard, [])
        if not views or undecodable(change) or self._oracle.before_start(change):
            return
        told = self._oracle.meaning(change, views[-1].digest).told
        if told is None or told.lapse_via is None or told.before is None:
            return
        if told.lapse_via == "ttl" and told.before.deadline_ms is None:
            return
        spans = [span for spans in self._truth.spans.values() for span in spans if span.ended_ms == change.at_ms]
        mine = [span for span in spans if span.last.key == change.key and span.last.shard.table == change.shard.table]
        if mine and not any(span.name in self.lapses for span in mine):
            raise ViolationError(f"{label(change.shard)}: change {change.position} proves a lapse that is not declared")

    def _indexed(self, shard: ShardRef, changes: list[Accepted]) -> None:
        """Require an entry of the live index for what the last change of its entity left held."""
        views = self.logs.epochs.get(shard, [])
        newest = {change.key: change for change in self._oracle.histories[shard.stream_arn].shards[shard]}
        for change in changes:
            if newest[change.key] is not change or not views or self._oracle.before_start(change):
                continue
            meaning = self._oracle.meaning(change, views[-1].digest)
            if meaning.told is None or meaning.told.after is None:
                continue
            source = self._oracle.recipes[views[-1].digest][0]
            entity_id = _entity_id(source, change)
            if (f"LIVE#{shard.stream_arn}#{shard.shard_id}", entity_id) not in self.live:
                raise ViolationError(f"{label(shard)}: {entity_id} is held and not in the live index")


def _entity_id(source: Source, change: Accepted) -> str:
    return Naming.of(source, PUBLIC_KEYS).entity_id(change.key)
