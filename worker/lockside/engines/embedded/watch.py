"""One stream under watch: which of its shards are read, which are finished, which were halted, and when to list again.

Touched by the coordinator only, so it needs no lock.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import structlog

from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.ports import ProcessorFactory
from lockside.engines.embedded import lineage
from lockside.engines.embedded.discovery import Discovery, Listing
from lockside.engines.embedded.plan import StreamPlan
from lockside.engines.embedded.reader import Services, ShardReader, Start
from lockside.errors import LocksideError, SetupError

if TYPE_CHECKING:
    from lockside.state.checkpoints import StreamState

LOG = structlog.get_logger(__name__)

CHILD_TRIES: Final = 5
"""Listings made soon after a shard's end, to find its child: it may show up late. After that the usual interval."""


class StreamWatch:
    """What one stream's shards are up to."""

    def __init__(self, plan: StreamPlan, processors: ProcessorFactory, services: Services) -> None:
        """Prepare to watch; the first discovery reads what is remembered."""
        self.plan = plan
        self.readers: dict[str, ShardReader] = {}
        self.halted: dict[str, LocksideError] = {}
        self.failure: LocksideError | None = None
        self._processors = processors
        self._services = services
        self._state: StreamState | None = None
        self._since_ms: int | None = None
        self._finished: set[str] = set()
        self._childless: set[str] = set()
        self._child_tries = 0
        self._next_listing_ms = services.clock.now().mono_ms
        self._stale = True
        self._waiting_for_slot = False
        self._grows = True
        self._log = LOG.bind(**{telemetry.TABLE: plan.table})

    @property
    def expects_children(self) -> bool:
        """Whether a shard that just ended has no child in the listing yet, and one may still show up soon."""
        return bool(self._childless) and self._grows

    @property
    def settled(self) -> bool:
        """Whether every shard that could be started was: nothing ended since the listing, no child is expected."""
        return self.failure is not None or not (self._stale or self._waiting_for_slot or self.expects_children)

    @property
    def exhausted(self) -> bool:
        """Whether nothing will come of this stream any more: all is read, or what is left hangs on a halted shard."""
        if self.readers or not self.settled:
            return False
        return self.failure is not None or bool(self.halted) or not self._grows

    def listing_due(self) -> bool:
        """Whether it is time to list the stream's shards."""
        return self._services.clock.now().mono_ms >= self._next_listing_ms

    def next_listing_ms(self) -> int:
        """Return when to list again, in monotonic milliseconds."""
        return self._next_listing_ms

    def discover(self, discovery: Discovery, slots: int) -> Iterator[ShardReader]:
        """List the shards and yield a reader for each that may start, `slots` at most."""
        try:
            listing = discovery.list_shards(self.plan)
        except SetupError as error:
            self._fail(error)
            return
        self.failure = None
        if self._state is None:
            self._remember(listing)
        found = lineage.plan(listing.shards, self._finished, {*self.readers, *self.halted})
        self._note(listing, found)
        self._stale = False
        self._waiting_for_slot = len(found.start) > slots
        if self._waiting_for_slot:
            self._log.error("shards_wait_for_a_reader", **{telemetry.COUNT: len(found.start) - slots})
        for shard in found.start[:slots]:
            yield self._reader(shard.shard_id)

    def ended(self, shard_id: str) -> None:
        """Note that a shard was read to its end and marked so: its children may start, at once."""
        del self.readers[shard_id]
        self._finished.add(shard_id)
        self._childless.add(shard_id)
        self._child_tries = 0
        self._list_now()

    def halt(self, shard_id: str, error: LocksideError) -> None:
        """Note that a shard cannot be read on; its children wait, the other shards go on."""
        del self.readers[shard_id]
        self.halted[shard_id] = error
        self._log.error("shard_halted", **{telemetry.SHARD: shard_id, telemetry.ERROR: type(error).__name__})
        self._list_now()

    def stopped(self, shard_id: str) -> None:
        """Note that a shard's reader stopped because the worker does."""
        del self.readers[shard_id]

    def _list_now(self) -> None:
        self._stale = True
        self._next_listing_ms = self._services.clock.now().mono_ms

    def _list_in(self, seconds: float) -> None:
        self._next_listing_ms = self._services.clock.now().mono_ms + round(seconds * 1000)

    def _fail(self, error: SetupError) -> None:
        """Note that the stream cannot be listed. Its readers will hear so themselves; it is looked for again later."""
        self.failure = error
        self._list_in(self._services.settings.discovery_interval_seconds)
        self._log.error("stream_not_found")

    def _remember(self, listing: Listing) -> None:
        """Take up what an earlier run left. A first start at LATEST is made an instant that a restart finds again."""
        checkpoints = self._services.checkpoints
        state = checkpoints.load(self.plan.stream_arn)
        if self.plan.start == "LATEST":
            self._since_ms = state.since_ms
            if state.since_ms is None and not state.shards:
                now_ms = listing.endpoint_ms or self._services.clock.now().wall_ms
                self._since_ms = checkpoints.begin(self.plan.stream_arn, now_ms)
        self._finished = {shard_id for shard_id, checkpoint in state.shards.items() if checkpoint.finished}
        self._state = state

    def _note(self, listing: Listing, found: lineage.Lineage) -> None:
        if self._grows and not listing.grows:
            self._log.warning("stream_disabled", **{telemetry.REASON: listing.status})
        self._grows = listing.grows
        self._childless = {shard_id for shard_id in self._childless if not lineage.has_child(shard_id, listing.shards)}
        self._child_tries += 1
        if self._child_tries >= CHILD_TRIES:
            self._childless.clear()
        settings = self._services.settings
        seconds = settings.child_interval_seconds if self.expects_children else settings.discovery_interval_seconds
        self._list_in(seconds)
        remembered = self._state.shards if self._state else {}
        for parent_id in found.missing_parents:
            if parent_id in remembered:
                self._log.warning("unfinished_parent_not_listed", **{telemetry.SHARD: parent_id})
        for shard_id, error in self.halted.items():
            self._log.error("shard_still_halted", **{telemetry.SHARD: shard_id, telemetry.ERROR: type(error).__name__})

    def _reader(self, shard_id: str) -> ShardReader:
        remembered = self._state.shards.get(shard_id) if self._state else None
        position = remembered.position if remembered else None
        shard = ShardRef(self.plan.stream_arn, shard_id)
        start = Start(position, self._since_ms)
        reader = ShardReader(self.plan, shard, start, self._processors(shard), self._services)
        self.readers[shard_id] = reader
        # As text: a sequence number is wider than the 64 bits that JSON writers take for an integer.
        after = None if position is None else str(position)
        self._log.info("shard_started", **{telemetry.SHARD: shard_id, telemetry.SEQUENCE: after})
        return reader
