"""Edge cases of shards and listings: 2 to 12, 27 and 43 of the list of what a streams consumer meets.

The real engine through boto3, against the fake streams server.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.stream_rig import ServerRig, check_lineages

RETAINED = 220


@pytest.fixture
def rig(moto: Emulator) -> Iterator[ServerRig]:
    """Return an engine over a stream without shards."""
    with ServerRig.over(moto) as made:
        yield made


def family(rig: ServerRig) -> dict[str, list[int]]:
    """Add a root that split in two, one of which rolled; return each shard's sequence numbers."""
    numbers: dict[str, list[int]] = {}
    for name, parent in (("root", None), ("left", "root"), ("right", "root"), ("leaf", "left")):
        rig.add(name, parent)
        numbers[name] = rig.put(name, "a", "b")
    for name in ("root", "left"):
        rig.order("close", shard_id=name)
    return numbers


def test_edge_02_rolls_and_splits_are_routine(rig: ServerRig) -> None:
    """Each child begins when its parent's end is marked, and everything comes once."""
    numbers = family(rig)
    parents = {"left": "root", "right": "root", "leaf": "left"}

    def watch(verb: str, shard: str) -> None:
        if verb == "initialize" and shard in parents:
            assert rig.is_finished(parents[shard])

    rig.recorder.on_verb = watch
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers


@pytest.mark.parametrize("together", [True, False])
def test_edge_03_records_that_come_with_a_null_iterator_are_consumed(rig: ServerRig, together: bool) -> None:  # noqa: FBT001
    """The last page counts, and then the shard is finished."""
    rig.add("root", null_with_records=together)
    numbers = rig.put("root", *"abc")
    rig.order("close", shard_id="root")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert rig.is_finished("root")


def test_edge_04_an_empty_page_is_neither_the_end_nor_the_tip(rig: ServerRig) -> None:
    """Two of them stand before data; the shard stays open."""
    rig.add("root", empty_pages=2)
    numbers = rig.put("root", "a")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert not rig.is_finished("root")


def test_edge_05_a_finished_shard_is_remembered_apart_from_its_position(rig: ServerRig) -> None:
    """After a restart finished shards are not asked for, open ones go on where they were."""
    numbers = family(rig)
    rig.run_once()
    more = rig.put("leaf", "c")
    rig.server.service.calls.clear()
    rig.recorder.log.clear()
    rig.run_once()
    assert rig.recorder.initialized() == [("leaf", numbers["leaf"][-1]), ("right", numbers["right"][-1])]
    assert rig.recorder.consumed() == more
    asked = {request["ShardId"].rsplit("-", 1)[-1] for request in rig.asked("GetShardIterator")}
    assert asked == {"leaf", "right"}


def test_edge_06_a_parent_that_aged_out_before_the_first_start_is_done(rig: ServerRig) -> None:
    """Nobody waits for what no listing shows."""
    numbers = family(rig)
    rig.order("age_out", shard_id="root")
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in ("left", "right", "leaf")} == {
        shard: numbers[shard] for shard in ("left", "right", "leaf")
    }


def test_edge_06_a_parent_that_is_listed_is_waited_for(rig: ServerRig) -> None:
    """Its child is not begun while it is unread, however long."""
    rig.add("root")
    rig.add("child", "root")
    rig.put("child", "a")
    rig.run_once()
    rig.run_once()
    assert "child" not in dict(rig.recorder.initialized())


def test_edge_06_a_parent_that_ages_out_while_its_child_waits_is_done(rig: ServerRig) -> None:
    """Listed and read one day, gone the next: several words on that, and then nobody waits for it."""
    rig.add("root")
    rig.add("child", "root")
    first, later = rig.put("root", "a"), rig.put("child", "b")
    rig.run_once()
    assert "child" not in dict(rig.recorder.initialized())
    rig.order("age_out", shard_id="root")
    rig.run_once()
    assert rig.recorder.consumed() == first + later
    assert rig.is_finished("root")


