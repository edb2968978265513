"""The classification of lock changes: every rule of the table, by example."""

from dataclasses import replace
from typing import Any, Final

import pytest

from lockside.core import locks
from lockside.core.locks import LockChange
from lockside.core.row import LockRow, Traits
from tests.fakes.changes import CREATED_MS, change, recipe

HELD: Final = LockRow(owner="alpha", version="1", lease_ms=4_000, deadline_ms=None, released=False)
FREE: Final = replace(HELD, released=True)
BEAT: Final = replace(HELD, version="2")
OTHER: Final = replace(HELD, owner="beta", version="2")
FENCED: Final = replace(HELD, fence="1")
FREED: Final = replace(FENCED, released=True)
RELATIVE: Final = Traits(kind="lock", clock="relative", releases="both")
MARKING: Final = replace(RELATIVE, releases="mark")
FENCING: Final = replace(MARKING, acquire_signature=True)
BALANCING: Final = replace(MARKING, owner_change="transferred")
ABSOLUTE: Final = Traits(kind="lock", clock="absolute")
RETIRING: Final = replace(BALANCING, retires=True)
PRUNING: Final = replace(ABSOLUTE, releases="mark", prunes=True)
NEVER_RENEWING: Final = replace(ABSOLUTE, names_owner=False, renews=False)
NAMELESS: Final = replace(ABSOLUTE, names_owner=False)
WRITTEN_ONCE: Final = Traits(kind="lock", clock="none", writes_once=True)
SHARED: Final = replace(ABSOLUTE, releases="set_deadline", acquire_signature=True)
LONG_PAST, AHEAD = CREATED_MS - 60_000, CREATED_MS + 60_000
UNTIL: Final = LockRow("alpha", "1", None, AHEAD, released=False, acquired_at="1", until_ms=AHEAD)
LAPSED: Final = replace(UNTIL, deadline_ms=LONG_PAST, until_ms=LONG_PAST)
AGAIN: Final = replace(UNTIL, owner="beta", version="2", acquired_at="2", deadline_ms=AHEAD * 2, until_ms=AHEAD * 2)
UNDATED: Final = replace(LAPSED, version=None, acquired_at=None)
ANONYMOUS: Final = replace(UNTIL, owner=None, acquired_at=None, until_ms=None)

PAST: Final = replace(ANONYMOUS, deadline_ms=LONG_PAST)
JUST_PAST: Final = replace(UNTIL, deadline_ms=CREATED_MS)
GIVEN_UP: Final = replace(JUST_PAST, owner=None, released=True)
PRUNED: Final = ("late", "pruned")

Case = tuple[str, Traits, LockRow | None, LockRow | None, bool, str | None, tuple[str, ...], bool]

