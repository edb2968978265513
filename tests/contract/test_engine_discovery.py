"""How shards are found: by the page, by their parent, by name; and what is never concluded from one listing."""

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from lockside.emulators.emulator import Emulator
from lockside.engines.discovery import Discovery
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.watch import StreamWatch
from lockside.engines.stream import StreamPlan
from tests.fakes.clock import FakeStop
from tests.fakes.rig import Rig
from tests.fakes.streams import spelled

DAY = 24 * 3_600.0
DOWN = EndpointConnectionError(endpoint_url="http://localhost")


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine over a fake stream that lists three shards a page."""
    return Rig.on(moto, shards_per_page=3)


def watch_of(rig: Rig) -> tuple[StreamWatch, Discovery]:
    """Return a watch that is driven by hand."""
    plan = StreamPlan("locks", rig.arn, precision_ms=1_000)
    return StreamWatch(plan, rig.recorder, rig.services()), Discovery(rig.streams.client)


def names(readers: list[Any]) -> list[str]:
    """Return short shard names."""
    return [reader.shard.shard_id.rsplit("-", 1)[-1] for reader in readers]


def filters(rig: Rig) -> list[str]:
    """Return the shards whose children were asked for."""
    return [
        call["ShardFilter"]["ShardId"][-4:] for call in rig.streams.asked("describe_stream") if "ShardFilter" in call
    ]


def test_shards_of_the_first_page_start_before_the_listing_is_whole(rig: Rig) -> None:
    """Hundreds of pages take minutes: no round has to finish before the first shard is read."""
    for number in range(9):
        rig.streams.add_shard(rig.arn, f"shard{number}")
    watch, discovery = watch_of(rig)
    assert names(watch.discover(discovery)) == ["shard0", "shard1", "shard2"]
    assert not watch.settled
    assert not watch.listed


def test_a_listing_that_breaks_off_goes_on_where_it_was(rig: Rig) -> None:
    """What was found stays found, and the pages that were read are not asked for again."""
    for number in range(9):
        rig.streams.add_shard(rig.arn, f"shard{number}")
    watch, discovery = watch_of(rig)
    watch.discover(discovery)
    rig.streams.fail_with("describe_stream", DOWN, DOWN)
    for _ in range(4):
        rig.clock.advance(60)
        watch.discover(discovery)
    assert watch.listed
    assert len(watch.readers) == 9
    starts = [call.get("ExclusiveStartShardId", "-")[-1] for call in rig.streams.asked("describe_stream")]
    assert starts == ["-", "2", "2", "2", "5"]


def test_a_child_on_an_early_page_waits_for_its_parent_on_a_later_one(rig: Rig) -> None:
    """A parent that was not listed yet is not gone."""
    rig.streams.add_shard(rig.arn, "leaf", "root")
    for number in range(4):
        rig.streams.add_shard(rig.arn, f"other{number}")
    rig.streams.add_shard(rig.arn, "root")
    watch, discovery = watch_of(rig)
    assert "leaf" not in names(watch.discover(discovery))
    assert not any(call["ShardId"].endswith("root") for call in rig.streams.asked("get_shard_iterator"))
    rig.run_once()
    assert "leaf" not in dict(rig.recorder.initialized()), "its parent is open"


def test_edge_43_hundreds_of_pages_are_read_one_call_at_a_time(rig: Rig) -> None:
    """Each step of the coordinator makes one call, so that it never loses sight of the rest."""
    for number in range(600):
        rig.streams.add_shard(rig.arn, f"{number:04d}")
    watch, discovery = watch_of(rig)
    steps = 0
    while not watch.listed:
        calls = len(rig.streams.calls)
        watch.discover(discovery)
        assert len(rig.streams.calls) == calls + 1
        rig.clock.advance(0.1)
        steps += 1
    assert steps == 200
    assert len(watch.readers) == 600


def test_edge_10_children_are_asked_for_by_their_parent(rig: Rig) -> None:
    """One call finds them, however many shards the stream has."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "left", "root", hidden_listings=1)
    rig.streams.add_shard(rig.arn, "rite", "root", hidden_listings=1)
    rig.run_once()
    assert [name for name, _ in rig.recorder.initialized()] == ["root", "left", "rite"]
    assert filters(rig) == ["root"]
    assert len(rig.streams.asked("describe_stream")) == 2


