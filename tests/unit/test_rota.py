"""Whose turn it is: nobody starves, nobody is stepped twice at once, and no more bytes are held than allowed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockside.engines.embedded.rota import Rota, Turn
from lockside.engines.endpoint import PAGE_BYTES_MAX
from tests.fakes.clock import FakeClock


def turn(name: str = "") -> Turn:
    """Make a turn; the rota never looks at its reader."""
    named: Any = name
    return Turn(named, named)


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


def test_the_earliest_due_goes_first(clock: FakeClock) -> None:
    """Among equals, who came first."""
    rota = Rota(clock, 8 * PAGE_BYTES_MAX)
    late, first, second = turn("late"), turn("first"), turn("second")
    late.due_ms = 1
    for each in (late, first, second):
        rota.add(each)
    clock.advance(1)
    assert [rota.take_due() for _ in range(4)] == [first, second, late, None]


def test_nobody_is_due_before_time(clock: FakeClock) -> None:
    """A reader that waits is not stepped."""
    rota = Rota(clock, PAGE_BYTES_MAX)
    rota.add(turn())
    (taken,) = [rota.take_due()]
    assert taken is not None
    rota.give_back(taken, 0.5)
    assert rota.take_due() is None
    clock.advance(0.5)
    assert rota.take_due() is taken


def test_a_reader_in_a_step_is_not_handed_out_again(clock: FakeClock) -> None:
    """No two threads step a shard at once."""
    rota = Rota(clock, 8 * PAGE_BYTES_MAX)
    rota.add(turn())
    assert rota.take_due() is not None
    assert rota.take_due() is None
    assert len(rota.stepping()) == 1


def test_a_trickle_is_not_kept_by_backlogs(clock: FakeClock) -> None:
    """Twenty shards that are always due, one that is due each second: it waits for one round of them at most."""
    rota = Rota(clock, 8 * PAGE_BYTES_MAX)
    backlogs, trickle = [turn(f"backlog{number}") for number in range(20)], turn("trickle")
    for each in (*backlogs, trickle):
        rota.add(each)
    delays: list[int] = []
    for _ in range(2_000):
        taken = rota.take_due()
        assert taken is not None
        if taken is trickle:
            delays.append(clock.now().mono_ms - trickle.due_ms)
        clock.advance(0.01)
        rota.give_back(taken, 1.0 if taken is trickle else 0.0)
    assert len(delays) > 10
    assert max(delays) <= 21 * 10


def test_no_more_bytes_are_held_than_allowed(clock: FakeClock) -> None:
    """A turn begins with room for the largest page; what the page does not need is for others."""
    rota = Rota(clock, 2 * PAGE_BYTES_MAX)
    for number in range(4):
        rota.add(turn(str(number)))
    first, second = rota.take_due(), rota.take_due()
    assert first is not None
    assert second is not None
    assert rota.take_due() is None
    rota.sized(first, 1_000)
    assert rota.take_due() is None, "there is room for a page but for those 1,000 bytes"
    rota.give_back(first, 0.0)
    assert rota.take_due() is not None
    rota.give_back(second, None)
    assert rota.held_bytes == PAGE_BYTES_MAX


def test_a_page_larger_than_all_that_is_allowed_is_read_alone(clock: FakeClock) -> None:
    """A limit below one page would stop everything."""
    rota = Rota(clock, 1)
    rota.add(turn("a"))
    rota.add(turn("b"))
    first = rota.take_due()
    assert first is not None
    assert rota.take_due() is None
    rota.give_back(first, None)
    assert rota.take_due() is not None


def test_closing_ends_the_wait_and_leaves_the_readers(clock: FakeClock) -> None:
    """Whoever waits for a turn hears of it; the readers are still there to be closed."""
    rota = Rota(clock, PAGE_BYTES_MAX)
    rota.add(turn("a"))
    rota.close()
    assert rota.take(lambda: None) is None
    assert rota.leave() is not None
    assert rota.leave() is None


@given(st.lists(st.tuples(st.sampled_from(["take", "size", "back", "stop", "time"]), st.integers(0, 5)), max_size=60))
def test_room_is_never_lost(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order, the bytes held are those of the turns taken, and within bounds."""
    clock = FakeClock()
    rota = Rota(clock, 3 * PAGE_BYTES_MAX)
    for number in range(6):
        rota.add(turn(str(number)))
    taken: list[Turn] = []
    for verb, number in steps:
        held = taken[number % len(taken)] if taken else None
        match verb:
            case "take":
                found = rota.take_due()
                taken += [] if found is None else [found]
            case "size" if held is not None:
                rota.sized(held, number * 1_000)
            case "back" | "stop" if held is not None:
                taken.remove(held)
                rota.give_back(held, 0.1 * number if verb == "back" else None)
            case _:
                clock.advance(0.1)
        assert rota.held_bytes == sum(each.held_bytes for each in taken)
        assert rota.held_bytes <= 3 * PAGE_BYTES_MAX
        assert len(set(map(id, taken))) == len(taken)
