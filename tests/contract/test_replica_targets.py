"""What every replica's target does, on moto, DynamoDB Local and Redis alike."""

import base64
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lockside.aws.retrying import Retrier
from lockside.core.entity import EntityKey, KeySchema, entity_key
from lockside.core.replica import EXPIRES, STAMP, Row, Write, change_stamp, copy_stamp
from lockside.core.telemetry import NoMeter
from lockside.core.wire_form import differing
from lockside.emulators.emulator import Emulator
from lockside.errors import FencedError, ReplicaError
from lockside.stores.dynamodb_target import DynamoDBTarget
from lockside.stores.redis_target import RedisTarget
from lockside.stores.target import Target, pages
from tests.fakes.clock import START_MS, FakeClock, FakeStop
from tests.fakes.redis_server import RedisServer
from tests.fakes.state_table import dynamodb

NUMBERS = itertools.count()
LABEL = "2026-11-28T00:00:00.000"
SOON_MS = START_MS * 2
SAMPLES: dict[str, Any] = {"S": "é/\u2028:a", "N": "-12.50", "B": base64.b64encode(b"\x00:\xff").decode()}
FULL: dict[str, Any] = {
    "text": {"S": ""},
    "number": {"N": "1234567890123456789012345678901234567.8"},
    "small": {"N": "1e-100"},
    "binary": {"B": b"\x00\xff"},
    "flags": {"L": [{"BOOL": False}, {"NULL": True}]},
    "texts": {"SS": ["b", "a"]},
    "numbers": {"NS": ["1", "2.5"]},
    "binaries": {"BS": [b"\x01", b"\x02"]},
    "map": {"M": {"deep": {"M": {"er": {"B": b"\x01"}}}, "none": {"L": []}}},
}
Make = Callable[..., Target]


