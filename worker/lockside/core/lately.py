"""What no single change of a session can tell: that one id took another's place, and that an ended id is in use again.

Strategy: a bounded memory of the sessions that ended and began lately in one shard. Two ids are linked if a session was
removed before its deadline, or had none, and another with the same user and the same content began at about the same
time, in either order, as libraries do it within one request. Less would link a logout on one device with a login on
another. A visitor's session names nobody, so that nothing safe links it to the one that its login begins. The memory is
forgotten on a restart and does not reach into other shards: what it cannot tell stays untold, and no change record
depends on it.
Source: reference/sessions.md section 7, rotation order, and section 9, hard edge 12.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from lockside.core.change import Change
from lockside.core.entity import EntityKey, bounded
from lockside.core.event import Event
from lockside.core.recipe import Recipe
from lockside.core.row import LockRow, SessionRow

K = TypeVar("K")

WINDOW_MS: Final = 2_000
"""How far apart both writes of one request may be."""

MAY_HAVE_ROTATED: Final = frozenset({"removed", "removed_without_deadline"})
"""Why a session ended that another may have taken the place of; the original Django layout has no deadlines at all."""

ALONE_MAX: Final = 512
"""Ends and beginnings remembered that no other session was linked to; past it the oldest is forgotten."""

ENDED_MAX: Final = 2_000
"""Ids that ended, remembered; past it the oldest is forgotten, and with it that it was in use before."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One session as one change showed it."""

    key: EntityKey
    position: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """A session that took another's place: `old` ended and `new` began, whichever came first."""

    source_id: str
    user: str
    old: Glimpse
    new: Glimpse

    @property
    def position(self) -> int:
        """The later of both changes, which told it."""
        return max(self.old.position, self.new.position)


@dataclass(frozen=True, slots=True)
class Reused:
    """A session that began under the id of one that had ended. `user` is whose it is now."""

    source_id: str
    user: str | None
    old: Glimpse
    new: Glimpse

    @property
    def position(self) -> int:
        """The change that told it."""
        return self.new.position


Notice = Rotated | Reused


class Lately:
    """The memory of one shard."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._ended: dict[tuple[str, EntityKey], Glimpse] = {}
        self._alone: dict[tuple[str, str, str, str], Glimpse] = {}

    def observe(self, event: Event, change: Change, recipe: Recipe) -> list[Notice]:
        """Take in the event of a session; return what it tells together with earlier ones."""
        if event.type not in {"session.started", "session.ended", "session.purged"}:
            return []
        glimpse = Glimpse(change.key, change.sequence_number, change.created_ms)
        entity = (recipe.source_id, change.key)
        user = None if event.actor is None else bounded(event.actor)
        if event.type == "session.started":
            old = self._ended.pop(entity, None)
            reused = [] if old is None else [Reused(recipe.source_id, user, old, glimpse)]
            return [*reused, *self._paired("began", user, _content(event.after), glimpse, recipe)]
        _keep(self._ended, entity, glimpse, ENDED_MAX)
        if event.type == "session.purged" or event.reason not in MAY_HAVE_ROTATED:
            return []
        return list(self._paired("ended", user, _content(event.before), glimpse, recipe))

    def _paired(
        self, what: Literal["began", "ended"], user: str | None, content: str | None, glimpse: Glimpse, recipe: Recipe
    ) -> Iterator[Rotated]:
        if user is None or content is None:
            return
        other = "ended" if what == "began" else "began"
        before = self._alone.pop((recipe.source_id, user, content, other), None)
        if before is None or before.key == glimpse.key or not _near(before, glimpse, recipe):
            # What is popped in vain has ended itself, is in use again, or is too long ago.
            _keep(self._alone, (recipe.source_id, user, content, what), glimpse, ALONE_MAX)
            return
        old, new = (before, glimpse) if what == "began" else (glimpse, before)
        yield Rotated(recipe.source_id, user, old, new)


def _content(row: LockRow | SessionRow | None) -> str | None:
    return row.payload if isinstance(row, SessionRow) else None


def _near(one: Glimpse, other: Glimpse, recipe: Recipe) -> bool:
    if recipe.precision_ms > WINDOW_MS:
        # DynamoDB Local's minutes hold a logout and a login as well as a rotation.
        return False
    return abs(one.created_ms - other.created_ms) <= WINDOW_MS + recipe.precision_ms


def _keep(memory: dict[K, Glimpse], key: K, glimpse: Glimpse, limit: int) -> None:
    memory.pop(key, None)
    memory[key] = glimpse
    if len(memory) > limit:
        del memory[next(iter(memory))]
