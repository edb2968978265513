"""How a world came out."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a world came out. `digest` stands for every write in order, so equal runs have equal digests.

    `faults` counts by kind what went wrong in it on purpose; `violation` says which promise was broken, at which step.
    """

    seed: int
    steps: int
    changes: int
    records: int
    lapses: int
    gaps: int
    faults: Mapping[str, int]
    digest: str
    violation: str | None
    notes: tuple[str, ...]

    @property
    def story(self) -> str:
        """Tell of a broken promise, so that it can be seen again."""
        return f"seed {self.seed}, step {self.steps}: {self.violation}\n  again: make sim SEED={self.seed}"
