"""Chance from one seed: which faults this world has, how likely each is, and everything that is drawn in it."""

from collections import Counter
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely each fault is: of a call (`throttled` to `frozen`), else of one step of its actor."""

    throttled: float = 0.03
    server_error: float = 0.02
    refused_connection: float = 0.01
    dropped_answer: float = 0.03
    unprocessed: float = 0.05
    conflict: float = 0.03
    crash_before: float = 0.002
    crash_after: float = 0.003
    slow: float = 0.02
    frozen: float = 0.002
    expired_iterators: float = 0.02
    roll: float = 0.25
    split: float = 0.10
    late_child: float = 0.3
    hole: float = 0.08
    reopened: float = 0.05
    empty_pages: float = 0.1
    switched: float = 0.03
    night: float = 0.5
    undecodable: float = 0.01
    faulty_page: float = 0.01
    clock_jump: float = 0.05
    other_recipe: float = 0.3
    orderly_restart: float = 0.02

    def none(self) -> "Faults":
        """Return a world without faults."""
        return Faults(**{each.name: 0.0 for each in fields(self)})


KEPT: Final = 0.6
"""Each world has each fault or not: one with all at once gets nowhere, and hides what one alone would show."""

WILD: Final = 0.15
"""Chance that a fault of a world is much more likely than usual."""


class Chance:
    """All that is drawn in one world; `struck` counts the faults that happened."""

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        """Choose the world's faults from its seed, unless they are given."""
        self.random = Random(seed)  # noqa: S311 - the point is that it is no secret
        self.struck: Counter[str] = Counter()
        self.faults = self._chosen() if faults is None else faults

    def happens(self, fault: str) -> bool:
        """Whether a fault strikes now."""
        likely: float = getattr(self.faults, fault)
        if likely <= 0 or self.random.random() >= likely:
            return False
        self.struck[fault] += 1
        return True

    def between(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return self.random.randint(low, high)

    def one_of(self, choices: "tuple[T, ...] | list[T]") -> T:
        """Draw one."""
        return choices[self.random.randrange(len(choices))]

    def token(self) -> str:
        """Draw a version, a session id or a request token."""
        return f"{self.random.getrandbits(64):016x}"

    def calm(self) -> None:
        """Let no fault strike from here on."""
        self.faults = self.faults.none()

    def _chosen(self) -> Faults:
        usual = Faults()
        chosen: dict[str, float] = {}
        for each in fields(usual):
            likely: float = getattr(usual, each.name)
            kept, wild = self.random.random() < KEPT, self.random.random() < WILD
            chosen[each.name] = min(0.5, likely * (4 if wild else 1)) if kept else 0.0
        return replace(usual, **chosen)
