"""What a trial is judged by: each law, kept and broken, in a few events."""

from dataclasses import replace
from typing import Any

import pytest

from lockside.app.lock_history import _parents_first
from lockside.core.trial import Event, Step, judge

KEYS = ("a", "b", "c")


def event(client: int, did: Any, key: str, start: int, end: int, **more: Any) -> Event:
    """Return one call."""
    return Event(client, did, key, start, end, **more)


def held(client: int, start: int, end: int, fence: int) -> Event:
    """Return one time under the lock `l`."""
    return event(client, "held", "l", start, end, fence=fence, owner=f"o{client}")


def fenced(client: int, start: int, fence: int, count: int, outcome: Any = "done") -> Event:
    """Return one write to the counter that the lock protects."""
    return event(client, "fenced", "l", start, start + 1, fence=fence, count=count, outcome=outcome)


SOUND = [
    event(1, "write", "a", 0, 2, value="v1"),
    event(2, "read", "a", 1, 3, value=None),
    event(1, "swap", "a", 4, 5, value="v2", expected="v1"),
    event(2, "swap", "a", 6, 7, value="v3", expected="v1", outcome="refused"),
    event(1, "scan", "a", 8, 9, end_key="c", found=(("a", "v2"),)),
    event(1, "write", "b", 10, 11, value="v4", outcome="unknown"),
    event(2, "delete", "a", 12, 13),
    event(1, "scan", "a", 14, 15, end_key="d", found=(("b", "v4"),)),
    held(1, 20, 30, 1),
    held(2, 31, 40, 2),
    fenced(1, 22, 1, 1),
    fenced(2, 33, 2, 2),
    fenced(1, 36, 1, 0, "refused"),
]
STEPS = [Step("l", 1, "o1"), Step("l", None, ""), Step("l", 2, "o2"), Step("l", 2, "o2")]


def laws(events: list[Event], steps: list[Step] | None = None) -> set[str]:
    """Return the laws that were broken."""
    return {finding.law for finding in judge(events, STEPS if steps is None else steps, KEYS).findings}


def test_a_sound_trial_is_good() -> None:
    """And what it put to the test is counted."""
    verdict = judge(SOUND, STEPS, KEYS)
    assert verdict.findings == ()
    assert verdict.open_questions == ()
    shown = verdict.shown
    assert (shown.scans, shown.holders, shown.stale_tried, shown.stale_refused) == (2, 2, 1, 1)


@pytest.mark.parametrize(
    ("wrong", "law"),
    [
        (event(3, "read", "a", 50, 51, value="v1"), "every read is explained"),
        (event(3, "swap", "b", 50, 51, value="x", expected="v9"), "every read is explained"),
        (event(3, "swap", "b", 50, 51, value="x", expected="v4", outcome="refused"), "every read is explained"),
        (event(3, "scan", "a", 50, 51, end_key="d"), "every read is explained"),
        (event(3, "scan", "a", 14, 15, end_key="d", found=(("b", "v4"), ("a", "v2"))), "scans are in order"),
        (event(3, "scan", "c", 50, 51, end_key="d", found=(("b", "v4"),)), "scans are in order"),
        (held(3, 39, 45, 3), "no two holders within a lease"),
        (held(3, 41, 45, 2), "fences grow"),
        (fenced(3, 45, 1, 3), "a superseded holder is refused"),
        (fenced(3, 45, 2, 2), "no counted write is lost"),
    ],
)
def test_each_law_is_found_broken(wrong: Event, law: str) -> None:
    """By one event more than a sound trial has."""
    assert law in laws([*SOUND, wrong])


def test_a_fence_that_the_history_went_past_without_showing_is_found() -> None:
    """Its holder held a lock that the table knows nothing of."""
    events = [*SOUND, held(3, 41, 45, 3)]
    assert "no two holders within a lease" in laws(events, [*STEPS, Step("l", 4, "o4")])


def test_a_fence_that_the_history_has_not_come_to_is_an_open_question() -> None:
    """A stream is late by nature: that is no holder too many."""
    verdict = judge([*SOUND, held(3, 41, 45, 3)], STEPS, KEYS)
    assert verdict.findings == ()
    assert len(verdict.open_questions) == 1
    assert "had not shown its fence 3 yet, but 2" in verdict.open_questions[0]


@pytest.mark.parametrize("step", [Step("l", 1, "o1"), Step("l", 2, "o3")])
def test_a_history_that_goes_back_or_gives_a_fence_twice_is_found(step: Step) -> None:
    """Whatever the clients believed."""
    assert "fences grow" in laws(SOUND, [*STEPS, step])


def test_what_was_not_put_to_the_test_is_said() -> None:
    """Without a stale write, and without the lock table's stream."""
    events = [each for each in SOUND if each.outcome != "refused"]
    verdict = judge(events, None, KEYS)
    assert verdict.findings == ()
    assert len(verdict.open_questions) == 2


def test_a_write_of_unknown_outcome_explains_what_was_read_later() -> None:
    """And only after it began."""
    late = event(2, "read", "c", 70, 71, value="x")
    lost = event(1, "write", "c", 60, 61, value="x", outcome="unknown")
    assert laws([*SOUND, lost, late]) == set()
    assert laws([*SOUND, replace(lost, start_ns=80, end_ns=81), late]) == {"every read is explained"}


def test_shards_are_read_parents_first() -> None:
    """Also where a parent is not listed, or is the shard itself, as moto has it."""
    assert _parents_first({"c": "b", "b": "a", "a": "gone", "m": "m"}) == ["a", "m", "b", "c"]