CASES: Final[list[Case]] = [
    # rule, traits, old, new, by TTL, event, flags, recorded
    ("0", RELATIVE, None, None, False, None, (), False),
    ("1", RELATIVE, None, HELD, False, "lock.acquired", (), True),
    ("1 free", RELATIVE, None, FREE, False, "lock.changed", (), True),
    ("2", RELATIVE, HELD, None, True, "lock.purged", (), True),
    ("2 free", RELATIVE, FREE, None, True, "lock.purged", (), True),
    ("3", RELATIVE, FREE, None, False, "lock.deleted", (), True),
    ("3 retired", RETIRING, HELD, None, False, "lock.deleted", (), True),
    ("3 past", SHARED, LAPSED, None, False, "lock.deleted", (), True),
    ("4", RELATIVE, HELD, None, False, "lock.released", (), True),
    ("5", MARKING, HELD, None, False, "lock.deleted", ("forced",), True),
    ("5", SHARED, UNTIL, None, False, "lock.deleted", ("forced",), True),
    ("until taken early", SHARED, UNTIL, AGAIN, False, "lock.taken_over", ("early",), True),
    ("until taken", SHARED, LAPSED, AGAIN, False, "lock.acquired", (), True),
    ("until released", SHARED, UNTIL, replace(UNTIL, deadline_ms=CREATED_MS), False, "lock.released", (), True),
    ("until released", SHARED, LAPSED, replace(UNTIL, deadline_ms=CREATED_MS), False, "lock.released", ("late",), True),
    (
        "until released",
        SHARED,
        UNTIL,
        replace(UNTIL, deadline_ms=AHEAD - 1),
        False,
        "lock.released",
        ("effective_later",),
        True,
    ),
    ("until taken", SHARED, UNTIL, replace(AGAIN, acquired_at=None), False, "lock.acquired", (), True),
    ("until unclear", SHARED, UNTIL, UNDATED, False, "lock.changed", (), True),
    ("11", SHARED, UNTIL, UNTIL, False, None, (), False),
    ("6 pruned", PRUNING, LAPSED, replace(LAPSED, owner=None, released=True), False, "lock.released", PRUNED, True),
    ("6", PRUNING, UNTIL, replace(UNTIL, owner=None, released=True), False, "lock.released", (), True),
    ("6 maybe pruned", PRUNING, JUST_PAST, GIVEN_UP, False, "lock.released", ("timing_uncertain",), True),
    ("6", RELATIVE, HELD, FREE, False, "lock.released", (), True),
    ("6 forced", RELATIVE, HELD, replace(FREE, owner="admin"), False, "lock.released", ("forced",), True),
    ("6 forced", RELATIVE, HELD, replace(FREE, version="9"), False, "lock.released", ("forced",), True),
    ("6", RELATIVE, HELD, replace(FREE, owner=None, version="9"), False, "lock.released", (), True),
    ("7", RELATIVE, FREE, OTHER, False, "lock.acquired", (), True),
    ("7", RELATIVE, FREE, BEAT, False, "lock.acquired", (), True),
    (
        "7 resurrected",
        FENCING,
        replace(FENCED, released=True),
        replace(FENCED, version="2"),
        False,
        "lock.renewed",
        ("resurrected",),
        True,
    ),
    ("7", FENCING, FREED, replace(FENCED, owner="beta", version="2"), False, "lock.acquired", (), True),
    ("7", FENCING, FREE, OTHER, False, "lock.acquired", (), True),
    ("7 unsigned", FENCING, FREE, BEAT, False, "lock.acquired", (), True),
    ("7 unsigned", FENCING, FREED, BEAT, False, "lock.acquired", (), True),
    ("7", FENCING, replace(FENCED, released=True), replace(FENCED, fence="2"), False, "lock.acquired", (), True),
    ("8 owner", RELATIVE, FREE, replace(OTHER, released=True), False, "lock.acquired", ("stale_marker",), True),
    ("8 version", RELATIVE, FREE, replace(BEAT, released=True), False, "lock.renewed", ("after_release",), False),
    ("8", RELATIVE, FREE, replace(FREE, lease_ms=9_000), False, "lock.changed", (), False),
    ("9 transferred", BALANCING, HELD, OTHER, False, "lock.transferred", (), True),
    ("9 handoff", BALANCING, HELD, replace(OTHER, handoff="alpha"), False, "lock.transferred", ("handoff",), True),
    ("9 by hand", WRITTEN_ONCE, HELD, OTHER, False, "lock.changed", (), True),
    ("9 by hand", WRITTEN_ONCE, HELD, BEAT, False, "lock.changed", (), False),
    (
        "9 version",
        NEVER_RENEWING,
        ANONYMOUS,
        replace(ANONYMOUS, version="2"),
        False,
        "lock.taken_over",
        ("early",),
        True,
    ),
    ("9 nameless", NAMELESS, PAST, replace(PAST, version="2", deadline_ms=AHEAD), False, "lock.taken_over", (), True),
    ("10", NAMELESS, ANONYMOUS, replace(ANONYMOUS, version="2"), False, "lock.renewed", (), False),
    ("9", RELATIVE, HELD, OTHER, False, "lock.taken_over", (), True),
    (
        "10 signed",
        FENCING,
        FENCED,
        replace(FENCED, fence="2", version="2"),
        False,
        "lock.acquired",
        ("reacquired",),
        True,
    ),
    ("10 certain", FENCING, FENCED, replace(FENCED, version="2"), False, "lock.renewed", (), False),
    ("10", RELATIVE, HELD, BEAT, False, "lock.renewed", (), False),
    ("10", FENCING, HELD, BEAT, False, "lock.renewed", (), False),
    ("10", FENCING, FENCED, BEAT, False, "lock.renewed", (), True),
    ("11", RELATIVE, HELD, HELD, False, None, (), False),
    ("11 data", RELATIVE, HELD, replace(HELD, lease_ms=9_000), False, "lock.changed", (), False),
]


