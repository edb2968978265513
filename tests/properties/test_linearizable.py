"""Laws of the check of reads against writes: it takes every history that one order made, and finds what none made.

Compared with the plain way: trying every order.
"""

import itertools
from collections.abc import Sequence
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from lockside.core.linearizable import Answer, Operation, Value, explain


def simulated(chance: Random, number: int, *, unknown: float = 0.0) -> list[Operation]:
    """Make a history from a real register: each operation takes effect at an instant within its time."""
    register: Value = None
    moments = sorted(chance.sample(range(number * 10), number))
    made: list[Operation] = []
    for serial, moment in enumerate(moments):
        start, end = moment - chance.randrange(60), moment + chance.randrange(60)
        kind = chance.choice(["read", "read", "write", "delete", "swap"])
        lost = kind != "read" and chance.random() < unknown
        took = not lost or chance.random() < 0.5
        value = None if kind == "delete" else f"v{serial}"
        expected = chance.choice([register, f"v{chance.randrange(number)}"])
        over = None if lost else end
        if kind == "read":
            made.append(Operation(start, end, "read", register))
        elif kind == "swap" and (lost or expected == register):
            made.append(Operation(start, over, "swap", value, expected))
            register = value if took and expected == register else register
        elif kind == "swap":
            made.append(Operation(start, end, "refused", value, expected))
        else:
            made.append(Operation(start, over, "write", value))
            register = value if took else register
    return made


@given(st.integers(0, 10**9), st.integers(1, 120), st.floats(0, 0.3))
# A swap of unknown outcome over what another of unknown outcome wrote, of which only the last was read.
@example(718, 64, 0.25)
def test_what_a_register_really_did_is_explained(seed: int, number: int, unknown: float) -> None:
    """Whatever overlapped, and whatever answers were lost: of one history in ten thousand it cannot be found out."""
    answer = explain(simulated(Random(seed), number, unknown=unknown)).answer  # noqa: S311
    assert answer is Answer.EXPLAINED or (unknown and answer is Answer.NOT_FOUND_OUT)


def plainly(operations: Sequence[Operation]) -> bool:
    """Say by trying every order, and every choice of what never was, whether one explains it."""
    lost = [each for each in operations if each.end is None]
    for count in range(len(lost) + 1):
        for never in itertools.combinations(lost, count):
            there = [each for each in operations if not any(each is left_out for left_out in never)]
            if any(_holds(order) for order in itertools.permutations(there)):
                return True
    return False


def _holds(order: Sequence[Operation]) -> bool:
    value: Value = None
    for place, each in enumerate(order):
        if any(later.end is not None and later.end < each.start for later in order[place + 1 :]):
            return False
        match each.kind:
            case "read" if each.value != value:
                return False
            case "refused" if each.expected == value:
                return False
            case "swap" if each.expected != value and each.end is not None:
                return False
            case "swap" if each.expected == value:
                value = each.value
            case "write":
                value = each.value
            case _:
                pass
    return True


values = st.one_of(st.none(), st.sampled_from(["a", "b"]))
written = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Draw a small history, likely or not. Each value is written once at most, as in a trial."""
    made: list[Operation] = []
    fresh = draw(st.permutations(["a", "b", "c", "d", "e"]))
    for serial in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, 12))
        end: int | None = start + draw(st.integers(0, 8))
        kind = draw(st.sampled_from(["read", "write", "swap", "refused", "delete"]))
        if kind not in {"read", "refused"} and draw(st.booleans()):
            end = None
        value = {"read": draw(st.one_of(st.none(), st.sampled_from(fresh))), "delete": None}.get(kind, fresh[serial])
        expected = draw(st.one_of(st.none(), st.sampled_from(fresh)))
        match kind:
            case "read" | "write":
                made.append(Operation(start, end, kind, value))
            case "delete":
                made.append(Operation(start, end, "write", None))
            case "swap":
                made.append(Operation(start, end, "swap", value, expected))
            case _:
                made.append(Operation(start, end, "refused", value, expected))
    return made


@given(histories())
def test_it_says_what_trying_every_order_says(history: list[Operation]) -> None:
    """Of any small history, also of one that no register made."""
    wanted = Answer.EXPLAINED if plainly(history) else Answer.UNEXPLAINED
    assert explain(history).answer is wanted


@given(st.integers(0, 10**9), st.integers(4, 60))
def test_a_read_of_what_was_long_overwritten_is_found(seed: int, number: int) -> None:
    """One such read, put anywhere into a long sound history."""
    history = simulated(Random(seed), number)  # noqa: S311
    last = max(each.end or 0 for each in history)
    stale = [
        Operation(last + 10, last + 11, "write", "x"),
        Operation(last + 20, last + 21, "write", "y"),
        Operation(last + 30, last + 31, "read", "x"),
    ]
    found = explain([*history, *stale])
    assert found.answer is Answer.UNEXPLAINED
    assert found.stuck == stale[-1]


def test_two_swaps_over_one_version_are_a_lost_update() -> None:
    """Both were told that they had it."""
    history = [
        Operation(0, 1, "write", "a"),
        Operation(2, 9, "swap", "b", "a"),
        Operation(3, 8, "swap", "c", "a"),
    ]
    assert explain(history).answer is Answer.UNEXPLAINED
    assert explain(history[:2]).answer is Answer.EXPLAINED


def test_too_many_steps_are_no_verdict() -> None:
    """Neither good nor bad: it could not be found out."""
    history = [Operation(0, 100, "write", f"v{number}") for number in range(8)]
    history.append(Operation(200, 201, "read", "none of them"))
    assert explain(history, steps_max=500).answer is Answer.NOT_FOUND_OUT
