"""The classification of session changes: every rule of the table, by example."""

from dataclasses import replace
from typing import Any, Final

import pytest

from lockside.core import sessions
from lockside.core.row import SessionRow, Traits
from lockside.core.sessions import SessionChange
from tests.fakes.changes import CREATED_MS, change, recipe

DEADLINE_MS: Final = CREATED_MS + 600_000
ANON: Final = SessionRow(principal=None, authenticated="no", deadline_ms=DEADLINE_MS, payload="p")
USER: Final = replace(ANON, principal="ann", authenticated="yes")
UNCLEAR: Final = replace(ANON, authenticated="unknown", payload="q")
ELSEWHERE: Final = replace(ANON, authenticated="unknown", nobody=True)
READER: Final = replace(USER, privileges="reader")
ADMIN: Final = replace(USER, payload="q", privileges="admin")
STUB: Final = replace(ANON, payload=None)
HOUR_MS: Final = DEADLINE_MS - DEADLINE_MS % 3_600_000 + 3_600_000
ON_THE_HOUR: Final = replace(USER, deadline_ms=HOUR_MS)
NEVER: Final = replace(USER, deadline_ms=None)
PAST: Final = replace(USER, deadline_ms=CREATED_MS - 60_000)
NEAR: Final = replace(USER, deadline_ms=CREATED_MS + 500)
SHORT_MS: Final = DEADLINE_MS - 1_000
LATE_LOGIN: Final = ("session.authenticated", ("id_not_rotated", "late"), True)
SHORT_LOGIN: Final = ("session.authenticated", ("id_not_rotated", "lifetime_shortened"), True)
SHORTENED: Final = ("session.changed", ("lifetime_shortened",), True)
TRAITS: Final = Traits(kind="session", clock="absolute", ttl_is_deadline=True)

Case = tuple[str, SessionRow | None, SessionRow | None, bool, str | None, tuple[str, ...], bool]

CASES: Final[list[Case]] = [
    # rule, old, new, by TTL, event, flags, recorded
    ("not a row", None, None, False, None, (), False),
    ("stub", None, STUB, False, None, (), False),
    ("stub", STUB, None, True, None, (), False),
    ("stub", STUB, replace(STUB, deadline_ms=1), False, None, (), False),
    ("start", None, ANON, False, "session.started", (), True),
    ("start", None, USER, False, "session.started", (), True),
    ("start", STUB, USER, False, "session.started", (), True),
    ("start", None, PAST, False, "session.started", ("born_expired",), True),
    ("ttl", USER, None, True, "session.purged", (), True),
    ("remove after", PAST, None, False, "session.ended", (), True),
    ("remove", USER, None, False, "session.ended", (), True),
    (
        "remove near",
        replace(USER, deadline_ms=CREATED_MS + 500),
        None,
        False,
        "session.ended",
        ("timing_uncertain",),
        True,
    ),
    ("remove without deadline", NEVER, None, False, "session.ended", (), True),
    ("emptied", USER, STUB, False, "session.ended", (), True),
    ("log in", ANON, USER, False, "session.authenticated", ("id_not_rotated",), True),
    ("log in unclear", UNCLEAR, USER, False, "session.authenticated", (), True),
    ("log in elsewhere", ELSEWHERE, USER, False, "session.authenticated", ("id_not_rotated",), True),
    ("log out unclear", USER, UNCLEAR, False, "session.changed", (), True),
    ("log out elsewhere", USER, ELSEWHERE, False, "session.deauthenticated", (), True),
    ("log out", USER, ANON, False, "session.deauthenticated", (), True),
    ("switch", USER, replace(USER, principal="bob"), False, "session.changed", ("principal_switched",), True),
    ("privileges", READER, ADMIN, False, "session.changed", ("privileges_changed",), True),
    ("payload", USER, ADMIN, False, "session.changed", (), True),
    ("payload", USER, replace(USER, payload="q"), False, "session.changed", (), True),
    (
        "shorten",
        USER,
        replace(USER, deadline_ms=DEADLINE_MS - 1_000),
        False,
        "session.changed",
        ("lifetime_shortened",),
        True,
    ),
    ("deadline switch", USER, NEVER, False, "session.changed", ("deadline_switched",), True),
    ("refresh", USER, replace(USER, deadline_ms=DEADLINE_MS + 1), False, "session.refreshed", (), False),
    ("refresh", USER, replace(USER, deadline_ms=DEADLINE_MS + 3_600_000), False, "session.refreshed", (), True),
    ("refresh", PAST, USER, False, "session.refreshed", ("late",), False),
    ("payload", PAST, ADMIN, False, "session.changed", ("late",), True),
    ("log in", replace(ANON, deadline_ms=PAST.deadline_ms), USER, False, *LATE_LOGIN),
    ("log out", PAST, ANON, False, "session.deauthenticated", ("late",), True),
    ("switch", PAST, replace(USER, principal="bob"), False, "session.changed", ("late", "principal_switched"), True),
    ("payload", NEAR, ADMIN, False, "session.changed", ("timing_uncertain",), True),
    ("payload", USER, replace(ADMIN, deadline_ms=SHORT_MS), False, "session.changed", ("lifetime_shortened",), True),
    ("payload", USER, replace(ADMIN, deadline_ms=PAST.deadline_ms), False, *SHORTENED),
    ("log in", ANON, replace(USER, deadline_ms=SHORT_MS), False, *SHORT_LOGIN),
    ("payload", PAST, replace(PAST, payload="q"), False, "session.changed", (), True),
    ("refresh", PAST, replace(USER, deadline_ms=CREATED_MS - 1), False, "session.refreshed", ("born_expired",), False),
    ("volatile", PAST, PAST, False, None, (), False),
    ("jitter", ON_THE_HOUR, replace(ON_THE_HOUR, deadline_ms=HOUR_MS - 1), False, "session.refreshed", (), True),
    ("unclear", ANON, replace(UNCLEAR, payload="p"), False, "session.changed", (), True),
    ("volatile", USER, USER, False, None, (), False),
    ("volatile", USER, replace(USER, deadline_ms=DEADLINE_MS - 999), False, None, (), False),
]


