"""A watched table and its stream: what is written comes out of shards that roll, split, show up late and age out."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lockside.core.change import ShardRef
from lockside.core.entity import EntityKey, entity_key
from lockside.core.gap import RETENTION_MS
from lockside.core.recipe import Source
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.sources import wire
from tests.fakes.stream_model import HASH_SPACE, Shard, Stream, StreamModel
from tests.simulation.chance import Chance
from tests.simulation.scheduler import Actor, Scheduler

SHAPER_MS: Final = 7_000
LEAVES_MAX: Final = 3
LATE_MS_MAX: Final = 6_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """One change that the table accepted, and where its stream has it. `at_ms` is the true time."""

    shard: ShardRef
    position: int
    at_ms: int
    key: EntityKey
    raw: Mapping[str, Any]


@dataclass
class History:
    """What truly happened in one stream, in order; `shards` has the changes of each."""

    stream: Stream
    changes: list[Accepted] = field(default_factory=list)
    shards: dict[ShardRef, list[Accepted]] = field(default_factory=dict)

    def shard(self, ref: ShardRef) -> Shard:
        """Return a shard as it truly is."""
        return self.stream.shards[ref.shard_id]

    def parent(self, ref: ShardRef) -> ShardRef | None:
        """Return a shard's parent."""
        parent_id = self.shard(ref).parent_id
        return None if parent_id is None else ShardRef(ref.stream_arn, parent_id)


class WatchedTable:
    """Turns the commits of one table into stream records."""

    def __init__(
        self, source: Source, database: FakeDynamoDB, model: StreamModel, scheduler: Scheduler, chance: Chance
    ) -> None:
        """Begin with its stream on."""
        self.source = source
        self.database = database
        self._model = model
        self._scheduler = scheduler
        self._chance = chance
        self._by_ttl = False
        self.histories: dict[str, History] = {}
        self._switch_on()

    @property
    def history(self) -> History:
        """What happened in its newest stream."""
        return next(reversed(self.histories.values()))

    @property
    def arn(self) -> str:
        """The ARN of its newest stream."""
        return self.history.stream.arn

    def row(self, keys: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Read a row."""
        found: Mapping[str, Any] | None = self.database.get_item(TableName=self.source.table, Key=keys).get("Item")
        return found

    def put(self, keys: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Write a row."""
        self.database.put_item(TableName=self.source.table, Item={**keys, **attributes})

    def delete(self, keys: Mapping[str, Any], *, by_ttl: bool = False) -> None:
        """Remove a row; TTL removals carry their mark in the stream."""
        self._by_ttl = by_ttl
        try:
            self.database.delete_item(TableName=self.source.table, Key=keys)
        finally:
            self._by_ttl = False

    def committed(self, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Accepted | None:
        """Turn a commit into a stream record; a write that changes nothing leaves none."""
        if before == after:
            return None
        image = after if after is not None else before
        assert image is not None
        keys = {name: image[name] for name in self.source.key_schema.names}
        at_ms = self._scheduler.now_ms
        record = wire(0, keys, _as_json(before), _as_json(after), ttl=self._by_ttl)
        if self._chance.happens("undecodable"):
            record["eventName"] = "MUTATE"
        self._model.serial += self._chance.between(0, 40)
        number = self._model.feed(self.source.table, record, at_ms)
        assert number is not None
        shard = next(leaf for leaf in self.history.stream.leaves() if leaf.numbers and leaf.numbers[-1] == number)
        if self._chance.happens("faulty_page"):
            shard.spoilt[len(shard.records) - 1] = 1
        ref = ShardRef(self.arn, shard.shard_id)
        accepted = Accepted(ref, number, at_ms, entity_key(keys, self.source.key_schema), shard.records[-1])
        self.history.changes.append(accepted)
        self.history.shards[ref].append(accepted)
        return accepted

    def divide(self, children: int) -> None:
        """Close a shard and go on in its child or children."""
        chance, now_ms = self._chance, self._scheduler.now_ms
        leaves = self.history.stream.leaves()
        leaf = chance.one_of(leaves)
        if children > 1 and (len(leaves) >= LEAVES_MAX or len(leaf.span or range(HASH_SPACE)) < 2):
            return
        leaf.null_with_records = chance.random.random() < 0.7
        late = chance.happens("late_child")
        leaf.open_listings = chance.between(0, 2) if late else 0
        for child in self._model.divide(self.history.stream, leaf, now_ms, children):
            child.hidden_until_ms = now_ms + chance.between(0, LATE_MS_MAX) if late else 0
            child.empty_pages = chance.between(1, 3) if chance.happens("empty_pages") else 0
            self._know(child.shard_id)

    def switch(self) -> None:
        """Switch the stream off and on again: a new ARN; the old one stays readable."""
        self._model.disable(self.source.table, self._scheduler.now_ms)
        self._switch_on()

    def forget(self) -> None:
        """Trim some of what is older than a day, and let shards age out whose day is over."""
        day_ago_ms = self._scheduler.now_ms - RETENTION_MS
        for history in self.histories.values():
            for ref, changes in history.shards.items():
                shard = history.shard(ref)
                over = sum(1 for change in changes if change.at_ms < day_ago_ms)
                if over > shard.trimmed:
                    self._model.trim(shard, self._chance.between(shard.trimmed, over))
                empty = shard.trimmed == len(shard.records)
                if shard.closed and shard.closed_ms < day_ago_ms and empty and self._chance.random.random() < 0.7:
                    self._model.age_out(shard)

    def _switch_on(self) -> None:
        chance, now_ms = self._chance, self._scheduler.now_ms
        grows = chance.random.random() < 0.5
        stream = self._model.add_stream(self.source.table, now_ms, grows=grows, shards=chance.between(1, 2))
        self.histories[stream.arn] = History(stream)
        for name in stream.shards:
            self._know(name)

    def _know(self, name: str) -> None:
        self.history.shards[ShardRef(self.arn, name)] = []


class Shaper(Actor):
    """Shapes a stream: rolls and splits its shards, switches it off and on, forgets what is older than a day."""

    def __init__(self, table: WatchedTable, scheduler: Scheduler, chance: Chance) -> None:
        """Begin soon."""
        self.name = f"stream {table.source.table}"
        self.due_ms = scheduler.now_ms + chance.between(0, SHAPER_MS)
        self._table = table
        self._scheduler = scheduler
        self._chance = chance

    def step(self) -> None:
        """Do one thing to the stream, or nothing."""
        chance, table = self._chance, self._table
        self.due_ms = self._scheduler.now_ms + chance.between(SHAPER_MS // 2, SHAPER_MS * 2)
        if chance.happens("roll"):
            table.divide(1)
        elif chance.happens("split"):
            table.divide(2)
        elif chance.happens("switched"):
            table.switch()
        table.forget()


def _as_json(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Spell a row as the wire has it: bytes in base64."""
    if row is None:
        return None
    return {
        name: {"B": base64.b64encode(value["B"]).decode()} if "B" in value else value for name, value in row.items()
    }
