"""What kills left behind, and whether it is what an uninterrupted worker wrote: read off the tables themselves."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lockside.audit import items
from lockside.aws.tables import LOG_INDEX, LOG_KEY
from lockside.core import merkle
from lockside.core.change import ShardRef
from lockside.core.log import LogHead

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

Place = tuple[str, str]
"""An item's keys."""

EPOCHS_MAX: Final = 9
"""More than a story has recipes."""

LAPSES: Final = ("~lock.expired#", "~session.expired#")


@dataclass(frozen=True, slots=True)
class Kept:
    """One record as it is stored."""

    log: str
    index: int
    place: Place
    body: bytes

    @property
    def position(self) -> int:
        """The sequence number of the change it is of."""
        return int(self.place[1].split("#")[1])

    @property
    def event(self) -> Any:
        """The CloudEvent."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Trail:
    """All that an audit table holds."""

    changes: dict[Place, Kept]
    observed: dict[Place, Kept]
    heads: dict[str, LogHead]
    geneses: frozenset[str]
    catalogued: frozenset[str]

    @property
    def lapses(self) -> dict[Place, Kept]:
        """The declared lapses."""
        return {place: kept for place, kept in self.observed.items() if place[1].startswith(LAPSES)}

    @property
    def told(self) -> dict[str, list[tuple[str, str | None]]]:
        """The events of each entity with their actors, changes in the order of the stream, then lapses."""
        told: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
        changes = sorted(self.changes.values(), key=lambda kept: kept.position)
        for kept in (*changes, *self.lapses.values()):
            data, type_ = kept.event["data"], kept.event["type"]
            if "entity" in data:
                name = type_.removeprefix("dev.lockside.").removesuffix(".v1")
                told[data["entity"]["name"]].append((name, data.get("actor")))
        return told


def read_trail(client: "DynamoDBClient", table: str) -> Trail:
    """Read an audit table whole."""
    trail = Trail({}, {}, {}, frozenset(), frozenset())
    geneses, catalogued = set(), set()
    for item in scan(client, table):
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        log = pk.removeprefix(items.LOG_PREFIX)
        if pk.startswith("E#"):
            kept = Kept(item["lg"]["S"], int(item["ix"]["N"]), (pk, sk), item["ce"]["S"].encode())
            (trail.observed if sk.startswith("~") else trail.changes)[pk, sk] = kept
        elif sk == items.HEAD_SORT:
            trail.heads[log] = items.read_head(log, item)
        elif sk == items.GENESIS_SORT:
            geneses.add(log)
        elif pk.startswith(items.CATALOGUE_PREFIX):
            catalogued.add(sk)
    return Trail(trail.changes, trail.observed, trail.heads, frozenset(geneses), frozenset(catalogued))


def table_names(client: "DynamoDBClient") -> list[str]:
    """Return the names of all tables: the emulators that the tests share have more than fit on a page."""
    return [name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]]


def scan(client: "DynamoDBClient", table: str) -> Iterator[Mapping[str, Any]]:
    """Read every item of a table."""
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def check_logs(trail: Trail) -> None:
    """See that each log holds each index once, no record twice, and that its head is that of its records."""
    logs: dict[str, dict[int, Kept]] = defaultdict(dict)
    everything = [*trail.changes.values(), *trail.observed.values()]
    for kept in everything:
        assert kept.index not in logs[kept.log], f"two records at {kept.index} of {kept.log}"
        logs[kept.log][kept.index] = kept
    doubled = [name for name, count in Counter(kept.event["id"] for kept in everything).items() if count > 1]
    assert not doubled, f"two records of one id: {doubled}"
    headless = trail.geneses - trail.heads.keys()
    # A death between the two leaves a log that was begun for an observation which nobody had to make any more.
    assert all(log.endswith("/observer") for log in headless), f"no head: {headless}"
    assert trail.heads.keys() <= trail.geneses
    assert logs.keys() <= trail.heads.keys() & trail.catalogued
    for log, head in trail.heads.items():
        assert sorted(logs[log]) == list(range(head.size)), f"{log}: head at {head.size}, records {sorted(logs[log])}"
        frontier: tuple[bytes, ...] = ()
        for index in range(head.size):
            frontier = merkle.append(index, frontier, merkle.leaf_hash(logs[log][index].body))
        assert merkle.root(frontier) == head.root, f"{log}: another root than that of its records"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one shard had come when its worker died: over all epochs of its log, what is covered and what stored."""

    position: int | None
    finished: bool
    head: int
    stored: int


