"""Undecodable changes kept sealed, on both emulators."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from lockside.aws.retrying import Retrier
from lockside.aws.tables import state_table
from lockside.core.change import ShardRef
from lockside.core.entity import Key
from lockside.core.ports import Undecodable
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.errors import HaltError, UndecodableLimitError, WireFaultError
from lockside.ops.metrics import PrometheusMeter
from lockside.state.undecodable import CHUNK_BYTES_MAX, Limits, UndecodableTable, partition
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.state_table import dynamodb, make_state_table
from tests.fakes.streams import arn_of

SHARD = ShardRef(arn_of("locks"), "shardId-a")
OTHER = ShardRef(arn_of("locks"), "shardId-b")
KEY = Key("seal-1", bytes(range(32)))


def change(position: int, size: int = 10, code: str = "number") -> Undecodable:
    """Build a change with a secret of some size in it."""
    raw = {"eventName": "MODIFY", "dynamodb": {"NewImage": {"data": {"B": b"s3cret" + bytes(size)}}, "x": 1.5}}
    return Undecodable(position, code, f"ID{position}", raw)


def table_of(client: Any, name: str, **changes: Any) -> UndecodableTable:
    """Build a store with fresh nonces."""
    numbers = itertools.count(1)
    retrier = Retrier(FakeStop(FakeClock()), NoMeter())
    store = UndecodableTable(client, name, KEY, retrier, lambda: next(numbers).to_bytes(12, "big"))
    return replace(store, **changes)


@pytest.fixture
def store(backend: Emulator) -> UndecodableTable:
    """Return the store in a new state table."""
    client = dynamodb(backend)
    return table_of(client, make_state_table(client))


@pytest.fixture
def fake() -> FakeDynamoDB:
    """Return a state table in memory."""
    return FakeDynamoDB(state_table("state").create)


@pytest.fixture
def quick(fake: FakeDynamoDB) -> UndecodableTable:
    """Return the store in memory, where only its own logic is looked at."""
    return table_of(fake.client, "state")


def positions(store: UndecodableTable, shard: ShardRef = SHARD) -> list[int]:
    """List what a shard keeps."""
    return [kept.position for kept in store.kept(shard)]


def test_changes_come_back_as_they_came(store: UndecodableTable) -> None:
    """In the order of the stream, under their own shard; 40 digits sort as numbers."""
    changes = [change(7), change(8, code="defect"), change(10**22)]
    store.keep(SHARD, changes)
    store.keep(OTHER, [change(1)])
    kept = list(store.kept(SHARD))
    assert [store.open(each) for each in kept] == changes
    assert [each.code for each in kept] == ["number", "defect", "number"]
    assert [each.record_id for each in kept] == [each.record_id for each in changes]
    assert set(store.shards()) == {SHARD, OTHER}


def test_a_change_larger_than_an_item_is_kept_in_pieces(store: UndecodableTable) -> None:
    """Two images of 400 KB: DynamoDB takes no item above 400 KB."""
    large = change(1, 2 * 400 * 1024)
    store.keep(SHARD, [large])
    [kept] = store.kept(SHARD)
    assert kept.chunks == 3
    assert store.open(kept) == large
    store.remove(kept)
    assert items(store) == 0


def test_keeping_again_changes_nothing(store: UndecodableTable) -> None:
    """A replay writes the same change under the same key, and it is counted once."""
    for _ in range(3):
        store.keep(SHARD, [change(5), change(6)])
    assert positions(store) == [5, 6]
    replayed = replace(store, limits=Limits(changes_max=2))
    replayed.keep(SHARD, [change(5), change(6)])


def test_the_number_is_limited_and_counts_what_is_there(store: UndecodableTable) -> None:
    """Also after a restart: nothing is remembered but the table. What fits is kept, the message says the way out."""
    limited = replace(store, limits=Limits(changes_max=2))
    limited.keep(SHARD, [change(1)])
    with pytest.raises(UndecodableLimitError) as caught:
        replace(limited).keep(SHARD, [change(2), change(3), change(4)])
    assert caught.value.position == 3
    assert isinstance(caught.value, HaltError)
    for word in ("table locks", "shardId-a", "engine.undecodable_max = 2", "upgrade", "lockside redrive --all"):
        assert word in str(caught.value)
    assert positions(store) == [1, 2]
    limited.keep(OTHER, [change(1)])
    limited.remove(next(store.kept(SHARD)))
    limited.keep(SHARD, [change(3)])
    assert positions(store) == [2, 3]


def test_the_bytes_are_limited(quick: UndecodableTable) -> None:
    """All changes of a shard together."""
    limited = replace(quick, limits=Limits(bytes_max=2_000))
    limited.keep(SHARD, [change(1, 800), change(2, 800)])
    with pytest.raises(UndecodableLimitError, match=r"engine\.undecodable_bytes_max = 2000"):
        limited.keep(SHARD, [change(3, 800)])
    limited.keep(SHARD, [change(2, 800), change(4)])
    assert positions(quick) == [1, 2, 4]


def test_no_room_at_all_halts_at_the_first(quick: UndecodableTable) -> None:
    """`undecodable_max = 0` is for those who want to know at once."""
    with pytest.raises(UndecodableLimitError):
        replace(quick, limits=Limits(changes_max=0)).keep(SHARD, [change(1)])
    assert positions(quick) == []


def test_nothing_kept_is_readable(quick: UndecodableTable, fake: FakeDynamoDB) -> None:
    """Position, code and record id stand in the trail too; nothing else is in clear, in items or in a repr."""
    quick.keep(SHARD, [change(1)])
    assert b"s3cret" not in repr(fake.items("state")).encode()
    assert "s3cret" not in repr(change(1))
    assert "NewImage" not in repr(fake.items("state"))


def test_equal_changes_do_not_look_alike(quick: UndecodableTable, fake: FakeDynamoDB) -> None:
    """Each piece is sealed under a nonce of its own, bound to its item."""
    quick.keep(SHARD, [change(1)])
    once = [item["sealed"] for item in fake.items("state") if "sealed" in item]
    quick.keep(SHARD, [change(1)])
    assert once != [item["sealed"] for item in fake.items("state") if "sealed" in item]


def test_a_piece_moved_to_another_change_does_not_open(quick: UndecodableTable, fake: FakeDynamoDB) -> None:
    """Nor does one that is missing: the code says so, and the change stays."""
    quick.keep(SHARD, [change(1), change(2)])
    first, second = quick.kept(SHARD)
    pieces = {item["sk"]["S"]: item for item in fake.items("state") if "sealed" in item}
    source, target = sorted(pieces)
    fake.client.put_item(TableName="state", Item={**pieces[target], "sealed": pieces[source]["sealed"]})
    with pytest.raises(WireFaultError, match=r"^sealed$"):
        quick.open(second)
    fake.client.delete_item(TableName="state", Key={"pk": {"S": partition(SHARD)}, "sk": {"S": source}})
    with pytest.raises(WireFaultError, match=r"^sealed$"):
        quick.open(first)


def test_another_seal_key_is_told(quick: UndecodableTable) -> None:
    """With the wrong keys file nothing is lost: it stays until the right one is used."""
    quick.keep(SHARD, [change(1)])
    [kept] = quick.kept(SHARD)
    with pytest.raises(WireFaultError, match=r"^seal_key$"):
        replace(quick, key=Key("seal-2", bytes(32))).open(kept)


class Crash(Exception):  # noqa: N818 - no error, an end
    """The process dies."""


def test_a_crash_at_any_write_leaves_nothing_or_a_whole_change() -> None:
    """Keeping it again completes it; the shard is listed before anything of it is there."""
    large = change(1, 2 * 20_000)
    for survived in range(4):
        fake = FakeDynamoDB(state_table("state").create)
        store = table_of(fake.client, "state")
        crash_after(fake, survived)
        with pytest.raises(Crash):
            store.keep(SHARD, [large, change(2), change(3)])
        fake.on_commit = None
        assert all(store.open(kept) == large for kept in store.kept(SHARD))
        store.keep(SHARD, [large])
        assert list(store.shards()) == [SHARD]
        assert [store.open(kept) for kept in store.kept(SHARD)] == [large]


def test_a_crash_at_any_removal_is_taken_up_again() -> None:
    """What is marked as done is never opened again, and removing it goes on where it ended."""
    for survived in range(3):
        fake = FakeDynamoDB(state_table("state").create)
        store = table_of(fake.client, "state")
        store.keep(SHARD, [change(1)])
        [kept] = store.kept(SHARD)
        crash_after(fake, survived)
        with pytest.raises(Crash):
            store.remove(kept)
        fake.on_commit = None
        for left in list(store.kept(SHARD)):
            assert left.done
            store.remove(left)
        assert items(store) == 0


def test_what_is_kept_is_a_metric(quick: UndecodableTable) -> None:
    """A limit without a number to watch would come as a surprise."""
    meter = PrometheusMeter()
    watched = replace(quick, retrier=replace(quick.retrier, meter=meter), limits=Limits(changes_max=2))
    with pytest.raises(UndecodableLimitError):
        watched.keep(SHARD, [change(1), change(2), change(3)])
    assert 'lockside_undecodable_kept{shard="shardId-a",table="locks"} 2.0' in meter.render().decode()


def test_nothing_to_keep_is_no_call() -> None:
    """An ordinary batch costs nothing."""
    table_of(FakeDynamoDB().client, "none").keep(SHARD, [])


def test_a_piece_fits_an_item() -> None:
    """With its key and seal, under DynamoDB's 400 KB."""
    assert CHUNK_BYTES_MAX + 2 * 2_048 < 400 * 1024


def items(store: UndecodableTable) -> int:
    """Count what stands in the partition of the shard."""
    condition, values = "pk = :pk", {":pk": {"S": partition(SHARD)}}
    answer = store.client.query(
        TableName=store.table, KeyConditionExpression=condition, ExpressionAttributeValues=values
    )
    return len(answer["Items"])


def crash_after(fake: FakeDynamoDB, survived: int) -> None:
    """Let the process die right after so many more writes took effect."""
    left = itertools.count(survived, -1)

    def on_commit(_table: str, _before: Any, _after: Any) -> None:
        if next(left) == 0:
            raise Crash

    fake.on_commit = on_commit
