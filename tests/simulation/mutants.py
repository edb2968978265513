"""Planted bugs: parts of the worker with one mistake each, which a simulation worth its name must find."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lockside.audit.items import LOST
from lockside.audit.log import head_update
from lockside.audit.write import AuditTrail
from lockside.core.attributes import Image
from lockside.core.batch import Batch
from lockside.core.change import ShardRef
from lockside.core.deadlines import Declared
from lockside.core.entity import EntityKey
from lockside.core.log import LogHead
from lockside.core.now import Now
from lockside.core.ports import Clock, ObserverRecord, RowReader, StartMode
from lockside.core.recipe import Source
from lockside.engines.processor import ShardProcessor
from lockside.ops.clock import DATE_STEP_MS, EndpointClock
from lockside.reactions.lapses import LapseWatch
from tests.fakes.changes import recipe
from tests.simulation.parts import Parts


class EagerProcessor(ShardProcessor):
    """Takes a batch for done when it is read: what follows from it is written with the next page."""

    _late: Batch | None = None

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Write what the page before asked for, and only then read this one."""
        late, self._late = self._late, None
        if late is not None:
            super()._commit(late)
        super().process_records(records, caught_up=caught_up)

    def _commit(self, batch: Batch) -> None:
        self._late = batch
        self._consumed = batch.last_position


class WithMemoryProcessor(ShardProcessor):
    """Flags a record of an entity that it has seen before: another worker may not have."""

    def _commit(self, batch: Batch) -> None:
        seen: set[str] = self.__dict__.setdefault("_seen", set())
        for n, record in enumerate(batch.records):
            if record.pk in seen:
                batch.records[n] = replace(record, body=record.body.replace(b'"flags":[', b'"flags":["known"', 1))
            seen.add(record.pk)
        super()._commit(batch)


@dataclass(frozen=True, slots=True)
class Streams:
    """A client of the streams that passes calls on; a planted bug changes one of them."""

    client: Any

    def describe_stream(self, **request: Any) -> Mapping[str, Any]:
        """List shards."""
        answer: Mapping[str, Any] = self.client.describe_stream(**request)
        return answer

    def get_shard_iterator(self, **request: Any) -> Mapping[str, Any]:
        """Get an iterator."""
        answer: Mapping[str, Any] = self.client.get_shard_iterator(**request)
        return answer

    def get_records(self, **request: Any) -> Mapping[str, Any]:
        """Get records."""
        answer: Mapping[str, Any] = self.client.get_records(**request)
        return answer

    def list_streams(self, **request: Any) -> Mapping[str, Any]:
        """List streams."""
        answer: Mapping[str, Any] = self.client.list_streams(**request)
        return answer

    def describe_table(self, **request: Any) -> Mapping[str, Any]:
        """Describe a table."""
        answer: Mapping[str, Any] = self.client.describe_table(**request)
        return answer


class ParentlessStreams(Streams):
    """Does not look at whose child a shard is."""

    __slots__ = ()

    def describe_stream(self, **request: Any) -> Mapping[str, Any]:
        """List shards without their parents."""
        answer = Streams.describe_stream(self, **request)
        description = answer["StreamDescription"]
        shards = [{name: each[name] for name in each if name != "ParentShardId"} for each in description["Shards"]]
        return {**answer, "StreamDescription": {**description, "Shards": shards}}


class LatestStreams(Streams):
    """Reads a shard without a checkpoint from LATEST, each time anew."""

    __slots__ = ()

    def get_shard_iterator(self, **request: Any) -> Mapping[str, Any]:
        """Get an iterator at the end instead of the beginning."""
        if request["ShardIteratorType"] == "TRIM_HORIZON":
            request["ShardIteratorType"] = "LATEST"
        return Streams.get_shard_iterator(self, **request)


class ImpatientStreams(Streams):
    """Takes a page without a next iterator for the end, whatever is on it."""

    __slots__ = ()

    def get_records(self, **request: Any) -> Mapping[str, Any]:
        """Get records, none of a last page."""
        answer = Streams.get_records(self, **request)
        return answer if answer.get("NextShardIterator") else {**answer, "Records": []}


@dataclass(frozen=True, slots=True)
class ReleaseBlindRows:
    """Reads rows as if none were ever released: the version alone is compared."""

    reader: RowReader

    def read(self, source: Source, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Image | None]:
        """Read rows without the mark of their release."""
        rows = self.reader.read(source, keys)
        return {
            key: None if row is None else {name: row[name] for name in row if name != "isReleased"}
            for key, row in rows.items()
        }


