"""Whether a replica holds what its table holds: row by row, in bounded memory, while both go on being written.

Strategy: both sides are read page by page, and each page's rows looked up by key on the other side. What differs then
may only be late. So it is looked at again for a while: a row that changes meanwhile is *late*; one that stays as it is
at the source and different in the replica *differs*.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import orjson

from lockside.aws.retrying import Retrier
from lockside.core.attributes import Image
from lockside.core.entity import EntityKey, KeySchema, entity_key
from lockside.core.ports import Clock, Stop
from lockside.core.wire_form import differing, for_json
from lockside.stores.dynamodb_target import BATCH_GET_MAX, read_items, scan_page
from lockside.stores.target import Target, pages

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Kind = Literal["missing", "extra", "different", "foreign"]
"""Not in the replica; only in the replica; in both and not alike; in the replica, written by no replication."""

LOOK_SECONDS: Final = 1.0
DIFFERENCES_MAX: Final = 10_000
"""So many rows are kept for another look; a replica with more differences than that is told of without their number."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not alike; `attributes` names those that differ, never what they hold."""

    key: EntityKey
    kind: Kind
    attributes: tuple[str, ...]
    source_digest: bytes = b""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found. `rows` were read of the source, `replica_rows` of the replica, tombstones left out.

    `cut_off`: there are more differences than are kept, and the comparison ended there.
    """

    rows: int
    replica_rows: int
    differences: tuple[Difference, ...]
    late: int
    cut_off: bool

    @property
    def is_alike(self) -> bool:
        """Whether nothing differs but what is only late."""
        return not self.differences and not self.cut_off


def unseen(_rows: int) -> None:
    """Show nobody how far it is."""


@dataclass(slots=True)
class Comparer:
    """Compares one table with one target. `progress` is told of each page's rows."""

    client: "DynamoDBClient"
    table: str
    schema: KeySchema
    target: Target
    retrier: Retrier
    clock: Clock
    stop: Stop
    progress: Callable[[int], None] = unseen
    rows: int = 0
    replica_rows: int = 0

    def run(self, settle_seconds: float) -> Comparison:
        """Compare; look again at what differs for up to `settle_seconds`. Raises StoppedError where nobody answers."""
        found: dict[EntityKey, Difference] = {}
        cut_off = self._source_side(found) or self._replica_side(found)
        left = list(self._settled(found, settle_seconds).values())
        differences = tuple(each for each in left if not each.late)
        return Comparison(self.rows, self.replica_rows, differences, len(left) - len(differences), cut_off)

    def _source_side(self, found: dict[EntityKey, Difference]) -> bool:
        """Note rows that the replica lacks or holds otherwise; True if there are too many to go on."""
        cursor: str | None = None
        while True:
            items, cursor = scan_page(self.client, self.table, cursor, self.retrier)
            self.rows += len(items)
            self._note(found, {entity_key(item, self.schema): item for item in items})
            self.progress(len(items))
            if cursor is None or len(found) > DIFFERENCES_MAX:
                return len(found) > DIFFERENCES_MAX

    def _replica_side(self, found: dict[EntityKey, Difference]) -> bool:
        """Note rows that only the replica has."""
        for page in pages(self.target):
            keys = [row.key for row in page.rows if row.image is not None]
            self.replica_rows += len(keys)
            there = self._source_rows(keys)
            self._note(found, {key: None for key in keys if key not in there})
            self.progress(len(keys))
            if len(found) > DIFFERENCES_MAX:
                return True
        return False

    def _note(self, found: dict[EntityKey, Difference], items: Mapping[EntityKey, Image | None]) -> None:
        rows = self.target.read(list(items))
        for key, item in items.items():
            row = rows.get(key)
            difference = _difference(key, item, row.image if row else None, stamped=bool(row and row.stamp))
            if difference is not None:
                found.setdefault(key, difference)

    def _settled(self, found: dict[EntityKey, Difference], seconds: float) -> dict[EntityKey, Difference]:
        until_ms = self.clock.now().mono_ms + round(seconds * 1000)
        while found and self.clock.now().mono_ms < until_ms and not self.stop.wait(LOOK_SECONDS):
            found = self._looked_again(found)
        return found

    def _looked_again(self, found: Mapping[EntityKey, Difference]) -> dict[EntityKey, Difference]:
        left: dict[EntityKey, Difference] = {}
        for keys in _batches(found):
            items: dict[EntityKey, Image | None] = {**dict.fromkeys(keys), **self._source_rows(keys)}
            now: dict[EntityKey, Difference] = {}
            self._note(now, items)
            for key, difference in now.items():
                moved = difference.source_digest != found[key].source_digest
                left[key] = replace(difference, late=moved or found[key].late)
        return left

    def _source_rows(self, keys: Sequence[EntityKey]) -> dict[EntityKey, Image]:
        rows: dict[EntityKey, Image] = {}
        for batch in _batches(keys):
            items = read_items(self.client, self.table, batch, self.schema, self.retrier)
            rows.update((entity_key(item, self.schema), item) for item in items)
        return rows


def _difference(key: EntityKey, item: Image | None, held: Image | None, *, stamped: bool) -> Difference | None:
    if held is None:
        return None if item is None else Difference(key, "missing", (), _digest(item))
    if item is None:
        return Difference(key, "extra" if stamped else "foreign", ())
    attributes = differing(item, held)
    return Difference(key, "different", attributes, _digest(item)) if attributes else None


def _digest(item: Image) -> bytes:
    return hashlib.sha256(orjson.dumps(for_json(item), option=orjson.OPT_SORT_KEYS)).digest()


def _batches(keys: Iterable[EntityKey]) -> Iterable[list[EntityKey]]:
    listed = list(keys)
    return (listed[start : start + BATCH_GET_MAX] for start in range(0, len(listed), BATCH_GET_MAX))
