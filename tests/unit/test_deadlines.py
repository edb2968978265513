"""The exact net: when deadlines are due, and what re-arms, settles or puts them off."""

from dataclasses import replace
from typing import Final

import pytest

from lockside.core.deadlines import REBUILD_FROM, Deadlines, timer_for
from lockside.core.entity import EntityKey
from lockside.core.event import Hold
from lockside.core.now import Now
from tests.fakes.changes import CREATED_MS, KEY, recipe

LOCK: Final = Hold(
    kind="lock",
    key=KEY,
    actor="alpha",
    version="1",
    lease_ms=4_000,
    deadline_ms=None,
    grace_ms=0,
    created_ms=CREATED_MS,
    armed=True,
)
SESSION: Final = replace(LOCK, kind="session", version=None, lease_ms=None, deadline_ms=CREATED_MS + 60_000)
FRESH: Final = Now(wall_ms=CREATED_MS + 100, mono_ms=50_000)
RECIPE: Final = recipe()


def later(now: Now, ms: int) -> Now:
    """Let both clocks run on."""
    return Now(now.wall_ms + ms, now.mono_ms + ms)


def test_a_relative_lease_runs_from_receipt() -> None:
    """Receipt is after the write, so no clock of ours or theirs enters."""
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, FRESH)
    assert book.next_deadline() == FRESH.mono_ms + 4_000
    assert book.due(later(FRESH, 3_999), caught_up=True, limit=9) == []
    assert [t.hold for t in book.due(later(FRESH, 4_000), caught_up=True, limit=9)] == [LOCK]


def test_on_catch_up_the_creation_time_may_tell_earlier() -> None:
    """A change read an hour late: creation + precision + lease + margin has passed long ago."""
    late = Now(CREATED_MS + 3_600_000, 50_000)
    timer = timer_for("src", LOCK, RECIPE, late)
    assert timer.due_ms == 54_000
    assert timer.legal_ms == CREATED_MS + 1_000 + 4_000 + 2_000
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, late)
    assert len(book.due(late, caught_up=True, limit=9)) == 1


def test_while_behind_only_receipt_counts() -> None:
    """A later record of the same backlog may renew the lease, so an old creation time proves nothing yet."""
    late = Now(CREATED_MS + 3_600_000, 50_000)
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, late)
    assert book.due(late, caught_up=False, limit=9) == []
    assert len(book.due(later(late, 4_000), caught_up=False, limit=9)) == 1


def test_a_stored_deadline_waits_out_the_margin() -> None:
    """The writer's clock and ours may differ by the margin."""
    timer = timer_for("src", SESSION, RECIPE, FRESH)
    assert timer.legal_ms == CREATED_MS + 60_000 + 2_000
    assert timer.due_ms - FRESH.mono_ms == timer.legal_ms - FRESH.wall_ms


@pytest.mark.parametrize("off_ms", [-3_600_000, -30_000, 0, 30_000, 3_600_000])
@pytest.mark.parametrize("age_ms", [0, 900, 60_000, 3_600_000])
def test_no_lapse_is_dated_before_the_lease_has_lasted(off_ms: int, age_ms: int) -> None:
    """Whatever our wall clock says when the change is received, and however old it is by then."""
    received = Now(CREATED_MS + age_ms + off_ms, 50_000)
    assert timer_for("src", LOCK, RECIPE, received).legal_ms >= CREATED_MS + 4_000
    assert timer_for("src", SESSION, RECIPE, received).legal_ms == CREATED_MS + 62_000


def test_a_deadline_shortened_into_the_past_ends_a_hold_no_earlier_than_that_was_written() -> None:
    """It was held until then; the read that proves it is due at once."""
    shortened = replace(SESSION, deadline_ms=CREATED_MS - 3_600_000)
    timer = timer_for("src", shortened, RECIPE, FRESH)
    assert timer.legal_ms == CREATED_MS
    book = Deadlines()
    book.observe("src", KEY, shortened, RECIPE, FRESH)
    assert [due.legal_ms for due in book.due(FRESH, caught_up=True, limit=9)] == [CREATED_MS]


def test_a_renewal_moves_the_deadline() -> None:
    """The old timer's heap entry is passed over."""
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, FRESH)
    book.observe("src", KEY, replace(LOCK, version="2"), RECIPE, later(FRESH, 3_000))
    assert book.due(later(FRESH, 4_000), caught_up=True, limit=9) == []
    assert [t.hold.version for t in book.due(later(FRESH, 7_000), caught_up=True, limit=9)] == ["2"]
    assert len(book) == 1


def test_an_end_disarms() -> None:
    """A released lock has no deadline."""
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, FRESH)
    book.observe("src", KEY, None, RECIPE, FRESH)
    assert (len(book), book.next_deadline()) == (0, None)


RAN_OUT: Final = replace(SESSION, created_ms=CREATED_MS + 61_000, actor="beta")
AFTER: Final = later(FRESH, 61_000)


def test_a_write_after_the_deadline_that_leaves_it_as_it_was_leaves_the_timer_too() -> None:
    """A lock on a PHP session that has lapsed: the lapse keeps its instant, and names whose session it is by now."""
    book = Deadlines()
    book.observe("src", KEY, SESSION, RECIPE, FRESH)
    [before] = [book.timer("src", KEY)]
    book.observe("src", KEY, RAN_OUT, RECIPE, AFTER, ran_out=True)
    after = book.timer("src", KEY)
    assert before is not None
    assert after == replace(before, hold=replace(before.hold, actor="beta"))
    assert [due.legal_ms for due in book.due(later(FRESH, 62_000), caught_up=True, limit=9)] == [CREATED_MS + 62_000]


