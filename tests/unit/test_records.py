"""Record bytes: golden, valid CloudEvents, bounded, and without secrets."""

import hashlib
import json
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from lockside.core import records
from lockside.core.batch import Memory, Reader
from lockside.core.decode import decode_record
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.interpret import interpret_for
from lockside.core.lapse import verify
from lockside.core.now import Now
from lockside.core.records import ChangeRecord, Naming, Place, change_record, rfc3339, undecodable_record
from tests.fakes.sources import SHARD, lock_keys, pydynlock, source, wire

SECRET = "s3cr3t-p4yl04d"  # noqa: S105 - made up


def record_of(raw: dict[str, Any], layout: str = "pydynlock", **changes: Any) -> ChangeRecord:
    """Build the record of a wire record that gives a recorded event."""
    src = source(layout, **changes)
    change = decode_record(raw, SHARD, src.key_schema, src.recipe.precision_ms)
    found, told = interpret_for(change, (src,))
    assert found is src
    assert told.event is not None
    return change_record(told.event, change, src, PUBLIC_KEYS)


def body(record: ChangeRecord) -> Any:
    """Parse a record's bytes."""
    return json.loads(record.body)


ACQUIRED = wire(7, lock_keys("job-a"), None, pydynlock("alpha", "v1"))


GOLDEN = (
    b'{"data":{"actor":"alpha","after_hash":"c761566e200eb7f9d910c00bc31608b2","certainty":"certain","entity":'
    b'{"kind":"lock","name":"job-a"},"flags":[],"lease_ms":"4000","operation":"INSERT","reason":"row_appeared_'
    b'held","recipe":"dcee23debb34faa5","sequence_number":"7","shard":"shardId-00000001795420800000-abc","sour'
    b'ce":"src","version":"4a1c95529ef384ac2c31c3ca51d2cc2f"},"id":"01M83Q8TY0CF6NG7EKMDAN36R6","partitionkey"'
    b':"src:S5:job-a,S1:-","source":"arn:aws:dynamodb:us-east-1:123456789012:table/locks/stream/2026-11-23T08:'
    b'00:00.000","specversion":"1.0","subject":"lock/job-a","time":"2026-11-23T08:10:00.000Z","type":"dev.lock'
    b'side.lock.acquired.v1"}'
)


def test_golden_bytes() -> None:
    """These bytes guard INTERPRET_REVISION: when they change for a change that has not, raise it."""
    assert record_of(ACQUIRED).body == GOLDEN


def test_items_keys() -> None:
    """The partition is the entity, the sort key the position in its stream."""
    record = record_of(ACQUIRED)
    assert record.pk == "E#src:S5:job-a,S1:-"
    assert record.sort == "2026-11-23T08:00:00.000#0000000000000000000000000000000000000007#0"


def test_is_a_cloud_event() -> None:
    """The CNCF's own library reads what we wrote."""
    event = JSONFormat().read(CloudEvent, record_of(ACQUIRED).body)
    assert event.get_type() == "dev.lockside.lock.acquired.v1"
    assert event.get_subject() == "lock/job-a"


def test_a_session_stands_as_its_pseudonym() -> None:
    """Neither the key nor the payload of a session enters its record; its user does."""
    keys = {"id": {"S": f"session:{SECRET}"}}
    row = {
        "val": {"B": b"\x82\xa8_user_id\xa4dave\xa5token\xae" + SECRET.encode()},
        "expiration": {"N": "1795421498.26"},
    }
    record = record_of(wire(7, keys, None, row), "flask-session")
    assert SECRET.encode() not in record.body + record.pk.encode()
    assert body(record)["data"]["actor"] == "dave"
    assert body(record)["data"]["authenticated"] == "yes"
    assert len(body(record)["data"]["entity"]["name"]) == 32


@pytest.mark.parametrize(("hidden", "clear"), [("name", "job-a"), ("owner", "alpha")])
def test_pseudonymise(hidden: str, clear: str) -> None:
    """What a source says must not be in clear stands nowhere in the record, nor in its keys."""
    record = record_of(ACQUIRED, pseudonymise=(hidden,))
    assert clear not in record.body.decode() + record.pk + (record.actor or "")


def test_lock_data_and_extras_stay_out() -> None:
    """Only what is allowed is copied: users' own attributes are not."""
    row = pydynlock("alpha", "v1") | {"secret": {"S": SECRET}, "data": {"B": SECRET.encode()}}
    assert SECRET.encode() not in record_of(wire(7, lock_keys("job-a"), None, row)).body


