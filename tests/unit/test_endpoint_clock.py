"""The clock that deadlines run by: the endpoint's, as far as its answers prove it."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockside.core.now import Now
from lockside.ops.clock import DATE_STEP_MS, DRIFT, OFF_MS_MAX, EndpointClock
from tests.fakes.clock import FakeClock
from tests.fakes.shard import ShardRig
from tests.fakes.sources import lock_keys, pydynlock, source

HALF_MINUTE_MS = 30_000
MARGIN_MS = 2_000


class OffClock:
    """A machine whose wall clock is off, and may be set anew; time itself is the fake clock's."""

    def __init__(self, off_ms: int) -> None:
        """Begin off by so much; ahead if positive."""
        self.true = FakeClock()
        self.off_ms = off_ms

    def now(self) -> Now:
        """Read both clocks."""
        now = self.true.now()
        return Now(now.wall_ms + self.off_ms, now.mono_ms)

    def answer(self, clock: EndpointClock, there_ms: int = 0, back_ms: int = 0) -> None:
        """Let a request be answered that takes so long to the endpoint, and from there to us."""
        asked = self.now()
        self.true.advance(there_ms / 1000)
        date_ms = self.true.now().wall_ms // DATE_STEP_MS * DATE_STEP_MS
        self.true.advance(back_ms / 1000)
        clock.heard(asked, date_ms)

    def behind_ms(self, clock: EndpointClock) -> int:
        """Return how far a clock is behind the true time."""
        return self.true.now().wall_ms - clock.now().wall_ms


@pytest.mark.parametrize("off_ms", [HALF_MINUTE_MS, -HALF_MINUTE_MS], ids=["ahead", "behind"])
def test_one_answer_sets_a_wrong_clock_right(off_ms: int) -> None:
    """To the header's second, and to what the way back took; never ahead."""
    machine = OffClock(off_ms)
    clock = EndpointClock(machine, MARGIN_MS)
    assert machine.behind_ms(clock) == -off_ms
    machine.answer(clock, 40, 60)
    assert 0 <= machine.behind_ms(clock) <= DATE_STEP_MS + 60


@pytest.mark.parametrize("off_ms", [700, 0, -2])
def test_a_clock_that_is_right_is_left_as_it_is(off_ms: int) -> None:
    """To what the margin covers: it is finer than the header's second."""
    machine = OffClock(off_ms)
    machine.true.advance(0.9)
    clock = EndpointClock(machine, MARGIN_MS)
    machine.answer(clock, 40, 60)
    assert clock.now() == machine.now()


def test_without_a_margin_only_what_is_proved_counts() -> None:
    """A clock that is ahead by less than a second cannot be told from one that is right."""
    machine = OffClock(700)
    machine.true.advance(0.9)
    clock = EndpointClock(machine, 0)
    machine.answer(clock)
    assert machine.behind_ms(clock) == 900


def test_a_slow_answer_takes_nothing_back_that_a_quick_one_proved() -> None:
    """Nor does any number of them."""
    machine = OffClock(HALF_MINUTE_MS)
    clock = EndpointClock(machine, MARGIN_MS)
    machine.answer(clock)
    before_ms = machine.behind_ms(clock)
    for _ in range(5):
        machine.answer(clock, 10_000, 10_000)
    assert 0 <= machine.behind_ms(clock) <= before_ms + 100_000 // DRIFT + 1


def test_answers_at_many_places_of_a_second_tell_the_time_within_it() -> None:
    """The rounding of the header is no more than the best of them leaves."""
    machine = OffClock(-HALF_MINUTE_MS)
    clock = EndpointClock(machine, MARGIN_MS)
    for _ in range(50):
        machine.answer(clock, 3, 3)
        machine.true.advance(0.377)
    assert 0 <= machine.behind_ms(clock) <= 50


def test_a_wall_clock_that_is_set_anew_changes_nothing() -> None:
    """Either way, and at once: the answers so far do not bear it out."""
    machine = OffClock(0)
    clock = EndpointClock(machine, MARGIN_MS)
    machine.true.advance(0.3)
    machine.answer(clock)
    for machine.off_ms in (HALF_MINUTE_MS, -HALF_MINUTE_MS, MARGIN_MS, -DATE_STEP_MS):
        assert machine.behind_ms(clock) == 300


