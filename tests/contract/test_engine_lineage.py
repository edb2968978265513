"""Shards that close, roll and split: parents first, nothing lost at the seams (streams.md section 2, 2 to 12)."""

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.rig import Rig


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine over a fake stream that lists three shards a page."""
    return Rig.on(moto, shards_per_page=3)


def family(rig: Rig) -> dict[str, list[int]]:
    """Add a root that split in two, one of which rolled; return each shard's sequence numbers."""
    rig.streams.add_shard(rig.arn, "root")
    numbers = {"root": rig.streams.put(rig.arn, "root", "a", "b")}
    rig.streams.close(rig.arn, "root")
    for name, parent in (("left", "root"), ("right", "root"), ("leaf", "left")):
        rig.streams.add_shard(rig.arn, name, parent)
        numbers[name] = rig.streams.put(rig.arn, name, "a", "b")
    rig.streams.close(rig.arn, "left")
    return numbers


def test_parents_are_read_before_children(rig: Rig) -> None:
    """A child begins only when its parent's end is marked in the state table."""
    numbers = family(rig)
    parents = {"left": "root", "right": "root", "leaf": "left"}

    def watch(verb: str, shard: str) -> None:
        if verb == "initialize" and shard in parents:
            assert rig.is_finished(parents[shard])

    rig.recorder.on_verb = watch
    rig.run_once()
    assert {shard: rig.recorder.consumed(shard) for shard in numbers} == numbers
    assert [name for name, _ in rig.recorder.initialized()] == ["root", "left", "right", "leaf"]


def test_the_end_of_a_shard_comes_in_order(rig: Rig) -> None:
    """The processor learns of the end, flushes, and only then are position and mark written."""
    numbers = family(rig)
    rig.recorder.on_verb = lambda verb, shard: (
        _nothing_written(rig, shard) if verb == "flush" and shard == "root" else None
    )
    rig.run_once()
    assert rig.recorder.verbs("root") == ["initialize", "caught_up", "shard_ended", "flush"]
    assert (rig.position("root"), rig.is_finished("root")) == (numbers["root"][-1], True)
    assert rig.recorder.verbs("leaf")[-2:] == ["shutdown_requested", "flush"]


def _nothing_written(rig: Rig, shard: str) -> None:
    assert (rig.position(shard), rig.is_finished(shard)) == (None, False)


@pytest.mark.parametrize("together", [True, False])
def test_edge_3_the_last_page_is_consumed_whether_or_not_it_carries_records(rig: Rig, together: bool) -> None:  # noqa: FBT001
    """A null iterator may come with records, or after them."""
    rig.streams.add_shard(rig.arn, "root")
    numbers = rig.streams.put(rig.arn, "root", "a", "b", "c")
    rig.streams.shard(rig.arn, "root").null_with_records = together
    rig.streams.close(rig.arn, "root")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert rig.is_finished("root")


def test_edge_4_empty_pages_before_data_are_paged_through(rig: Rig) -> None:
    """An empty page is neither the end nor the tip."""
    rig.streams.add_shard(rig.arn, "root")
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.shard(rig.arn, "root").empty_pages = rig.settings.tip_pages - 1
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_5_finished_shards_are_not_read_again(rig: Rig) -> None:
    """After a restart only open shards are read on, from where they were left."""
    numbers = family(rig)
    rig.run_once()
    more = rig.streams.put(rig.arn, "leaf", "c")
    rig.recorder.log.clear()
    rig.run_once()
    assert sorted(rig.recorder.initialized()) == [("leaf", numbers["leaf"][-1]), ("right", numbers["right"][-1])]
    assert rig.recorder.consumed() == more


def test_edge_6_a_parent_that_aged_out_is_done(rig: Rig) -> None:
    """Nobody waits for a shard that is not listed."""
    numbers = family(rig)
    rig.streams.drop(rig.arn, "root")
    rig.run_once()
    assert rig.recorder.consumed("leaf") == numbers["leaf"]