@pytest.mark.parametrize("hidden", [3, 8])
def test_edge_10_a_child_that_stays_away_is_found_by_listing(rig: Rig, hidden: int) -> None:
    """It is asked for a few times, then the stream is listed; later the usual listing finds it."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "late", "root", hidden_listings=hidden)
    watch, discovery = watch_of(rig)
    (reader,) = watch.discover(discovery)
    while reader.step().progress.value != "ended":
        pass
    watch.ended(reader.shard.shard_id)
    for _ in range(120):
        if watch.readers:
            break
        rig.clock.advance(1)
        if watch.listing_due():
            watch.discover(discovery)
    assert names(list(watch.readers.values())) == ["late"]
    assert set(filters(rig)) == {"root"}


def test_edge_10_a_filter_that_is_ignored_falls_back_to_listing(rig: Rig) -> None:
    """Emulators answer with everything, the shard itself among it."""
    rig.streams.model.options.child_filter = "ignored"
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "late", "root", hidden_listings=3)
    numbers = rig.streams.put(rig.arn, "late", "a")
    rig.run_once()
    assert rig.recorder.consumed("late") == numbers
    assert len(filters(rig)) == 1


def test_edge_10_a_filter_that_is_refused_falls_back_to_listing(rig: Rig) -> None:
    """An endpoint that knows no such parameter is no reason to stop."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root", hidden_listings=1)
    watch, discovery = watch_of(rig)
    (reader,) = watch.discover(discovery)
    while reader.step().progress.value != "ended":
        pass
    watch.ended(reader.shard.shard_id)
    rig.streams.fail("describe_stream", "ValidationException")
    for _ in range(5):
        rig.clock.advance(1)
        watch.discover(discovery)
    assert names(list(watch.readers.values())) == ["child"]


def test_no_children_are_asked_for_of_a_stream_that_is_off(rig: Rig) -> None:
    """There will be none."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.close(rig.arn, "root")
    rig.streams.set_status(rig.arn, "DISABLED")
    rig.run_once()
    assert filters(rig) == []


def test_edge_9_a_parent_left_out_of_a_listing_is_not_passed(rig: Rig) -> None:
    """Never listed, and there all the same: asked for by name, it answers, and is read before its child."""
    rig.streams.add_shard(rig.arn, "hole", hidden_listings=1_000)
    first = rig.streams.put(rig.arn, "hole", "a")
    rig.streams.close(rig.arn, "hole")
    rig.streams.add_shard(rig.arn, "leaf", "hole")
    second = rig.streams.put(rig.arn, "leaf", "a")
    rig.run_once()
    assert rig.recorder.consumed() == first + second


def test_edge_9_a_shard_whose_parent_is_not_known_waits_for_a_listing(rig: Rig) -> None:
    """It answers by name, but that does not tell that its parent is listed and unread: it must not be read first."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.model.options.page_records = 1
    numbers = rig.streams.put(rig.arn, "root", *"abcdefghij")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "hole", "root", hidden_listings=2)
    numbers += rig.streams.put(rig.arn, "hole", "b")
    rig.streams.close(rig.arn, "hole")
    rig.streams.add_shard(rig.arn, "leaf", "hole")
    numbers += rig.streams.put(rig.arn, "leaf", "c")
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_9_an_unfinished_shard_left_out_of_a_listing_is_read_on(rig: Rig) -> None:
    """It has a checkpoint and no listing shows it: it is asked for by name, and its child waits for its end."""
    rig.streams.add_shard(rig.arn, "root")
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    numbers += rig.streams.put(rig.arn, "root", "b")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "leaf", "root")
    numbers += rig.streams.put(rig.arn, "leaf", "c")
    rig.streams.shard(rig.arn, "root").hidden_listings = 1_000
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert rig.is_finished("root")


def test_one_not_found_and_one_listing_do_not_age_a_shard_out(rig: Rig) -> None:
    """Both are wrong at once: the shard is asked for again and read on."""
    rig.streams.add_shard(rig.arn, "root")
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    numbers += rig.streams.put(rig.arn, "root", "b")
    rig.clock.advance(2 * DAY)
    rig.streams.shard(rig.arn, "root").hidden_listings = 2
    rig.streams.fail("get_shard_iterator", "ResourceNotFoundException", times=2)
    rig.run_once()
    assert rig.recorder.gaps() == []
    assert rig.recorder.consumed() == numbers


