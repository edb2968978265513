"""What one change means under one layout: its event, and what is held before and after it.

A pure function of the change, the layout and the recipe (law 2). It remembers nothing.
"""

from dataclasses import replace
from typing import Final, Literal

from lockside.core import instants, locks, sessions
from lockside.core.attributes import Image
from lockside.core.change import Change
from lockside.core.entity import bounded
from lockside.core.event import Event, Hold, Interpretation
from lockside.core.recipe import Recipe, Source
from lockside.core.row import Layout, LockRow, Row, SessionRow, released

VERSION_FAULTS: Final = frozenset({"version_missing", "version_unreadable", "version_empty"})

UNCLAIMED = Interpretation(event=None, reason="unclaimed", before=None, after=None)


def interpret(change: Change, layout: Layout, recipe: Recipe) -> Interpretation:
    """Say what a change means.

    Raises WireFaultError where a touched attribute cannot be read at all.
    """
    old = _read(change, change.old, layout)
    new = None if change.operation == "REMOVE" else _read(change, change.new, layout)
    event, reason = _classify(change, old, new, layout, recipe)
    before = _hold(change, old, layout, recipe, old)
    # A client that lets go by moving its deadline leaves a row that does not say so by itself.
    let_go = event is not None and event.type == "lock.released"
    after = None if let_go else _hold(change, new, layout, recipe, old)
    return Interpretation(
        event=event,
        reason=reason,
        before=before,
        after=after,
        lapse_via=_lapse_via(event, change, before, layout),
        ran_out=_ran_out(change, before, after),
    )


def interpret_for(change: Change, sources: tuple[Source, ...]) -> tuple[Source | None, Interpretation]:
    """Interpret a change for the first source, and the first of its layouts, that claims one of its images."""
    for source in sources:
        for image in (change.new, change.old):
            layout = source.layout_for(change.key, image) if image is not None else None
            if layout is not None:
                return source, _aging(interpret(change, layout, source.recipe), layout, source)
    return None, UNCLAIMED


def _aging(told: Interpretation, layout: Layout, source: Source) -> Interpretation:
    """Arm what is held without any lease for the age at which its source wants to hear of it."""
    if told.after is None or source.stale_ms is None or layout.traits.clock != "none":
        return told
    return replace(told, after=replace(told.after, stale_ms=source.stale_ms, armed=True))


def _read(change: Change, image: Image | None, layout: Layout) -> Row | None:
    return layout.read(image) if image is not None and layout.claims(change.key, image) else None


def _classify(
    change: Change, old: Row | None, new: Row | None, layout: Layout, recipe: Recipe
) -> tuple[Event | None, str]:
    match layout.traits.kind:
        case "lock":
            lock = locks.LockChange(
                change,
                old if isinstance(old, LockRow) else None,
                new if isinstance(new, LockRow) else None,
                layout.traits,
                recipe,
            )
            event, lock_rule = locks.classify(lock)
            return event, lock_rule.reason
        case "session":
            session = sessions.SessionChange(
                change,
                old if isinstance(old, SessionRow) else None,
                new if isinstance(new, SessionRow) else None,
                layout.traits,
                recipe,
            )
            event, session_rule = sessions.classify(session)
            return event, session_rule.reason


def _hold(change: Change, row: Row | None, layout: Layout, recipe: Recipe, old: Row | None) -> Hold | None:
    if row is None or released(row):
        return None
    match row:
        case LockRow():
            actor, version, lease_ms = row.owner, row.version, row.lease_ms
            if lease_ms is None and row.deadline_ms is None and layout.traits.clock == "relative":
                lease_ms = recipe.lease_ms
        case SessionRow():
            actor, version, lease_ms = row.principal, None, None
    # A lease without its version cannot be proved to have lapsed: no read would show that its holder wrote (law 5).
    unproved = row.deadline_ms is None and not VERSION_FAULTS.isdisjoint(row.faults)
    timed = (lease_ms is not None and not unproved) or row.deadline_ms is not None
    held_until_ms = old.deadline_ms if old is not None and not released(old) else None
    past = instants.born_expired(change.created_ms, row.deadline_ms, held_until_ms)
    return Hold(
        kind=layout.traits.kind,
        key=change.key,
        # Held in memory and, sealed, in the live index, whose items are as limited as the row's own.
        actor=None if actor is None else bounded(actor),
        version=version,
        lease_ms=lease_ms,
        deadline_ms=row.deadline_ms,
        grace_ms=layout.traits.grace_ms,
        created_ms=change.created_ms,
        armed=timed and not past,
    )


def _ran_out(change: Change, before: Hold | None, after: Hold | None) -> bool:
    if before is None or after is None:
        return False
    return instants.ran_out(change.created_ms, after.deadline_ms, before.deadline_ms)


def _lapse_via(
    event: Event | None, change: Change, before: Hold | None, layout: Layout
) -> Literal["takeover", "ttl"] | None:
    """Whether this change stands in for the verification read (law 5)."""
    if event is None or before is None:
        return None
    if layout.traits.clock == "none":
        return None
    if event.type == "lock.taken_over" and layout.traits.clock == "relative" and before.deadline_ms is None:
        return "takeover"
    return "ttl" if change.by_ttl else None
