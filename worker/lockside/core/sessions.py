"""What a change of a session row means: one table, first match wins.

Source: reference/sessions.md section 7 with the words of DESIGN section 5. A rule sees the old row, the new row, the
creation time and the TTL flag, nothing else. A stub, or a row emptied of its payload, counts as no session.
"""

from dataclasses import dataclass
from typing import Final

from lockside.core import instants
from lockside.core.change import Change
from lockside.core.event import Event, EventType
from lockside.core.recipe import Recipe
from lockside.core.row import Authenticated, SessionRow, Traits
from lockside.core.rule import Rule, first_match

SHORTENED_FROM_MS: Final = 1_000
"""A deadline that moves back by less is jitter: libraries floor to whole seconds."""


@dataclass(frozen=True, slots=True)
class SessionChange:
    """One change of a session, as the rules see it. A row that is no session row of the layout is None."""

    change: Change
    old: SessionRow | None
    new: SessionRow | None
    traits: Traits
    recipe: Recipe

    @property
    def lived(self) -> bool:
        """A session stood here before."""
        return self.old is not None and self.old.payload is not None

    @property
    def lives(self) -> bool:
        """A session stands here now."""
        return self.new is not None and self.new.payload is not None

    @property
    def was(self) -> str | None:
        """The user before."""
        return self.old.principal if self.old is not None else None

    @property
    def user(self) -> str | None:
        """The user now."""
        return self.new.principal if self.new is not None else None

    @property
    def was_unclear(self) -> bool:
        """Whether somebody was logged in could not be read."""
        return self.old is not None and self.old.authenticated == "unknown" and not self.old.nobody

    @property
    def is_unclear(self) -> bool:
        """Whether somebody is logged in cannot be read."""
        return self.new is not None and self.new.authenticated == "unknown" and not self.new.nobody

    @property
    def was_elsewhere(self) -> bool:
        """Nobody stood where the layout looks, and the application may have kept a user elsewhere."""
        return self.old is not None and self.old.authenticated == "unknown" and self.old.nobody

    @property
    def is_elsewhere(self) -> bool:
        """Nobody stands where the layout looks, and the application may keep a user elsewhere."""
        return self.new is not None and self.new.authenticated == "unknown" and self.new.nobody

    @property
    def privileges_changed(self) -> bool:
        """Other rights, where both sides could be read for them."""
        if self.old is None or self.new is None or self.old.privileges is None or self.new.privileges is None:
            return False
        return self.old.privileges != self.new.privileges

    @property
    def deadline_moved(self) -> bool:
        """Another deadline where both sides have one."""
        return self.lengthened_ms not in {None, 0}

    @property
    def reprojected(self) -> bool:
        """What the hashes are made of differs: without a record here their links would break."""
        return projection(self.old, self.recipe) != projection(self.new, self.recipe)

    @property
    def lengthened_ms(self) -> int | None:
        """How far the deadline moved; None where either side has none."""
        if self.old is None or self.new is None or self.old.deadline_ms is None or self.new.deadline_ms is None:
            return None
        return self.new.deadline_ms - self.old.deadline_ms

    @property
    def shortened(self) -> bool:
        """The deadline moved back by a second or more."""
        moved = self.lengthened_ms
        return moved is not None and moved <= -SHORTENED_FROM_MS

    @property
    def lives_on(self) -> bool:
        """The deadline moved on, to an instant that still lies ahead, whatever else this write changed."""
        if not self.lived or not self.lives or self.new is None or self.new.deadline_ms is None:
            return False
        return (self.lengthened_ms or 0) > 0 and self.new.deadline_ms >= self.change.created_ms

    @property
    def deadline_switched(self) -> bool:
        """A deadline appeared or disappeared."""
        return (
            self.old is not None
            and self.new is not None
            and (self.old.deadline_ms is None) != (self.new.deadline_ms is None)
        )

    def written(self) -> instants.Side | None:
        """On which side of the old deadline this write fell; None without one."""
        if self.old is None or self.old.deadline_ms is None:
            return None
        return instants.written(self.change.created_ms, self.old.deadline_ms + self.traits.grace_ms, self.recipe)