def test_a_shard_without_known_parent_waits_until_an_unlisted_one_has_answered(rig: Rig) -> None:
    """The lineage between them is gone; whether the older one is must be known before the younger one is read."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.add_shard(rig.arn, "gone", "root")
    rig.streams.add_shard(rig.arn, "leaf", "gone")
    rig.streams.put(rig.arn, "leaf", "c")
    for shard in ("root", "gone"):
        rig.streams.close(rig.arn, shard)
        rig.streams.drop(rig.arn, shard)
    rig.clock.advance(2 * DAY)
    rig.run_once()
    order = [
        (verb, shard) for verb, shard, _ in rig.recorder.log if verb == "gap" or (verb, shard) == ("record", "leaf")
    ]
    assert order == [("gap", "root"), ("gap", "leaf"), ("record", "leaf")]


def test_rows_of_finished_shards_that_are_gone_are_removed(rig: Rig) -> None:
    """What is remembered stays bounded; an unfinished shard's row, that of a listed one and a young one stay."""
    for name, parent in (("root", None), ("child", "root"), ("leaf", "child")):
        rig.streams.add_shard(rig.arn, name, parent)
        rig.streams.put(rig.arn, name, "a")
    rig.streams.close(rig.arn, "root", "child")
    rig.run_once()
    rig.streams.drop(rig.arn, "root")
    watch, discovery = watch_of(rig)
    for _ in range(5):
        watch.discover(discovery)
        assert rig.is_finished("root"), "it may be listed again while its stream's day is not over"
        rig.clock.advance(60)
    rig.clock.advance(86_400)
    watch, discovery = watch_of(rig)
    for listing in range(1, 4):
        watch.discover(discovery)
        assert (rig.checkpoint("root") is None) == (listing == 3), "never on one listing's word"
        rig.clock.advance(60)
    assert rig.is_finished("child")
    assert rig.position("leaf") is not None


def test_rows_stay_while_they_may_tell_of_a_gap(rig: Rig) -> None:
    """A shard with an unknown parent, of which nothing is remembered yet, may go back to any finished one."""
    rig.streams.add_shard(rig.arn, "root")
    rig.streams.put(rig.arn, "root", "a")
    rig.streams.close(rig.arn, "root")
    rig.run_once()
    rig.streams.drop(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "gone", "root")
    rig.streams.drop(rig.arn, "gone")
    rig.streams.add_shard(rig.arn, "leaf", "gone")
    watch, discovery = watch_of(rig)
    for _ in range(9):
        watch.discover(discovery)
        rig.clock.advance(60)
    assert names(list(watch.readers.values())) == ["leaf"]
    assert rig.is_finished("root")


def test_a_table_that_is_not_answered_does_not_hold_another_up(rig: Rig) -> None:
    """No call waits for another: each table is asked again at its own time."""
    other = rig.streams.add_stream("sessions")
    rig.streams.add_shard(other, "side")
    numbers = rig.streams.put(other, "side", "a")
    rig.streams.add_shard(rig.arn, "root")
    # The first table's listing fails for as long as this runs; the other one's calls go through.
    real = rig.streams.describe_stream

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(rig.streams, name)

        def describe_stream(self, **request: Any) -> Any:
            if request["StreamArn"] == rig.arn:
                raise DOWN
            return real(**request)

    client: Any = Failing()
    services = replace(rig.services(), streams=client)
    stop = FakeStop(rig.clock)
    rig.recorder.on_record = lambda number: stop.set() if number == numbers[-1] else None
    plans = [StreamPlan(table, arn, precision_ms=1_000) for table, arn in (("locks", rig.arn), ("sessions", other))]
    EmbeddedEngine(plans, rig.recorder, services).run_once(stop)
    assert rig.recorder.consumed() == numbers
    assert spelled("side") in str(rig.streams.calls)


class Circle:
    """A service whose listing of streams goes round: two cursors, in turn."""

    def __init__(self) -> None:
        """Count."""
        self.calls = 0

    def list_streams(self, **_request: Any) -> dict[str, Any]:
        """Answer with a stream and the other cursor."""
        self.calls += 1
        return {"Streams": [{"StreamArn": f"arn-{self.calls % 2}"}], "LastEvaluatedStreamArn": f"c{self.calls % 2}"}


def test_a_listing_of_streams_that_runs_in_a_circle_ends() -> None:
    """With what it showed."""
    service: Any = Circle()
    assert Discovery(service).streams("locks") == ("arn-0", "arn-1")
    assert service.calls < 5
