"""Comparing a stored instant with a creation time that was rounded down and two clocks that may differ.

The true time of a write lies in [created, created + precision). A stored deadline came from the writer's clock.
"""

from typing import Literal

from lockside.core.now import Now
from lockside.core.recipe import Recipe

Side = Literal["before", "after", "uncertain"]


def written(created_ms: int, deadline_ms: int, recipe: Recipe) -> Side:
    """Say on which side of a deadline a write fell; uncertain where rounding or the clocks' margin cannot decide."""
    if deadline_ms + recipe.clock_margin_ms <= created_ms:
        return "after"
    if created_ms + recipe.precision_ms + recipe.clock_margin_ms <= deadline_ms:
        return "before"
    return "uncertain"


def born_expired(created_ms: int, deadline_ms: int | None, old_deadline_ms: int | None) -> bool:
    """Whether a write stores a deadline that was past already, without shortening an older one.

    Such a row is no promise to end: Ruby stores now, a writer in another time zone is hours off. A write that leaves
    the deadline as it was stores none.
    """
    if deadline_ms is None or deadline_ms >= created_ms:
        return False
    return old_deadline_ms is None or deadline_ms > old_deadline_ms


def ran_out(created_ms: int, deadline_ms: int | None, old_deadline_ms: int | None) -> bool:
    """Whether a write left a deadline as it was that was past already: it says nothing of the lapse, old or to come."""
    return deadline_ms is not None and deadline_ms < created_ms and deadline_ms == old_deadline_ms


def newborn_uncertain(created_ms: int, deadline_ms: int | None, recipe: Recipe) -> bool:
    """Whether rounding hides if a stored deadline was past when it was written."""
    return deadline_ms is not None and created_ms <= deadline_ms < created_ms + recipe.precision_ms


Due = tuple[int, int, int]
"""When a lapse is due and when it may be tested at the earliest, on the monotonic clock; the legal instant."""


def stored_due(honoured_until_ms: int, created_ms: int, recipe: Recipe, received: Now) -> Due:
    """Work out when a stored deadline is due, grace included.

    One that was shortened into the past ended what was held when that was written, not before.
    """
    passed_ms = honoured_until_ms + recipe.clock_margin_ms
    due_ms = received.mono_ms + passed_ms - received.wall_ms
    return due_ms, due_ms, max(created_ms, passed_ms)


def stale_due(stale_ms: int, created_ms: int, recipe: Recipe, received: Now) -> Due:
    """Work out when a lock without a lease is stale: by its age, counted from its last change at the latest."""
    legal_ms = created_ms + recipe.precision_ms + stale_ms
    due_ms = received.mono_ms + legal_ms - received.wall_ms
    return due_ms, due_ms, legal_ms


def leased_due(lease_ms: int, created_ms: int, recipe: Recipe, received: Now) -> Due:
    """Work out when a lease is due: from receipt, or from the creation time where that tells earlier.

    It did not lapse before it had lasted from its creation on, even by a wall clock that is behind.
    """
    early_ms = leased_early_ms(lease_ms, created_ms, recipe, received)
    legal_ms = max(created_ms + lease_ms, received.wall_ms + early_ms - received.mono_ms)
    return received.mono_ms + lease_ms, early_ms, legal_ms


def leased_early_ms(lease_ms: int, created_ms: int, recipe: Recipe, received: Now) -> int:
    """Work out only when a lease may be tested at the earliest."""
    ahead_ms = created_ms + recipe.precision_ms + recipe.clock_margin_ms - received.wall_ms
    due_ms = received.mono_ms + lease_ms
    return due_ms if ahead_ms >= 0 else due_ms + ahead_ms