def test_edge_06_a_parent_that_ages_out_between_two_pages_is_done(rig: ServerRig) -> None:
    """While the engine runs: the shard is not found any more, no listing shows it, and its child begins."""
    rig.settings = replace(rig.settings, page_records=1)
    rig.add("root")
    first = rig.put("root", "a")
    rig.add("child", "root")
    later = rig.put("child", "b")

    def age_out(number: int) -> None:
        if number == first[0]:
            rig.order("age_out", shard_id="root")

    rig.recorder.on_record = age_out
    rig.run_once()
    assert rig.recorder.consumed() == first + later


def test_edge_07_a_child_that_is_closed_when_first_seen_is_read_whole(rig: ServerRig) -> None:
    """From its trim horizon to its last page."""
    numbers = family(rig)
    for name in ("right", "leaf"):
        rig.order("close", shard_id=name)
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers
    assert all(rig.is_finished(shard) for shard in numbers)


def test_edge_08_a_listing_is_read_to_its_last_page_and_not_in_a_rush(rig: ServerRig) -> None:
    """Pages of three, a pause between them: DescribeStream bears ten calls a second for a stream."""
    rig.server.control({"set": {"shards_per_page": 3}})
    moments: list[int] = []
    rig.server.service.before_call = lambda name, now_ms: moments.append(now_ms) if name == "DescribeStream" else None
    for number in range(10):
        rig.add(f"shard{number}")
    rig.run_once()
    assert len(rig.recorder.initialized()) == 10
    cursors = [request.get("ExclusiveStartShardId", "")[-6:] for request in rig.asked("DescribeStream")]
    assert cursors[:4] == ["", "shard2", "shard5", "shard8"]
    assert all(later - earlier >= 100 for earlier, later in pairwise(moments[:4]))


@pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException"])
def test_edge_08_a_throttled_listing_goes_on(rig: ServerRig, code: str) -> None:
    """A refused page is asked for again, as is one that the service failed to give."""
    family(rig)
    rig.fail("DescribeStream", code=code, times=3)
    rig.fail("DescribeStream", times=2)
    rig.run_once()
    assert len(rig.recorder.initialized()) == 4


def test_edge_08_a_cursor_that_repeats_does_not_go_round_for_ever(rig: ServerRig) -> None:
    """The listing is begun anew; nothing is started out of order."""
    rig.server.control({"set": {"shards_per_page": 2, "repeat_cursor": 1}})
    numbers = family(rig)
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers
    check_lineages(rig.recorder, rig.shards())


def test_edge_09_a_closed_leaf_gets_its_child_late(rig: ServerRig) -> None:
    """Listings that do not show the child yet do not end the lineage."""
    rig.add("root")
    rig.order("close", shard_id="root")
    rig.add("late", "root", hidden_listings=3)
    numbers = rig.put("late", "a")
    rig.run_once()
    rig.clock.advance(60)
    rig.run_once()
    assert rig.recorder.consumed("late") == numbers


def test_edge_09_a_parent_that_is_shown_open_beside_its_child_is_read_first(rig: ServerRig) -> None:
    """The child waits for the parent's real end, not for what a listing says of it."""
    numbers = family(rig)
    rig.order("shard", shard_id="root", open_listings=2)
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers
    check_lineages(rig.recorder, rig.shards())


def test_edge_09_a_hole_in_mid_lineage_is_never_passed(rig: ServerRig) -> None:
    """No listing ever shows the middle shard: it is asked for by name and read between its parent and its child."""
    rig.add("root")
    rig.add("hole", "root", hidden_listings=1_000)
    rig.add("leaf", "hole")
    numbers = [number for name in ("root", "hole", "leaf") for number in rig.put(name, *"ab")]
    for name in ("root", "hole"):
        rig.order("close", shard_id=name)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


@pytest.mark.parametrize("listings", [1, 2])
def test_edge_09_a_shard_missing_from_a_listing_keeps_what_is_remembered_of_it(rig: ServerRig, listings: int) -> None:
    """Neither a finished shard's mark nor an open one's position goes for a listing's word, and nothing is re-read."""
    numbers = family(rig)
    rig.run_once()
    before = {shard: rig.checkpoint(shard) for shard in numbers}
    rig.recorder.log.clear()
    for shard in ("left", "right"):
        rig.order("shard", shard_id=shard, hidden_listings=listings)
    rig.run_once()
    assert rig.recorder.consumed() == []
    after = {shard: rig.checkpoint(shard) for shard in numbers}
    places = [
        {shard: (row.position, row.finished) for shard, row in rows.items() if row is not None}
        for rows in (before, after)
    ]
    assert places[0] == places[1]
    assert set(places[1]) == set(numbers)


