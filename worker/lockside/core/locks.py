"""What a change of a lock row means: one table, first match wins.

Source: reference/locks.md section 4, whose row numbers stand in `rule`; "until" is said of clients that let go by
moving their deadline. A rule sees the old row, the new row, the creation time and the TTL flag, nothing else; what
needs memory is an observer's to tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lockside.core import instants
from lockside.core.change import Change
from lockside.core.event import Event, EventType
from lockside.core.recipe import Recipe
from lockside.core.row import LockRow, Traits
from lockside.core.rule import Rule, first_match


@dataclass(frozen=True, slots=True)
class LockChange:
    """One change of a lock, as the rules see it. A row that is no lock row of the layout is None."""

    change: Change
    old: LockRow | None
    new: LockRow | None
    traits: Traits
    recipe: Recipe

    @property
    def appeared(self) -> bool:
        """A lock row where there was none."""
        return self.old is None and self.new is not None

    @property
    def vanished(self) -> bool:
        """No lock row where there was one."""
        return self.old is not None and self.new is None

    @property
    def left(self) -> bool:
        """The row is still there, and no lock row any more: an attribute is gone, or of a type no client writes."""
        return self.vanished and self.change.operation == "MODIFY"

    @property
    def was_held(self) -> bool:
        """Held before."""
        return self.old is not None and not self.old.released

    @property
    def is_held(self) -> bool:
        """Held after."""
        return self.new is not None and not self.new.released

    @property
    def stays_held(self) -> bool:
        """Held before and after."""
        return self.was_held and self.is_held

    @property
    def owner_changed(self) -> bool:
        """Another owner's name."""
        return self.old is not None and self.new is not None and self.old.owner != self.new.owner

    @property
    def version_changed(self) -> bool:
        """Another version."""
        return self.old is not None and self.new is not None and self.old.version != self.new.version

    @property
    def hands_off(self) -> bool:
        """The row names, from now on, who still works beside who will."""
        return self.new is not None and self.new.handoff is not None and (self.old is None or self.old.handoff is None)

    @property
    def signed(self) -> bool:
        """Both rows have what tells an acquisition from a renewal; where one lacks it, or has it garbled, none can."""
        return any(True for _ in self._signatures())

    @property
    def signed_anew(self) -> bool:
        """The row itself tells a new acquisition: another fence or acquisition time."""
        return any(before != after for before, after in self._signatures())

    def _signatures(self) -> Iterator[tuple[str, str]]:
        if self.old is None or self.new is None or not self.traits.acquire_signature:
            return
        pairs = ((self.old.fence, self.new.fence), (self.old.acquired_at, self.new.acquired_at))
        for before, after in pairs:
            if before is not None and after is not None:
                yield before, after

    @property
    def held_anew(self) -> bool:
        """Another version, deadline, fence or acquisition time of a row that stays held."""
        if not self.stays_held:
            return False
        return self.version_changed or self.signed_anew or self.deadline_moved

    @property
    def lets_go_by_deadline(self) -> bool:
        """A client that lets go by moving its deadline, on a row that was there and still is."""
        return self.traits.releases == "set_deadline" and self.old is not None and self.new is not None

    @property
    def deadline_moved(self) -> bool:
        """Another deadline; one that cannot be read was not moved, or a lock might be called free on a guess."""
        if self.old is None or self.new is None or None in {self.old.deadline_ms, self.new.deadline_ms}:
            return False
        return self.old.deadline_ms != self.new.deadline_ms

    @property
    def past_deadline(self) -> bool:
        """Whether the record itself is dated at the old deadline or later, whatever the clocks may differ by."""
        if self.old is None or self.old.deadline_ms is None:
            return False
        return self.change.created_ms >= self.old.deadline_ms + self.traits.grace_ms

    def written(self) -> instants.Side | None:
        """On which side of the old deadline this write fell; None without a stored deadline."""
        if self.old is None or self.old.deadline_ms is None:
            return None
        return instants.written(self.change.created_ms, self.old.deadline_ms + self.traits.grace_ms, self.recipe)


def _forced(c: LockChange) -> bool:
    """Released, yet by a write that is not the holder's: another owner or version beside the mark.

    A client whose release takes the owner away (KCL, dyndb-mutex) may change its version with it.
    """
    named = c.new is not None and c.new.owner is not None
    return c.was_held and not c.is_held and named and (c.owner_changed or c.version_changed)