@pytest.fixture(params=["moto", "dynamodb-local", "redis"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return what makes a target for a key schema, given as the types of its parts, at a place of its own."""
    clock = FakeClock()
    retrier = Retrier(FakeStop(clock), NoMeter())
    made: list[Target] = []

    def on_dynamodb(types: str) -> Target:
        emulator: Emulator = request.getfixturevalue("emulator_of")(request.param)
        client, name = dynamodb(emulator), f"target-{next(NUMBERS)}"
        client.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **keys_of(types))
        return DynamoDBTarget(client, name, schema(types), retrier, clock, tombstone_hours=48, writers=4)

    def of(types: str = "S") -> Target:
        if request.param == "redis":
            made.append(on_redis(request.getfixturevalue("redis"), f"contract{next(NUMBERS)}:", types))
        else:
            made.append(on_dynamodb(types))
        return made[-1]

    yield of
    for target in made:
        target.close()


def on_redis(server: RedisServer, prefix: str, types: str) -> RedisTarget:
    """Return a target in Redis."""
    clock = FakeClock()
    retrier = Retrier(FakeStop(clock), NoMeter())
    return RedisTarget(server.client(), prefix, schema(types), retrier, clock, tombstone_hours=48, place="redis")


def schema(types: str) -> KeySchema:
    """Name the key attributes after their places."""
    return KeySchema(tuple(f"k{place}" for place in range(len(types))))


def keys_of(types: str) -> dict[str, Any]:
    """Return the part of CreateTable that says what the key is."""
    names = list(zip(schema(types).names, types, ("HASH", "RANGE"), strict=False))
    return {
        "KeySchema": [{"AttributeName": name, "KeyType": role} for name, _, role in names],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": type_} for name, type_, _ in names],
    }


def key(name: str) -> EntityKey:
    """Return the key of a row by its text."""
    return EntityKey((("S", name),))


def put(name: str, number: int, generation: int = 1, value: str = "") -> Write:
    """Return a streamed change that puts a row."""
    image: dict[str, Any] = {"k0": {"S": name}, "v": {"S": value or str(number)}}
    return Write(key(name), change_stamp(generation, LABEL, number), image)


def gone(name: str, number: int, generation: int = 1) -> Write:
    """Return a streamed change that removes a row."""
    return Write(key(name), change_stamp(generation, LABEL, number), None)


def scanned(name: str, value: str, generation: int = 1) -> Write:
    """Return a row as a copy of the table found it."""
    return Write(key(name), copy_stamp(generation), {"k0": {"S": name}, "v": {"S": value}})


def value_of(target: Target, name: str) -> str | None:
    """Return what a row holds; None where there is none, or a tombstone."""
    row = target.read([key(name)]).get(key(name))
    return str(row.image["v"]["S"]) if row is not None and row.image is not None else None


def rows(target: Target) -> dict[EntityKey, Row]:
    """Return all rows that are there."""
    found = (row for page in pages(target) for row in page.rows)
    return {row.key: row for row in found if row.image is not None}


@pytest.mark.parametrize("types", ["S", "N", "B", "SS", "SN", "SB", "NB", "BN"])
def test_any_key_and_any_attribute_come_through_exactly(make: Make, types: str) -> None:
    """Written, read by key and read as one of all; then gone."""
    target = make(types)
    wanted = EntityKey(tuple((tag, SAMPLES[tag]) for tag in types))
    spelled = {
        name: {tag: base64.b64decode(text) if tag == "B" else text}
        for name, (tag, text) in zip(schema(types).names, wanted.parts, strict=True)
    }
    image = {**spelled, **FULL}
    canonical = entity_key(image, schema(types))
    assert target.apply([Write(canonical, change_stamp(1, LABEL, 7), image)], SOON_MS).taken == 1
    for row in (target.read([canonical])[canonical], rows(target)[canonical]):
        assert row.image is not None
        assert differing(row.image, image) == ()
        assert row.stamp == change_stamp(1, LABEL, 7)
    target.apply([Write(canonical, change_stamp(1, LABEL, 8), None)], SOON_MS)
    assert rows(target) == {}
    assert target.read([canonical])[canonical].image is None


def test_binary_that_came_as_base64_is_the_same_as_bytes(make: Make) -> None:
    """Pages of a stream hold it so (aws/fast_parse.py)."""
    target = make()
    image: dict[str, Any] = {"k0": {"S": "a"}, "b": {"B": "AP8="}, "s": {"BS": ["AQ=="]}}
    target.apply([Write(key("a"), change_stamp(1, LABEL, 1), image)], SOON_MS)
    held = target.read([key("a")])[key("a")].image
    assert held is not None
    assert differing(held, {"k0": {"S": "a"}, "b": {"B": b"\x00\xff"}, "s": {"BS": [b"\x01"]}}) == ()


def test_a_stale_or_repeated_change_takes_no_effect(make: Make) -> None:
    """Numbers of other lengths too: as text 9 would be above 10."""
    target = make()
    assert target.apply([put("a", 10**28)], SOON_MS).taken == 1
    for stale in (put("a", 10**28, value="again"), put("a", 9), gone("a", 10**28 - 1)):
        applied = target.apply([stale], SOON_MS)
        assert (applied.taken, applied.stale) == (0, 1)
    assert value_of(target, "a") == str(10**28)


def test_a_tombstone_refuses_what_is_older_and_takes_what_is_newer(make: Make) -> None:
    """A deletion that comes before the put that it ended, and a row that is made again."""
    target = make()
    target.apply([gone("a", 5)], SOON_MS)
    assert target.apply([put("a", 4)], SOON_MS).stale == 1
    assert value_of(target, "a") is None
    assert target.apply([put("a", 6)], SOON_MS).taken == 1
    assert value_of(target, "a") == "6"
    assert len(rows(target)) == 1


def test_a_scanned_row_never_overwrites_a_newer_change(make: Make) -> None:
    """Nor brings back what was deleted meanwhile; it does replace what is older than the copy."""
    target = make()
    target.apply([put("old", 9), put("kept", 9), gone("dead", 9)], SOON_MS)
    target.apply([put("new", 3, generation=2), gone("gone", 4, generation=2)], SOON_MS)
    copied = [scanned(name, "scan", 2) for name in ("old", "new", "gone", "fresh", "dead")]
    assert target.apply(copied, SOON_MS).taken == 3
    read = {name: value_of(target, name) for name in ("old", "kept", "new", "gone", "fresh", "dead")}
    assert read == {"old": "scan", "kept": "9", "new": "3", "gone": None, "fresh": "scan", "dead": "scan"}
    assert target.apply([put("old", 10**20, generation=1)], SOON_MS).stale == 1
    assert target.apply([put("old", 1, generation=2)], SOON_MS).taken == 1


def test_a_change_that_was_held_up_too_long_is_not_written(make: Make) -> None:
    """What would have refused it may have expired by then."""
    target = make()
    for writes in ([put("a", 1)], [put("a", 1), put("b", 1)]):
        with pytest.raises(FencedError, match="held up"):
            target.apply(writes, START_MS - 1)
    assert rows(target) == {}


def test_many_rows_are_written_and_read_over_many_pages(make: Make) -> None:
    """More than a batch, a pipeline or one look at Redis has."""
    target = make()
    names = [f"row{number:04d}" for number in range(620)]
    target.apply([put(name, 1) for name in names], SOON_MS)
    assert {row_key.parts[0][1] for row_key in rows(target)} == set(names)
    assert len(target.read([key(name) for name in names])) == len(names)
    assert target.read([]) == {}
    assert target.apply([], SOON_MS).taken == 0


def test_tombstones_expire_and_rows_do_not(dynamodb_local: Emulator, redis: RedisServer) -> None:
    """After 48 hours by DynamoDB's TTL, and by Redis' own; a row that is made again is there for good."""
    clock = FakeClock()
    retrier = Retrier(FakeStop(clock), NoMeter())
    table, client = f"target-{next(NUMBERS)}", dynamodb(dynamodb_local)
    client.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **keys_of("S"))
    ours = DynamoDBTarget(client, table, schema("S"), retrier, clock, tombstone_hours=48, writers=1)
    theirs = on_redis(redis, "ttl:", "S")
    for target in (ours, theirs):
        target.apply([gone("a", 1)], SOON_MS)
        target.apply([gone("b", 1)], SOON_MS)
        target.apply([put("b", 2)], SOON_MS)
    ours.close()
    items = {item["k0"]["S"]: item for item in client.scan(TableName=table)["Items"]}
    assert int(items["a"][EXPIRES]["N"]) == START_MS // 1000 + 48 * 3600
    assert set(items["b"]) == {"k0", "v", STAMP}
    with redis.client() as raw:
        assert 0 < int(raw.pttl("ttl:row:a")) <= 48 * 3_600_000
        assert raw.pttl("ttl:row:b") == -1


@pytest.mark.parametrize(
    ("types", "sorts"),
    [
        ("SS", ["", "a", "b", "é", "\U0001f600"]),
        ("SN", ["-100", "-1.5", "-0.01", "0", "0.02", "1", "1.5", "2", "10", "1E+20"]),
        ("SB", ["AA==", "AAE=", "gA==", "/w=="]),
    ],
)
def test_redis_keeps_the_order_of_sort_keys(redis: RedisServer, types: str, sorts: list[str]) -> None:
    """A sorted set for each partition, with what is there and nothing else."""
    prefix = f"order{next(NUMBERS)}:"
    target = on_redis(redis, prefix, types)
    for place, sort in enumerate(reversed(sorts)):
        for partition in ("p", "q"):
            there = EntityKey((("S", partition), (types[1], sort)))
            image: dict[str, Any] = {"k0": {"S": partition}, "k1": {types[1]: sort}, "place": {"N": str(place)}}
            target.apply([Write(there, change_stamp(1, LABEL, 1), image)], SOON_MS)
    first = EntityKey((("S", "p"), (types[1], sorts[0])))
    target.apply([Write(first, change_stamp(1, LABEL, 2), None)], SOON_MS)
    with redis.client() as raw:
        members: Any = raw.zrangebylex(f"{prefix}index:p", "-", "+")
        assert [raw.hget(f"{prefix}row:1:p:".encode() + member, "stamp") is not None for member in members] == [
            True
        ] * (len(sorts) - 1)
        assert len(set(members)) == len(sorts) - 1
        found: Any = [raw.hget(f"{prefix}row:1:p:".encode() + member, "item") for member in members]
        assert [b'"place":{"N":"%d"}' % (len(sorts) - 2 - at) in item for at, item in enumerate(found)] == [True] * (
            len(sorts) - 1
        )
        assert raw.zcard(f"{prefix}index:q") == len(sorts)


def test_redis_that_was_emptied_does_not_vouch(redis: RedisServer) -> None:
    """Until the next copy begins."""
    target = on_redis(redis, "vouch:", "S")
    assert not target.vouch(0)
    target.begin(3)
    assert target.vouch(3)
    assert not target.vouch(4)
    with redis.client() as raw:
        raw.delete("vouch:meta")
    assert not target.vouch(3)


def test_redis_that_was_started_anew_takes_writes_again(redis: RedisServer) -> None:
    """It has forgotten the script with everything else."""
    target = on_redis(redis, "again:", "S")
    target.apply([put("a", 1)], SOON_MS)
    with redis.client() as raw:
        raw.script_flush()
    assert target.apply([put("a", 2)], SOON_MS).taken == 1


def test_a_row_that_its_stamp_makes_too_large_is_refused_with_the_way_out(dynamodb_local: Emulator) -> None:
    """It stands at the source with nearly 400 KB, and Redis would take it."""
    clock = FakeClock()
    table, client = f"target-{next(NUMBERS)}", dynamodb(dynamodb_local)
    client.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **keys_of("S"))
    retrier = Retrier(FakeStop(clock), NoMeter())
    target = DynamoDBTarget(client, table, schema("S"), retrier, clock, tombstone_hours=48, writers=1)
    image: dict[str, Any] = {"k0": {"S": "a"}, "v": {"S": "x" * (400 * 1024 - 20)}}
    client.put_item(TableName=table, Item=image)
    with pytest.raises(ReplicaError, match="larger than the 400 KB"):
        target.apply([Write(key("a"), change_stamp(1, LABEL, 1), image)], SOON_MS)
    target.close()


def test_a_failover_is_followed_to_another_connection(redis: RedisServer) -> None:
    """A connection to a server that became a replica refuses writes for as long as it is open."""
    with redis.client() as raw:

        class Promotes(FakeStop):
            """Makes the server lead again while it is waited for."""

            def wait(self, timeout: float | None = None) -> bool:
                """Let one wait pass."""
                raw.execute_command("REPLICAOF", "NO", "ONE")
                return super().wait(timeout)

        clock, client = FakeClock(), redis.client()
        retrier = Retrier(Promotes(clock), NoMeter())
        target = RedisTarget(client, "failover:", schema("S"), retrier, clock, tombstone_hours=48, place="redis")
        before = client.client_id()
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            assert target.apply([put("a", 1)], SOON_MS).taken == 1
        finally:
            raw.execute_command("REPLICAOF", "NO", "ONE")
        assert client.client_id() != before


def test_redis_that_may_drop_rows_is_told_of(redis: RedisServer) -> None:
    """By its policy for a full memory; one that does not say is taken at its word."""
    target = on_redis(redis, "evict:", "S")
    with redis.client() as raw:
        assert target.eviction() is None
        raw.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert target.eviction() == "allkeys-lru"
        finally:
            raw.config_set("maxmemory-policy", "noeviction")
