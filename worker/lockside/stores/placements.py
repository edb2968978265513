"""The placement that a client goes by: read from the table, and read again before it is too old to rely on."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockside.stores import phrase_row
from lockside.stores.placement import FRESH_MS, Placement

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.calls import Calls


@dataclass(frozen=True, slots=True)
class Known:
    """A placement, and when its reading was begun, on the clock that goes on in sleep."""

    placement: Placement
    read_ms: int


class Placements:
    """One client's knowledge of its store's placement."""

    def __init__(self, client: "DynamoDBClient", calls: "Calls") -> None:
        """Know nothing yet."""
        self._client = client
        self._calls = calls
        self._guard = threading.Lock()
        self._known: Known | None = None

    def current(self) -> Known:
        """Return the placement, read anew if what is known may be outdated.

        Raises SetupError where the table holds no store.
        """
        known = self._known
        if known is not None and not self.aged(known):
            return known
        with self._guard:
            if self._known is None or self.aged(self._known):
                self._known = self._read()
            return self._known

    def aged(self, known: Known) -> bool:
        """Whether others may have gone on to the step after the next since this was read."""
        return self._calls.machine.holding_ms() - known.read_ms > FRESH_MS

    def outdated(self, known: Known) -> bool:
        """Whether what was just done by an old placement may have missed a change: old by now, and another since."""
        return self.aged(known) and self.current().placement != known.placement

    def forget(self) -> None:
        """Read anew at the next use: a condition showed that another is in force."""
        with self._guard:
            self._known = None

    def _read(self) -> Known:
        read_ms = self._calls.machine.holding_ms()
        request: dict[str, Any] = {
            "TableName": self._calls.table,
            "Key": phrase_row.PLACEMENT_KEY,
            "ConsistentRead": True,
        }
        answer = self._calls.read(lambda: self._client.get_item(**request))
        return Known(phrase_row.placement_of(answer.get("Item"), self._calls.table), read_ms)