def test_version_is_not_in_clear() -> None:
    """Who knows a lock's version can act on the lock."""
    assert b"v1-of-the-lock" not in record_of(wire(7, lock_keys("a"), None, pydynlock("x", "v1-of-the-lock"))).body


def test_long_text_is_bounded() -> None:
    """An owner of 3 KB and a key of 2 KB become their first bytes and a digest; the item stays legal."""
    owner, name = "ö" * 1_500, "k" * 2_000
    record = record_of(wire(7, lock_keys(name), None, pydynlock(owner, "v1")))
    assert len(record.pk.encode()) < 1_024
    assert len(record.body) < 8_192
    assert record.actor is not None
    assert record.actor.endswith(hashlib.sha256(owner.encode()).hexdigest())
    assert record.actor.startswith("ö" * 32)


def test_a_long_owner_stays_out_of_memory_and_has_one_pseudonym() -> None:
    """A hold is kept in the live index, whose items may be no longer than the row; its lapse names the same actor."""
    src = source("pydynlock", pseudonymise=("owner",))
    owner = '"' * 390_000
    raw = wire(7, lock_keys("a"), None, pydynlock(owner, "v1"))
    memory = Memory()
    batch = Reader(SHARD, (src,), PUBLIC_KEYS).take_in([raw], memory, None, Now(0, 0))
    [entry] = batch.live.values()
    assert entry.hold is not None
    assert entry.hold.actor is not None
    assert len(entry.hold.actor) < 512
    assert Naming.of(src, PUBLIC_KEYS).actor(entry.hold.actor) == batch.records[0].actor
    image = raw["dynamodb"]["NewImage"]
    assert verify(entry.hold, src.layouts[0], image, src.recipe, Now(0, 0)) == "lapsed"


def test_no_two_keys_share_an_entity() -> None:
    """Parts are length-prefixed: a separator inside a key cannot make it another's."""
    one = record_of(wire(7, {"lock_key": {"S": "a,S1:b"}, "sort_key": {"S": "c"}}, None, pydynlock("x", "v")))
    two = record_of(wire(7, {"lock_key": {"S": "a"}, "sort_key": {"S": "b,S1:c"}}, None, pydynlock("x", "v")))
    assert one.pk != two.pk


def test_empty_actor_is_not_indexed() -> None:
    """DynamoDB refuses an empty key, so an empty owner has no index entry; the record is flagged."""
    record = record_of(wire(7, lock_keys("a"), None, pydynlock("", "v1")))
    assert record.actor is None
    assert "actor" not in body(record)["data"]
    assert "owner_empty" in body(record)["data"]["flags"]


def test_undecodable_keeps_place_and_reason_only() -> None:
    """Of a change that is not understood, nothing derived from its wire bytes is kept."""
    src = source("pydynlock")
    record = undecodable_record(Place(SHARD, 9, 0), "operation", None, src, PUBLIC_KEYS)
    assert record.time_ms == 0
    assert record.position == 9
    assert body(record)["data"]["reason"] == "operation"
    assert body(record)["type"] == "dev.lockside.stream.undecodable.v1"


@pytest.mark.parametrize(
    ("epoch_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_421_400_905, "2026-11-23T08:10:00.905Z"),
        (200_000_000_000_003, "8307-10-01T19:33:20.003Z"),
        (10**20, f"epoch-ms:{10**20}"),
    ],
)
def test_rfc3339(epoch_ms: int, text: str) -> None:
    """Milliseconds in UTC; an absurd instant is spelled as what it is and breaks nothing."""
    assert rfc3339(epoch_ms) == text


def test_hashes_link_records() -> None:
    """The after-hash of one record is the before-hash of the entity's next, heartbeats between them left out."""
    first = record_of(wire(1, lock_keys("a"), None, pydynlock("alpha", "v1")))
    beaten = pydynlock("alpha", "v5", lease="9")
    second = record_of(wire(6, lock_keys("a"), beaten, pydynlock("beta", "v6")))
    assert body(first)["data"]["after_hash"] == body(second)["data"]["before_hash"]


def test_identity_ulid_is_the_same_for_everyone() -> None:
    """An observer record's id depends on its identity alone."""
    assert records.identity_ulid("x") == records.identity_ulid("x") != records.identity_ulid("y")
