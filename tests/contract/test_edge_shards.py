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