@dataclass
class Chronicle:
    """How all shards stood at each death."""

    deaths: list[dict[ShardRef, Standing]] = field(default_factory=list)

    def note(self, client: "DynamoDBClient", audit: str, state: str, arns: Iterable[str]) -> None:
        """Read how the shards stand now, while nothing runs; what was finished before is not read again."""
        before = self.deaths[-1] if self.deaths else {}
        now: dict[ShardRef, Standing] = {}
        for shard, row in checkpoints(client, state, arns).items():
            standing = before.get(shard)
            if standing is None or not standing.finished:
                standing = _standing(client, audit, shard, row)
            now[shard] = standing
        self.deaths.append(now)

    def consumed(self, shard: ShardRef, position: int) -> bool:
        """Whether some successor began after a change: it never saw it."""
        places = (death[shard].position for death in self.deaths if shard in death)
        return any(place is not None and place >= position for place in places)

    def check(self, spared: Trail) -> None:
        """See that no checkpoint ever stood beyond what was acknowledged: records, and the head over them."""
        recorded: dict[str, list[int]] = defaultdict(list)
        for kept in spared.changes.values():
            recorded[kept.log.rpartition("/")[0]].append(kept.position)
        for number, death in enumerate(self.deaths):
            for shard, now in death.items():
                assert now.stored >= now.head, f"death {number}, {shard.shard_id}: {now}"
                if now.position is not None:
                    due = sum(1 for position in recorded[shard.origin] if position <= now.position)
                    assert now.head >= due, f"death {number}, {shard.shard_id}: {due} records due, {now}"


def checkpoints(client: "DynamoDBClient", state: str, arns: Iterable[str]) -> dict[ShardRef, Mapping[str, Any]]:
    """Read the checkpoint rows of streams."""
    rows: dict[ShardRef, Mapping[str, Any]] = {}
    for arn in arns:
        pages = client.get_paginator("query").paginate(
            TableName=state,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"CK#{arn}"}},
            ConsistentRead=True,
        )
        rows |= {ShardRef(arn, item["sk"]["S"]): item for page in pages for item in page["Items"]}
    return rows


def ends(rows: Mapping[ShardRef, Mapping[str, Any]]) -> dict[str, tuple[str | None, bool]]:
    """Take from checkpoint rows what does not depend on who wrote them."""
    return {
        f"{shard.stream_arn}/{shard.shard_id}": (row.get("position", {}).get("S"), "finished" in row)
        for shard, row in rows.items()
    }


def live_entries(client: "DynamoDBClient", state: str) -> dict[Place, tuple[int, str | None]]:
    """Read which holds the live index lists: for each the position it was written at, and its version's digest."""
    return {
        (item["pk"]["S"], item["sk"]["S"]): (int(item["position"]["S"]), item.get("version", {}).get("S"))
        for item in scan(client, state)
        if item["pk"]["S"].startswith("LIVE#")
    }


def kept_undecodable(client: "DynamoDBClient", state: str) -> set[Place]:
    """Read which changes that nobody understood are kept, piece by piece."""
    places = {(item["pk"]["S"], item["sk"]["S"]) for item in scan(client, state)}
    return {place for place in places if place[0].startswith("UNDEC")}


def _standing(client: "DynamoDBClient", audit: str, shard: ShardRef, row: Mapping[str, Any]) -> Standing:
    covered = stored = 0
    for epoch in range(1, EPOCHS_MAX + 1):
        log = f"{shard.origin}/{epoch}"
        head = client.get_item(TableName=audit, Key=items.head_key(log), ConsistentRead=True).get("Item")
        if head is None:
            break
        covered += items.read_head(log, head).size
        stored += _stored(client, audit, log)
    position = int(row["position"]["S"]) if "position" in row else None
    return Standing(position, "finished" in row, covered, stored)


def _stored(client: "DynamoDBClient", audit: str, log: str) -> int:
    """Count a log's records, over all pages: each ends after a megabyte."""
    pages = client.get_paginator("query").paginate(
        TableName=audit,
        IndexName=LOG_INDEX,
        Select="COUNT",
        KeyConditionExpression="#log = :log",
        ExpressionAttributeNames={"#log": LOG_KEY},
        ExpressionAttributeValues={":log": {"S": log}},
    )
    return sum(page["Count"] for page in pages)


def last_changes(client: "DynamoDBStreamsClient", arns: Sequence[str]) -> dict[str, tuple[ShardRef, int]]:
    """Read whole streams; return where the last change of each row stands, by its key's text."""
    last: dict[str, tuple[ShardRef, int]] = {}
    for shard in (shard for arn in arns for shard in _shards(client, arn)):
        place: Any = {"StreamArn": shard.stream_arn, "ShardId": shard.shard_id, "ShardIteratorType": "TRIM_HORIZON"}
        iterator: str | None = client.get_shard_iterator(**place)["ShardIterator"]
        empty = 0
        while iterator is not None and empty < 2:
            page = client.get_records(ShardIterator=iterator)
            empty = 0 if page["Records"] else empty + 1
            iterator = page.get("NextShardIterator")
            for record in page["Records"]:
                image: Any = record["dynamodb"]["Keys"]
                found = (shard, int(record["dynamodb"]["SequenceNumber"]))
                name = image.get("lock_key", image.get("id", {})).get("S", "")
                if name not in last or last[name][1] < found[1]:
                    last[name] = found
    return last


def _shards(client: "DynamoDBStreamsClient", arn: str) -> Iterator[ShardRef]:
    request: Any = {"StreamArn": arn}
    while True:
        listing = client.describe_stream(**request)["StreamDescription"]
        yield from (ShardRef(arn, shard["ShardId"]) for shard in listing["Shards"])
        if "LastEvaluatedShardId" not in listing:
            return
        request["ExclusiveStartShardId"] = listing["LastEvaluatedShardId"]
