"""A copy of the whole table into a replica, beside the stream: what `lockside replicate --bootstrap` does.

Strategy: positions first, then the scan, then the replay. The stream's reader has its start before the scan begins, so
whatever happens meanwhile comes by the stream; stamps decide between the two, in any order (core/replica.py). The scan
first, then a sweep: rows of the replica that are still older than the copy are not in the table any more. How far it
came is remembered page by page, so that a crash goes on from there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from lockside.aws.retrying import Retrier
from lockside.core import telemetry
from lockside.core.ports import Clock, Stop
from lockside.core.replica import Write, copied, copy_stamp, wins
from lockside.core.telemetry import Meter
from lockside.errors import StoppedError
from lockside.stores.dynamodb_target import scan_page
from lockside.stores.replica import Replica

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOG = structlog.get_logger(__name__)

TELL_MS: Final = 5_000
"""How often it says how far it is."""


def silent() -> None:
    """Tell nobody."""


@dataclass(slots=True)
class TableCopy:
    """Copies one table. `beat` is told after each page that it goes on."""

    client: "DynamoDBClient"
    table: str
    retrier: Retrier
    clock: Clock
    meter: Meter
    stop: Stop
    page_rows: int | None = None
    beat: Callable[[], None] = silent
    rows: int = 0
    _told_ms: int = 0

    def run(self, replica: Replica) -> None:
        """Copy, or go on where an earlier run stopped. Raises StoppedError on shutdown."""
        generation = replica.begin_copy()
        began = self.clock.now()
        self.rows, self._told_ms = 0, began.mono_ms
        LOG.info("copy_begun", phase=replica.state.phase, **{telemetry.REPLICA: replica.name})
        if replica.state.phase == "scan":
            self._scan(replica, generation)
        if replica.state.phase == "sweep":
            self._sweep(replica, generation)
        replica.copied()
        seconds = round((self.clock.now().mono_ms - began.mono_ms) / 1000, 1)
        facts = {telemetry.COUNT: self.rows, telemetry.SECONDS: seconds}
        LOG.info("copy_finished", **{telemetry.REPLICA: replica.name}, **facts)

    def _scan(self, replica: Replica, generation: int) -> None:
        cursor = replica.state.cursor
        while True:
            read_ms = self.clock.now().wall_ms
            items, cursor = scan_page(self.client, self.table, cursor, self.retrier, self.page_rows)
            replica.apply(list(copied(items, replica.schema, generation)), read_ms)
            self.meter.count("copied", len(items), replica=replica.name)
            replica.copying("sweep" if cursor is None else "scan", cursor)
            self._page_done(replica, len(items))
            if cursor is None:
                return

    def _sweep(self, replica: Replica, generation: int) -> None:
        """Remove what the scan would have met if it were still there. What no replication wrote is left alone.

        Raises ReplicaError for what another replica wrote later than this copy: it would stay as it is for ever.
        """
        stamp, cursor = copy_stamp(generation), replica.state.cursor
        while True:
            read_ms = self.clock.now().wall_ms
            page = replica.target.page(cursor)
            replica.refuse_later(page.rows)
            left = [row.key for row in page.rows if row.image is not None and row.stamp and wins(stamp, row.stamp)]
            replica.apply([Write(key, stamp, None) for key in left], read_ms)
            cursor = page.cursor
            self._page_done(replica, 0)
            if cursor is None:
                return
            replica.copying("sweep", cursor)

    def _page_done(self, replica: Replica, rows: int) -> None:
        self.rows += rows
        self.beat()
        now_ms = self.clock.now().mono_ms
        if now_ms - self._told_ms >= TELL_MS:
            self._told_ms = now_ms
            facts = {telemetry.REPLICA: replica.name, telemetry.COUNT: self.rows}
            LOG.info("copy_progress", phase=replica.state.phase, **facts)
        if self.stop.is_set():
            raise StoppedError("copying a table")