def test_a_write_after_the_deadline_arms_nothing_anew() -> None:
    """What was born expired stays so, and a lapse that was declared is not declared again."""
    born = Deadlines()
    born.observe("src", KEY, replace(SESSION, armed=False), RECIPE, FRESH)
    born.observe("src", KEY, RAN_OUT, RECIPE, AFTER, ran_out=True)
    assert born.next_deadline() is None
    book = Deadlines()
    book.observe("src", KEY, SESSION, RECIPE, FRESH)
    [timer] = book.due(later(FRESH, 62_000), caught_up=True, limit=9)
    book.settle(timer, declared=True)
    assert book.observe("src", KEY, RAN_OUT, RECIPE, later(FRESH, 63_000), ran_out=True) is not None
    assert book.next_deadline() is None


def test_a_lapsed_hold_that_is_first_seen_by_such_a_write_is_armed() -> None:
    """In mid-life, or where memory has another deadline or is doubted: the read decides."""
    book = Deadlines()
    book.observe("src", KEY, RAN_OUT, RECIPE, AFTER, ran_out=True)
    assert len(book.due(later(AFTER, 2_000), caught_up=True, limit=9)) == 1
    book.observe("src", KEY, replace(SESSION, deadline_ms=CREATED_MS + 600_000), RECIPE, AFTER)
    book.observe("src", KEY, RAN_OUT, RECIPE, AFTER, ran_out=True)
    [timer] = book.due(later(AFTER, 2_000), caught_up=True, limit=9)
    book.settle(timer, declared=True)
    book.doubt()
    book.observe("src", KEY, RAN_OUT, RECIPE, AFTER, ran_out=True)
    assert len(book) == 1


def test_born_expired_arms_nothing() -> None:
    """A hold that is not to be armed takes an armed one's place."""
    book = Deadlines()
    book.observe("src", KEY, SESSION, RECIPE, FRESH)
    book.observe("src", KEY, replace(SESSION, armed=False), RECIPE, FRESH)
    assert book.next_deadline() is None


def test_due_stays_due_until_settled() -> None:
    """A crash between test and declaration loses nothing."""
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, FRESH)
    now = later(FRESH, 5_000)
    first = book.due(now, caught_up=True, limit=9)
    assert book.due(now, caught_up=True, limit=9) == first
    book.settle(first[0], declared=True)
    assert book.due(now, caught_up=True, limit=9) == []


def test_a_change_during_the_test_wins() -> None:
    """A timer that was re-armed while its row was read is neither settled nor put off."""
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, FRESH)
    now = later(FRESH, 5_000)
    [timer] = book.due(now, caught_up=True, limit=9)
    book.observe("src", KEY, replace(LOCK, version="2", created_ms=CREATED_MS + 5_000), RECIPE, now)
    book.settle(timer, declared=True)
    book.put_off(timer, now.mono_ms + 60_000)
    assert book.declared("src", KEY) is None
    assert book.due(later(now, 3_999), caught_up=True, limit=9) == []
    assert book.next_deadline() == now.mono_ms + 4_000
    [again] = book.due(later(now, 4_000), caught_up=True, limit=9)
    assert again.hold.version == "2"


def test_put_off_tests_again() -> None:
    """A row that had moved on is read again later, in case its change never comes."""
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, FRESH)
    now = later(FRESH, 5_000)
    [timer] = book.due(now, caught_up=True, limit=9)
    book.put_off(timer, now.mono_ms + 1_000)
    assert book.due(later(now, 999), caught_up=True, limit=9) == []
    assert len(book.due(later(now, 1_000), caught_up=True, limit=9)) == 1


def test_the_next_change_is_told_of_a_declared_lapse() -> None:
    """So that a late write by the same owner is seen as one, once."""
    book = Deadlines()
    book.observe("src", KEY, LOCK, RECIPE, FRESH)
    [timer] = book.due(later(FRESH, 5_000), caught_up=True, limit=9)
    book.settle(timer, declared=True)
    declared = book.observe("src", KEY, LOCK, RECIPE, later(FRESH, 6_000))
    assert declared is not None
    assert declared.hold == LOCK
    assert book.observe("src", KEY, LOCK, RECIPE, later(FRESH, 6_000)) is None


def test_the_limit_bounds_a_round() -> None:
    """What is over the limit comes in the next round, in order of time."""
    book = Deadlines()
    for n in range(5):
        key = EntityKey((("S", str(n)),))
        book.observe("src", key, replace(LOCK, key=key), RECIPE, later(FRESH, n))
    now = later(FRESH, 60_000)
    first = book.due(now, caught_up=True, limit=3)
    assert [t.hold.key.parts[0][1] for t in first] == ["0", "1", "2"]
    for timer in first:
        book.settle(timer, declared=False)
    assert [t.hold.key.parts[0][1] for t in book.due(now, caught_up=True, limit=3)] == ["3", "4"]


def test_heartbeats_do_not_grow_the_heap() -> None:
    """Stale entries are dropped once they outnumber the live ones."""
    book = Deadlines()
    for n in range(REBUILD_FROM * 20):
        book.observe("src", KEY, LOCK, RECIPE, later(FRESH, n))
    assert len(book._queue.heap) <= REBUILD_FROM + 1
    assert len(book.due(later(FRESH, 10**6), caught_up=True, limit=9)) == 1