TABLE: Final[tuple[Rule[LockChange], ...]] = (
    Rule("0", lambda c: c.old is None and c.new is None, None, "not_a_lock_row"),
    Rule("1", lambda c: c.appeared and c.is_held, "lock.acquired", "row_appeared_held"),
    Rule("1 free", lambda c: c.appeared, "lock.changed", "row_appeared_free"),
    Rule("2", lambda c: c.vanished and c.change.by_ttl and c.was_held, "lock.purged", "ttl_removed_held_row"),
    Rule("2 free", lambda c: c.vanished and c.change.by_ttl, "lock.purged", "ttl_removed_free_row"),
    Rule("3 left", lambda c: c.left, "lock.changed", "row_no_longer_a_lock", certainty="unknown"),
    Rule("3", lambda c: c.vanished and not c.was_held, "lock.deleted", "free_row_removed"),
    Rule("3 retired", lambda c: c.vanished and c.traits.retires, "lock.deleted", "row_retired"),
    Rule(
        "3 past",
        lambda c: c.vanished and c.traits.releases == "set_deadline" and c.written() == "after",
        "lock.deleted",
        "row_removed_after_its_deadline",
    ),
    Rule(
        "4",
        lambda c: c.vanished and c.traits.releases in {"delete", "both"},
        "lock.released",
        "removed_release_or_delete_by_hand",
        certainty="inferred",
    ),
    Rule(
        "5",
        lambda c: c.vanished,
        "lock.deleted",
        "held_row_removed",
        flags=("forced",),
    ),
    Rule(
        "until taken early",
        lambda c: c.lets_go_by_deadline and c.signed_anew and c.written() == "before",
        "lock.taken_over",
        "taken_before_its_deadline",
    ),
    Rule(
        "until taken",
        lambda c: c.lets_go_by_deadline and (c.signed_anew or (c.owner_changed and not c.signed)),
        "lock.acquired",
        "taken_after_release_or_lapse",
        certainty="inferred",
    ),
    Rule(
        "until unclear",
        lambda c: c.lets_go_by_deadline and not c.signed and c.old != c.new,
        "lock.changed",
        "acquired_or_released",
        certainty="unknown",
    ),
    Rule(
        "until released",
        lambda c: c.lets_go_by_deadline and c.deadline_moved,
        "lock.released",
        "deadline_moved_by_a_holder_maybe_an_earlier_one",
        certainty="inferred",
    ),
    Rule(
        "6 pruned",
        lambda c: c.was_held and not c.is_held and c.traits.prunes and c.written() == "after",
        "lock.released",
        "marked_free_late_or_by_a_contender",
        flags=("pruned",),
        certainty="inferred",
    ),
    Rule(
        "6 maybe pruned",
        lambda c: c.was_held and not c.is_held and c.traits.prunes and c.written() == "uncertain",
        "lock.released",
        "marked_free_maybe_by_a_contender",
        certainty="inferred",
    ),
    Rule("6 forced", _forced, "lock.released", "marked_free_by_another", flags=("forced",)),
    Rule("6", lambda c: c.was_held and not c.is_held, "lock.released", "marked_free"),
    Rule(
        "7 resurrected",
        # A heartbeat rewrites its own owner: another one has taken the lock, whatever the token says.
        lambda c: not c.was_held and c.is_held and c.signed and not c.signed_anew and not c.owner_changed,
        "lock.renewed",
        "heartbeat_after_release",
        flags=("resurrected",),
    ),
    Rule(
        "7 unsigned",
        lambda c: not c.was_held and c.is_held and c.traits.acquire_signature and not c.signed and not c.owner_changed,
        "lock.acquired",
        "free_row_taken_or_heartbeat_after_release",
        certainty="inferred",
    ),
    Rule("7", lambda c: not c.was_held and c.is_held, "lock.acquired", "free_row_taken"),
    Rule(
        "8 owner",
        lambda c: not c.is_held and c.owner_changed,
        "lock.acquired",
        "release_mark_left_standing",
        flags=("stale_marker",),
        certainty="inferred",
    ),
    Rule(
        "8 version",
        lambda c: not c.is_held and c.version_changed,
        "lock.renewed",
        "heartbeat_left_released",
        flags=("after_release",),
    ),
    Rule("8", lambda c: not c.is_held, "lock.changed", "free_row_changed"),
    Rule(
        "9 by hand",
        lambda c: c.traits.writes_once and c.stays_held and c.old != c.new,
        "lock.changed",
        "changed_by_hand",
    ),
    Rule(
        "9 handoff",
        lambda c: c.owner_changed and c.traits.owner_change == "transferred" and c.hands_off,
        "lock.transferred",
        "handoff_begun",
        flags=("handoff",),
    ),
    Rule(
        "9 transferred",
        lambda c: c.owner_changed and c.traits.owner_change == "transferred",
        "lock.transferred",
        "owner_changed_by_balancing",
    ),
    Rule("9", lambda c: c.owner_changed, "lock.taken_over", "owner_changed_while_held"),
    Rule(
        "9 version",
        lambda c: not c.traits.renews and c.held_anew,
        "lock.taken_over",
        "new_version_of_a_client_that_never_renews",
    ),
    Rule(
        "9 nameless",
        lambda c: not c.traits.names_owner and c.version_changed and c.past_deadline,
        "lock.taken_over",
        "new_version_at_or_after_its_deadline",
        certainty="inferred",
    ),
    Rule(
        "10 signed",
        lambda c: c.signed_anew,
        "lock.acquired",
        "taken_again_by_same_owner",
        flags=("reacquired",),
    ),
    Rule(
        "10 certain",
        lambda c: c.version_changed and (c.signed or c.traits.clock == "none"),
        "lock.renewed",
        "heartbeat",
    ),
    Rule(
        "10",
        lambda c: c.version_changed,
        "lock.renewed",
        "heartbeat_or_same_owner_again",
        certainty="inferred",
    ),
    Rule("11", lambda c: c.old == c.new, None, "nothing_relevant_changed"),
    Rule("11 data", lambda _: True, "lock.changed", "changed_without_new_version"),
)


