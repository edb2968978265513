"""What DynamoDB Streams holds: tables, their streams, the shard trees, the records. Pure: time comes in as an argument.

Strategy: a stream's open shards share the space of key hashes out among them, so that an item's changes go down one
lineage whatever rolls and splits. What the service says of all this is stream_reads' matter; what clients get to see of
it late, with holes or not at all is written on the shards as quirks.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

import orjson

from tests.fakes.stream_names import PLAIN, REGION, Numbering, arn_of, growing, label_at, shard_id_at, spelled

Record = dict[str, Any]
ChildFilter = Literal["honoured", "ignored"]
Status = Literal["ENABLING", "ENABLED", "DISABLING", "DISABLED"]

HASH_SPACE: Final = 1 << 32
VIEW_TYPE: Final = "NEW_AND_OLD_IMAGES"
KEY_SCHEMA: Final = ({"AttributeName": "id", "KeyType": "HASH"},)
GONE: Final[Record] = {}
"""Stands for a record that was trimmed."""


class ServiceError(Exception):
    """An error answer of the service."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        """Keep what the answer says."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def not_found(what: str) -> ServiceError:
    """Say that a table, stream or shard is not there."""
    return ServiceError("ResourceNotFoundException", f"Requested resource not found: {what} not found")


@dataclass
class Shard:
    """One shard: its records, how many of them are trimmed, and its quirks.

    `null_with_records`: the end comes together with the last records, else on a page of its own. `empty_pages` come
    before data. It is left out of `hidden_listings` listings and until `hidden_until_ms`, and `open_listings` more show
    it open though it is closed. `span` is its part of the key hashes; None takes no item but what is put there by name.
    """

    shard_id: str
    parent_id: str | None = None
    created_ms: int = 0
    span: range | None = None
    numbering: Numbering = PLAIN
    starting: int = PLAIN.offset
    ending: int | None = None
    closed_ms: int = 0
    records: list[Record] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    trimmed: int = 0
    aged_out: bool = False
    spoilt: dict[int, int] = field(default_factory=dict)
    null_with_records: bool = True
    empty_pages: int = 0
    hidden_listings: int = 0
    hidden_until_ms: int = 0
    open_listings: int = 0

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self.ending is not None


@dataclass
class Stream:
    """One stream of a table and its shards, in the order they were made; those that aged out keep their place."""

    arn: str
    table: str
    label: str
    created_ms: int
    status: Status = "ENABLED"
    view_type: str = VIEW_TYPE
    key_schema: tuple[Mapping[str, str], ...] = KEY_SCHEMA
    grows: bool = False
    shards: dict[str, Shard] = field(default_factory=dict)

    def leaves(self) -> list[Shard]:
        """Return the open shards that take items."""
        return [shard for shard in self.shards.values() if shard.span is not None and not shard.closed]


@dataclass
class Options:
    """How the service behaves throughout. `page_records` may stand for the 1 MB limit where records are small."""

    shards_per_page: int = 100
    page_records: int = 1_000
    page_bytes: int = 1 << 20
    iterator_life_ms: int = 15 * 60 * 1000
    child_filter: ChildFilter = "honoured"
    repeat_cursor: int = 0


