"""One stream under watch: which of its shards are read, which are finished, which were halted, and what to ask next.

Strategy: one call at a time, and never a wait. Shards found on a page may start before the listing is whole; only what
is *missing* is judged when it is, and never on one listing's word: a parent that no listing shows is asked for by name,
a shard that was read before is read on, and only a shard that answers so itself is gone. One that answers and is not
listed has a parent that nobody knows: it waits for a listing that shows it, and is read without one only last. Touched
by the coordinator only, so it needs no lock.
"""

from dataclasses import dataclass
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import verdict
from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.core.ports import ProcessorFactory
from lockside.engines.discovery import Discovery, ListedShard, Page
from lockside.engines.embedded import lineage
from lockside.engines.embedded.asking import CALL_ERRORS, Asking
from lockside.engines.embedded.catalogue import ABSENT_LISTINGS, Catalogue
from lockside.engines.embedded.memory import StreamMemory
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.embedded.services import Services
from lockside.engines.stream import StreamPlan
from lockside.errors import LocksideError, SetupError

LOG = structlog.get_logger(__name__)

CHILD_TRIES: Final = 8
"""How often the child of an ended shard is asked for: it may show up late. After that the usual listing finds it."""

CHILD_HASTE: Final = 8
"""The first of these waits is so much shorter than the longest, each later one twice as long."""

PAGE_PAUSE_SECONDS: Final = 0.1
"""DescribeStream bears 10 calls a second for a stream (API reference), whoever makes them."""

DRAINED_LISTINGS: Final = 3
"""So many whole listings in a row must show nothing unread before a stream that gets no more counts as drained; and for
`drained_seconds`, since the last children of its shards may show up late."""


@dataclass(slots=True)
class Search:
    """The search for the children of a shard that ended: how often they were asked for, and when to ask again."""

    due_ms: int
    tries: int = 0


