"""The classification tables: what gives no record changes nothing that is hashed, and flags and holds agree."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lockside.core import interpret, locks, sessions
from lockside.core.entity import EntityKey
from lockside.core.event import Event
from lockside.core.locks import LockChange
from lockside.core.row import LockRow, Row, SessionRow, Traits
from lockside.core.sessions import SessionChange
from tests.fakes.changes import CREATED_MS, change, recipe

DEADLINES = st.none() | st.integers(-2, 6).map(lambda step: CREATED_MS + step * 900)
LOCKS = st.builds(
    LockRow,
    owner=st.sampled_from([None, "alpha", "beta"]),
    version=st.sampled_from([None, "1", "2"]),
    lease_ms=st.none(),
    deadline_ms=DEADLINES,
    released=st.booleans(),
    fence=st.sampled_from([None, "1", "2"]),
    handoff=st.sampled_from([None, "alpha"]),
    progress=st.sampled_from([None, "p"]),
    blocked=st.booleans(),
)
SESSIONS = st.builds(
    SessionRow,
    principal=st.none(),
    authenticated=st.sampled_from(["no", "unknown"]),
    deadline_ms=DEADLINES,
    payload=st.sampled_from([None, "p", "q"]),
    nobody=st.booleans(),
    privileges=st.sampled_from([None, "reader", "writer"]),
) | st.builds(
    SessionRow,
    principal=st.sampled_from(["ann", "bob"]),
    authenticated=st.just("yes"),
    deadline_ms=DEADLINES,
    payload=st.sampled_from(["p", "q"]),
    privileges=st.sampled_from([None, "reader", "writer"]),
)
TRAITS = st.builds(
    Traits,
    kind=st.just("lock"),
    clock=st.just("absolute"),
    releases=st.sampled_from(["delete", "mark", "both", "set_deadline", "never"]),
    acquire_signature=st.booleans(),
    owner_change=st.sampled_from(["taken_over", "transferred"]),
    names_owner=st.booleans(),
    renews=st.booleans(),
    prunes=st.booleans(),
    writes_once=st.booleans(),
    retires=st.booleans(),
)
SESSION_TRAITS = Traits(kind="session", clock="absolute", ttl_is_deadline=True)
RECIPE = recipe(refresh_bucket_ms=1_800)


@dataclass(frozen=True)
class Rows:
    """A layout of two images, each of which names its row."""

    traits: Traits
    rows: Mapping[str, Row | None]
    name: str = "rows"
    digest: str = ""
    default_sort: None = None
    pulse: None = None

    def claims(self, key: EntityKey, image: Mapping[str, Any]) -> bool:
        """Claim both."""
        return bool(key.parts and image)

    def read(self, image: Mapping[str, Any]) -> Row:
        """Read the row that an image names."""
        row = self.rows[next(iter(image))]
        assert row is not None
        return row


@given(old=st.none() | LOCKS, new=st.none() | LOCKS, by_ttl=st.booleans(), traits=TRAITS)
def test_a_lock_without_a_record_changes_no_hash(
    *, old: LockRow | None, new: LockRow | None, by_ttl: bool, traits: Traits
) -> None:
    """Else the next record's before-hash would not be the last one's after-hash."""
    by_ttl = by_ttl and new is None
    old, new = (as_read(row, traits) for row in (old, new))
    event, _ = locks.classify(LockChange(change(old, new, by_ttl=by_ttl), old, new, traits, RECIPE))
    if event is None or not event.recorded:
        assert locks.projection(old) == locks.projection(new)
    agree(event, old, new, traits)


@given(old=st.none() | LOCKS, new=st.none() | LOCKS, traits=TRAITS)
def test_what_a_lock_is_called_agrees_with_what_is_held(
    *, old: LockRow | None, new: LockRow | None, traits: Traits
) -> None:
    """A lock that was let go, or never held, leaves no hold, and one that changed hands does."""
    old, new = (as_read(row, traits) for row in (old, new))
    images = {name: {name: {"BOOL": True}} for name, row in (("old", old), ("new", new)) if row is not None}
    made = replace(change(old, new), old=images.get("old"), new=images.get("new"))
    told = interpret.interpret(made, Rows(traits, {"old": old, "new": new}), RECIPE)
    match told.event.type if told.event is not None else None:
        case "lock.released" | "lock.deleted" | "lock.purged":
            assert told.after is None
        case "lock.taken_over" | "lock.transferred":
            assert told.after is not None
            assert old is not None
            assert not old.released
        case "lock.acquired" if "stale_marker" not in told.event.flags:  # type: ignore[union-attr]
            assert told.after is not None
        case _:
            assert (told.after is None) == (new is None or new.released)


def as_read(row: LockRow | None, traits: Traits) -> LockRow | None:
    """Complete a row as a layout of these traits reads it."""
    if row is None or traits.releases != "set_deadline":
        return row
    return replace(row, until_ms=row.deadline_ms, released=False, acquired_at=row.version)


@given(old=st.none() | SESSIONS, new=st.none() | SESSIONS, by_ttl=st.booleans())
def test_a_session_without_a_record_changes_no_hash(
    *, old: SessionRow | None, new: SessionRow | None, by_ttl: bool
) -> None:
    """Else the next record's before-hash would not be the last one's after-hash."""
    by_ttl = by_ttl and new is None
    event, _ = sessions.classify(SessionChange(change(old, new, by_ttl=by_ttl), old, new, SESSION_TRAITS, RECIPE))
    if event is None or not event.recorded:
        assert sessions.projection(old, RECIPE) == sessions.projection(new, RECIPE)
    agree(event, old, new, SESSION_TRAITS)


def agree(event: Event | None, old: Row | None, new: Row | None, traits: Traits) -> None:
    """Check that what is flagged born expired is what arms nothing."""
    images = {name: {name: {"BOOL": True}} for name, row in (("old", old), ("new", new)) if row is not None}
    made = replace(change(old, new), old=images.get("old"), new=images.get("new"))
    told = interpret.interpret(made, Rows(traits, {"old": old, "new": new}), RECIPE)
    if told.after is None or told.after.deadline_ms is None or event is None:
        return
    assert ("born_expired" in event.flags) is not told.after.armed
