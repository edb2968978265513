"""One measured number, and the bar it has to meet."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal

Bar = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its unit. Without a bar it only informs."""

    name: str
    value: float
    unit: str
    sense: Bar | None = None
    bar: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.sense == "at least" else self.value <= self.bar

    def as_json(self) -> dict[str, Any]:
        """Return what the results file holds."""
        return {**asdict(self), "met": self.met}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def spread(name: str, values_ms: Sequence[float], p99_max_ms: float | None = None) -> list[Figure]:
    """Return p50 and p99 of durations; the bar is on p99."""
    bar: Bar | None = None if p99_max_ms is None else "at most"
    return [
        Figure(f"{name}, p50", percentile(values_ms, 0.50), "ms"),
        Figure(f"{name}, p99", percentile(values_ms, 0.99), "ms", bar, p99_max_ms),
    ]