def test_edge_10_a_shard_that_is_its_own_parent_is_read(rig: ServerRig) -> None:
    """A loop in a listing makes nobody wait for ever."""
    rig.add("self", "self")
    numbers = rig.put("self", "a")
    rig.run_once()
    assert rig.recorder.consumed() == numbers


@pytest.mark.parametrize("filtering", ["honoured", "ignored"])
def test_edge_10_children_are_found_whether_or_not_the_filter_is_honoured(rig: ServerRig, filtering: str) -> None:
    """An emulator gives all shards for CHILD_SHARDS, the shard itself among them."""
    rig.server.control({"set": {"child_filter": filtering}})
    numbers = family(rig)
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers


def searched(rig: ServerRig) -> list[str]:
    """Return the shards whose children were asked for, in order."""
    filters = [request.get("ShardFilter") for request in rig.asked("DescribeStream")]
    return [wanted["ShardId"].rsplit("-", 1)[-1] for wanted in filters if wanted and wanted["Type"] == "CHILD_SHARDS"]


def test_edge_10_late_children_are_asked_for_again_ever_more_slowly(rig: ServerRig) -> None:
    """By CHILD_SHARDS of the shard that ended, not by listing: they are found within moments of their appearance."""
    moments: list[int] = []
    rig.server.service.before_call = lambda name, now_ms: moments.append(now_ms) if name == "DescribeStream" else None
    rig.add("root")
    rig.order("close", shard_id="root")
    rig.add("late", "root", hidden_until_ms=rig.clock.now().wall_ms + 1_500)
    numbers = rig.put("late", "a")
    rig.run_once()
    assert rig.recorder.consumed("late") == numbers
    asked = searched(rig)
    assert set(asked) == {"root"}
    waits = [later - earlier for earlier, later in pairwise(moments[-len(asked) :])]
    assert len(waits) > 2
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] <= 1_000


def test_edge_10_children_that_stay_away_are_found_by_a_whole_listing(rig: ServerRig) -> None:
    """They are asked for so many times and no more."""
    rig.add("root")
    rig.order("close", shard_id="root")
    rig.add("late", "root", hidden_until_ms=rig.clock.now().wall_ms + 20_000)
    numbers = rig.put("late", "a")
    rig.run_once()
    assert searched(rig) == ["root"] * 8
    assert "ShardFilter" not in rig.asked("DescribeStream")[-1]
    rig.clock.advance(30)
    rig.run_once()
    assert rig.recorder.consumed("late") == numbers


def test_edge_10_an_answer_that_is_the_shard_itself_does_no_harm(rig: ServerRig) -> None:
    """As moto gives it: asked once, the shard is not read again, and its child is found by listing."""
    rig.server.control({"set": {"child_filter": "ignored"}})
    rig.add("root")
    numbers = rig.put("root", "a")
    rig.order("close", shard_id="root")
    rig.run_once()
    assert searched(rig) == ["root"]
    rig.add("child", "root")
    numbers += rig.put("child", "b")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert [name for name, _ in rig.recorder.initialized()] == ["root", "child"]


def test_edge_10_nobody_asks_for_children_of_a_stream_that_is_off(rig: ServerRig) -> None:
    """None will come."""
    numbers = family(rig)
    rig.order("disable")
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers
    assert searched(rig) == []


