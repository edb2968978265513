"""What an engine is told of a stream."""

from dataclasses import dataclass

from lockside.core.gap import OnGap
from lockside.core.ports import StartMode


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream to read. `precision_ms` is what creation times are rounded down to: a minute at the coarsest.

    `on_gap` is what to do where the stream has lost changes, once that is recorded. `follows`: it took another's place.
    """

    table: str
    stream_arn: str
    start: StartMode = "TRIM_HORIZON"
    precision_ms: int = 60_000
    on_gap: OnGap = "continue"
    follows: bool = False
