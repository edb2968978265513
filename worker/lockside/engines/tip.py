"""Whether a shard's reader has caught up with its stream.

GetRecords does not tell. An empty page does not either: several may stand before data (API reference, GetRecords). So a
reader has caught up after some empty pages in a row, or when a page that is not full ends with a change of just now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lockside.core import decode
from lockside.errors import WireFaultError

FRESH_MS: Final = 10_000
"""A change younger than this is of just now: streams deliver within a few seconds."""

STALE_MS: Final = 60_000
"""Who did not read for so long, asleep or cut off, has to catch up anew. No wait between two pages is as long."""


@dataclass(slots=True)
class Tip:
    """Counts empty pages and judges the others. `full` is the number of records that a full page has."""

    precision_ms: int
    full: int
    empty_pages_needed: int
    empty_pages: int = 0
    caught_up: bool = False
    read_ms: int | None = None

    def page(self, records: Sequence[Mapping[str, Any]], now_ms: int) -> None:
        """Take in one page, read at `now_ms` of the endpoint's clock."""
        if self.read_ms is not None and now_ms - self.read_ms > STALE_MS:
            self.caught_up, self.empty_pages = False, 0
        self.read_ms = now_ms
        if not records:
            self.empty_pages += 1
            self.caught_up = self.caught_up or self.drained
            return
        self.empty_pages = 0
        self.caught_up = len(records) < self.full and (self.caught_up or self._fresh(records[-1], now_ms))

    @property
    def drained(self) -> bool:
        """Whether so many empty pages came in a row that nothing more is there."""
        return self.empty_pages >= self.empty_pages_needed

    def _fresh(self, record: Mapping[str, Any], now_ms: int) -> bool:
        created = creation_ms(record)
        return created is not None and created + self.precision_ms + FRESH_MS >= now_ms


def creation_ms(record: object) -> int | None:
    """Read a raw record's creation time; None where it has none that can be read."""
    body = record.get("dynamodb") if isinstance(record, Mapping) else None
    if not isinstance(body, Mapping):
        return None
    try:
        return decode.created_ms(body, 1)
    except WireFaultError:
        return None
