"""One shard under KCL, without Java: nothing leaves it, nothing is passed over, and what KCL hides is found out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy, Keeping
from lockside.engines.kcl.checkpointer import Saved
from lockside.engines.kcl.knobs import PROFILES
from lockside.engines.kcl.leases import Lease, LeaseTable
from lockside.engines.kcl.memory import StreamMemory
from lockside.engines.kcl.services import Member, Services
from lockside.engines.kcl.shard import STALL_MS, KclShard
from lockside.engines.stream import StreamPlan
from lockside.errors import FaultyPageError, SetupError, StoppedError, StreamLostError
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.kcl import FakeCheckpointer, lines
from tests.fakes.processor import Recorder
from tests.fakes.state_table import dynamodb, make_checkpoints, make_state_table
from tests.fakes.streams import FakeStreams, spelled

HOUR = 3_600.0


@dataclass
class Bench:
    """A shard `root` of a fake stream, and KCL's part played by the test."""

    clock: FakeClock
    stop: FakeStop
    streams: FakeStreams
    services: Services
    arn: str
    plan: StreamPlan
    memory: StreamMemory
    leases: LeaseTable
    recorder: Recorder
    failures: list[BaseException]
    saver: FakeCheckpointer = field(default_factory=FakeCheckpointer)

    def shard(self, position: int | None = None) -> KclShard:
        """Lease the shard."""
        made = KclShard(self.plan, ShardRef(self.arn, spelled("root")), self.memory, self.leases, self.services)
        made.initialize(position)
        return made

    def put(self, *keys: str) -> list[int]:
        """Append changes."""
        return self.streams.put(self.arn, "root", *keys)

    def page(self, *numbers: int) -> bytes:
        """Spell these records as KCL hands them over."""
        shard = self.streams.shard(self.arn, "root")
        by_number = dict(zip(shard.numbers, shard.records, strict=True))
        return lines([by_number[number] for number in numbers])

    def saved(self) -> int | None:
        """Return the remembered position."""
        row = self.services.keeping.checkpoints.read(self.arn).shards.get(spelled("root"))
        return row.position if row else None

    def trimmed(self, count: int) -> None:
        """Let the stream forget its first records."""
        self.streams.model.trim(self.streams.shard(self.arn, "root"), count)


@pytest.fixture
def bench(moto: Emulator) -> Iterator[Bench]:
    """Return a bench whose every batch is saved."""
    clock, client = FakeClock(), dynamodb(moto)
    stop, streams, recorder = FakeStop(clock), FakeStreams(clock), Recorder()
    arn = streams.add_stream("locks")
    streams.add_shard(arn, "root")
    checkpoints = make_checkpoints(client, make_state_table(client), clock, stop)
    failures: list[BaseException] = []
    services = Services(
        member=Member("app", "host/0", PROFILES["default"]),
        streams=streams.client,
        dynamodb=client,
        retrier=Retrier(stop, NoMeter()),
        stop=stop,
        keeping=Keeping(checkpoints, clock, NoMeter(), CheckpointPolicy(records=1), 1_000, 3),
        processors=recorder,
        failed=failures.append,
    )
    plan = StreamPlan("locks", arn, precision_ms=1_000)
    memory = StreamMemory(plan, checkpoints)
    yield Bench(clock, stop, streams, services, arn, plan, memory, NoLeases(client, "leases"), recorder, failures)
    client.close()


class NoLeases(LeaseTable):
    """Leases of shards that came from nothing."""

    def read(self, shard_id: str) -> Lease | None:
        """Find none."""
        del shard_id
        return None


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
    """Not while a batch is worked on: that is told otherwise."""
    shard = bench.shard()
    bench.clock.advance(400)
    assert shard.uncalled_seconds == 400
    seen: list[float] = []
    bench.recorder.on_record = lambda _number: seen.append(shard.uncalled_seconds)
    shard.process(bench.page(*bench.put("a")), bench.saver)
    assert (seen, shard.uncalled_seconds) == ([0.0], 0.0)
