"""What readers work with: a record's place as an index tells it, and the record itself."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from lockside.audit import items
from lockside.aws.tables import LOG_KEY, LOG_SORT, PK, SK, TIME, TYPE

ORIGIN_LABEL: Final = 3
"""Where the stream's label stands in the log id of a shard: region, account, table, label, shard."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a record stands in its log; places of several logs sort by time. `sort` is its key in the index by log."""

    running_max_ms: int
    log: str
    index: int

    @property
    def sort(self) -> str:
        """The sort key of the index by log."""
        return items.log_sort(self.running_max_ms, self.index)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the index by log tells it: enough to choose by, without its bytes."""

    place: Place
    pk: str
    sk: str
    type: str
    time_ms: int

    @property
    def key(self) -> tuple[str, str]:
        """The record's partition and sort key."""
        return self.pk, self.sk

    @property
    def effective_ms(self) -> int:
        """The record's time; where the change itself told none, its log's."""
        return self.time_ms or self.place.running_max_ms


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it is kept. `after` is the last position an observer knew; `body` the CloudEvent's very bytes."""

    entry: Entry
    after: str | None
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent, parsed."""
        return dict(orjson.loads(self.body))

    @property
    def position(self) -> tuple[str, str]:
        """Stream label and padded sequence number: of its change, or the last that the observer knew of (or empty)."""
        if not self.observed:
            label, position, *_ = self.entry.sk.split("#")
            return label, position
        parts = self.entry.place.log.split("/")
        return parts[ORIGIN_LABEL] if len(parts) > ORIGIN_LABEL else "", self.after or ""

    @property
    def observed(self) -> bool:
        """Whether this is an observer record."""
        return self.entry.sk.startswith(items.OBSERVER_PREFIX)


def read_entry(item: items.Item) -> Entry:
    """Read what the index by log, or a whole item, says of a record."""
    running_max, _, index = item[LOG_SORT]["S"].partition("#")
    return Entry(
        place=Place(int(running_max), item[LOG_KEY]["S"], int(index)),
        pk=item[PK]["S"],
        sk=item[SK]["S"],
        type=item[TYPE]["S"],
        time_ms=int(item[TIME]["N"]),
    )


def read_stored(item: items.Item) -> Stored:
    """Read a whole item."""
    after = item.get(items.AFTER)
    return Stored(read_entry(item), None if after is None else after["S"], item[items.BODY]["S"].encode())
