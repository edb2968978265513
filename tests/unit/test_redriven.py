"""What an undecodable change says when it is read again."""

import json
from typing import Any

import pytest

from lockside.core import observer, redriven
from lockside.core.batch import Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.now import Now
from lockside.core.ports import ObserverRecord, Undecodable
from lockside.core.recipe import Source
from lockside.core.records import identity_ulid
from lockside.errors import WireFaultError
from tests.fakes.sources import SHARD, lock_keys, pydynlock, source, wire

GOOD = wire(7, lock_keys("job"), None, pydynlock("ann", "v1"))
SOURCE = source("pydynlock")


def undecodable(raw: dict[str, Any], code: str = "operation") -> Undecodable:
    """Keep a record as an older version would have."""
    return Undecodable(7, code, "01ORIGINAL", raw)


def redrive(raw: dict[str, Any], *sources: Source, at_ms: int = 5_000) -> ObserverRecord:
    """Read a kept record again, and spell what it says."""
    kept = undecodable(raw)
    reading = redriven.read_again(kept, SHARD, sources or (SOURCE,), PUBLIC_KEYS)
    return observer.redriven_record(reading, kept, SHARD, "app", at_ms)


def data_of(record: ObserverRecord) -> dict[str, Any]:
    """Return a record's data."""
    return dict(record.event["data"])


def test_it_says_what_the_change_record_would_have_said() -> None:
    """Member for member, beside what it refers to; it stands in the lock's history and in its owner's."""
    batch = Reader(SHARD, (SOURCE,), PUBLIC_KEYS).take_in([GOOD], Memory(), None, Now(0, 0))
    [would_be] = batch.records
    record = redrive(GOOD)
    beside = {
        "event": "lock.acquired",
        "record": "01ORIGINAL",
        "was": "operation",
        "changed_at": "2026-11-23T08:10:00.000Z",
    }
    assert data_of(record) == json.loads(would_be.body)["data"] | beside
    assert (record.type, record.pk, record.actor) == ("stream.redriven", would_be.pk, "ann")
    assert record.log == "application/app"
    assert record.event["subject"] == "lock/job"


def test_its_identity_is_the_original_and_the_recipe() -> None:
    """Redriven twice it is one record; read by another recipe it is another."""
    once, later = redrive(GOOD, at_ms=1), redrive(GOOD, at_ms=2)
    other = redrive(GOOD, source("pydynlock", lease_ms=1))
    assert once.identity == later.identity != other.identity
    assert len({identity_ulid(each.identity) for each in (once, later, other)}) == 2


def test_pseudonyms_follow_the_source() -> None:
    """What must not stand in clear in a change record does not in this one."""
    hidden = redrive(GOOD, source("pydynlock", pseudonymise=("name", "owner")))
    text = json.dumps(hidden.event) + hidden.pk + str(hidden.actor) + hidden.identity
    assert "ann" not in text
    assert "job" not in text


def test_a_change_without_an_event_says_so() -> None:
    """A stub that is removed was nothing, and is nothing: still an answer, under the entity's name."""
    stub = {"id": {"S": "session:s3ss10n"}}
    record = redrive(wire(7, stub, {}, None), source("flask-session"))
    data = data_of(record)
    assert "event" not in data
    assert data["reason"]
    assert data["entity"]["kind"] == "session"
    assert "s3ss10n" not in json.dumps(record.event)


def test_a_change_that_no_source_claims_says_so() -> None:
    """It stands under the stream, as its undecodable record does."""
    record = redrive(wire(7, {**lock_keys("job"), "sort_key": {"S": "other"}}, None, {"x": {"S": "y"}}))
    assert data_of(record)["reason"] == "unclaimed"
    assert record.pk == f"E#src:stream:{SHARD.shard_id}"


@pytest.mark.parametrize("twist", [{"eventName": "UPSERT"}, {"dynamodb": {**GOOD["dynamodb"], "Keys": {}}}])
def test_what_still_cannot_be_read_keeps_its_code(twist: dict[str, Any]) -> None:
    """The same codes as the first reading gave."""
    raw = {**GOOD, **twist}
    batch = Reader(SHARD, (SOURCE,), PUBLIC_KEYS).take_in([raw], Memory(), None, Now(0, 0))
    with pytest.raises(WireFaultError) as caught:
        redrive(raw)
    assert [each.code for each in batch.faults] == [caught.value.code]


def test_a_fault_of_our_own_is_a_code_too() -> None:
    """One change that trips over a defect does not keep the others from being redriven."""
    with pytest.raises(WireFaultError, match="defect"):
        redriven.read_again(
            undecodable({**GOOD, "dynamodb": Tripping(GOOD["dynamodb"])}), SHARD, (SOURCE,), PUBLIC_KEYS
        )


class Tripping(dict[str, Any]):
    """A body whose images trip a reader that expects none to."""

    def get(self, name: str, default: Any = None) -> Any:
        """Fail as code with a defect does."""
        if name == "NewImage":
            raise AttributeError("a row's text")
        return super().get(name, default)