class StreamWatch:
    """What one stream's shards are up to."""

    def __init__(self, plan: StreamPlan, processors: ProcessorFactory, services: Services) -> None:
        """Prepare to watch; the first discovery reads what is remembered."""
        self.plan = plan
        self.readers: dict[str, ShardReader] = {}
        self.halted: dict[str, LocksideError] = {}
        self.failure: LocksideError | None = None
        self.not_found = False
        self.grows = True
        self._processors = processors
        self._services = services
        self._memory = StreamMemory(plan, services)
        self._catalogue = Catalogue()
        self._asking = Asking(services, "describe_stream", plan.table, services.clock.now().mono_ms)
        self._listing_ms = self._listed_ms = self._now_ms()
        self._searches: dict[str, Search] = {}
        self._filters = True
        self._probes: list[str] = []
        self._gone: set[str] = set()
        self._holes: dict[str, int] = {}
        self._vanished = False
        self._stale = True
        self._emptied = False
        self._drained_listings = 0
        self._drained_since_ms = 0
        self._log = LOG.bind(**{telemetry.TABLE: plan.table})

    @property
    def listed(self) -> bool:
        """Whether the stream's shards, and what is remembered of them, were read once."""
        return self._catalogue.whole > 0

    @property
    def expects_children(self) -> bool:
        """Whether a shard that just ended has no child yet, and one may still show up soon."""
        return bool(self._searches)

    @property
    def settled(self) -> bool:
        """Whether every shard that could be started was: nothing ended since the listing, no question is open."""
        return self.failure is not None or not (self._stale or self._searches or self._probes or self._holes)

    @property
    def drained(self) -> bool:
        """Whether all of a stream that gets no more was consumed."""
        seconds = (self._now_ms() - self._drained_since_ms) / 1000
        return self._emptied or (
            self._drained_listings >= DRAINED_LISTINGS and seconds >= self._services.settings.drained_seconds
        )

    @property
    def exhausted(self) -> bool:
        """Whether nothing will come of this stream any more: all is read, or what is left hangs on a halted shard."""
        if self.readers or not self.settled:
            return False
        return self.failure is not None or bool(self.halted) or not self.grows

    def listing_due(self) -> bool:
        """Whether it is time to ask."""
        return self.next_listing_ms() <= self._now_ms()

    def next_listing_ms(self) -> int:
        """Return when to ask again, in monotonic milliseconds."""
        wanted = [self._listing_ms]
        if self._filters:
            wanted += (search.due_ms for search in self._searches.values())
        if self._probes:
            wanted.append(self._listed_ms)
        if any(reader.missing for reader in tuple(self.readers.values())):
            wanted.append(self._listed_ms + self._child_ms)
        return max(self._asking.due_ms, min(wanted))

    def discover(self, discovery: Discovery) -> list[ShardReader]:
        """Make the one call that is due; return a reader for each shard that may start now."""
        if not self._vanished:
            try:
                self._ask(discovery)
            except CALL_ERRORS as error:
                self._after_failure(error)
                return []
            self._asking.answered()
            self._asking.again_in(PAGE_PAUSE_SECONDS)
        return self._start()

    def ended(self, shard_id: str) -> None:
        """Note that a shard was read to its end and marked so: its children may start, at once."""
        reader = self.readers.pop(shard_id)
        self._memory.ended(shard_id, reader.tip_ms)
        searched = self.grows and reader.confirmed
        if searched:
            self._searches[shard_id] = Search(self._now_ms())
        if not (searched and self._filters):
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

    def superseded(self) -> None:
        """Learn that the table has another stream by now, or is gone: this one gets no more shards."""
        if self.grows:
            self._list_now()
        self.grows = False
        self._searches.clear()

    def vanish(self) -> None:
        """Learn for sure that the stream is gone: what was not read of it is lost, and then it is drained."""
        self._log.error("stream_vanished", **{telemetry.REASON: self.plan.stream_arn})
        self.superseded()
        self._memory.load(None)
        self._catalogue.end()
        self._vanished = self._stale = True
        self.not_found = False
        self._probes.clear()
        self._holes.clear()

    def _ask(self, discovery: Discovery) -> None:
        arn = self.plan.stream_arn
        searched = min(self._searches, key=lambda each: self._searches[each].due_ms, default=None)
        if searched is not None and self._filters and self._searches[searched].due_ms <= self._now_ms():
            self._search(discovery, searched)
        elif self._probes:
            # Taken off the list once it is answered: nobody else would ask again before the next whole listing.
            exists = discovery.exists(arn, self._probes[-1])
            self._probed(self._probes.pop(), exists=exists)
        else:
            self._listed(discovery.page(arn, self._catalogue.cursor))

    def _search(self, discovery: Discovery, shard_id: str) -> None:
        """Ask for the children of a shard that ended."""
        try:
            page = discovery.children(self.plan.stream_arn, shard_id)
        except ClientError as error:
            if verdict(error) is not Verdict.FATAL:
                raise
            self._no_filter()
            return
        self._catalogue.add(page.shards)
        self._note_status(page)
        search = self._searches.get(shard_id)
        if any(shard.parent_id != shard_id or shard.shard_id == shard_id for shard in page.shards):
            self._no_filter()
        elif search is None or page.shards:
            self._searches.pop(shard_id, None)
        elif search.tries + 1 < CHILD_TRIES:
            wait_ms = min(self._child_ms, (self._child_ms << search.tries) // CHILD_HASTE)
            self._searches[shard_id] = Search(self._now_ms() + wait_ms, search.tries + 1)
        else:
            del self._searches[shard_id]
            self._list_now()

    def _no_filter(self) -> None:
        """Take in that children cannot be asked for: they are looked for by listing."""
        self._filters = False
        self._list_now()

    def _probed(self, shard_id: str, *, exists: bool) -> None:
        """Take in whether a parent is there that no listing shows: then it is a hole, and must not be passed."""
        if exists:
            self._log.warning("shard_left_out_of_listing", **{telemetry.SHARD: shard_id})
            self._holes.setdefault(shard_id, 0)
        else:
            self._holes.pop(shard_id, None)
            self._gone.add(shard_id)

    def _listed(self, page: Page) -> None:
        """Take in a page of the listing."""
        self.failure = None
        self.not_found = False
        self._memory.load(page.endpoint_ms)
        self._note_status(page)
        whole = self._catalogue.page(page.shards, page.cursor, {*self.readers, *self._memory.rows})
        self._listed_ms = self._now_ms()
        if whole:
            self._judge()
        elif self._catalogue.cursor is None:
            self._log.warning("listing_runs_in_a_circle")
            self._listing_ms = self._listed_ms + self._child_ms

    def _judge(self) -> None:
        """Draw conclusions from what a whole listing does not show."""
        self._stale = False
        known = {*self._catalogue.shards, *self.readers, *self._memory.finished}
        self._holes = {shard_id: times + 1 for shard_id, times in self._holes.items() if shard_id not in known}
        found = self._lineage()
        self._gone &= set(found.missing_parents)
        self._probes = [*self._holes, *(shard_id for shard_id in found.missing_parents if shard_id not in self._gone)]
        self._searches = {
            shard_id: search if self._filters else Search(search.due_ms, search.tries + 1)
            for shard_id, search in self._searches.items()
            if search.tries + 1 < CHILD_TRIES and not lineage.has_child(shard_id, self._catalogue.shards.values())
        }
        unread = self.readers or self.halted or self._probes or found.start or found.wait
        self._note_drained(unread=bool(unread))
        begun = {shard_id for shard_id, reader in self.readers.items() if reader.remembered}
        self._memory.forget_gone(self._catalogue, begun)
        unsettled = self._searches or self._holes or self._unsettled_readers()
        hurried = unsettled or (not self.grows and not self.drained)
        interval_ms = round(self._services.settings.discovery_interval_seconds * 1000)
        self._listing_ms = self._now_ms() + (self._child_ms if hurried else interval_ms)
        for shard_id, error in self.halted.items():
            self._log.error("shard_still_halted", **{telemetry.SHARD: shard_id, telemetry.ERROR: type(error).__name__})

    def _note_drained(self, *, unread: bool) -> None:
        if self.grows or unread:
            self._drained_listings = 0
            return
        if not self._drained_listings:
            self._drained_since_ms = self._now_ms()
        self._drained_listings += 1

    def _start(self) -> list[ShardReader]:
        """Start what may be read now; let go of what is gone."""
        orphans = [self._reader(shard_id) for shard_id in self._orphans()] if self._catalogue.whole else []
        for shard_id, reader in self.readers.items():
            if reader.missing and (self._vanished or self._catalogue.absences(shard_id) >= ABSENT_LISTINGS):
                reader.aged_out()
        if self._vanished:
            self._stale = False
            self._emptied = not (self.readers or self.halted)
            self._listed_ms = self._now_ms()
            self._listing_ms = self._listed_ms + self._child_ms
            return orphans
        if not self._memory.is_loaded:
            return []
        self._fill_hole()
        # A shard that was read before and is in no listing may be an ancestor of those whose parent is gone.
        waits = bool(self._unconfirmed_orphans())
        started = [shard.shard_id for shard in self._lineage().start if not (waits and shard.parent_id in self._gone)]
        return [*orphans, *(self._reader(shard_id) for shard_id in started)]

    def _fill_hole(self) -> None:
        """Let a shard be read that listing after listing left out, once no other may be its parent: all others wait."""
        lasting = [shard_id for shard_id, times in self._holes.items() if times >= ABSENT_LISTINGS]
        shards = self._catalogue.shards
        closed = any(shards[shard_id].closed for shard_id in self.readers if shard_id in shards)
        if lasting and not closed and not self._lineage().start and not self._unconfirmed_orphans():
            del self._holes[lasting[0]]
            self._catalogue.add([ListedShard(lasting[0], None, closed=True)])

    def _lineage(self) -> lineage.Lineage:
        return lineage.plan(
            self._catalogue.shards.values(),
            self._memory.finished,
            {*self.readers, *self.halted, *self._holes},
            self._gone,
        )

    def _orphans(self) -> list[str]:
        """Return shards that were read before, are not finished, and that no listing shows."""
        known = {*self._catalogue.shards, *self.readers, *self.halted}
        return sorted(shard_id for shard_id in self._memory.unfinished if shard_id not in known)

    def _unconfirmed_orphans(self) -> list[str]:
        return [
            shard_id
            for shard_id, reader in self.readers.items()
            if not reader.confirmed and shard_id not in self._catalogue.shards
        ]

    def _unsettled_readers(self) -> bool:
        return bool(self._unconfirmed_orphans()) or any(reader.missing for reader in self.readers.values())

    def _reader(self, shard_id: str) -> ShardReader:
        listed = self._catalogue.shards.get(shard_id)
        start = self._memory.start_of(shard_id, listed.parent_id if listed else None, self._catalogue)
        shard = ShardRef(self.plan.stream_arn, shard_id)
        reader = ShardReader(self.plan, shard, start, self._processors(shard), self._services)
        self.readers[shard_id] = reader
        # As text: a sequence number is wider than the 64 bits that JSON writers take for an integer.
        after = None if start.position is None else str(start.position)
        self._log.info("shard_started", **{telemetry.SHARD: shard_id, telemetry.SEQUENCE: after})
        return reader

    def _note_status(self, page: Page) -> None:
        if self.grows and not page.grows:
            self._log.warning("stream_disabled", **{telemetry.REASON: page.status})
            self.superseded()

    def _after_failure(self, error: ClientError | BotoCoreError) -> None:
        """Ask again later. What was found so far stays, and a listing goes on where it was."""
        self._asking.failed(error)
        if verdict(error) is Verdict.NOT_FOUND:
            self.not_found = True
            self.failure = SetupError(
                f"stream {self.plan.stream_arn} of table {self.plan.table}: not found (ResourceNotFoundException); the "
                "table was deleted, or its stream was switched off and on again: `lockside check` tells which"
            )
            self._log.error("stream_not_found")

    def _list_now(self) -> None:
        self._stale = not self._vanished
        self._listing_ms = self._now_ms()

    def _now_ms(self) -> int:
        return self._services.clock.now().mono_ms

    @property
    def _child_ms(self) -> int:
        return round(self._services.settings.child_interval_seconds * 1000)
