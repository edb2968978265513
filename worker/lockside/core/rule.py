"""A row of a classification table: tables are tried from the top, the first row that matches decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lockside.core.event import Certainty, EventType

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Rule(Generic[C]):
    """When it matches, which event it gives (None: no event), and the reason's code. `rule` names it in tests."""

    rule: str
    when: Callable[[C], bool]
    event: EventType | None
    reason: str
    flags: tuple[str, ...] = ()
    certainty: Certainty = "certain"


def first_match(table: Sequence[Rule[C]], subject: C) -> Rule[C]:
    """Find the rule that decides; every table ends with one that always matches."""
    return next(rule for rule in table if rule.when(subject))