TABLE: Final[tuple[Rule[SessionChange], ...]] = (
    Rule("not a row", lambda c: c.old is None and c.new is None, None, "not_a_session_row"),
    Rule("stub", lambda c: not c.lived and not c.lives, None, "stub"),
    Rule("start", lambda c: not c.lived, "session.started", "session_appeared"),
    Rule("ttl", lambda c: c.new is None and c.change.by_ttl, "session.purged", "ttl_removed_session"),
    Rule(
        "remove after",
        lambda c: c.new is None and c.written() == "after",
        "session.ended",
        "after_deadline",
        certainty="inferred",
    ),
    Rule(
        "remove near",
        lambda c: c.new is None and c.written() == "uncertain",
        "session.ended",
        "removed",
        certainty="inferred",
    ),
    Rule("remove", lambda c: c.new is None and c.written() is not None, "session.ended", "removed"),
    Rule(
        "remove without deadline",
        lambda c: c.new is None,
        "session.ended",
        "removed_without_deadline",
        certainty="unknown",
    ),
    Rule("emptied", lambda c: not c.lives, "session.ended", "cleared_in_place"),
    Rule(
        "log in unclear",
        lambda c: c.was is None and c.user is not None and c.was_unclear,
        "session.authenticated",
        "user_readable_now",
        certainty="inferred",
    ),
    Rule(
        "log in elsewhere",
        lambda c: c.was is None and c.user is not None and c.was_elsewhere,
        "session.authenticated",
        "user_appeared",
        flags=("id_not_rotated",),
        certainty="inferred",
    ),
    Rule(
        "log in",
        lambda c: c.was is None and c.user is not None,
        "session.authenticated",
        "user_appeared",
        flags=("id_not_rotated",),
    ),
    Rule(
        "log out unclear",
        lambda c: c.was is not None and c.user is None and c.is_unclear,
        "session.changed",
        "user_unreadable_now",
        certainty="unknown",
    ),
    Rule(
        "log out elsewhere",
        lambda c: c.was is not None and c.user is None and c.is_elsewhere,
        "session.deauthenticated",
        "user_disappeared",
        certainty="inferred",
    ),
    Rule("log out", lambda c: c.was is not None and c.user is None, "session.deauthenticated", "user_disappeared"),
    Rule(
        "switch",
        lambda c: c.was != c.user,
        "session.changed",
        "user_switched",
        flags=("principal_switched",),
    ),
    Rule(
        "privileges",
        lambda c: c.privileges_changed,
        "session.changed",
        "privileges_changed",
        flags=("privileges_changed",),
    ),
    Rule(
        "payload",
        lambda c: c.old is not None and c.new is not None and c.old.payload != c.new.payload,
        "session.changed",
        "payload_changed",
    ),
    Rule(
        "shorten",
        lambda c: c.shortened,
        "session.changed",
        "deadline_moved_back",
    ),
    Rule(
        "deadline switch",
        lambda c: c.deadline_switched,
        "session.changed",
        "deadline_appeared_or_disappeared",
        flags=("deadline_switched",),
    ),
    Rule("refresh", lambda c: (c.lengthened_ms or 0) > 0, "session.refreshed", "deadline_moved_on"),
    Rule(
        "jitter",
        lambda c: c.reprojected and c.deadline_moved,
        "session.refreshed",
        "deadline_moved_back_by_jitter",
    ),
    Rule("unclear", lambda c: c.reprojected, "session.changed", "user_unclear", certainty="unknown"),
    Rule("volatile", lambda _: True, None, "only_volatile_changed"),
)


def classify(c: SessionChange) -> tuple[Event | None, Rule[SessionChange]]:
    """Find what a session's change means, and by which rule."""
    rule = first_match(TABLE, c)
    if rule.event is None:
        return None, rule
    before = projection(c.old, c.recipe)
    after = projection(c.new, c.recipe)
    row = c.new if c.lives else c.old
    event = Event(
        type=rule.event,
        kind="session",
        key=c.change.key,
        recorded=before != after or c.shortened,
        actor=c.user if c.lives and c.user is not None else c.was,
        previous_actor=c.was if c.was is not None and c.user is not None and c.was != c.user else None,
        flags=tuple(sorted({*rule.flags, *_timing(c, rule.event), *(row.faults if row is not None else ())})),
        certainty=rule.certainty,
        reason=rule.reason,
        authenticated=_authenticated(c),
        before=c.old,
        after=c.new,
    )
    return event, rule


def projection(row: SessionRow | None, recipe: Recipe) -> dict[str, str | None] | None:
    """Keep what an auditor asks of a session: its user, a digest of its content, and the bucket of its deadline."""
    if row is None or row.payload is None:
        return None
    bucket = None if row.deadline_ms is None else str(row.deadline_ms // recipe.refresh_bucket_ms)
    return {"principal": row.principal, "authenticated": row.authenticated, "payload": row.payload, "bucket": bucket}


def _authenticated(c: SessionChange) -> Authenticated:
    row = c.new if c.lives else c.old
    return row.authenticated if row is not None else "unknown"


def _timing(c: SessionChange, event: EventType) -> tuple[str, ...]:
    """Flags that compare the stored deadline with the time of the write."""
    flags: list[str] = []
    if c.lived and (event in {"session.ended", "session.refreshed"} or c.lives_on):
        side = c.written()
        if side == "uncertain":
            flags.append("timing_uncertain")
        elif side == "after" and c.lives_on:
            flags.append("late")
    if c.lived and c.lives and c.shortened:
        flags.append("lifetime_shortened")
    if c.lives and c.new is not None:
        old = c.old.deadline_ms if c.old is not None and c.lived else None
        if instants.born_expired(c.change.created_ms, c.new.deadline_ms, old):
            flags.append("born_expired")
        elif instants.newborn_uncertain(c.change.created_ms, c.new.deadline_ms, c.recipe):
            flags.append("timing_uncertain")
        if _is_far(c, c.new.deadline_ms):
            flags.append("deadline_implausible")
    return tuple(flags)


def _is_far(c: SessionChange, deadline_ms: int | None) -> bool:
    """Whether a deadline lies farther ahead than the layout's clients mean any: stored in a wrong unit, or forged."""
    limit_ms = c.traits.lifetime_max_ms
    return deadline_ms is not None and limit_ms is not None and deadline_ms - c.change.created_ms > limit_ms
