"""Reading undecodable changes again: after an upgrade, or with a corrected source.

Order of effects: the observer record is acknowledged, and only then the sealed change removed. A crash between the two
leaves a change whose identity is in the trail already: the next redrive writes nothing twice, and removes it.

A change is kept before its record is in the log. Until the log's head covers it, a worker reads it again, and may
understand it by then; once it did, the trail tells of it and what was kept is only removed.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockside.app import sources
from lockside.audit.items import Retention
from lockside.audit.table import AuditTable
from lockside.audit.write import AuditTrail
from lockside.aws.clients import reached
from lockside.aws.retrying import Retrier
from lockside.core import observer, redriven
from lockside.core.entity import Keys
from lockside.core.ports import Clock, Trail
from lockside.core.recipe import Source
from lockside.core.telemetry import NoMeter
from lockside.errors import UsageError, WireFaultError
from lockside.ops.clock import SystemClock
from lockside.state import keys_file
from lockside.state.live_index import NONCE_BYTES
from lockside.state.undecodable import Kept, UndecodableTable

if TYPE_CHECKING:
    from lockside.core.ports import Stop
    from lockside.settings import Settings

NOT_WATCHED: Final = "not_watched"
"""Why a change stays that no source of the settings would read."""

PENDING: Final = "pending"
"""Why a change stays that no log's head covers yet: the shard's worker has still to read it, or to say that it did."""

READ_SINCE: Final = "read_since"
"""Why a change is no longer kept without a record: a worker of a later epoch read it, and recorded what it says."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became, or would become, of one kept change. `fault` is why it stays; else `event`, or why it gives none."""

    kept: Kept
    event: str | None = None
    reason: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Redrive:
    """Reads kept changes again. `sources` are those of each table."""

    store: UndecodableTable
    trail: Trail
    sources: Mapping[str, tuple[Source, ...]]
    keys: Keys
    application: str
    clock: Clock

    def run(self, record_id: str | None = None, *, dry_run: bool = False) -> Iterator[Outcome]:
        """Redrive every kept change, or the one whose stream.undecodable record has this id; one outcome for each.

        Raises UsageError if there is none of this id.
        """
        found = record_id is None
        for kept in self._kept():
            if kept.done:
                if not dry_run:
                    self.store.remove(kept)
            elif record_id in {None, kept.record_id}:
                found = True
                yield self._one(kept, dry_run=dry_run)
        if not found:
            raise UsageError(
                f'--id "{record_id}": no change is kept under this id; give the id of a stream.undecodable record '
                "(`lockside redrive` without --id lists them), or it was redriven before"
            )

    def _kept(self) -> Iterator[Kept]:
        for shard in self.store.shards():
            # As a list: what is redriven is removed from under the query that found it.
            yield from list(self.store.kept(shard))

    def _one(self, kept: Kept, *, dry_run: bool) -> Outcome:
        watching = self.sources.get(kept.shard.table)
        if watching is None:
            return Outcome(kept, fault=NOT_WATCHED)
        if kept.epoch:
            since = self.trail.read_since(kept.shard, kept.position, kept.epoch)
            if since is None:
                return Outcome(kept, fault=PENDING)
            if since:
                if not dry_run:
                    self.store.remove(kept)
                return Outcome(kept, reason=READ_SINCE)
        try:
            undecodable = self.store.open(kept)
            reading = redriven.read_again(undecodable, kept.shard, watching, self.keys)
        except WireFaultError as fault:
            return Outcome(kept, fault=fault.code)
        if not dry_run:
            now_ms = self.clock.now().wall_ms
            self.trail.observe(observer.redriven_record(reading, undecodable, kept.shard, self.application, now_ms))
            self.store.remove(kept)
        return Outcome(kept, event=reading.event, reason=reading.reason)


@contextmanager
def redriving(settings: "Settings", stop: "Stop") -> Iterator[Redrive]:
    """Connect and find the tables; calls are tried again until `stop`.

    Raises UsageError within seconds for whatever is not set up.
    """
    clients = reached(settings.aws, settings.state.table)
    keys = keys_file.load(settings.keys.file)
    for section, table in (("audit", settings.audit.table), ("state", settings.state.table)):
        sources.describe_own(clients.dynamodb, table, f"{section}.table")
    streams = sources.resolve(clients.dynamodb, settings, keys)
    retrier, clock = Retrier(stop, NoMeter()), SystemClock()
    store = UndecodableTable(
        clients.dynamodb, settings.state.table, keys.seal, retrier, lambda: os.urandom(NONCE_BYTES)
    )
    retention = Retention(settings.audit.retention_days or None)
    trail = AuditTrail(AuditTable(clients.writer, settings.audit.table, retrier), clock, retention)
    try:
        watching = {stream.table: stream.sources for stream in streams}
        yield Redrive(store, trail, watching, keys, settings.application, clock)
    finally:
        trail.close()
