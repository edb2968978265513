"""One page taken in: which of its records count, and when the page is refused whole."""

import pytest

from lockside.core.batch import Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.now import Now
from lockside.errors import FaultyPageError
from tests.fakes.sources import SHARD, lock_keys, pydynlock, source, wire

READER = Reader(SHARD, (source("pydynlock"),), PUBLIC_KEYS)


def taken(*positions: int, after: int | None = None) -> list[int]:
    """Take in a page of locks at these positions and return those that were recorded."""
    page = [wire(at, lock_keys(f"job-{at}"), None, pydynlock("alpha", "v")) for at in positions]
    batch = READER.take_in(page, Memory(), after, Now(0, 0))
    return [record.position for record in batch.records]


def test_what_was_consumed_before_is_passed_over() -> None:
    """A page read again, or one that tells a record twice, gives each record once."""
    assert taken(3, 4, 5, after=4) == [5]
    assert taken(3, 3, 4) == [3, 4]


def test_a_page_that_goes_backwards_is_refused_whole() -> None:
    """A record below the one before it would be lost without a word: nothing of its page is taken in."""
    memory = Memory()
    page = [wire(at, lock_keys(f"job-{at}"), None, pydynlock("alpha", "v")) for at in (5, 3)]
    with pytest.raises(FaultyPageError):
        READER.take_in(page, memory, None, Now(0, 0))
    assert len(memory.deadlines) == 0


def test_a_removal_alone_with_its_absent_image_spelled_null() -> None:
    """Null is an absent image, as some serialisers spell it."""
    raw = wire(1, lock_keys("a"), pydynlock("alpha", "v"), None)
    raw["dynamodb"]["NewImage"] = None
    assert [record.type for record in READER.take_in([raw], Memory(), None, Now(0, 0)).records] == ["lock.released"]


def test_a_takeover_after_a_change_that_was_not_understood_states_no_earlier_lapse() -> None:
    """A deadline armed for another version tells nothing of the hold that was taken over."""
    memory = Memory()
    first = wire(1, lock_keys("a"), None, pydynlock("alpha", "v1"), at=1_000)
    unknown = wire(2, lock_keys("a"), pydynlock("alpha", "v1"), pydynlock("beta", "v2"), at=1_010)
    taken_over = wire(3, lock_keys("a"), pydynlock("beta", "v2"), pydynlock("gamma", "v3"), at=1_020)
    READER.take_in([first, {**unknown, "eventName": "MUTATE"}], memory, None, Now(1_010_000, 0))
    [proven] = READER.take_in([taken_over], memory, 2, Now(1_020_000, 10_000)).lapses
    assert (proven.lapse.hold.version, proven.lapse.legal_ms) == ("v2", 1_020_000)


def test_a_lapse_declared_of_another_hold_hides_no_lapse() -> None:
    """A takeover proves the lapse of what it takes over, though that of an earlier version is still remembered."""
    memory = Memory()
    held = wire(1, lock_keys("a"), None, pydynlock("alpha", "v1"), at=1_000)
    READER.take_in([held], memory, None, Now(1_000_000, 0))
    [timer] = memory.deadlines.due(Now(1_009_000, 9_000), caught_up=True, limit=10)
    memory.deadlines.settle(timer, declared=True)
    taken_over = wire(3, lock_keys("a"), pydynlock("beta", "v2"), pydynlock("gamma", "v3"), at=1_020)
    [proven] = READER.take_in([taken_over], memory, 1, Now(1_020_000, 20_000)).lapses
    assert proven.lapse.hold.version == "v2"


def test_a_ttl_removal_after_lost_changes_proves_nothing_by_an_old_deadline() -> None:
    """A deadline armed for another version does not prove that the lease which TTL ended had run out."""
    memory = Memory()
    held = wire(1, lock_keys("a"), None, pydynlock("alpha", "v1"), at=1_000)
    READER.take_in([held], memory, None, Now(1_000_000, 0))
    removed = wire(3, lock_keys("a"), pydynlock("beta", "v2"), None, at=1_020, ttl=True)
    assert READER.take_in([removed], memory, 1, Now(1_020_000, 20_000)).lapses == []


@pytest.mark.parametrize("created", [None, "soon", True])
def test_a_heartbeat_without_a_creation_time_is_undecodable(created: object) -> None:
    """Also the first of its page, which is taken in the quick way."""
    memory = Memory()
    READER.take_in([wire(1, lock_keys("a"), None, pydynlock("alpha", "v1"))], memory, None, Now(0, 0))
    beat = wire(2, lock_keys("a"), pydynlock("alpha", "v1"), pydynlock("alpha", "v2"))
    beat["dynamodb"]["ApproximateCreationDateTime"] = created
    batch = READER.take_in([beat], memory, 1, Now(0, 0))
    assert [fault.code for fault in batch.faults] == ["creation_time"]
    assert batch.events == {}