def test_edge_11_the_time_in_a_shards_name_is_a_hint_at_most(rig: ServerRig) -> None:
    """A child whose name is older than its parent's is read after it all the same."""
    parent, child = f"shardId-{9 * 10**12:020d}-aaaaaaaa", f"shardId-{10**12:020d}-bbbbbbbb"
    rig.add(parent)
    rig.add(child, parent)
    numbers = rig.put(parent, "a") + rig.put(child, "b")
    rig.order("close", shard_id=parent)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_12_a_stream_that_is_being_enabled_has_no_shards_yet(rig: ServerRig) -> None:
    """There is nothing to read and nothing wrong; what comes later is read."""
    rig.order("status", status="ENABLING")
    rig.run_once()
    rig.order("status", status="ENABLED")
    rig.add("root")
    numbers = rig.put("root", "a")
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_12_a_disabled_stream_is_drained_and_that_is_no_error(rig: ServerRig) -> None:
    """Its leaves are closed; all is read, and no child is waited for."""
    numbers = family(rig)
    rig.order("disable")
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers
    assert all(rig.is_finished(shard) for shard in numbers)


def test_edge_27_a_table_made_again_under_its_name_shares_nothing_with_the_old_one(rig: ServerRig) -> None:
    """State is keyed by ARN: shards of equal names begin at their own beginning."""
    rig.add("same")
    rig.put("same", *"abc")
    rig.run_once()
    rig.order("delete")
    rig.clock.advance(1)
    arn: Any = rig.order("create", shards=0)["arn"]
    assert arn != rig.arn
    rig.order("add_shard", arn=arn, shard_id="same")
    numbers = [int(number) for number in rig.order("put", arn=arn, shard_id="same", keys=["d"])["numbers"]]
    rig.recorder.log.clear()
    rig.run_once(arn)
    assert rig.recorder.initialized() == [("same", None)]
    assert rig.recorder.consumed() == numbers


def test_edge_43_hundreds_of_retained_shards_are_all_read_in_order(rig: ServerRig) -> None:
    """A long lineage over several pages of listing, throttled now and then, one reader after another."""
    rig.settings = replace(rig.settings, tip_pages=1)
    rig.order("add_shard", shard_id="root")
    parent = "root"
    for number in range(RETAINED):
        rig.order("close", shard_id=parent)
        rig.add(f"s{number}", parent)
        parent = f"s{number}"
        rig.put(parent, "a")
    rig.fail("DescribeStream", code="LimitExceededException", times=2, passes=1)
    rig.run_once()
    assert len(rig.recorder.consumed()) == RETAINED
    check_lineages(rig.recorder, rig.shards())


def test_edge_43_reading_begins_before_a_slow_listing_is_complete(rig: ServerRig) -> None:
    """Each page counts at once, and a page that fails is asked for again from where the listing was."""
    rig.settings = replace(rig.settings, tip_pages=1)
    rig.server.control({"set": {"shards_per_page": 10}})
    numbers: list[int] = []
    for number in range(RETAINED):
        rig.add(f"s{number:03d}")
        numbers += rig.put(f"s{number:03d}", "a")
    for _ in range(RETAINED // 10):
        rig.fail("DescribeStream", code="LimitExceededException", times=2, passes=1)
        rig.fail("DescribeStream", kind="truncated")
    rig.run_once()
    assert sorted(rig.recorder.consumed()) == numbers
    calls = [name for name, _ in rig.server.service.calls]
    listed = len(calls) - calls[::-1].index("DescribeStream")
    assert calls[:listed].count("GetRecords") > RETAINED // 2
    cursors = [request.get("ExclusiveStartShardId", "") for request in rig.asked("DescribeStream")]
    assert cursors[: cursors.index(max(cursors))] == sorted(cursors[: cursors.index(max(cursors))])
    assert len(cursors) > 3 * RETAINED // 10


def test_edge_43_a_listing_that_fails_for_long_keeps_nobody_from_reading(rig: ServerRig) -> None:
    """What the first page showed is read on while the second is refused, and a shard's children are found meanwhile."""
    rig.server.control({"set": {"shards_per_page": 2}})
    for name in ("one", "two", "three"):
        rig.add(name)
    first = rig.put("one", "a")
    rig.fail("DescribeStream", code="ThrottlingException", times=10, passes=1)
    later: list[int] = []

    def grow(number: int) -> None:
        if number == first[0]:
            later.extend(rig.put("one", "b"))

    rig.recorder.on_record = grow
    third = rig.put("three", "c")
    rig.run_once()
    assert rig.recorder.consumed() == first + later + third
    assert len(rig.asked("DescribeStream")) == 1 + 10 + 1
