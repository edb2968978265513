"""Decoding a stream record: spellings, times, keys, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lockside.core.change import ShardRef
from lockside.core.decode import Salvaged, decode_record, salvage
from lockside.core.entity import EntityKey, KeySchema
from lockside.errors import FaultyPageError, WireFaultError

SHARD = ShardRef("arn:aws:dynamodb:us-east-1:123456789012:table/locks/stream/2026-01-01T00:00:00.000", "shardId-1")
SCHEMA = KeySchema(("id",))


def record(**changes: Any) -> dict[str, Any]:
    """Build a good INSERT and change members of its body, or of the record itself where the name is capitalised so."""
    body: dict[str, Any] = {
        "ApproximateCreationDateTime": 1_795_421_400.0,
        "Keys": {"id": {"S": "a"}},
        "NewImage": {"id": {"S": "a"}},
        "SequenceNumber": "000000000000000000007",
    }
    top: dict[str, Any] = {"eventName": "INSERT", "dynamodb": body}
    for name, value in changes.items():
        target = top if name in {"eventName", "userIdentity"} else body
        target[name] = value
        if value is None:
            del target[name]
    return top


def test_reads_a_good_record() -> None:
    """All members come out, the sequence number as a number."""
    change = decode_record(record(), SHARD, SCHEMA, 1_000)
    assert (change.sequence_number, change.operation, change.created_ms) == (7, "INSERT", 1_795_421_400_000)
    assert change.key == EntityKey((("S", "a"),))
    assert (change.old, change.new, change.by_ttl) == (None, {"id": {"S": "a"}}, False)


@pytest.mark.parametrize(
    ("value", "precision_ms", "expected"),
    [
        (1_795_422_043.905, 1, 1_795_422_043_905),
        (1_795_422_043.905, 1_000, 1_795_422_043_000),
        (1_795_422_043, 60_000, 1_795_422_000_000),
        (1_795_422_043_905, 1_000, 1_795_422_043_000),
        (datetime(2026, 11, 23, 8, 0, 0, 999_000, tzinfo=UTC), 1_000, 1_795_420_800_000),
    ],
)
def test_creation_time_is_normalised(value: object, precision_ms: int, expected: int) -> None:
    """Seconds, milliseconds and datetimes mean the same, rounded down to the recipe's precision."""
    assert decode_record(record(ApproximateCreationDateTime=value), SHARD, SCHEMA, precision_ms).created_ms == expected


@pytest.mark.parametrize(
    "identity",
    [
        {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
    ],
)
def test_ttl_removal_in_both_spellings(identity: dict[str, str]) -> None:
    """GetRecords and Lambda spell the identity's members differently."""
    raw = record(eventName="REMOVE", OldImage={"id": {"S": "a"}}, NewImage=None, userIdentity=identity)
    assert decode_record(raw, SHARD, SCHEMA, 1_000).by_ttl


def test_other_identities_are_no_ttl() -> None:
    """A caller's principal on a removal is not DynamoDB's own."""
    identity = {"Type": "Service", "PrincipalId": "123456789012"}
    raw = record(eventName="REMOVE", OldImage={"id": {"S": "a"}}, NewImage=None, userIdentity=identity)
    assert not decode_record(raw, SHARD, SCHEMA, 1_000).by_ttl


def test_key_comes_from_the_schema_only() -> None:
    """Index keys in the Keys map, as a TTL removal carries them, do not enter the identity."""
    raw = record(Keys={"GSI1PK": {"S": "x"}, "id": {"S": "a"}})
    assert decode_record(raw, SHARD, SCHEMA, 1_000).key == EntityKey((("S", "a"),))


def test_empty_image_is_not_an_absent_one() -> None:
    """An empty image is captured and empty."""
    assert decode_record(record(NewImage={}), SHARD, SCHEMA, 1_000).new == {}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"eventName": "UPSERT"}, "operation"),
        ({"eventName": None}, "operation"),
        ({"NewImage": None}, "image_missing"),
        ({"eventName": "MODIFY"}, "image_missing"),
        ({"eventName": "REMOVE"}, "image_missing"),
        ({"NewImage": "text"}, "image_shape"),
        ({"Keys": None}, "key_missing"),
        ({"Keys": {"other": {"S": "a"}}}, "key_missing"),
        ({"Keys": {"id": {"BOOL": True}}}, "key_type"),
        ({"Keys": {"id": {"Q": "a"}}}, "attribute_type"),
        ({"ApproximateCreationDateTime": None}, "creation_time"),
        ({"ApproximateCreationDateTime": "yesterday"}, "creation_time"),
        ({"ApproximateCreationDateTime": -1}, "creation_time"),
        ({"ApproximateCreationDateTime": float("nan")}, "creation_time"),
        ({"ApproximateCreationDateTime": True}, "creation_time"),
        ({"ApproximateCreationDateTime": datetime(1, 1, 1, tzinfo=UTC)}, "creation_time"),
        ({"ApproximateCreationDateTime": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "creation_time"),
        ({"ApproximateCreationDateTime": datetime(1969, 12, 31, tzinfo=UTC)}, "creation_time"),
        ({"ApproximateCreationDateTime": datetime(9999, 12, 31, tzinfo=UTC)}, "creation_time"),
        # Without an offset it would be read in the host's own time zone.
        ({"ApproximateCreationDateTime": datetime(2026, 11, 23)}, "creation_time"),  # noqa: DTZ001
    ],
)
def test_refuses_by_code(changes: dict[str, Any], code: str) -> None:
    """What cannot be understood is refused with a fixed word."""
    with pytest.raises(WireFaultError) as caught:
        decode_record(record(**changes), SHARD, SCHEMA, 1_000)
    assert caught.value.code == code


@pytest.mark.parametrize("value", [None, "", "12x", 12, "1" * 41, "٣"])
def test_no_usable_sequence_number_is_a_faulty_page(value: object) -> None:
    """Without a place in the stream a record cannot even be set aside."""
    with pytest.raises(FaultyPageError):
        decode_record(record(SequenceNumber=value), SHARD, SCHEMA, 1_000)


def test_salvage_keeps_what_can_be_read() -> None:
    """Of a broken record the key and the time are kept where they are sound."""
    assert salvage(record(eventName="UPSERT"), SCHEMA, 1_000) == Salvaged(EntityKey((("S", "a"),)), 1_795_421_400_000)
    assert salvage(record(Keys=None, ApproximateCreationDateTime=None), SCHEMA, 1_000) == Salvaged(None, None)


def test_shard_origin_names_region_account_table_label_and_shard() -> None:
    """The origin tells shards of different tables apart, though moto gives all one shard id."""
    assert SHARD.origin == "us-east-1/123456789012/locks/2026-01-01T00:00:00.000/shardId-1"
    assert (SHARD.table, SHARD.label) == ("locks", "2026-01-01T00:00:00.000")
