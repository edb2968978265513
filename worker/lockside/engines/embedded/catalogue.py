"""What listings have shown of a stream's shards. Pure: pages in, shards out.

Listings are not consistent: a shard may be left out of one. So a shard stays until it was left out of several whole
listings in a row, and what a page shows counts at once, however long the listing takes that it belongs to.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from lockside.engines.embedded.lineage import ListedShard, has_child

ABSENT_LISTINGS: Final = 3
"""A shard left out of so many whole listings in a row is gone."""

PAGES_MAX: Final = 10_000


@dataclass(slots=True)
class Catalogue:
    """The shards of one stream. `cursor` is where its listing goes on; `whole` counts those read to the last page."""

    shards: dict[str, ListedShard] = field(default_factory=dict)
    cursor: str | None = None
    whole: int = 0
    _seen: set[str] = field(default_factory=set)
    _cursors: set[str] = field(default_factory=set)
    _absent: dict[str, int] = field(default_factory=dict)

    def add(self, shards: Iterable[ListedShard]) -> None:
        """Take in shards that were met outside a listing."""
        for shard in shards:
            self.shards[shard.shard_id] = shard

    def page(self, shards: Iterable[ListedShard], cursor: str | None, expected: Collection[str] = ()) -> bool:
        """Take in a page that ends at `cursor`, None at the last; tell whether the listing is whole with it.

        `expected` are shards to miss though no listing may ever have shown them. A listing that runs in a circle is
        begun anew, and tells of nothing that is missing.
        """
        listed = tuple(shards)
        self.add(listed)
        self._seen.update(shard.shard_id for shard in listed)
        if cursor is not None and (cursor in self._cursors or len(self._cursors) >= PAGES_MAX):
            self._begin()
            return False
        self.cursor = cursor
        if cursor is not None:
            self._cursors.add(cursor)
            return False
        asked = {*self.shards, *expected}
        for shard_id in asked:
            self._miss(shard_id)
        self._absent = {shard_id: times for shard_id, times in self._absent.items() if shard_id in asked}
        self.whole += 1
        self._begin()
        return True

    def absences(self, shard_id: str) -> int:
        """Count the whole listings in a row that left a shard out, of those in which it was expected."""
        return self._absent.get(shard_id, 0)

    def ends_with(self, shard_id: str) -> bool:
        """Whether nothing listed is known to come of a shard: it is not listed itself any more, or no child is."""
        gone = shard_id not in self.shards or self.absences(shard_id) > 0
        return gone or not has_child(shard_id, self.shards.values())

    def end(self) -> None:
        """Take in that the stream is gone, with all its shards."""
        self._begin()
        self._absent.update(dict.fromkeys(self.shards, ABSENT_LISTINGS))
        self.shards.clear()
        self.whole += 1

    def _miss(self, shard_id: str) -> None:
        if shard_id in self._seen:
            self._absent.pop(shard_id, None)
            return
        self._absent[shard_id] = self._absent.get(shard_id, 0) + 1
        if self._absent[shard_id] >= ABSENT_LISTINGS:
            self.shards.pop(shard_id, None)

    def _begin(self) -> None:
        self.cursor = None
        self._seen.clear()
        self._cursors.clear()
