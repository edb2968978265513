"""Which shards may be read now: parents before children (law 3). Pure: a listing in, a plan out.

A parent that is listed and not finished is waited for. One that is not listed has aged out with all its data, so it is
done, once that is known: a single listing may leave it out. A parent that is being read stays one in any case.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lockside.engines.discovery import ListedShard


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a listing allows, in an order that is the same for the same listing.

    `start` may be read now, `wait` for a parent first; `missing_parents` are those neither listed nor finished: aged
    out before they were read, or left out of this listing.
    """

    start: tuple[ListedShard, ...]
    wait: tuple[ListedShard, ...]
    missing_parents: tuple[str, ...]


def plan(
    listed: Iterable[ListedShard],
    finished: Collection[str],
    reading: Collection[str] = (),
    gone: Collection[str] | None = None,
) -> Lineage:
    """Tell which of the listed shards may start; finished ones and those being read are in no list.

    `gone` are the shards that are known to exist no more; None: all that are not listed.
    """
    by_id = {shard.shard_id: shard for shard in listed}
    open_shards = sorted(
        (shard for shard in by_id.values() if shard.shard_id not in finished and shard.shard_id not in reading),
        key=lambda shard: shard.shard_id,
    )
    freed = _cycle_breakers(by_id)
    start: list[ListedShard] = []
    wait: list[ListedShard] = []
    for shard in open_shards:
        blocked = shard.shard_id not in freed and _is_unfinished(shard.parent_id, by_id, finished, reading, gone)
        (wait if blocked else start).append(shard)
    known = {*by_id, *finished, *reading}
    missing = {
        shard.parent_id for shard in (*start, *wait) if shard.parent_id is not None and shard.parent_id not in known
    }
    return Lineage(tuple(start), tuple(wait), tuple(sorted(missing)))


def has_child(shard_id: str, listed: Iterable[ListedShard]) -> bool:
    """Whether a listing shows a child of a shard; one that just ended may get it only later."""
    return any(shard.parent_id == shard_id and shard.shard_id != shard_id for shard in listed)


def _is_unfinished(
    parent_id: str | None,
    by_id: Mapping[str, ListedShard],
    finished: Collection[str],
    reading: Collection[str],
    gone: Collection[str] | None,
) -> bool:
    if parent_id is None or parent_id in finished:
        return False
    return parent_id in by_id or parent_id in reading or (gone is not None and parent_id not in gone)


def _cycle_breakers(by_id: Mapping[str, ListedShard]) -> frozenset[str]:
    """Find one shard of each cycle of parents, the first by name, which then waits for nobody.

    moto answers CHILD_SHARDS with the shard itself; on AWS there is no cycle, but waiting in one would never end.
    """
    breakers: set[str] = set()
    seen: set[str] = set()
    for first in by_id:
        path: list[str] = []
        at: str | None = first
        while at is not None and at in by_id and at not in seen:
            seen.add(at)
            path.append(at)
            at = by_id[at].parent_id
        if at in path:
            breakers.add(min(path[path.index(at) :]))
    return frozenset(breakers)
