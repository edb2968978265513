"""Shards that ended and still hold something: what a child has seen by then is the child's, and counts once.

Without it each generation of shards would keep a deadline of every session that lives on, until it is due.
"""

from collections.abc import Iterable, Sequence

from lockside.core.batch import Met, Revival
from lockside.core.change import ShardRef
from lockside.engines.processor import ShardProcessor


def let_go(processors: Iterable[ShardProcessor], shard: ShardRef, met: Sequence[Met]) -> list[Revival]:
    """Have the ended shards of a table let go of what one of its shards met, and return the revivals that this shows.

    `processors` in the order in which they began. The youngest that holds an entity is the one to ask.
    """
    ended = [each for each in processors if each.has_ended and each.shard.table == shard.table]
    left, revivals = list(met), []
    for processor in reversed(ended):
        if not left:
            break
        left, found = processor.let_go(left)
        revivals += found
    return revivals
