"""One shard under KCL, without Java: nothing leaves it, nothing is passed over, and what KCL hides is found out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, cycle
from typing import Any

import pytest

from lockside.core.change import ShardRef
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.kcl.checkpointer import Saved
from lockside.engines.kcl.shard import HALT_LOOK_SECONDS, PAGES_MAX, STALL_MS, KclShard
from lockside.engines.stream import StreamPlan
from lockside.errors import FaultyPageError, SetupError, StoppedError, StreamLostError
from tests.fakes.kcl_bench import Bench, bench_on
from tests.fakes.streams import spelled

HOUR = 3_600.0


@pytest.fixture
def bench(moto: Emulator) -> Iterator[Bench]:
    """Return a bench whose every batch is saved."""
    with bench_on(moto) as made:
        yield made


def test_a_batch_is_consumed_then_saved_with_kcl_by_its_number(bench: Bench) -> None:
    """State table first, then the lease, and never without a number."""
    numbers = bench.put("a", "b")
    shard = bench.shard()
    shard.process(bench.page(*numbers), bench.saver)
    assert bench.recorder.consumed() == numbers
    assert (bench.saved(), bench.saver.saved, bench.saver.finished) == (numbers[1], [numbers[1]], 0)


def test_the_further_position_counts_and_kcl_is_told_only_of_what_it_delivered(bench: Bench) -> None:
    """Killed between both saves, the state table is ahead of the lease: what it covers is not saved as delivered."""
    numbers = bench.put("a", "b", "c")
    bench.services.keeping.checkpoints.advance(ShardRef(bench.arn, spelled("root")), numbers[1])
    shard = bench.shard(numbers[0])
    assert bench.recorder.initialized() == [("root", numbers[1])]
    bench.recorder.unsafe = {numbers[1]}
    shard.process(bench.page(numbers[1]), bench.saver)
    assert bench.saver.saved == [numbers[1]]


@pytest.mark.parametrize("error", [ZeroDivisionError(), MemoryError(), StoppedError("x"), FaultyPageError("x")])
def test_nothing_leaves_it_and_no_later_batch_is_taken(bench: Bench, error: BaseException) -> None:
    """Whatever the processor raises, KCL sees nothing of it; the last good position is what a stop saves."""
    numbers = bench.put(*"abcd")
    shard = bench.shard()
    shard.process(bench.page(numbers[0]), bench.saver)

    def fail(number: int) -> None:
        if number == numbers[1]:
            raise error

    bench.recorder.on_record = fail
    shard.process(bench.page(numbers[1], numbers[2]), bench.saver)
    bench.recorder.on_record = lambda _number: None
    shard.process(bench.page(numbers[3]), bench.saver)
    shard.shard_ended(bench.saver)
    shard.shutdown_requested(bench.saver)
    assert bench.recorder.consumed() == numbers[:1]
    assert (bench.saved(), bench.saver.saved, bench.saver.finished) == (numbers[0], [numbers[0]], 0)
    told = [*bench.failures, *bench.services.halts.values()]
    assert told == ([] if isinstance(error, StoppedError) else [error])


def test_a_lease_that_is_lost_in_a_save_ends_it(bench: Bench) -> None:
    """KCL refuses the save: the processor is told, and takes nothing more."""
    numbers = bench.put("a", "b")
    bench.saver.saves = [Saved.LOST]
    shard = bench.shard()
    shard.process(bench.page(numbers[0]), bench.saver)
    shard.process(bench.page(numbers[1]), bench.saver)
    assert bench.recorder.consumed() == numbers[:1]
    assert bench.recorder.verbs()[-1] == "lease_lost"
    assert shard.over


@pytest.mark.parametrize("answer", [Saved.AGAIN, Saved.LATE])
def test_a_save_that_is_not_taken_now_is_made_up_by_the_next(bench: Bench, answer: Saved) -> None:
    """It holds nothing up: the state table has the position."""
    numbers = bench.put("a", "b")
    bench.saver.saves = [answer]
    shard = bench.shard()
    shard.process(bench.page(numbers[0]), bench.saver)
    assert (bench.saved(), bench.saver.saved) == (numbers[0], [])
    shard.process(bench.page(numbers[1]), bench.saver)
    assert bench.saver.saved == [numbers[1]]


def test_a_closed_shard_ends_cleanly_and_its_mark_is_tried_again(bench: Bench) -> None:
    """The end is saved with the one call that has no number, once the stream lists the shard as closed."""
    numbers = bench.put("a")
    shard = bench.shard()
    shard.process(bench.page(*numbers), bench.saver)
    bench.streams.close(bench.arn, "root")
    bench.saver.ends = [Saved.AGAIN, Saved.AGAIN]
    shard.shard_ended(bench.saver)
    assert bench.saver.finished == 1
    assert not bench.recorder.gaps()
    assert list(bench.services.ended) == [shard.shard]
    shard.lease_lost()
    assert "lease_lost" not in bench.recorder.verbs()


def test_an_end_that_the_stream_does_not_confirm_halts_the_shard(bench: Bench) -> None:
    """The adapter takes a shard it did not find for one that ended: listed as open, it is not marked as finished."""
    shard = bench.shard()
    shard.shard_ended(bench.saver)
    assert bench.saver.finished == 0
    (error,) = bench.services.halts.values()
    assert isinstance(error, SetupError)


def test_a_shard_that_is_gone_is_a_gap_only_after_a_day(bench: Bench) -> None:
    """What followed its position is lost once the tip is a day old; before that, nothing can be."""
    numbers = bench.put("a")
    shard = bench.shard()
    shard.process(bench.page(*numbers), bench.saver)
    bench.clock.advance(25 * HOUR)
    bench.streams.drop(bench.arn, "root")
    shard.shard_ended(bench.saver)
    (gap,) = bench.recorder.gaps()
    assert (gap.loss, gap.after, gap.until) == ("aged_out", numbers[0], None)
    assert bench.saver.finished == 1


def stalled(bench: Bench) -> tuple[KclShard, list[int], bytes]:
    """Consume one change, then sleep for more than a day while the stream forgets; KCL had fetched one page before."""
    numbers = bench.put("a", "b")
    shard = bench.shard()
    shard.process(bench.page(numbers[0]), bench.saver)
    fetched = bench.page(numbers[1])
    bench.clock.advance(26 * HOUR)
    later = bench.put("c", "d")
    bench.trimmed(3)
    return shard, [*numbers, *later], fetched


def test_after_a_stall_what_kcl_had_fetched_comes_first_and_then_the_gap(bench: Bench) -> None:
    """The adapter goes on at the horizon without a word: told before the first change that was fetched afterwards."""
    shard, numbers, fetched = stalled(bench)
    shard.process(fetched, bench.saver)
    assert not bench.recorder.gaps()
    shard.process(bench.page(numbers[3]), bench.saver)
    (gap,) = bench.recorder.gaps()
    assert (gap.loss, gap.after, gap.until) == ("trimmed", numbers[1], numbers[3])
    assert bench.recorder.consumed() == [numbers[0], numbers[1], numbers[3]]


def test_a_loss_that_nothing_comes_after_is_told_at_the_end(bench: Bench) -> None:
    """The shard ends behind it: a gap without another end, before the mark."""
    shard, numbers, fetched = stalled(bench)
    shard.process(fetched, bench.saver)
    bench.streams.close(bench.arn, "root")
    shard.shard_ended(bench.saver)
    (gap,) = bench.recorder.gaps()
    assert (gap.loss, gap.after, gap.until) == ("trimmed", numbers[1], None)
    assert (bench.recorder.verbs()[-2:], bench.saver.finished) == (["shard_ended", "flush"], 1)


def test_a_gap_after_a_stall_halts_where_that_is_demanded(bench: Bench) -> None:
    """The change behind the gap is not consumed, and the position stays."""
    bench.plan = StreamPlan("locks", bench.arn, precision_ms=1_000, on_gap="halt")
    shard, numbers, _fetched = stalled(bench)
    shard.process(bench.page(numbers[3]), bench.saver)
    assert isinstance(bench.services.halts[shard.shard], StreamLostError)
    assert bench.recorder.consumed() == numbers[:1]
    assert bench.saved() == numbers[0]


def test_no_gap_is_told_where_the_stream_still_has_what_follows(bench: Bench) -> None:
    """A short stall asks nothing; a long one asks, and the answer counts."""
    numbers = bench.put("a")
    shard = bench.shard()
    shard.process(bench.page(*numbers), bench.saver)
    asked = len(bench.streams.asked("get_shard_iterator"))
    bench.clock.advance(STALL_MS / 1000 - 1)
    more = bench.put("b", "c")
    shard.process(bench.page(more[0]), bench.saver)
    assert len(bench.streams.asked("get_shard_iterator")) == asked
    bench.clock.advance(26 * HOUR)
    shard.process(bench.page(more[1]), bench.saver)
    assert len(bench.streams.asked("get_shard_iterator")) == asked + 1
    assert not bench.recorder.gaps()


def test_the_time_since_kcls_last_call_is_told(bench: Bench) -> None:
    """Also while a batch is worked on: what holds it up may be the state table, which no view of the shard shows."""
    shard = bench.shard()
    bench.clock.advance(400)
    assert shard.uncalled_seconds == 400
    seen: list[float] = []

    def blocked(_number: int) -> None:
        seen.append(shard.uncalled_seconds)
        bench.clock.advance(7_200)
        seen.append(shard.uncalled_seconds)

    bench.recorder.on_record = blocked
    shard.process(bench.page(*bench.put("a")), bench.saver)
    assert (seen, shard.uncalled_seconds) == ([0.0, 7_200.0], 0.0)


def faulty(number: int) -> Callable[[int], None]:
    """Return what halts the shard at a record."""

    def fail(at: int) -> None:
        if at == number:
            raise FaultyPageError("x")

    return fail


def test_what_came_before_a_halt_is_saved(bench: Bench) -> None:
    """No checkpoint was due: left above the head, it would be in no log for as long as the shard stands halted."""
    keeping = replace(bench.services.keeping, policy=CheckpointPolicy())
    bench.services = replace(bench.services, keeping=keeping)
    numbers = bench.put(*"abc")
    shard = bench.shard()
    shard.process(bench.page(numbers[0]), bench.saver)
    assert bench.saved() is None
    bench.recorder.on_record = faulty(numbers[1])
    shard.process(bench.page(numbers[1]), bench.saver)
    assert bench.saved() == numbers[0]
    assert bench.recorder.verbs()[-2:] == ["flush", "lease_lost"]


def test_a_halt_that_nothing_can_be_saved_before_is_the_one_that_is_told(bench: Bench) -> None:
    """It may be the save itself that halts the shard."""
    numbers = bench.put(*"ab")
    shard = bench.shard()

    def refuse(verb: str, _shard: str) -> None:
        if verb == "flush":
            raise SetupError("the key is gone")

    bench.recorder.on_verb = refuse
    shard.process(bench.page(*numbers), bench.saver)
    assert str(bench.services.halts[shard.shard]) == "the key is gone"
    assert (bench.saved(), bench.recorder.verbs()[-1]) == (None, "lease_lost")


def test_a_halt_counts_until_its_shard_is_begun_anew(bench: Bench) -> None:
    """The lease went away and came back: the thread that stood there is let go, and nothing is told of it any more."""
    numbers = bench.put(*"ab")
    shard = bench.shard()
    bench.recorder.on_record = faulty(numbers[1])
    again: list[KclShard] = []

    def begin_anew() -> None:
        if len(bench.stop.waits) == 3:
            assert shard.shard in bench.services.halts
            again.append(bench.shard(numbers[0]))

    bench.stop.on_wait = begin_anew
    shard.process(bench.page(*numbers), bench.saver)
    assert bench.stop.waits == [HALT_LOOK_SECONDS] * 3
    assert not bench.services.halts
    bench.recorder.on_record = lambda _number: None
    again[0].process(bench.page(numbers[1]), bench.saver)
    assert bench.recorder.consumed() == [numbers[1]]


class Circle:
    """A stream whose listing runs in a circle, or goes on without end; counts what it is asked."""

    def __init__(self, cursors: Iterator[str]) -> None:
        """Name these cursors, one after the other."""
        self.asked = 0
        self._cursors = cursors

    def describe_stream(self, **_request: Any) -> Any:
        """List nothing, and name the next page."""
        self.asked += 1
        assert self.asked <= 2 * PAGES_MAX, "asked without end"
        page = {"StreamStatus": "ENABLED", "Shards": [], "LastEvaluatedShardId": next(self._cursors)}
        return {"StreamDescription": page, "ResponseMetadata": {"HTTPHeaders": {}}}


@pytest.mark.parametrize(
    ("cursors", "pages"), [(cycle(["a", "b"]), 3), (cycle(["a"]), 2), (map(str, count()), PAGES_MAX)]
)
def test_a_listing_without_end_is_begun_anew_and_never_told_as_a_gap(
    bench: Bench, cursors: Iterator[str], pages: int
) -> None:
    """What it does not show may be there: the shard waits, and the wait ends with the worker."""
    circle: Any = Circle(cursors)
    bench.services = replace(bench.services, streams=circle)
    shard = bench.shard()
    bench.stop.on_wait = lambda: bench.stop.set() if circle.asked >= pages else None
    shard.shard_ended(bench.saver)
    # The call that the stop came in may be made once more.
    assert pages <= circle.asked <= pages + 1
    assert (bench.saver.finished, bench.recorder.gaps(), bench.failures) == (0, [], [])
    assert not bench.services.halts


def test_a_stop_ends_a_listing(bench: Bench) -> None:
    """Between two pages too."""
    circle: Any = Circle(map(str, count()))
    bench.services = replace(bench.services, streams=circle)
    shard = bench.shard()
    bench.stop.set()
    shard.shard_ended(bench.saver)
    assert (circle.asked, bench.saver.finished, bench.recorder.gaps()) == (1, 0, [])
