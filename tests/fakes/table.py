"""A watched table in memory: writes change its rows and leave stream records, reads are strongly consistent."""

from collections.abc import Mapping, Sequence
from typing import Any

from lockside.core.attributes import Image
from lockside.core.entity import EntityKey, KeySchema, entity_key
from lockside.core.recipe import Source
from tests.fakes.clock import FakeClock
from tests.fakes.sources import wire


class FakeTable:
    """Implements `core.ports.RowReader`; `records` is the table's stream so far."""

    def __init__(self, schema: KeySchema, clock: FakeClock) -> None:
        """Start empty."""
        self.records: list[dict[str, Any]] = []
        self.reads = 0
        self.refuse = False
        self._schema = schema
        self._clock = clock
        self._rows: dict[EntityKey, dict[str, Any]] = {}

    def put(self, keys: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Write a row; one that changes nothing leaves no record."""
        key = entity_key(keys, self._schema)
        old = self._rows.get(key)
        if old == dict(row):
            return
        self._rows[key] = dict(row)
        self._emit(keys, old, row)

    def delete(self, keys: Mapping[str, Any], *, ttl: bool = False) -> None:
        """Remove a row, by a client or by TTL; an absent one leaves no record."""
        old = self._rows.pop(entity_key(keys, self._schema), None)
        if old is not None:
            self._emit(keys, old, None, ttl=ttl)

    def read(self, source: Source, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Image | None]:
        """Read rows as they are now; none while it refuses."""
        del source
        self.reads += 1
        if self.refuse:
            return {}
        return {key: self._rows.get(key) for key in keys}

    def _emit(self, keys: Mapping[str, Any], old: Any, new: Any, *, ttl: bool = False) -> None:
        at = self._clock.now().wall_ms // 1000
        self.records.append(wire(len(self.records) + 1, keys, old, new, at=at, ttl=ttl))
