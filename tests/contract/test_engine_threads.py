"""The engine in threads, on the real clock: it follows what is written and ends when it should."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lockside.aws.retrying import Retrier
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.pace import BackOff, Idle
from lockside.engines.embedded.plan import Settings
from lockside.engines.stream import StreamPlan
from lockside.errors import FaultyPageError, SetupError
from lockside.ops.clock import SystemClock
from tests.fakes.rig import Rig

AT_ONCE = Settings(
    idle=Idle(0.001, 0.002),
    back_off=BackOff(0.001, 0.002),
    discovery_interval_seconds=0.01,
    child_interval_seconds=0.001,
    drained_seconds=0.01,
    shutdown_seconds=10,
)


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine that hardly waits, over a stream of one open shard."""
    made = Rig.on(moto)
    made.settings = AT_ONCE
    made.streams.add_shard(made.arn, "root")
    return made


class Stopper:
    """A stop that is set when a record is consumed."""

    def __init__(self, rig: Rig, number: Callable[[], int]) -> None:
        """Set the stop at a record."""
        self.event = threading.Event()
        rig.recorder.on_record = lambda seen: self.event.set() if seen == number() else None


def engine(rig: Rig, **services: Any) -> EmbeddedEngine:
    """Build the rig's engine on the real clock."""
    plan = StreamPlan("locks", rig.arn, precision_ms=1_000)
    return EmbeddedEngine([plan], rig.recorder, replace(rig.services(), clock=SystemClock(), **services))


def test_it_reads_until_told_to_stop_and_checkpoints(rig: Rig) -> None:
    """Changes written while it runs are read; a stop ends it with a flush and a checkpoint."""
    numbers = rig.streams.put(rig.arn, "root", "a")

    def write_more(verb: str, _shard: str) -> None:
        if verb == "caught_up":
            numbers.extend(rig.streams.put(rig.arn, "root", "b"))

    rig.recorder.on_verb = write_more
    engine(rig).run(Stopper(rig, lambda: numbers[1] if len(numbers) > 1 else 0).event)
    assert rig.recorder.consumed() == numbers
    assert rig.position("root") == numbers[-1]
    assert rig.recorder.verbs("root")[-2:] == ["shutdown_requested", "flush"]


def test_it_follows_a_roll(rig: Rig) -> None:
    """A shard that closes while it is read is followed by its child, found by listing."""
    last: list[int] = []

    def roll(verb: str, shard: str) -> None:
        if verb == "caught_up" and shard == "root":
            rig.streams.put(rig.arn, "root", "a")
            rig.streams.add_shard(rig.arn, "child", "root", hidden_listings=2)
            last.extend(rig.streams.put(rig.arn, "child", "b"))
            rig.streams.close(rig.arn, "root")

    rig.recorder.on_verb = roll
    engine(rig).run(Stopper(rig, lambda: last[-1] if last else 0).event)
    assert len(rig.recorder.consumed("root")) == 1
    assert rig.recorder.consumed("child") == last
    assert rig.is_finished("root")
    assert rig.position("child") == last[-1]


def test_it_finds_shards_that_appear(rig: Rig) -> None:
    """A shard nobody pointed to is found by the periodic listing."""
    numbers: list[int] = []

    def appear(verb: str, shard: str) -> None:
        if verb == "caught_up" and shard == "root":
            rig.streams.add_shard(rig.arn, "new")
            numbers.extend(rig.streams.put(rig.arn, "new", "a"))

    rig.recorder.on_verb = appear
    engine(rig).run(Stopper(rig, lambda: numbers[-1] if numbers else 0).event)
    assert rig.recorder.consumed("new") == numbers


def test_an_unknown_error_ends_it_and_the_other_shards_checkpoint(rig: Rig) -> None:
    """The error of a thread comes out of `run`; the shard it befell stays where it was."""
    rig.streams.add_shard(rig.arn, "side")
    side = rig.streams.put(rig.arn, "side", "a")
    bad: list[int] = []

    def fail(seen: int) -> None:
        if seen in bad:
            raise ZeroDivisionError

    def then(verb: str, shard: str) -> None:
        if verb == "caught_up" and shard == "side":
            bad.extend(rig.streams.put(rig.arn, "root", "b"))

    rig.recorder.on_record = fail
    rig.recorder.on_verb = then
    with pytest.raises(ZeroDivisionError):
        engine(rig).run(threading.Event())
    assert rig.position("root") is None
    assert rig.position("side") == side[-1]
    assert rig.recorder.verbs("root")[-1] == "lease_lost"


def test_it_ends_when_all_that_is_left_is_halted(rig: Rig) -> None:
    """A shard that cannot be read on is no reason to run on with nothing to read."""
    rig.streams.put(rig.arn, "root", "a")
    rig.streams.spoil(rig.arn, "root", 0)
    with pytest.raises(FaultyPageError):
        engine(rig).run(threading.Event())


def test_it_ends_when_the_stream_is_gone(rig: Rig) -> None:
    """With nothing else to read, a missing stream is told of at once."""
    rig.streams.drop_stream(rig.arn)
    with pytest.raises(SetupError, match="not found"):
        engine(rig).run(threading.Event())


def test_it_ends_when_every_stream_is_disabled_and_drained(rig: Rig) -> None:
    """Nothing will come any more, and that is no error."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.close(rig.arn, "root")
    rig.streams.set_status(rig.arn, "DISABLED")
    engine(rig).run(threading.Event())
    assert rig.recorder.consumed() == numbers
    assert rig.is_finished("root")


def test_one_thread_reads_all_shards(rig: Rig) -> None:
    """The number of threads is bounded, and no open shard keeps others from their turn."""
    rig.settings = replace(AT_ONCE, threads=1)
    last: list[int] = []
    for number in range(5):
        rig.streams.add_shard(rig.arn, f"shard{number}")
        last = rig.streams.put(rig.arn, f"shard{number}", "a", "b")
    engine(rig).run(Stopper(rig, lambda: last[-1]).event)
    assert len(rig.recorder.initialized()) == 6
    assert set(last) <= set(rig.recorder.consumed())


def test_a_stop_ends_a_listing_that_nobody_answers(rig: Rig) -> None:
    """A wait for an endpoint that is down ends on shutdown."""
    stop = threading.Event()

    class Down:
        def describe_stream(self, **_: str) -> None:
            stop.set()
            rig.streams.fail("describe_stream", "InternalServerError")
            rig.streams.describe_stream(StreamArn=rig.arn)

    engine(rig, streams=Down()).run(stop)
    assert rig.recorder.log == []


def test_a_checkpoint_that_cannot_be_written_does_not_hold_the_shutdown(rig: Rig) -> None:
    """The state table is down and the worker stops: it ends, and the changes are read again."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    stop = Stopper(rig, lambda: numbers[-1])

    class Down:
        def update_item(self, **_: str) -> None:
            rig.streams.fail("update_item", "InternalServerError")
            rig.streams._begin("update_item", {})

    broken = replace(rig.state, retrier=Retrier(stop.event, NoMeter()))

    def down(verb: str, _shard: str) -> None:
        if verb == "shutdown_requested":
            object.__setattr__(broken, "client", Down())

    rig.recorder.on_verb = down
    engine(rig, checkpoints=broken).run(stop.event)
    assert rig.position("root") is None
