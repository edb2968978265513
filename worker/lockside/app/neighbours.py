"""What stands around every shard processor of a worker: trail, live index, lapses, what cannot be decoded."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from lockside.app.sources import Stream
from lockside.audit.write import AuditTrail
from lockside.aws.clients import Clients
from lockside.aws.retrying import Retrier
from lockside.core.batch import Met, Revival
from lockside.core.change import ShardRef
from lockside.core.entity import Keys
from lockside.core.ports import Announce, Clock
from lockside.core.telemetry import Meter
from lockside.engines.neighbours import Neighbours
from lockside.reactions.lapses import LapseWatch
from lockside.reactions.rows import BatchRowReader
from lockside.settings import Settings
from lockside.state.live_index import NONCE_BYTES, LiveTable
from lockside.state.live_statements import Statements
from lockside.state.undecodable import Limits, UndecodableTable


@dataclass(frozen=True, slots=True)
class Grounds:
    """What they are made on. `clock` is the one that deadlines run by; `pool` writes to the live index."""

    settings: Settings
    clients: Clients
    keys: Keys
    retrier: Retrier
    pool: Executor
    trail: AuditTrail
    clock: Clock
    meter: Meter
    announce: Announce

    def neighbours(
        self,
        streams: Sequence[Stream],
        rearmed: Callable[[], None],
        elders: Callable[[ShardRef, Sequence[Met]], list[Revival]],
    ) -> Neighbours:
        """Join them; `rearmed` is told when a processor's next deadline has changed, `elders` what a shard met."""
        lapses = LapseWatch(
            sources={source.id: source for stream in streams for source in stream.sources},
            keys=self.keys,
            reader=BatchRowReader(self.clients.dynamodb),
            trail=self.trail,
            clock=self.clock,
            meter=self.meter,
            announce=self.announce,
        )
        kept = self._undecodables()
        return Neighbours(
            self.trail,
            self._live(),
            lapses,
            kept,
            self.clock,
            self.meter,
            self.announce,
            rearmed=rearmed,
            elders=elders,
        )

    def _live(self) -> LiveTable:
        client, state = self.clients.dynamodb, self.settings.state
        return LiveTable(
            client,
            state.table,
            self.keys,
            self.retrier,
            self.pool,
            _nonce,
            Statements(client, state.table) if state.batched else None,
        )

    def _undecodables(self) -> UndecodableTable:
        engine = self.settings.engine
        return UndecodableTable(
            self.clients.dynamodb,
            self.settings.state.table,
            self.keys.seal,
            self.retrier,
            _nonce,
            Limits(engine.undecodable_max, engine.undecodable_bytes_max),
        )


def _nonce() -> bytes:
    return os.urandom(NONCE_BYTES)