@pytest.mark.parametrize(("rule", "old", "new", "by_ttl", "event", "flags", "recorded"), CASES)
def test_rule(  # noqa: PLR0913  # a row of the table is its arguments
    *,
    rule: str,
    old: SessionRow | None,
    new: SessionRow | None,
    by_ttl: bool,
    event: str | None,
    flags: tuple[str, ...],
    recorded: bool,
) -> None:
    """Each rule of the table gives its event, flags and whether it is recorded."""
    got, matched = sessions.classify(SessionChange(change(old, new, by_ttl=by_ttl), old, new, TRAITS, recipe()))
    assert matched.rule == rule
    assert (got.type if got else None) == event
    if got:
        assert (got.flags, got.recorded) == (flags, recorded)


def test_every_rule_has_a_case() -> None:
    """No row of the table goes untested."""
    assert {rule.rule for rule in sessions.TABLE} == {case[0] for case in CASES}


def test_an_insert_with_a_user_is_one_event() -> None:
    """Started and authenticated at once is `started`, authenticated yes, and no second event."""
    event = classified(None, USER)
    assert (event.type, event.authenticated, event.actor) == ("session.started", "yes", "ann")


def test_a_logout_names_who_left() -> None:
    """The user who disappears is the actor, and is no previous actor."""
    event = classified(USER, ANON)
    assert (event.actor, event.previous_actor, event.authenticated) == ("ann", None, "no")


def test_a_switch_names_both() -> None:
    """The new user acts, the old one is named."""
    event = classified(USER, replace(USER, principal="bob"))
    assert (event.actor, event.previous_actor) == ("bob", "ann")


@pytest.mark.parametrize(
    ("old", "new", "certainty"),
    [
        (UNCLEAR, USER, "inferred"),
        (USER, UNCLEAR, "unknown"),
        (ELSEWHERE, USER, "inferred"),
        (USER, ELSEWHERE, "inferred"),
        (ANON, USER, "certain"),
        (USER, ANON, "certain"),
    ],
)
def test_an_unreadable_payload_is_neither_a_login_nor_a_logout_for_sure(
    old: SessionRow, new: SessionRow, certainty: str
) -> None:
    """A payload written by another codec hides the user; that says nothing of whether one left."""
    event = classified(old, new)
    assert (event.actor, event.certainty) == ("ann", certainty)


@pytest.mark.parametrize(
    ("row", "reason", "certainty"),
    [
        (PAST, "after_deadline", "inferred"),
        (USER, "removed", "certain"),
        (NEVER, "removed_without_deadline", "unknown"),
    ],
)
def test_a_removal_says_how_sure_it_is(row: SessionRow, reason: str, certainty: str) -> None:
    """After the deadline a logout and a reaper look the same; without one nothing tells them apart."""
    event = classified(row, None)
    assert (event.reason, event.certainty) == (reason, certainty)


def test_a_removed_anonymous_session_has_no_user() -> None:
    """Ended, authenticated no, no actor."""
    event = classified(ANON, None)
    assert (event.authenticated, event.actor) == ("no", None)


def test_shortening_into_the_past_is_a_change() -> None:
    """Such a write asks for the session's end; the timer, not the change, declares it."""
    event = classified(USER, replace(USER, deadline_ms=CREATED_MS - 5_000))
    assert (event.type, event.flags) == ("session.changed", ("lifetime_shortened",))


def test_shortening_within_a_bucket_is_recorded() -> None:
    """A deadline that moves back by a second or more is recorded although its bucket stays."""
    wide = recipe(refresh_bucket_ms=10**12)
    old, new = USER, replace(USER, deadline_ms=DEADLINE_MS - 5_000)
    event, _ = sessions.classify(SessionChange(change(old, new), old, new, TRAITS, wide))
    assert event is not None
    assert event.recorded


def test_a_deadline_farther_off_than_any_client_means_is_flagged() -> None:
    """Milliseconds that were added to seconds make a session of years; what the layout allows is none of it."""
    traits = replace(TRAITS, lifetime_max_ms=DEADLINE_MS - CREATED_MS)
    flags = []
    for deadline_ms in (DEADLINE_MS, DEADLINE_MS + 1):
        new = replace(USER, deadline_ms=deadline_ms)
        event, _ = sessions.classify(SessionChange(change(None, new), None, new, traits, recipe()))
        assert event is not None
        flags.append(event.flags)
    assert flags == [(), ("deadline_implausible",)]


def classified(old: SessionRow | None, new: SessionRow | None) -> Any:
    """Classify a change that gives an event."""
    event, _ = sessions.classify(SessionChange(change(old, new), old, new, TRAITS, recipe()))
    assert event is not None
    return event
