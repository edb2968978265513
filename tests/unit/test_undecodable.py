"""What the processor does with changes that cannot be decoded: kept, then recorded, and never without a limit."""

from dataclasses import replace
from typing import Any

import pytest

from lockside.core import defect
from lockside.core.batch import Batch, Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.now import Now
from lockside.core.row import Row
from lockside.errors import FaultyPageError, StoppedError, UndecodableLimitError
from tests.fakes.shard import ShardRig
from tests.fakes.sources import SHARD, lock_keys, pydynlock, source, wire
from tests.fakes.undecodable import MemoryUndecodables


def changes(*bad: int, number: int = 8) -> list[dict[str, Any]]:
    """Build acquisitions of as many locks; those at the given positions cannot be decoded."""
    made = [wire(n, lock_keys(f"job-{n}"), None, pydynlock("ann", f"v{n}")) for n in range(1, number + 1)]
    return [{**raw, "eventName": "UPSERT"} if n in bad else raw for n, raw in enumerate(made, 1)]


def rig(changes_max: int = 100) -> ShardRig:
    """Make a shard that keeps so many."""
    return ShardRig(source("pydynlock"), undecodables=MemoryUndecodables(changes_max))


def kept(shard: ShardRig) -> list[int]:
    """List the positions kept."""
    return [position for _, position in shard.undecodables.kept]


def types(shard: ShardRig) -> list[str]:
    """List the types recorded, in order."""
    return [type_ for type_, _ in shard.events()]


def take(*raws: Any, src: Any = None) -> Batch:
    """Take in records on their own."""
    return Reader(SHARD, (src or source("pydynlock"),), PUBLIC_KEYS).take_in(raws, Memory(), None, Now(0, 0))


def test_what_is_kept_is_the_change_as_it_came_under_its_records_id() -> None:
    """So that redrive can refer to the record."""
    shard, raws = rig(), changes(3)
    shard.consume(raws)
    [(_, change)] = shard.undecodables.kept.items()
    assert (change.position, change.code, change.raw) == (3, "operation", raws[2])
    assert f'"id":"{change.record_id}"'.encode() in b"".join(shard.trail.all_bodies())


def test_it_is_kept_before_it_is_recorded() -> None:
    """A store that refuses holds the shard: no record, no position. A trail that refuses leaves what is kept."""
    shard = rig()
    shard.undecodables.fail.append(StoppedError("keep"))
    with pytest.raises(StoppedError):
        shard.consume(changes(3))
    assert (types(shard), shard.processor.flush()) == ([], None)
    shard.restart()
    shard.trail.fail.append(StoppedError("write"))
    with pytest.raises(StoppedError):
        shard.consume(changes(3))
    assert (kept(shard), types(shard)) == ([3], [])


def test_a_replay_keeps_nothing_again_that_the_head_covers() -> None:
    """It may have been redriven and removed since."""
    shard = rig()
    shard.consume(changes(3))
    shard.undecodables.kept.clear()
    shard.checkpoint = None
    shard.restart()
    shard.consume(changes(3))
    assert kept(shard) == []


def test_a_replay_of_what_the_head_does_not_cover_counts_it_once() -> None:
    """Kept, and then the worker died: at the limit the same change still fits."""
    shard = rig(changes_max=1)
    shard.trail.fail.append(StoppedError("write"))
    with pytest.raises(StoppedError):
        shard.consume(changes(3))
    shard.restart()
    shard.consume(changes(3))
    assert len(types(shard)) == 8


def test_at_the_limit_the_shard_halts_before_the_change_that_does_not_fit() -> None:
    """What comes before it in the batch is recorded, nothing after it, and the checkpoint stays before the batch."""
    shard = rig(changes_max=2)
    shard.consume(changes()[:1])
    with pytest.raises(UndecodableLimitError) as caught:
        shard.consume(changes(3, 5, 7))
    assert caught.value.position == 7
    assert kept(shard) == [3, 5]
    assert len(types(shard)) == 6
    assert shard.processor.flush() == 1
    assert set(shard.live.entries) == {f"src:S5:job-{n},S1:-" for n in (1, 2, 4, 6)}


