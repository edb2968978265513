"""What both engines promise: one suite, run over each."""

import threading
import time
from collections.abc import Iterator
from typing import get_args

import pytest

from lockside.core.change import ShardRef
from lockside.emulators.emulator import Emulator
from lockside.errors import StreamLostError
from tests.fakes.engine_rig import EngineRig, Kind, engine_rig

HOUR_MS = 3_600_000

pytestmark = pytest.mark.xdist_group("kcl")


@pytest.fixture(params=get_args(Kind))
def rig(request: pytest.FixtureRequest, dynamodb_local: Emulator) -> Iterator[EngineRig]:
    """Run a test over either engine."""
    with engine_rig(request.param, dynamodb_local) as made:
        yield made


def test_every_record_comes_once_and_parents_before_children(rig: EngineRig) -> None:
    """Through a split and a roll, also where a child was closed before anybody read it."""
    rig.add("root")
    numbers = {"root": rig.put("root", *"abcdefghij")}
    rig.order("close", shard_id="root")
    for name, parent in (("left", "root"), ("right", "root"), ("leaf", "left")):
        rig.add(name, parent)
        numbers[name] = rig.put(name, "a", "b")
    rig.order("close", shard_id="left")
    rig.run_until(lambda: len(rig.recorder.consumed()) == 16)
    assert {name: rig.recorder.consumed(name) for name in numbers} == numbers
    begun = [name for name, _ in rig.recorder.initialized()]
    assert begun.index("root") < min(begun.index("left"), begun.index("right"))
    assert begun.index("left") < begun.index("leaf")


def test_a_shard_that_ends_is_finished_before_its_child_begins(rig: EngineRig) -> None:
    """The processor learns of the end, flushes, and the mark is written; a shard without a change ends too."""
    rig.add("root")
    numbers = rig.put("root", "a")
    marks: dict[str, bool] = {}

    def watch(verb: str, shard: str) -> None:
        if verb == "initialize" and shard != "root":
            marks[shard] = rig.is_finished({"empty": "root", "leaf": "empty"}[shard])

    rig.recorder.on_verb = watch
    rig.start()
    rig.until(lambda: rig.recorder.consumed() == numbers)
    rig.order("close", shard_id="root")
    rig.add("empty", "root")
    rig.order("close", shard_id="empty")
    rig.add("leaf", "empty")
    rig.until(lambda: "leaf" in dict(rig.recorder.initialized()), "no leaf was begun")
    assert rig.end() is None
    assert marks == {"empty": True, "leaf": True}
    assert [verb for verb in rig.recorder.verbs("root") if verb != "caught_up"][-2:] == ["shard_ended", "flush"]
    assert rig.position("root") == numbers[-1]


def test_a_restart_goes_on_where_it_stopped(rig: EngineRig) -> None:
    """A stop in good order saves the last position: nothing comes twice, nothing is left out."""
    rig.add("root")
    first = rig.put("root", "a", "b", "c")
    rig.run_until(lambda: rig.recorder.consumed() == first)
    assert rig.recorder.verbs("root")[-2:] == ["shutdown_requested", "flush"]
    assert rig.position("root") == first[-1]
    if rig.kind == "kcl":
        assert rig.saved_with_kcl("root") == first[-1]
    second = rig.put("root", "d", "e")
    rig.run_until(lambda: rig.recorder.consumed() == first + second)
    assert rig.recorder.initialized() == [("root", None), ("root", first[-1])]


def test_a_batch_that_is_held_up_is_waited_for(rig: EngineRig) -> None:
    """While one batch blocks, no later one comes, and no position moves past it."""
    rig.add("root")
    numbers = rig.put("root", *(f"key{number}" for number in range(20)))
    reached, free = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        if number == numbers[10]:
            reached.set()
            free.wait(30)

    rig.recorder.on_record = hold
    rig.start()
    assert reached.wait(60)
    time.sleep(1.5)
    assert rig.recorder.consumed() == numbers[:7]
    assert rig.position("root") in {None, numbers[6]}
    free.set()
    rig.until(lambda: rig.recorder.consumed() == numbers)
    assert rig.end() is None


