"""What a shard's processor tells of itself."""

from collections.abc import Callable, Sequence

import pytest

from lockside.core.log import Placed
from lockside.core.status import BAD_AFTER_MS, ShardView
from lockside.errors import StoppedError
from tests.fakes.shard import ShardRig
from tests.fakes.sources import lock_keys, pydynlock, source, wire
from tests.fakes.trail import MemoryTrail

JOB = lock_keys("job")


class SlowTrail(MemoryTrail):
    """A trail that lets something happen before it acknowledges."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def write(self, records: Sequence[Placed]) -> None:
        """Let it happen, then write."""
        self.meanwhile()
        super().write(records)


@pytest.fixture
def rig() -> ShardRig:
    """Return a shard of a lock table, nothing read yet."""
    return ShardRig(source("pydynlock"))


def test_before_its_first_page_it_is_starting(rig: ShardRig) -> None:
    """Nothing is known of its lag, and there is a log to ask for the recipe."""
    view = rig.processor.view()
    assert (view.state, view.position, view.lag_ms, view.unwritten_ms) == ("starting", None, None, None)
    assert view.log == rig.trail.open(rig.processor.shard, (rig.source,), "TRIM_HORIZON").log


def test_one_that_gets_no_page_at_all_is_stalled(rig: ShardRig) -> None:
    """A denied GetRecords from the start on is as bad as one that is denied later."""
    rig.clock.advance(BAD_AFTER_MS / 1_000 + 1)
    view = rig.processor.view()
    assert (view.state, view.lag_ms) == ("stalled", None)


def test_caught_up_it_lags_by_the_age_of_its_last_page(rig: ShardRig) -> None:
    """What it saw then was all there was: a shard that is not asked any more grows old."""
    rig.table.put(JOB, pydynlock("alpha", "v1", "3600"))
    rig.consume()
    rig.clock.advance(2)
    view = rig.processor.view()
    assert (view.state, view.lag_ms, view.deadlines) == ("caught_up", 2_000, 1)
    assert view.position == int(rig.table.records[-1]["dynamodb"]["SequenceNumber"])
    rig.clock.advance(BAD_AFTER_MS / 1_000)
    assert rig.processor.view().state == "stalled"


def test_behind_it_lags_by_the_age_of_what_it_consumed(rig: ShardRig) -> None:
    """What it has not seen is younger than that."""
    rig.table.put(JOB, pydynlock("alpha", "v1"))
    rig.clock.advance(100)
    rig.processor.process_records(rig.table.records, caught_up=False)
    view = rig.processor.view()
    assert (view.state, view.lag_ms) == ("reading", 100_000)


def test_a_change_that_is_not_written_shows_its_age_and_since_when() -> None:
    """Looked at while the trail is slow; and nothing of it is left once it has answered."""
    trail = SlowTrail()
    rig = ShardRig(source("pydynlock"), trail=trail)
    seen: list[ShardView] = []

    def while_it_waits() -> None:
        rig.clock.advance(15)
        seen.append(rig.processor.view())

    trail.meanwhile = while_it_waits
    rig.table.put(JOB, pydynlock("alpha", "v1"))
    rig.clock.advance(30)
    rig.consume()
    assert (seen[0].unwritten_ms, seen[0].held_since_ms, seen[0].position) == (45_000, 30_000, None)
    assert (rig.processor.view().unwritten_ms, rig.processor.view().held_since_ms) == (None, None)


def test_a_held_change_without_a_creation_time_ages_from_its_receipt() -> None:
    """It cannot be decoded, and still holds its shard: without an age nobody would ever hear of it."""
    trail = SlowTrail()
    rig = ShardRig(source("pydynlock"), trail=trail)
    raw = wire(1, JOB, None, pydynlock("alpha", "v1"))
    raw["dynamodb"]["ApproximateCreationDateTime"] = "soon"
    seen: list[ShardView] = []

    def while_it_waits() -> None:
        rig.clock.advance(7_200)
        seen.append(rig.processor.view())

    trail.meanwhile = while_it_waits
    rig.processor.process_records([raw], caught_up=True)
    assert (seen[0].unwritten_ms, seen[0].held_since_ms) == (7_200_000, 0)


def test_an_ended_shard_says_so_while_it_has_deadlines() -> None:
    """Its locks are watched until a child shows them."""
    rig = ShardRig(source("pydynlock"))
    rig.table.put(JOB, pydynlock("alpha", "v1"))
    rig.consume()
    rig.processor.shard_ended()
    assert (rig.processor.view().state, rig.processor.done) == ("ended", False)
    rig.clock.advance(3_600)
    assert (rig.processor.view().lag_ms, rig.processor.behind_seconds) == (0, 0.0)


def test_a_shard_that_is_not_read_falls_behind_from_its_beginning(rig: ShardRig) -> None:
    """Denied from the start, it has no page to count from; caught up, it counts from the last one."""
    rig.clock.advance(1_800)
    assert rig.processor.behind_seconds == 1_800.0
    rig.processor.process_records([], caught_up=True)
    assert rig.processor.behind_seconds == 0.0
    rig.clock.advance(20 * 3_600)
    assert rig.processor.behind_seconds == 72_000.0


def test_a_change_that_is_not_acknowledged_shows_its_age_after_its_shard_was_given_up(rig: ShardRig) -> None:
    """A halted shard holds it up until somebody acts."""
    rig.table.put(JOB, pydynlock("alpha", "v1"))
    rig.trail.fail.append(StoppedError("write"))
    with pytest.raises(StoppedError):
        rig.consume()
    rig.processor.lease_lost()
    rig.clock.advance(7_200)
    assert (rig.processor.done, rig.processor.unwritten_seconds) == (True, 7_200.0)
