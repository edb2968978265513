"""A reading of the clocks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks, in milliseconds: the wall's epoch time, and one that never steps."""

    wall_ms: int
    mono_ms: int
