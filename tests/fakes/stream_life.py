"""How a stream lives by itself: shards roll and split every few seconds, show up late, and age out. Pure."""

from dataclasses import dataclass
from random import Random

from tests.fakes.stream_model import Shard, Stream, StreamModel


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast. A shard rolls after half to one and a half of `roll_seconds`; 0 leaves it be.

    A roll is a split with probability `split`, while there are fewer than `leaves_max` open shards. A child is unlisted
    for up to `late_seconds`, and its parent may be shown open as long. What closed `retention_seconds` ago ages out,
    its records first.
    """

    roll_seconds: float = 0.0
    split: float = 0.0
    leaves_max: int = 8
    late_seconds: float = 0.0
    retention_seconds: float = 24 * 3600.0


class Life:
    """Moves the streams of a model on."""

    def __init__(self, pace: Pace, chance: Random) -> None:
        """Remember nothing yet; each shard's hour is drawn when it is first seen."""
        self.pace = pace
        self._chance = chance
        self._due_ms: dict[tuple[str, str], float] = {}

    def step(self, model: StreamModel, now_ms: int) -> None:
        """Do all that is due by now."""
        for stream, shard in list(model.all_shards()):
            if stream.status == "ENABLED" and shard.span is not None and not shard.closed:
                self._maybe_divide(model, stream, shard, now_ms)
            elif shard.closed:
                self._maybe_forget(model, shard, now_ms)

    def _maybe_divide(self, model: StreamModel, stream: Stream, shard: Shard, now_ms: int) -> None:
        if not self.pace.roll_seconds:
            return
        key = (stream.arn, shard.shard_id)
        if key not in self._due_ms:
            self._due_ms[key] = shard.created_ms + self.pace.roll_seconds * 1000 * (0.5 + self._chance.random())
        if now_ms < self._due_ms[key]:
            return
        del self._due_ms[key]
        splits = len(stream.leaves()) < self.pace.leaves_max and self._chance.random() < self.pace.split
        children = model.divide(stream, shard, now_ms, 2 if splits else 1)
        late_ms = self.pace.late_seconds * 1000
        for child in children:
            child.hidden_until_ms = now_ms + round(late_ms * self._chance.random())
        shard.open_listings = self._chance.randrange(3) if late_ms else 0
        shard.null_with_records = self._chance.random() < 0.5

    def _maybe_forget(self, model: StreamModel, shard: Shard, now_ms: int) -> None:
        # Records go first: for a moment the shard is listed and its data is gone.
        aged_ms = now_ms - shard.closed_ms - self.pace.retention_seconds * 1000
        if aged_ms >= 0 and shard.trimmed < len(shard.records):
            model.trim(shard, len(shard.records))
        elif aged_ms >= 0:
            model.age_out(shard)