@pytest.mark.parametrize(("rule", "traits", "old", "new", "by_ttl", "event", "flags", "recorded"), CASES)
def test_rule(  # noqa: PLR0913  # a row of the table is its arguments
    *,
    rule: str,
    traits: Traits,
    old: LockRow | None,
    new: LockRow | None,
    by_ttl: bool,
    event: str | None,
    flags: tuple[str, ...],
    recorded: bool,
) -> None:
    """Each rule of the table gives its event, flags and whether it is recorded."""
    got, matched = locks.classify(LockChange(change(old, new, by_ttl=by_ttl), old, new, traits, recipe()))
    assert matched.rule == rule
    assert (got.type if got else None) == event
    if got:
        assert (got.flags, got.recorded) == (flags, recorded)


def test_every_rule_has_a_case() -> None:
    """No row of the table goes untested."""
    assert {rule.rule for rule in locks.TABLE} == {*(case[0] for case in CASES), "3 left"}


@pytest.mark.parametrize("traits", [RELATIVE, MARKING, RETIRING, SHARED, ABSOLUTE, WRITTEN_ONCE])
@pytest.mark.parametrize("old", [HELD, FREE, LAPSED])
def test_a_row_that_stays_and_is_no_lock_any_more_was_not_let_go(traits: Traits, old: LockRow) -> None:
    """No client writes so: what became of the lock is not known, whatever its clients do to let go."""
    rewritten = replace(change(old, None), operation="MODIFY", new={})
    event, matched = locks.classify(LockChange(rewritten, old, None, traits, recipe()))
    assert event is not None
    assert (matched.rule, event.type, event.certainty, event.reason) == (
        "3 left",
        "lock.changed",
        "unknown",
        "row_no_longer_a_lock",
    )
    assert (event.actor, event.flags, event.recorded) == ("alpha", (), True)


def test_a_relative_renewal_is_only_inferred() -> None:
    """A heartbeat and a takeover under the same owner's name look the same, unless a fence tells."""
    assert classified(RELATIVE, HELD, BEAT).certainty == "inferred"
    assert classified(FENCING, FENCED, replace(FENCED, version="2")).certainty == "certain"


def test_without_its_signature_a_renewal_or_an_acquisition_is_only_inferred() -> None:
    """A fence that is missing, or that cannot be read, tells nothing: neither for one nor for the other."""
    assert classified(FENCING, HELD, BEAT).certainty == "inferred"
    assert classified(FENCING, FENCED, BEAT).certainty == "inferred"
    assert classified(FENCING, HELD, replace(FENCED, version="2")).certainty == "inferred"
    assert classified(FENCING, FREE, BEAT).certainty == "inferred"
    assert classified(SHARED, UNTIL, UNDATED).certainty == "unknown"


def test_a_free_row_that_another_takes_is_no_resurrection() -> None:
    """A heartbeat rewrites its own owner; so with the same token, or none, another's name is an acquisition."""
    for old, new in [(FREED, replace(FENCED, owner="beta", version="2")), (FREE, OTHER)]:
        event = classified(FENCING, old, new)
        assert (event.type, event.certainty, event.actor, event.flags) == ("lock.acquired", "certain", "beta", ())


def test_a_removal_is_only_inferred_to_be_a_release() -> None:
    """A release by delete and a delete by hand look the same."""
    assert classified(RELATIVE, HELD, None).certainty == "inferred"
    assert classified(RELATIVE, HELD, FREE).certainty == "certain"


def test_actors_of_a_takeover() -> None:
    """The new owner acts, the old one is named."""
    event = classified(RELATIVE, HELD, OTHER)
    assert (event.actor, event.previous_actor) == ("beta", "alpha")


def test_actor_of_a_release_is_the_holder() -> None:
    """Also where the release mark carries another name."""
    assert classified(RELATIVE, HELD, replace(FREE, owner="admin")).actor == "alpha"
    assert classified(RELATIVE, HELD, None).actor == "alpha"


def test_a_handoff_that_ends_is_marked() -> None:
    """On the renewal, as the owner's name does not change by it any more; or on a transfer back, or to a third."""
    handing = replace(OTHER, handoff="alpha")
    event = classified(BALANCING, handing, replace(handing, handoff=None, version="3"))
    assert (event.type, event.flags, event.recorded) == ("lock.renewed", ("handoff_ended",), False)
    third = classified(BALANCING, handing, replace(handing, owner="gamma", handoff=None, version="3"))
    assert (third.type, third.flags) == ("lock.transferred", ("handoff_ended",))
    back = classified(BALANCING, handing, replace(handing, owner="alpha", handoff=None, version="3"))
    assert (back.type, back.actor, back.flags) == ("lock.transferred", "alpha", ("handoff_ended",))