def test_an_unknown_error_ends_it_and_nothing_is_passed_over(rig: EngineRig) -> None:
    """The batch that failed is not behind any position: the next engine begins with it."""
    rig.add("root")
    numbers = rig.put("root", *(f"key{number}" for number in range(30)))

    def fail(number: int) -> None:
        if number == numbers[17]:
            raise ZeroDivisionError

    rig.recorder.on_record = fail
    rig.start()
    assert isinstance(rig.ended(), ZeroDivisionError)
    assert rig.recorder.consumed() == numbers[:14]
    assert rig.position("root") in {None, numbers[6], numbers[13]}
    rig.recorder.on_record = lambda _number: None
    rig.run_until(lambda: rig.recorder.consumed()[-1:] == numbers[-1:])
    seen = rig.recorder.consumed()
    assert sorted(set(seen)) == numbers
    assert seen[14:] == numbers[-len(seen[14:]) :]


def test_a_start_at_latest_is_an_instant_that_a_restart_finds_again(rig: EngineRig) -> None:
    """What came before it is left out; what came after it is not, though nothing was saved until a restart."""
    rig.start_mode = "LATEST"
    rig.add("root")
    rig.put("root", "old", created_ms=int(time.time() * 1000) - HOUR_MS)
    rig.run_until(lambda: "caught_up" in rig.recorder.verbs("root"))
    new = rig.put("root", "new")
    rig.run_until(lambda: bool(rig.recorder.consumed()))
    assert rig.recorder.consumed() == new


def forget_for_a_day(rig: EngineRig, shard_id: str, position: int) -> None:
    """Let a shard have been consumed up to a position, a day and more ago."""
    (shard,) = (each for each in rig.server.service.model.streams[rig.arn].shards if each.endswith(shard_id))
    rig.state.advance(ShardRef(rig.arn, shard), position, int(time.time() * 1000) - 25 * HOUR_MS)


def test_what_the_stream_lost_is_told_before_what_follows(rig: EngineRig) -> None:
    """A position that was trimmed away: a gap with both its ends, and only then the first change that is there."""
    rig.add("root")
    numbers = rig.put("root", *"abcdef")
    forget_for_a_day(rig, "root", numbers[1])
    rig.order("trim", shard_id="root", count=4)
    rig.run_until(lambda: rig.recorder.consumed() == numbers[4:])
    (gap,) = rig.recorder.gaps()
    assert (gap.loss, gap.after, gap.until) == ("trimmed", numbers[1], numbers[4])
    assert next(verb for verb, _, _ in rig.recorder.log if verb in {"gap", "record"}) == "gap"


def test_a_gap_that_is_to_halt_halts_the_shard_alone(rig: EngineRig) -> None:
    """The other shard goes on; the error is raised in the end, and no change after the gap was consumed."""
    rig.on_gap = "halt"
    rig.add("lost")
    numbers = rig.put("lost", *"abcdef")
    rig.add("sound")
    forget_for_a_day(rig, "lost", numbers[1])
    rig.order("trim", shard_id="lost", count=4)
    rig.start()
    rig.until(lambda: bool(rig.recorder.gaps()), "no gap was told")
    sound = rig.put("sound", "a", "b")
    rig.until(lambda: rig.recorder.consumed() == sound)
    assert isinstance(rig.end(), StreamLostError)
    assert rig.position("lost") == numbers[1]


def test_a_shard_that_aged_out_is_a_gap_and_no_clean_end(rig: EngineRig) -> None:
    """The stream has it no more: what followed its position is told as lost, then it is done with."""
    rig.add("root")
    rig.add("other")
    numbers = rig.put("root", "a", "b", "c")
    rig.run_until(lambda: rig.recorder.consumed() == numbers)
    forget_for_a_day(rig, "root", numbers[2] + 1)
    rig.order("close", shard_id="root")
    rig.order("age_out", shard_id="root")
    rig.run_until(lambda: rig.is_finished("root"), "the shard was not done with")
    (gap,) = rig.recorder.gaps()
    assert (gap.loss, gap.until) == ("aged_out", None)


def test_throttling_and_broken_answers_lose_nothing(rig: EngineRig) -> None:
    """Calls that fail now and then, on either side of a roll."""
    rig.server.control({"chaos": {"throttled": 0.1, "server_error": 0.1, "dropped": 0.05, "seed": 3}})
    rig.add("root")
    numbers = rig.put("root", *(f"key{number}" for number in range(25)))
    rig.start()
    rig.until(lambda: len(rig.recorder.consumed()) >= 25)
    (child,) = rig.order("roll", shard_id="root")["shards"]
    more = rig.put(child, "a", "b", "c")
    rig.until(lambda: set(numbers + more) <= set(rig.recorder.consumed()))
    rig.server.control({"chaos": {}})
    assert rig.end() is None
    assert rig.recorder.consumed() == numbers + more