class StreamModel:
    """All streams of an account. Not safe for threads: whoever serves it holds a lock."""

    def __init__(self, options: Options | None = None) -> None:
        """Start without streams."""
        self.options = options or Options()
        self.streams: dict[str, Stream] = {}
        self.latest: dict[str, str] = {}
        self.serial = 0
        self.iterators = 0
        self.iterators_expired = 0

    # -- streams -----------------------------------------------------------------------------------------------------

    def add_stream(self, table: str, now_ms: int, *, label: str = "", shards: int = 0, grows: bool = False) -> Stream:
        """Switch a table's stream on: a new ARN, and shards of its own. `grows`: its numbers gain digits.

        Raises ValueError if the table's stream is on already.
        """
        before = self.streams.get(self.latest.get(table, ""))
        if before is not None and before.status in {"ENABLED", "ENABLING"}:
            raise ValueError(f"table {table}: its stream is on already")
        if not label:
            # Two streams of one table are never of one millisecond, whatever the caller's clock says.
            label = label_at(now_ms if before is None else max(now_ms, before.created_ms + 1))
        stream = Stream(arn_of(table, label), table, label, now_ms, grows=grows)
        self.streams[stream.arn] = stream
        self.latest[table] = stream.arn
        for number in range(shards):
            span = range(HASH_SPACE * number // shards, HASH_SPACE * (number + 1) // shards)
            self.add_shard(stream, "", None, now_ms, span)
        return stream

    def stream_of(self, table_or_arn: str) -> Stream:
        """Return a stream by its ARN, or the newest one of a table."""
        arn = self.latest.get(table_or_arn, table_or_arn)
        if arn not in self.streams:
            raise not_found(f"Stream: {arn}")
        return self.streams[arn]

    def disable(self, table: str, now_ms: int) -> Stream:
        """Switch a stream off: its leaves close, and stay readable."""
        stream = self.stream_of(table)
        stream.status = "DISABLED"
        for shard in stream.shards.values():
            self.close(shard, now_ms)
        return stream

    def delete_stream(self, arn: str) -> None:
        """Forget a stream."""
        del self.streams[arn]

    def delete_table(self, table: str) -> None:
        """Forget a table and all its streams."""
        self.latest.pop(table, None)
        for arn in [arn for arn, stream in self.streams.items() if stream.table == table]:
            del self.streams[arn]

    # -- shards ------------------------------------------------------------------------------------------------------

    def add_shard(
        self, stream: Stream, shard_id: str, parent_id: str | None, now_ms: int, span: range | None = None
    ) -> Shard:
        """Add a shard; without a name it gets one as AWS gives it."""
        index = len(stream.shards)
        name = spelled(shard_id) if shard_id else shard_id_at(now_ms, f"{stream.arn}/{index}")
        parent = stream.shards.get(parent_id) if parent_id else None
        numbering = growing(parent.numbering if parent else None, self.serial, index) if stream.grows else PLAIN
        shard = Shard(name, parent_id, now_ms, span, numbering, numbering.number(self.serial))
        stream.shards[name] = shard
        return shard

    def close(self, shard: Shard, now_ms: int) -> None:
        """Close a shard: after its last record there is no further iterator."""
        if shard.closed:
            return
        shard.ending = shard.numbering.number(self.serial)
        shard.closed_ms = now_ms
        self.serial += 1

    def divide(self, stream: Stream, shard: Shard, now_ms: int, children: int = 1) -> list[Shard]:
        """Close a shard and let children take over its items: one for a roll, two for a split."""
        self.close(shard, now_ms)
        span = shard.span if shard.span is not None else range(HASH_SPACE)
        cuts = [span.start + len(span) * number // children for number in range(children + 1)]
        return [self.add_shard(stream, "", shard.shard_id, now_ms, range(low, high)) for low, high in pairwise(cuts)]

    def trim(self, shard: Shard, count: int) -> None:
        """Forget the first records of a shard, `count` in all."""
        shard.trimmed = max(shard.trimmed, min(count, len(shard.records)))
        for index in range(shard.trimmed):
            shard.records[index] = GONE

    def age_out(self, shard: Shard) -> None:
        """Let a shard age out: it is listed no more, and unknown."""
        self.trim(shard, len(shard.records))
        shard.aged_out = True

    def add_history(self, stream: Stream, generations: int, now_ms: int, every_ms: int) -> list[Shard]:
        """Let each leaf have rolled so many times before now; return the shards that were added."""
        added: list[Shard] = []
        for generation in range(generations):
            at_ms = now_ms - every_ms * (generations - generation)
            for leaf in stream.leaves():
                added += self.divide(stream, leaf, at_ms)
        return added

    # -- records -----------------------------------------------------------------------------------------------------

    def append(self, shard: Shard, record: Mapping[str, Any], created_ms: int) -> int:
        """Append a record, with a sequence number and time of its own; return the number."""
        number = shard.numbering.number(self.serial)
        self.serial += 1
        body = {
            **record["dynamodb"],
            "ApproximateCreationDateTime": created_ms // 1000,
            "SequenceNumber": str(number),
        }
        kept: Record = {**record, "awsRegion": REGION, "dynamodb": body}
        shard.records.append(kept)
        shard.numbers.append(number)
        shard.sizes.append(len(orjson.dumps(kept)))
        return number

    def feed(self, table: str, record: Mapping[str, Any], created_ms: int) -> int | None:
        """Append a record to the shard that its item belongs to; None if the table's stream is off."""
        stream = self.streams.get(self.latest.get(table, ""))
        if stream is None or stream.status not in {"ENABLED", "ENABLING"}:
            return None
        place = key_hash(record["dynamodb"]["Keys"])
        shard = next(leaf for leaf in stream.leaves() if leaf.span is not None and place in leaf.span)
        return self.append(shard, record, created_ms)

    def all_shards(self) -> Iterator[tuple[Stream, Shard]]:
        """Yield every shard that has not aged out."""
        for stream in self.streams.values():
            for shard in list(stream.shards.values()):
                if not shard.aged_out:
                    yield stream, shard


def key_hash(keys: Mapping[str, Any]) -> int:
    """Place an item's key in the hash space; the same key always at the same place."""
    return zlib.crc32(orjson.dumps(keys, option=orjson.OPT_SORT_KEYS))


def made_record(key: str, number: int, *, new: Mapping[str, Any] | None = None) -> Record:
    """Make the record of an item's insert, for streams without a table behind them."""
    keys = {"id": {"S": key}}
    return {
        "eventID": f"{number:032x}",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": {"Keys": keys, "NewImage": {**keys, **(new or {})}, "SizeBytes": 10, "StreamViewType": VIEW_TYPE},
    }