CHANGES_HANDS: Final = frozenset({"lock.acquired", "lock.released", "lock.taken_over", "lock.transferred"})
"""Always recorded, also where the rows name no owner and so look alike."""


def classify(c: LockChange) -> tuple[Event | None, Rule[LockChange]]:
    """Find what a lock's change means, and by which rule."""
    rule = first_match(TABLE, c)
    if rule.event is None:
        return None, rule
    flags = sorted({*rule.flags, *_timing(c, rule.event), *_marks(c, rule.event), *_faults(c)})
    event = Event(
        type=rule.event,
        kind="lock",
        key=c.change.key,
        recorded=rule.event in CHANGES_HANDS or projection(c.old) != projection(c.new),
        actor=_actor(c, rule.event),
        previous_actor=c.old.owner if c.old is not None and c.owner_changed else None,
        flags=tuple(flags),
        certainty=rule.certainty,
        reason=rule.reason,
        authenticated=None,
        before=c.old,
        after=c.new,
    )
    return event, rule


def projection(row: LockRow | None) -> dict[str, str | bool | None] | None:
    """Keep what an auditor asks of a lock: its release state, owner and fence; never its lease or moving deadline.

    Where a holder lets go by moving its deadline, and so never moves it otherwise, the deadline is the release state.
    """
    if row is None:
        return None
    kept: dict[str, str | bool | None] = {
        "released": row.released,
        "owner": row.owner,
        "fence": row.fence,
        "acquired_at": row.acquired_at,
    }
    # Only where there is something, so that the rows of all other layouts keep the hashes they always had.
    if row.blocked:
        kept["blocked"] = True
    if row.until_ms is not None:
        kept["until"] = str(row.until_ms)
    return kept


def _actor(c: LockChange, event: EventType) -> str | None:
    row = c.old if c.new is None or event == "lock.released" else c.new
    return row.owner if row is not None else None


def _faults(c: LockChange) -> tuple[str, ...]:
    row = c.new if c.new is not None else c.old
    return row.faults if row is not None else ()


def _marks(c: LockChange, event: EventType) -> tuple[str, ...]:
    """Flags for what stands in the rows beside who holds."""
    marks: list[str] = []
    if c.new is not None and c.new.blocked:
        marks.append("blocked")
    if c.old is None or c.new is None:
        return tuple(marks)
    if event in {"lock.renewed", "lock.transferred"} and c.old.handoff is not None and c.new.handoff is None:
        marks.append("handoff_ended")
    if event == "lock.renewed" and c.old.progress != c.new.progress:
        marks.append("progress")
    if event == "lock.released" and c.lets_go_by_deadline:
        marks += _moved(c)
    return tuple(marks)


def _moved(c: LockChange) -> list[str]:
    """Tell of a deadline that was moved to let go: to later than it was, or to later than now."""
    if c.old is None or c.new is None or c.new.deadline_ms is None:
        return []
    later = c.old.deadline_ms is not None and c.new.deadline_ms > c.old.deadline_ms
    ahead = instants.written(c.change.created_ms, c.new.deadline_ms, c.recipe) == "before"
    return [*(["late"] if later else []), *(["effective_later"] if ahead else [])]


def _timing(c: LockChange, event: EventType) -> tuple[str, ...]:
    """Flags that compare two instants; only absolute layouts have both in one change."""
    flags: list[str] = []
    side = c.written()
    match event:
        case "lock.released" | "lock.renewed" if side == "after":
            flags.append("late")
        case "lock.taken_over" if side == "before":
            flags.append("early")
        case _:
            pass
    if side == "uncertain" and event in {"lock.released", "lock.renewed", "lock.taken_over"}:
        flags.append("timing_uncertain")
    if c.new is not None and c.new.deadline_ms is not None and c.is_held and event != "lock.released":
        old = c.old.deadline_ms if c.old is not None and c.was_held else None
        if instants.born_expired(c.change.created_ms, c.new.deadline_ms, old):
            flags.append("born_expired")
        elif instants.newborn_uncertain(c.change.created_ms, c.new.deadline_ms, c.recipe):
            flags.append("timing_uncertain")
    return tuple(flags)
