"""Which shard a phrase is in, and how placements change while everybody reads and writes. Pure.

Strategy: a phrase's hash picks its shard by jump consistent hashing (Lamping and Veach, 2014): with more shards a
phrase either stays or goes to one of the new ones. Going from one number to another takes three steps, and no two
clients are ever more than one step apart, because nobody uses what it knows of the steps for longer than `FRESH_MS`:

- `settled`: all is in the placement of `shards`.
- `announced`: readers look in both placements; writers write the old one, unless the new one has the phrase.
- `moving`: writers write the new one and remove from the old one, in one transaction; a mover carries the rest.

A phrase is at any instant in one of the two placements and goes only from old to new: whoever looks in the old one
first and the new one second does not miss it.
"""

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from lockside.errors import LimitError

SHARDS_MAX: Final = 256
FRESH_MS: Final = 10_000
"""How long a client goes by a placement that it has read; who changes one waits for twice as long."""

Step = Literal["settled", "announced", "moving"]

_MULTIPLIER: Final = 2862933555777941757
_WORD: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Placement:
    """How many shards there are, and how many there will be; equal when settled. `step` is where the change stands.

    `raised` says that the number was, or is being, raised: then something may lie where it was placed before.
    """

    shards: int
    target: int
    step: Step = "settled"
    raised: bool = False

    @classmethod
    def settled(cls, shards: int) -> "Placement":
        """Return the placement in which nothing moves."""
        return cls(shards, shards)

    def places(self, prefix: str, key: str) -> tuple[int, ...]:
        """Return the shards that a phrase may be in, the one it leaves first."""
        old = self.old(prefix, key)
        return (old,) if self.shards == self.target or (new := self.new(prefix, key)) == old else (old, new)

    def old(self, prefix: str, key: str) -> int:
        """Return the shard that a phrase was, or is, in."""
        return shard_of(prefix, key, self.shards)

    def new(self, prefix: str, key: str) -> int:
        """Return the shard that a phrase will be in."""
        return shard_of(prefix, key, self.target)


def checked_shards(shards: int) -> int:
    """Return a number of shards that can be. Raises LimitError."""
    if not 1 <= shards <= SHARDS_MAX:
        raise LimitError(f"shards = {shards}: give 1 to {SHARDS_MAX}")
    return shards


def shard_of(prefix: str, key: str, shards: int) -> int:
    """Return the shard of a phrase: the same in every process, of every version."""
    whole = f"{len(prefix)}:{prefix}{key}".encode()
    return jump(int.from_bytes(hashlib.sha256(whole).digest()[:8], "big"), shards)


def jump(number: int, buckets: int) -> int:
    """Return the bucket of a 64-bit number. With more buckets it is the same one, or one of the new."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        number = (number * _MULTIPLIER + 1) & _WORD
        following = int((bucket + 1) * ((1 << 31) / ((number >> 33) + 1)))
    return bucket
