"""What a change of a lock row means: one table, first match wins.

Source: reference/locks.md section 4, whose row numbers stand in `rule`. A rule sees the old row, the new row, the
creation time and the TTL flag, nothing else; what needs memory is an observer's to tell.
"""

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
    def was_held(self) -> bool:
        """Held before."""
        return self.old is not None and not self.old.released

    @property
    def is_held(self) -> bool:
        """Held after."""
        return self.new is not None and not self.new.released

    @property
    def owner_changed(self) -> bool:
        """Another owner's name."""
        return self.old is not None and self.new is not None and self.old.owner != self.new.owner

    @property
    def version_changed(self) -> bool:
        """Another version."""
        return self.old is not None and self.new is not None and self.old.version != self.new.version

    @property
    def signed_anew(self) -> bool:
        """The row itself tells a new acquisition: another fence or acquisition time."""
        return (
            self.traits.acquire_signature
            and self.old is not None
            and self.new is not None
            and (self.old.fence, self.old.acquired_at) != (self.new.fence, self.new.acquired_at)
        )

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
    Rule("3", lambda c: c.vanished and not c.was_held, "lock.deleted", "free_row_removed"),
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
    Rule("6 forced", _forced, "lock.released", "marked_free_by_another", flags=("forced",)),
    Rule("6", lambda c: c.was_held and not c.is_held, "lock.released", "marked_free"),
    Rule(
        "7 resurrected",
        lambda c: not c.was_held and c.is_held and c.traits.acquire_signature and not c.signed_anew,
        "lock.renewed",
        "heartbeat_after_release",
        flags=("resurrected",),
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
        "9 transferred",
        lambda c: c.owner_changed and c.traits.owner_change == "transferred",
        "lock.transferred",
        "owner_changed_by_balancing",
    ),
    Rule("9", lambda c: c.owner_changed, "lock.taken_over", "owner_changed_while_held"),
    Rule(
        "10 signed",
        lambda c: c.signed_anew,
        "lock.acquired",
        "taken_again_by_same_owner",
        flags=("reacquired",),
    ),
    Rule(
        "10 certain",
        lambda c: c.version_changed and (c.traits.acquire_signature or c.traits.clock == "none"),
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


def classify(c: LockChange) -> tuple[Event | None, Rule[LockChange]]:
    """Find what a lock's change means, and by which rule."""
    rule = first_match(TABLE, c)
    if rule.event is None:
        return None, rule
    flags = sorted({*rule.flags, *_timing(c, rule.event), *_faults(c)})
    event = Event(
        type=rule.event,
        kind="lock",
        key=c.change.key,
        recorded=projection(c.old) != projection(c.new),
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
    """Keep what an auditor asks of a lock: its release state, owner and fence; never its lease or moving deadline."""
    if row is None:
        return None
    return {"released": row.released, "owner": row.owner, "fence": row.fence, "acquired_at": row.acquired_at}


def _actor(c: LockChange, event: EventType) -> str | None:
    row = c.old if c.new is None or event == "lock.released" else c.new
    return row.owner if row is not None else None


def _faults(c: LockChange) -> tuple[str, ...]:
    row = c.new if c.new is not None else c.old
    return row.faults if row is not None else ()


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
    if c.new is not None and c.new.deadline_ms is not None and c.is_held:
        old = c.old.deadline_ms if c.old is not None and c.was_held else None
        if instants.born_expired(c.change.created_ms, c.new.deadline_ms, old):
            flags.append("born_expired")
        elif instants.newborn_uncertain(c.change.created_ms, c.new.deadline_ms, c.recipe):
            flags.append("timing_uncertain")
    return tuple(flags)