def test_after_the_limit_was_raised_the_log_is_as_if_it_had_never_been_met() -> None:
    """Same bytes in the same places, whether it halted in between or not."""
    halted, whole = rig(changes_max=2), rig()
    with pytest.raises(UndecodableLimitError):
        halted.consume(changes(3, 5, 7))
    halted.processor.lease_lost()
    halted.undecodables.changes_max = 3
    halted.restart()
    halted.consume(changes(3, 5, 7))
    whole.consume(changes(3, 5, 7))
    assert list(halted.trail.all_bodies()) == list(whole.trail.all_bodies())
    assert halted.live.entries == whole.live.entries
    assert halted.checkpoint == whole.checkpoint == 8


def test_every_change_is_counted_as_one_thing_or_another() -> None:
    """Recorded, only counted, without an event, claimed by no source, undecodable: together what was consumed."""
    job = lock_keys("job")
    batch = take(
        wire(1, job, None, pydynlock("ann", "v1")),
        wire(2, job, pydynlock("ann", "v1"), pydynlock("ann", "v2")),
        wire(3, {**job, "sort_key": {"S": "other"}}, None, {"x": {"S": "y"}}),
        {**wire(4, job, None, pydynlock("ann", "v1")), "eventName": "?"},
    )
    assert (batch.events, batch.unclaimed) == ({"lock.acquired": 1, "lock.renewed": 1}, 1)
    assert [(fault.position, fault.code) for fault in batch.faults] == [(4, "operation")]
    assert batch.consumed == sum(batch.events.values()) + batch.unclaimed + len(batch.faults) == 4
    stub = take(wire(1, {"id": {"S": "session:a"}}, {}, None), src=source("flask-session"))
    assert (sum(stub.uneventful.values()), stub.consumed, stub.records) == (1, 1, [])


def defective(error: type[BaseException] = KeyError) -> Any:
    """Build a source over a defective layout, which fails with an error of this type."""
    good = source("pydynlock")
    [spec] = good.layouts
    layout = Failing(spec, error)
    return replace(good, layouts=(layout,))


class Failing:
    """A layout that claims everything and fails to read it."""

    def __init__(self, spec: Any, error: type[BaseException]) -> None:
        """Stand in for a layout."""
        self._spec, self._error = spec, error

    def __getattr__(self, name: str) -> Any:
        """Be as the layout is."""
        return getattr(self._spec, name)

    def read(self, image: Any) -> Row:
        """Fail, quoting the row."""
        raise self._error(str(image))


def test_a_defect_of_ours_is_undecodable_like_any_other() -> None:
    """It is kept for the version that mends it, and tells its line, never the row it met."""
    batch = take(*changes(), src=defective())
    assert {fault.code for fault in batch.faults} == {defect.CODE}
    assert len(batch.faults) == len(batch.records) == batch.consumed == 8
    spot = batch.faults[0].spot
    assert spot is not None
    assert spot.startswith("KeyError at tests.unit.test_undecodable:")
    assert "ann" not in repr(batch.faults)


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_the_process_lacks_is_no_property_of_a_change(error: type[BaseException]) -> None:
    """A record must not depend on how much memory or stack there was (law 2): the shard stops, and reads it again."""
    with pytest.raises(error):
        take(*changes(), src=defective(error))


def test_the_same_place_twice_is_one_change_only_if_it_is_the_same() -> None:
    """A record repeated on its page is passed over; another one at its place would be lost in silence."""
    first, other = changes()[0], changes()[1]
    assert take(first, first).consumed == 1
    other["dynamodb"]["SequenceNumber"] = first["dynamodb"]["SequenceNumber"]
    with pytest.raises(FaultyPageError):
        take(first, other)
