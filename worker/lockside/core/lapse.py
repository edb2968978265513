"""Whether a lapse is proved (law 5), and the observer record that declares it."""

from collections.abc import Mapping
from typing import Any, Literal

from lockside.core.entity import bounded
from lockside.core.event import Hold
from lockside.core.now import Now
from lockside.core.recipe import Recipe
from lockside.core.row import Layout, LockRow, Row, SessionRow, released

Verdict = Literal["lapsed", "renewed", "gone"]


def verify(hold: Hold, layout: Layout | None, image: Mapping[str, Any] | None, recipe: Recipe, now: Now) -> Verdict:
    """Judge a strongly consistent read that began after the legal instant.

    `lapsed`: still there, held, with the same owner, version, lease and deadline. `gone`: absent, free, emptied or no
    row of its layout. `renewed`: anything else, also a stored deadline that our clock has not reached after a step.
    """
    if image is None or layout is None:
        return "gone"
    row = layout.read(image)
    if released(row):
        return "gone"
    if not _same(hold, row, layout, recipe):
        return "renewed"
    if row.deadline_ms is not None and now.wall_ms < row.deadline_ms + hold.grace_ms + recipe.clock_margin_ms:
        return "renewed"
    return "lapsed"


def _same(hold: Hold, row: Row, layout: Layout, recipe: Recipe) -> bool:
    match row:
        case LockRow():
            lease_ms = row.lease_ms
            if lease_ms is None and row.deadline_ms is None and layout.traits.clock == "relative":
                lease_ms = recipe.lease_ms
            owner = None if row.owner is None else bounded(row.owner)
            facts = (owner, row.version, lease_ms, row.deadline_ms)
            return facts == (hold.actor, hold.version, hold.lease_ms, hold.deadline_ms)
        case SessionRow():
            return row.deadline_ms == hold.deadline_ms