class TwofoldLapses(LapseWatch):
    """Makes what proved a lapse a part of its identity."""

    __slots__ = ()

    def declare(self, shard: ShardRef, lapse: Declared, source_id: str, via: str, after: int | None) -> None:
        """Declare a lapse under a name of its own."""
        named = replace(self, trail=_Renaming(self.trail, via))
        LapseWatch.declare(named, shard, lapse, source_id, via, after)


@dataclass(frozen=True, slots=True)
class _Renaming:
    """A trail that adds to the identity of observer records."""

    trail: Any
    suffix: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trail, name)

    def observe_all(self, records: Sequence[ObserverRecord]) -> Sequence[bool]:
        told: Sequence[bool] = self.trail.observe_all(
            [replace(record, identity=f"{record.identity}|{self.suffix}") for record in records]
        )
        return told


class CarelessTrail(AuditTrail):
    """Goes on in a log whatever recipe its genesis names."""

    def open(
        self, shard: ShardRef, sources: tuple[Source, ...], start: StartMode, since_ms: int | None = None
    ) -> LogHead:
        """Open the log as the first configuration would."""
        bucket_ms = recipe().refresh_bucket_ms
        first = tuple(
            replace(each, recipe=replace(each.recipe, pseudonymise=(), refresh_bucket_ms=bucket_ms)) for each in sources
        )
        return super().open(shard, first, start, since_ms)


class UnsealedTrail(AuditTrail):
    """Moves the head of a log that a gap has sealed: a zombie writes on across it."""

    def write_head(self, head: LogHead) -> None:
        """Move the head forward, sealed or not."""
        update = head_update(self._table.name, head, "#size < :size", {})
        unless = "(attribute_not_exists(#sealed) OR attribute_exists(#lost))"
        condition = update["ConditionExpression"].replace("attribute_not_exists(#sealed)", unless)
        names = {**update["ExpressionAttributeNames"], "#lost": LOST}
        unsealed = {**update, "ConditionExpression": condition, "ExpressionAttributeNames": names}
        if not self._logs._conditional("update_head", lambda: self._table.client.update_item(**unsealed)):
            super().write_head(head)


class ForgetfulClock(EndpointClock):
    """Believes its own wall clock, less what the newest answer alone shows it to be ahead: a slow one shows nothing."""

    def __init__(self, clock: Clock, margin_ms: int) -> None:
        """Begin as the clock is."""
        super().__init__(clock, margin_ms)
        self._ours = clock
        self._ahead_ms = 0

    def now(self) -> Now:
        """Read both clocks."""
        now = self._ours.now()
        return Now(now.wall_ms - self._ahead_ms, now.mono_ms)

    def heard(self, asked: Now, endpoint_ms: int) -> None:
        """Take in the Date of an answer."""
        self._ahead_ms = max(0, asked.wall_ms - endpoint_ms - DATE_STEP_MS)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug: the parts with it in, what a checker says of it, and a seed whose world shows it."""

    parts: Parts
    says: str
    seed: int = 0


MUTANTS: Final[Mapping[str, Mutant]] = {
    "checkpoint before ack": Mutant(Parts(processor=EagerProcessor), "checkpoint passes"),
    "child before parent": Mutant(Parts(streams=ParentlessStreams), "before .* is finished", seed=2),
    "LATEST re-read": Mutant(Parts(streams=LatestStreams), "no record|it must have"),
    "a dropped last page": Mutant(Parts(streams=ImpatientStreams), "no record", seed=2),
    "a lapse of a released lock": Mutant(Parts(rows=ReleaseBlindRows), "a lapse that never was", seed=16),
    "a second lapse after a TTL delete": Mutant(Parts(lapses=TwofoldLapses), "second lapse", seed=2),
    "a recipe change mid-log": Mutant(Parts(trail=CarelessTrail), "its recipe", seed=4),
    "a zombie that writes across a gap": Mutant(Parts(trail=UnsealedTrail), "sealed=True", seed=58),
    "a clock that forgets": Mutant(Parts(clock=ForgetfulClock), "a lapse that never was", seed=16),
    "a flag from memory": Mutant(Parts(processor=WithMemoryProcessor), "its recipe gives"),
}
