"""Checks of declared losses: what a gap covers was truly gone, and only what a gap covers may be without its record."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lockside.core.change import ShardRef
from tests.simulation.oracle import Oracle
from tests.simulation.table import Accepted
from tests.simulation.violation import ViolationError

FOREVER: Final = 10**40


@dataclass(frozen=True, slots=True)
class Declared:
    """One declared loss: all between `after` and `upper`; from its shard's beginning if `whole`, since `after_ms`."""

    after: int
    upper: int
    whole: bool
    after_ms: int


class Gaps:
    """All declared losses, by shard."""

    def __init__(self) -> None:
        """Start without any."""
        self.declared: dict[ShardRef, list[Declared]] = {}
        self.met: dict[ShardRef, int] = {}
        self.gone: dict[ShardRef, int] = {}
        self.promised: set[ShardRef] = set()

    def add(self, event: dict[str, Any], shard: ShardRef, oracle: Oracle) -> list[Accepted]:
        """Take in a loss as it is declared; return the changes it covers."""
        data = event["data"]
        start, end = data.get("after", {}), data.get("until", {})
        after = int(start.get("sequence_number", 0))
        truly = oracle.histories[shard.stream_arn].shard(shard)
        trimmed = FOREVER if truly.aged_out else truly.numbers[truly.trimmed - 1] + 1 if truly.trimmed else after + 1
        upper = int(end["sequence_number"]) if "sequence_number" in end else trimmed
        covered = oracle.changes(shard, after, upper - 1)
        for change in covered:
            if change.position >= trimmed:
                raise ViolationError(f"a gap covers change {change.position}, which the stream still has: {event}")
        after_ms = int(datetime.fromisoformat(start["time"]).timestamp() * 1000) if "time" in start else 0
        found = Declared(after, upper, "sequence_number" not in start, after_ms)
        self.declared.setdefault(shard, []).append(found)
        return covered

    def begin(self, arn: str, oracle: Oracle) -> None:
        """Take in that a stream is begun: what it no longer had by then was never promised."""
        history = oracle.histories[arn]
        for shard, changes in history.shards.items():
            gone = changes[: history.shard(shard).trimmed]
            if gone:
                self.gone[shard] = gone[-1].position

    def meet(self, shard: ShardRef, oracle: Oracle) -> None:
        """Take in that a shard is begun: if neither it nor what it came from was ever read, nothing was promised.

        Told again until the shard itself is promised: what it had lost by then was settled before that, for good.
        """
        if shard in self.promised:
            return
        truly = oracle.histories[shard.stream_arn].shard(shard)
        known = any(each in self.promised for each in _lineage(shard, oracle))
        promised = known or shard.stream_arn in oracle.since_ms
        gone = [] if promised else oracle.histories[shard.stream_arn].shards[shard][: truly.trimmed]
        # What was trimmed after the page was read that begins the shard is on that page.
        upper = oracle.served.get(shard, FOREVER)
        left_out = (each.position for each in gone if each.position < upper and oracle.before_begin(each))
        self.met[shard] = max(left_out, default=0)

    def end(self, shard: ShardRef) -> int:
        """Return the last position of a shard that is declared lost."""
        ends = [found.upper - 1 for found in self.declared.get(shard, ()) if found.upper < FOREVER]
        return max([*ends, self.met.get(shard, 0), self.gone.get(shard, 0)])

    def excuse(self, change: Accepted, oracle: Oracle) -> bool:
        """Whether a declared loss covers a change: in its shard, or before the beginning of one that came of it."""
        if change.position <= max(self.met.get(change.shard, 0), self.gone.get(change.shard, 0)):
            return True
        own = self.declared.get(change.shard, ())
        if any(found.after < change.position < found.upper for found in own):
            return True
        history = oracle.histories[change.shard.stream_arn]
        if not history.shard(change.shard).aged_out:
            return False
        for shard, losses in self.declared.items():
            from_the_start = any(found.whole and found.after_ms <= change.at_ms for found in losses)
            if from_the_start and change.shard in _lineage(shard, oracle):
                return True
        if self._never_begun(change.shard, oracle):
            return True
        return oracle.before_begin(change) and not any(each in self.promised for each in _lineage(change.shard, oracle))

    def _never_begun(self, shard: ShardRef, oracle: Oracle) -> bool:
        """Whether neither a shard of a stream that was replaced nor any that came of it was ever begun.

        Nothing is remembered of a shard that was only listed: when it ages out with its stream, nobody is left to tell.
        """
        if any(max(table) == shard.stream_arn for table in oracle.tables):
            return False
        return not any(shard in _lineage(each, oracle) for each in self.met if each.stream_arn == shard.stream_arn)


def _lineage(shard: ShardRef, oracle: Oracle) -> Iterator[ShardRef]:
    """Yield a shard and all that it came from."""
    history = oracle.histories[shard.stream_arn]
    at: ShardRef | None = shard
    while at is not None:
        yield at
        at = history.parent(at)
