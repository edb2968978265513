"""One stream being read: its scheduler, and the shards that KCL has leased to this worker."""

from collections.abc import Iterator
from typing import Final

import structlog
from botocore.exceptions import ClientError

from lockside.aws.retrying import verdict
from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.engines.discovery import Discovery
from lockside.engines.kcl.clients import Access, connect
from lockside.engines.kcl.leases import LeaseTable, lease_table
from lockside.engines.kcl.memory import StreamMemory
from lockside.engines.kcl.provision import make_tables
from lockside.engines.kcl.proxies import factory, listener
from lockside.engines.kcl.scheduler import Order, Scheduler
from lockside.engines.kcl.services import Services
from lockside.engines.kcl.shard import KclShard
from lockside.engines.stream import StreamPlan
from lockside.errors import LocksideError, NotFoundOutError

LOG = structlog.get_logger(__name__)

PAGES_MAX: Final = 1_000
"""Pages of one listing: a hundred thousand shards."""


class StreamRun:
    """Reads one stream."""

    def __init__(self, plan: StreamPlan, services: Services) -> None:
        """Prepare to read; nothing is called yet."""
        self.plan = plan
        self.leases = LeaseTable(services.dynamodb, lease_table(services.member.application, plan.stream_arn))
        self._services = services
        self._memory = StreamMemory(plan, services.keeping.checkpoints)
        self._shards: dict[str, KclShard] = {}
        self._scheduler: Scheduler | None = None
        self._gave_up: str | None = None
        self._stopping = False
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether its scheduler works."""
        return self._scheduler is not None and self._scheduler.alive

    @property
    def started(self) -> bool:
        """Whether its scheduler was started."""
        return self._scheduler is not None

    def start(self, theirs_ms: int | None) -> None:
        """Start its scheduler, in Java's own threads. `theirs_ms` is the endpoint's clock, None where it tells none."""
        services, member = self._services, self._services.member
        self._memory.begin(services.keeping.clock.now().wall_ms if theirs_ms is None else theirs_ms)
        make_tables(services.dynamodb, self.leases.name, services.retrier)
        services.retrier.call("workers", lambda: self.leases.forget_worker(member.worker_id))
        self._scheduler = self._schedule()
        self._scheduler.start()

    def check(self) -> None:
        """See that its scheduler still works. Raises NotFoundOutError where it has ended by itself."""
        held = self._held()
        self._services.keeping.meter.gauge("leases_held", float(len(held)), table=self.plan.table)
        if self._stopping or self.alive:
            return
        raise NotFoundOutError(
            f"table {self.plan.table}: KCL gave up ({self._gave_up or 'no reason given'}); its lease tables "
            f"{self.leases.name}* or the stream could not be used; see its warnings in the log, and `lockside check`"
        )

    def unread(self, failing_seconds_max: float) -> Iterator[str]:
        """Say which leased shards nothing comes of."""
        if not self.alive:
            yield f"table {self.plan.table}: its scheduler does not run"
        for halted, error in self._halts():
            yield f"table {self.plan.table}, shard {halted.shard_id}: halted ({type(error).__name__})"
        for shard in self._held():
            seconds = shard.uncalled_seconds
            if seconds > failing_seconds_max:
                yield f"table {self.plan.table}, shard {shard.shard.shard_id}: cannot be read for {seconds:.0f} s"

    def endpoint_ms(self) -> int | None:
        """Ask the endpoint for its clock; None where it does not tell, or the stream is gone."""
        try:
            return Discovery(self._services.streams).page(self.plan.stream_arn, None).endpoint_ms
        except ClientError as error:
            if verdict(error) is Verdict.NOT_FOUND:
                return None
            raise

    def is_drained(self) -> bool:
        """Whether every shard that the stream lists was read to its end; also where the stream is gone."""
        leases = list(self.leases.leases())
        # The adapter removes leases of ended shards after six hours, and they are listed for a day: our rows stay two.
        rows = self._services.keeping.checkpoints.read(self.plan.stream_arn).shards
        finished = {shard_id for shard_id, row in rows.items() if row.finished}
        finished |= {lease.shard_id for lease in leases if lease.finished}
        discovery, cursor = Discovery(self._services.streams), None
        cursors: set[str] = set()
        for _ in range(PAGES_MAX):
            try:
                page = discovery.page(self.plan.stream_arn, cursor)
            except ClientError as error:
                if verdict(error) is Verdict.NOT_FOUND:
                    # Whoever holds an unfinished lease has its loss to tell first.
                    return all(lease.finished for lease in leases)
                raise
            if page.grows or not all(shard.closed and shard.shard_id in finished for shard in page.shards):
                return False
            cursor = page.cursor
            if cursor is None:
                return True
            if cursor in cursors:
                # A listing that runs in a circle tells of nothing that is missing.
                return False
            cursors.add(cursor)
        return False

    def forget_moved_halts(self) -> None:
        """Let go of halts whose shards are another worker's by now: it halts them anew, or reads on."""
        for shard, error in self._halts():
            lease = self.leases.read(shard.shard_id)
            owner = None if lease is None else lease.owner
            if owner in {None, self._services.member.worker_id}:
                continue
            if self._services.halts.get(shard) is error:
                self._services.halts.pop(shard, None)
                LOG.info("halt_moved", **{telemetry.TABLE: shard.table, telemetry.SHARD: shard.shard_id})

    def forget_old(self) -> None:
        """Let go of what is remembered of shards that ended long ago."""
        self._memory.forget_old(self._services.keeping.clock.now().wall_ms)
        # Java's threads add to it meanwhile.
        for name, shard in list(self._shards.items()):
            if shard.over and self._shards.get(name) is shard:
                del self._shards[name]

    def ask_to_stop(self) -> None:
        """Ask its scheduler to hand the shards back in good order."""
        self._stopping = True
        if self._scheduler is not None:
            self._scheduler.ask_to_stop()

    def close(self) -> None:
        """End it as it is; once."""
        if self._scheduler is None or self._closed:
            return
        self._closed = True
        if self._scheduler.alive:
            self._scheduler.stop_at_once()
        self._scheduler.close()

    def _schedule(self) -> Scheduler:
        services, member = self._services, self._services.member
        order = Order(self.plan.stream_arn, self.leases.name, member.worker_id, member.knobs, member.page_records)
        clients = connect(Access.of(services.dynamodb, services.streams), self.plan.stream_arn)
        make = factory(self._shard, services.failed)
        return Scheduler(order, clients, make, listener(self.plan.table, self._give_up))

    def _halts(self) -> list[tuple[ShardRef, LocksideError]]:
        halts = dict(self._services.halts)
        return [(shard, error) for shard, error in halts.items() if shard.stream_arn == self.plan.stream_arn]

    def _held(self) -> list[KclShard]:
        return [shard for shard in list(self._shards.values()) if not shard.over]

    def _shard(self, shard_id: str) -> KclShard:
        ref = ShardRef(self.plan.stream_arn, shard_id)
        shard = KclShard(self.plan, ref, self._memory, self.leases, self._services)
        self._shards[shard_id] = shard
        return shard

    def _give_up(self, error: str) -> None:
        self._gave_up = error
        LOG.error("kcl_gave_up", **{telemetry.TABLE: self.plan.table, telemetry.ERROR: error})