def test_edge_7_a_child_that_is_closed_when_first_seen_is_read_whole(rig: Rig) -> None:
    """It starts at the trim horizon like any other."""
    numbers = family(rig)
    rig.streams.close(rig.arn, "right", "leaf")
    rig.run_once()
    assert rig.recorder.consumed("right") == numbers["right"]
    assert all(rig.is_finished(shard) for shard in numbers)


def test_edge_8_listings_are_read_to_the_last_page(rig: Rig) -> None:
    """Ten shards in pages of three are all found."""
    for number in range(10):
        rig.streams.add_shard(rig.arn, f"shard{number}")
    rig.run_once()
    assert len(rig.recorder.initialized()) == 10


def test_edge_8_a_listing_that_runs_in_a_circle_is_begun_anew(rig: Rig) -> None:
    """A repeated cursor ends the listing, and what it gave is not used: a parent may be missing from it."""
    rig.streams.add_shard(rig.arn, "child", "root")
    for name in ("b", "c", "d", "e", "f", "root"):
        rig.streams.add_shard(rig.arn, name)
    rig.streams.repeat_cursor = 1
    rig.run_once()
    assert sorted(name for name, _ in rig.recorder.initialized()) == ["b", "c", "d", "e", "f", "root"]


@pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException", "InternalServerError"])
def test_edge_8_a_listing_goes_on_after_a_refused_page(rig: Rig, code: str) -> None:
    """A throttled page is asked for again."""
    family(rig)
    rig.streams.fail("describe_stream", code, times=3)
    rig.run_once()
    assert len(rig.recorder.initialized()) == 4


def test_edge_9_a_child_that_shows_up_late_is_found(rig: Rig) -> None:
    """After a shard's end the stream is listed again and again for a while."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "late", "root", hidden_listings=3)
    numbers = rig.streams.put(rig.arn, "late", "a")
    rig.run_once()
    assert rig.recorder.consumed("late") == numbers
    assert rig.is_finished("root"), "a shard without a single change is finished too"


def test_edge_9_an_open_parent_with_a_child_is_waited_for(rig: Rig) -> None:
    """A listing may show the child before the parent's end; the order stays."""
    rig.streams.add_shard(rig.arn, "root")
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert [name for name, _ in rig.recorder.initialized()] == ["root"]


def test_edge_10_a_shard_that_is_its_own_parent_is_read(rig: Rig) -> None:
    """An emulator lists such."""
    rig.streams.add_shard(rig.arn, "self", "self")
    numbers = rig.streams.put(rig.arn, "self", "a")
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_12_a_stream_being_enabled_has_no_shards_yet(rig: Rig) -> None:
    """There is nothing to drain, and nothing wrong."""
    rig.streams.set_status(rig.arn, "ENABLING")
    rig.run_once()
    assert rig.recorder.log == []


def test_edge_12_a_disabled_stream_is_drained(rig: Rig) -> None:
    """Its shards are closed and are read to the end; no child is waited for."""
    numbers = family(rig)
    rig.streams.close(rig.arn, "right", "leaf")
    rig.streams.set_status(rig.arn, "DISABLED")
    stop = rig.run_once()
    assert sorted(rig.recorder.consumed()) == sorted(number for shard in numbers.values() for number in shard)
    assert sum(stop.waits) < 5


def test_edge_13_no_iterator_is_fetched_before_its_time(rig: Rig) -> None:
    """An iterator lives 15 minutes from its issue: a waiting shard has none."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.run_once()
    assert [call["ShardId"][-4:] for call in rig.streams.asked("get_shard_iterator")] == ["root"]


def test_edge_27_tables_whose_shards_have_equal_names_are_kept_apart(rig: Rig) -> None:
    """State is keyed by the stream's ARN: moto gives the shards of all tables one name."""
    other = rig.streams.add_stream("sessions")
    for arn in (rig.arn, other):
        rig.streams.add_shard(arn, "same")
        rig.streams.put(arn, "same", "a")
    first = rig.streams.put(rig.arn, "same", "b")
    second = rig.streams.put(other, "same", "c", "d")
    rig.run_once(rig.arn, other)
    found = [rig.checkpoint("same", arn) for arn in (rig.arn, other)]
    assert [checkpoint.position for checkpoint in found if checkpoint] == [first[-1], second[-1]]
