"""Laws of replication: any order and any repetition of an item's changes gives its final state.

Held by the rule in the core, by the Lua script on a real Redis, and by the condition on a DynamoDB.
"""

import base64
import itertools
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockside.aws.retrying import Retrier
from lockside.core.attributes import number_text
from lockside.core.entity import EntityKey, KeySchema
from lockside.core.replica import Write, change_stamp, copy_stamp, wins, writes_of
from lockside.core.sort_bytes import sort_bytes
from lockside.core.telemetry import NoMeter
from lockside.stores.dynamodb_target import DynamoDBTarget
from lockside.stores.redis_target import RedisTarget
from lockside.stores.target import Target
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB

SCHEMA = KeySchema(("id",))
LABELS = ("2026-11-01T00:00:00.000", "2026-11-28T00:00:00.000")
NAMES = itertools.count()
FAR_MS = 1 << 50

changes = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(LABELS), st.one_of(st.none(), st.integers(0, 99))),
    min_size=1,
    max_size=12,
)


def history(drawn: Sequence[tuple[str, str, int | None]]) -> list[tuple[str, dict[str, Any]]]:
    """Turn what was drawn into a table's records, oldest first: an older stream's before a newer one's.

    The newer stream's numbers are shorter than the older one's: they begin anew.
    """
    made = []
    for place, (name, label, value) in enumerate(sorted(drawn, key=lambda each: each[1])):
        number = place + (10**28 if label == LABELS[0] else 9)
        body: dict[str, Any] = {"Keys": {"id": {"S": name}}, "SequenceNumber": str(number)}
        if value is not None:
            body["NewImage"] = {"id": {"S": name}, "n": {"N": str(value)}}
        made.append((label, {"eventName": "REMOVE" if value is None else "MODIFY", "dynamodb": body}))
    return made


def final(records: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, str | None]:
    """Return the table after all of them."""
    rows = {each["dynamodb"]["Keys"]["id"]["S"]: each["dynamodb"].get("NewImage") for _, each in records}
    return {name: image["n"]["N"] if image else None for name, image in rows.items()}


def shuffled(data: st.DataObject, records: Sequence[tuple[str, dict[str, Any]]]) -> list[list[Write]]:
    """Hand the changes over in any order, in pages of any size, some of them again."""
    again = data.draw(st.lists(st.sampled_from(records), max_size=8))
    order = data.draw(st.permutations([*records, *again]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order)), max_size=3)))
    pages = [order[start:end] for start, end in itertools.pairwise([0, *cuts, len(order)])]
    return [
        writes_of([record for at, record in page if at == label], SCHEMA, 1, label)
        for page in pages
        for label in LABELS
    ]


def held(target: Target, names: Sequence[str]) -> dict[str, str | None]:
    """Return what a target holds of rows."""
    rows = target.read([EntityKey((("S", name),)) for name in names])
    images = {key.parts[0][1]: row.image for key, row in rows.items()}
    return {name: image["n"]["N"] if image else None for name, image in images.items()}


@given(changes, st.data())
def test_any_order_and_repetition_gives_the_final_state(
    drawn: list[tuple[str, str, int | None]], data: st.DataObject
) -> None:
    """By the rule alone."""
    records = history(drawn)
    table: dict[EntityKey, Write] = {}
    for write in itertools.chain.from_iterable(shuffled(data, records)):
        there = table.get(write.key)
        if wins(write.stamp, there.stamp if there else None):
            table[write.key] = write
    read = {key.parts[0][1]: (write.image["n"]["N"] if write.image else None) for key, write in table.items()}
    assert read == final(records)


@pytest.fixture(params=["redis", "dynamodb"])
def target(request: pytest.FixtureRequest) -> Target:
    """Return a target that tests share: each example has rows of its own table or prefix."""
    clock = FakeClock()
    retrier = Retrier(FakeStop(clock), NoMeter())
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        return RedisTarget(
            server.client(), f"law{next(NAMES)}:", SCHEMA, retrier, clock, tombstone_hours=48, place="redis"
        )
    fake = FakeDynamoDB(
        {
            "TableName": "law",
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        }
    )
    return DynamoDBTarget(fake.client, "law", SCHEMA, retrier, clock, tombstone_hours=48, writers=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(changes, st.data())
def test_targets_keep_the_law(target: Target, drawn: list[tuple[str, str, int | None]], data: st.DataObject) -> None:
    """What decides is the target's own condition, beside which nothing is remembered."""
    run = f"{next(NAMES)}-"
    records = history([(run + name, label, value) for name, label, value in drawn])
    for writes in shuffled(data, records):
        target.apply(writes, FAR_MS)
    wanted = final(records)
    assert held(target, list(wanted)) == wanted


@given(st.integers(0, 10**7 - 2), st.sampled_from(LABELS), st.integers(0, 10**40 - 1))
def test_a_copy_is_above_all_before_it_and_below_all_after_it(generation: int, label: str, number: int) -> None:
    """Whatever the number of a change."""
    assert wins(copy_stamp(generation + 1), change_stamp(generation, label, number))
    assert wins(change_stamp(generation, label, number), copy_stamp(generation))
    assert not wins(copy_stamp(generation), copy_stamp(generation))


numbers = st.decimals(allow_nan=False, allow_infinity=False, places=None, min_value=-(10**30), max_value=10**30).map(
    lambda value: Decimal(f"{value:.20e}")
)


@given(numbers, numbers)
def test_bytes_of_numbers_sort_as_numbers_do(one: Decimal, other: Decimal) -> None:
    """And are equal only for equal ones."""
    ours, theirs = (sort_bytes("N", number_text(each)) for each in (one, other))
    assert (ours < theirs) == (one < other)
    assert (ours == theirs) == (one == other)


@given(st.text(), st.text(), st.binary(), st.binary())
def test_bytes_of_text_and_binary_sort_as_dynamodb_does(one: str, other: str, left: bytes, right: bytes) -> None:
    """Text by its UTF-8, binary by its bytes."""
    assert (sort_bytes("S", one) < sort_bytes("S", other)) == (one.encode() < other.encode())
    ours, theirs = (sort_bytes("B", base64.b64encode(each).decode()) for each in (left, right))
    assert (ours < theirs) == (left < right)