def test_progress_is_marked_on_the_renewal() -> None:
    """A checkpoint is a renewal that also reports something."""
    assert classified(BALANCING, HELD, replace(BEAT, progress="9")).flags == ("progress",)


def test_a_blocked_lock_is_marked_and_the_mark_is_recorded() -> None:
    """Nobody can take the lock any more: an auditor asks for that."""
    event = classified(RELATIVE, HELD, replace(HELD, blocked=True))
    assert (event.type, event.flags, event.recorded) == ("lock.changed", ("blocked",), True)


def test_changing_hands_is_recorded_where_rows_name_nobody() -> None:
    """Two rows of two holders look alike to the projection then."""
    new = replace(ANONYMOUS, version="2")
    assert locks.projection(ANONYMOUS) == locks.projection(new)
    assert classified(NEVER_RENEWING, ANONYMOUS, new).recorded


def test_the_projection_of_other_layouts_is_what_it_always_was() -> None:
    """Hashes link records of years; new facts stand in it only where there are any."""
    assert locks.projection(HELD) == {"released": False, "owner": "alpha", "fence": None, "acquired_at": None}
    assert locks.projection(UNTIL) == {
        "released": False,
        "owner": "alpha",
        "fence": None,
        "acquired_at": "1",
        "until": str(AHEAD),
    }


def test_faults_of_a_row_are_flags_of_its_event() -> None:
    """An unreadable lease does not hide that the lock was taken."""
    event = classified(RELATIVE, None, replace(HELD, lease_ms=None, faults=("lease_unreadable",)))
    assert (event.type, event.flags) == ("lock.acquired", ("lease_unreadable",))


@pytest.mark.parametrize(
    ("deadline_after_ms", "flags"),
    [(-10_000, ("late",)), (10_000, ()), (0, ("timing_uncertain",)), (2_500, ("timing_uncertain",))],
)
def test_release_of_an_absolute_lock_is_timed(deadline_after_ms: int, flags: tuple[str, ...]) -> None:
    """Late, in time, or undecided within the clock margin and the rounding of the creation time."""
    held = replace(HELD, lease_ms=None, deadline_ms=CREATED_MS + deadline_after_ms)
    assert classified(ABSOLUTE, held, None).flags == flags


@pytest.mark.parametrize(("deadline_after_ms", "flags"), [(-10_000, ()), (60_000, ("early",))])
def test_takeover_of_an_absolute_lock_is_timed(deadline_after_ms: int, flags: tuple[str, ...]) -> None:
    """Before the stored deadline a takeover is early: an edit by hand, or mixed configurations."""
    held = replace(HELD, lease_ms=None, deadline_ms=CREATED_MS + deadline_after_ms)
    taken = replace(held, owner="beta", deadline_ms=CREATED_MS + 120_000)
    assert classified(ABSOLUTE, held, taken).flags == flags


@pytest.mark.parametrize(("before", "flags"), [(HELD, ()), (FREE, ("born_expired",))])
def test_a_new_hold_shortens_no_deadline_of_a_free_row(before: LockRow, flags: tuple[str, ...]) -> None:
    """A deadline in the past is born expired beside a free row; it shortens only that of a held one."""
    old = replace(before, lease_ms=None, deadline_ms=CREATED_MS + 60_000)
    new = replace(BEAT, lease_ms=None, deadline_ms=CREATED_MS - 60_000)
    assert tuple(flag for flag in classified(ABSOLUTE, old, new).flags if flag == "born_expired") == flags


def test_relative_layouts_compare_no_instants() -> None:
    """A relative lease has no instant in one change to compare, so no timing flag can be had."""
    for old, new in [(HELD, None), (HELD, OTHER), (HELD, BEAT)]:
        assert classified(RELATIVE, old, new).flags == ()


def test_lease_and_version_are_no_part_of_the_projection() -> None:
    """Heartbeats must not link records: what moves with each of them is left out of the hashes."""
    assert locks.projection(HELD) == locks.projection(replace(BEAT, lease_ms=9_000, deadline_ms=5))


def classified(traits: Traits, old: LockRow | None, new: LockRow | None) -> Any:
    """Classify a change that gives an event."""
    event, _ = locks.classify(LockChange(change(old, new), old, new, traits, recipe()))
    assert event is not None
    return event