def test_what_a_quick_answer_refutes_is_dropped() -> None:
    """One Date that was minutes ahead, or a clock that ran too fast, is believed until the next quick answer only."""
    machine = OffClock(HALF_MINUTE_MS)
    clock = EndpointClock(machine, MARGIN_MS)
    clock.heard(machine.now(), machine.true.now().wall_ms + 120_000)
    assert machine.behind_ms(clock) == -120_000
    machine.answer(clock, 5, 5)
    assert 0 <= machine.behind_ms(clock) <= DATE_STEP_MS + 5


@pytest.mark.parametrize("wrong_ms", [OFF_MS_MAX + 1, -OFF_MS_MAX - 1], ids=["ahead", "behind"])
def test_a_date_that_cannot_be_is_not_heard(wrong_ms: int) -> None:
    """AWS would have refused our signature."""
    machine = OffClock(0)
    clock = EndpointClock(machine, MARGIN_MS)
    clock.heard(machine.now(), machine.true.now().wall_ms + wrong_ms)
    assert clock.now() == machine.now()


answers = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 9_000)), max_size=12)


@given(st.integers(-60_000, 60_000), st.integers(0, 999), st.integers(0, 5_000), answers)
def test_it_is_never_ahead_of_the_endpoint_by_more_than_the_margin(
    off_ms: int, phase_ms: int, margin_ms: int, times: Sequence[tuple[int, int, int]]
) -> None:
    """Whatever our clock says, however slow the answers are and whenever they come; nor does it fall far behind."""
    machine = OffClock(off_ms)
    machine.true.advance(phase_ms / 1000)
    clock = EndpointClock(machine, margin_ms)
    for there_ms, back_ms, pause_ms in times:
        machine.answer(clock, there_ms, back_ms)
        assert -margin_ms <= machine.behind_ms(clock) <= DATE_STEP_MS + back_ms
        machine.true.advance(pause_ms / 1000)
        machine.off_ms = -machine.off_ms
        assert machine.behind_ms(clock) >= -margin_ms


@pytest.mark.parametrize("slow_ms", [0, 10_000], ids=["quick answers", "then one that takes 10 s"])
def test_a_lock_is_not_declared_lapsed_before_its_lease_ends(slow_ms: int) -> None:
    """On a machine 10 s ahead that had good samples: the lapse of a 20 s lease is due when it has lasted 20 s."""
    machine = OffClock(10_000)
    clock = EndpointClock(machine, MARGIN_MS)
    rig = ShardRig(source("pydynlock"), clock=machine.true, ours=clock)
    for _ in range(5):
        machine.answer(clock)
    rig.table.put(lock_keys("job"), pydynlock("ann", "v1", "20"))
    began_ms = machine.true.now().mono_ms
    machine.answer(clock, slow_ms)
    rig.consume()
    while machine.true.now().mono_ms < began_ms + 20_000:
        rig.pass_time(0.1)
        if machine.true.now().mono_ms < began_ms + 20_000:
            assert rig.events() == [("lock.acquired", "ann")]
    rig.pass_time(15)
    assert rig.events()[1:] == [("lock.expired", "ann")]


@pytest.mark.parametrize("answers", [1, 0], ids=["with the endpoint's clock", "without"])
def test_a_lapse_is_dated_after_the_whole_lease_by_a_clock_that_is_behind(answers: int) -> None:
    """Half a minute behind: acquired, lapsed a lease later, declared then or later, revived after that."""
    machine = OffClock(-HALF_MINUTE_MS)
    clock = EndpointClock(machine, MARGIN_MS)
    rig = ShardRig(source("pydynlock"), clock=machine.true, ours=clock)
    for _ in range(answers):
        machine.answer(clock)
    rig.table.put(lock_keys("job"), pydynlock("ann", "v1", "4"))
    rig.consume()
    rig.pass_time(6)
    rig.table.put(lock_keys("job"), pydynlock("ann", "v2", "4"))
    rig.consume()
    told = {event["type"].split(".")[3]: event for event in map(json.loads, rig.trail.all_bodies())}
    times = [datetime.fromisoformat(told[kind]["time"]) for kind in ("acquired", "expired", "revived")]
    assert times[1] - times[0] >= timedelta(seconds=4)
    declared = told["expired"]["data"]
    assert declared["certainty"] == "certain"
    assert times[1].isoformat() == datetime.fromisoformat(declared["legal_instant"]).isoformat()
    assert datetime.fromisoformat(declared["declared_at"]) >= times[1]
    assert all(earlier <= later for earlier, later in pairwise(times))
