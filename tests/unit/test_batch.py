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
