"""One shard that KCL has leased to this worker, from `initialize` to its end. No Java in here.

Strategy: KCL passes over a batch whose processor throws, and writes its records to its log. So nothing ever leaves this
class: a call of AWS is tried again in place, which is valid backpressure, and what cannot be mended halts the shard or
ends the worker. From then on every batch is refused without a word, and only the last good position is ever saved.
"""

from collections.abc import Callable
from typing import Final

import structlog
from botocore.exceptions import ClientError

from lockside.aws.retrying import AgainError, error_code, verdict
from lockside.core import decode, telemetry
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.engines.consumer import HALTS, ShardConsumer
from lockside.engines.discovery import Discovery, iterator_of, spelled
from lockside.engines.kcl.checkpointer import Checkpointer, Saved
from lockside.engines.kcl.handover import read_lines
from lockside.engines.kcl.leases import LeaseTable
from lockside.engines.kcl.memory import StreamMemory
from lockside.engines.kcl.services import Services
from lockside.engines.reach import DELIVERY_MS
from lockside.engines.stream import StreamPlan
from lockside.engines.tip import creation_ms
from lockside.errors import LocksideError, SetupError, StoppedError

LOG = structlog.get_logger(__name__)

STALL_MS: Final = 3_600_000
"""Between two batches of a shard come seconds. After an hour the stream is asked whether it still has what follows."""

END_SECONDS: Final = 2.0
END_ATTEMPTS: Final = 30
"""How often it is asked whether a shard that KCL takes for ended is closed; a listing may be late by some seconds."""

PAGE_PAUSE_SECONDS: Final = 0.1
"""DescribeStream bears 10 calls a second for a stream (API reference)."""

PAGES_MAX: Final = 1_000
"""Pages of one listing: a hundred thousand shards. A longer one, or one that runs in a circle, is begun anew."""

HALT_LOOK_SECONDS: Final = 1.0
"""How often a halted shard's thread looks whether the halt still counts."""


class KclShard:
    """Consumes one shard. KCL calls it from one thread at a time."""

    def __init__(
        self, plan: StreamPlan, shard: ShardRef, memory: StreamMemory, leases: LeaseTable, services: Services
    ) -> None:
        """Prepare; KCL's `initialize` begins."""
        self.shard = shard
        self._plan = plan
        self._memory = memory
        self._leases = leases
        self._services = services
        self._clock = services.keeping.clock
        self._consumer: ShardConsumer | None = None
        self._refusing = False
        self._over = False
        self._delivered: int | None = None
        self._saved: int | None = None
        self._called_ms = self._clock.now().wall_ms
        self._stirred_ms = self._clock.now().mono_ms
        self._suspect_ms: int | None = None
        self._log = LOG.bind(**{telemetry.TABLE: plan.table, telemetry.SHARD: shard.shard_id})

    @property
    def over(self) -> bool:
        """Whether this worker has nothing more to do with the shard."""
        return self._over

    @property
    def uncalled_seconds(self) -> float:
        """Return for how long no call of KCL's has begun or come to its end, be it with an empty batch.

        A batch that is worked on for long counts too: what holds it up may be a write that shows nowhere else.
        """
        return max(0.0, (self._clock.now().mono_ms - self._stirred_ms) / 1000)

    def initialize(self, kcl_position: int | None) -> None:
        """Begin after KCL's position, None for one that is no number."""
        self._guarded(lambda: self._initialize(kcl_position))

    def process(self, lines: bytes, checkpointer: Checkpointer, *, at_end: bool = False) -> None:
        """Consume a batch, or tick; `at_end` for the shard's last one."""
        self._stirred_ms = self._clock.now().mono_ms
        try:
            self._guarded(lambda: self._process(lines, checkpointer, at_end=at_end))
        finally:
            self._stirred_ms = self._clock.now().mono_ms

    def refuse(self) -> None:
        """Take no batch any more: one was lost before it came here."""
        self._refusing = True

    def lease_lost(self) -> None:
        """Stop at once: the shard is another worker's."""
        if self._over:
            # KCL says so too of a shard that was handed back, or that ended.
            return
        self._refusing = self._over = True
        self._services.keeping.meter.count("leases_lost", table=self._plan.table)
        self._log.info("lease_lost")
        if self._consumer is not None:
            self._consumer.abandon()

    def shard_ended(self, checkpointer: Checkpointer) -> None:
        """End the shard; while anything of it is refused, KCL is left to ask again."""
        self._guarded(lambda: self._shard_ended(checkpointer))

    def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """Save the last good position, also after an error; then the shard is handed back."""
        consumer, self._refusing = self._consumer, True
        if consumer is None or self._over:
            return
        self._over = True
        try:
            position = consumer.close()
            if position is not None:
                self._save(position, checkpointer)
            self._log.info("shard_handed_back", **{telemetry.SEQUENCE: None if position is None else str(position)})
        except Exception as error:  # noqa: BLE001 - nothing may leave; what was not saved is read again
            self._log.warning("stopped_without_checkpoint", **{telemetry.ERROR: error_code(error)})

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step from which nothing may leave."""
        if self._refusing:
            return
        try:
            step()
        except StoppedError:
            # The worker stops: what was not acknowledged is not done, so that nothing after it may be.
            self._refusing = True
        except HALTS as error:
            self._halt(error)
        except Exception as error:  # noqa: BLE001 - KCL must not see it; the worker ends with it
            self._refusing = True
            self._log.exception("shard_failed", **{telemetry.ERROR: error_code(error)})
            self._services.failed(error)

    def _halt(self, error: LocksideError) -> None:
        """Refuse all that follows, and keep KCL waiting for it: the lease stays ours, and the other shards go on.

        That ends where the shard is begun anew, here or by another worker: then this halt counts no more.
        """
        self._refusing = self._over = True
        self._log.error("shard_halted", **{telemetry.ERROR: type(error).__name__})
        halts = self._services.halts
        halts[self.shard] = error
        if self._consumer is not None:
            self._consumer.abandon(error)
        while halts.get(self.shard) is error and not self._services.stop.wait(HALT_LOOK_SECONDS):
            pass

    def _initialize(self, kcl_position: int | None) -> None:
        services, now_ms = self._services, self._clock.now().wall_ms
        services.halts.pop(self.shard, None)
        lease = services.retrier.call("lease", lambda: self._leases.read(self.shard.shard_id))
        start = self._memory.start_of(self.shard.shard_id, lease, kcl_position, now_ms)
        consumer = ShardConsumer(self._plan, self.shard, start, services.processors(self.shard), services.keeping)
        consumer.begin()
        if start.position is None:
            consumer.judge_start(now_ms)
        elif self._is_trimmed(start.position):
            consumer.trimmed(now_ms)
        self._saved = kcl_position
        self._consumer = consumer
        how = "moved" if lease is not None and lease.switches else "first" if start.position is None else "again"
        services.keeping.meter.count("leases_taken", table=self._plan.table, how=how)
        # As text: a sequence number is wider than the 64 bits that JSON writers take for an integer.
        after = None if start.position is None else str(start.position)
        self._log.info("shard_started", **{telemetry.SEQUENCE: after})

    def _process(self, lines: bytes, checkpointer: Checkpointer, *, at_end: bool) -> None:
        consumer, now_ms = self._begun(), self._clock.now().wall_ms
        self._watch_stall(consumer, now_ms)
        records = read_lines(lines)
        if self._suspect_ms is not None:
            self._judge_suspicion(consumer, creation_ms(records[0]) if records else None, now_ms, at_end=at_end)
        consumer.consume(records, now_ms, ended=at_end)
        if records:
            self._delivered = decode.sequence_number(records[-1])
        position = consumer.checkpoint_if_due()
        if position is not None:
            self._save(position, checkpointer)

    def _save(self, position: int, checkpointer: Checkpointer) -> None:
        """Save a position with KCL, as far as KCL knows it: it refuses what it has not handed over."""
        known = position if self._delivered is None else min(position, self._delivered)
        if self._delivered is None or known == self._saved:
            return
        match checkpointer.save(known):
            case Saved.DONE:
                self._saved = known
            case Saved.LOST:
                self.lease_lost()
            case answer:
                # Tried again with the next one; the position in the state table counts too.
                self._log.info("lease_not_saved", **{telemetry.REASON: answer.value})

    def _shard_ended(self, checkpointer: Checkpointer) -> None:
        consumer = self._begun()
        if self._is_closed():
            self._tell_last_loss(consumer)
            consumer.end()
        else:
            self._log.error("shard_gone", **{telemetry.SEQUENCE: str(consumer.position)})
            consumer.end_lost(self._clock.now().wall_ms)
        while (answer := checkpointer.finish()) is Saved.AGAIN:
            if self._services.stop.wait(END_SECONDS):
                raise StoppedError("shard end")
        if answer is Saved.LOST:
            self.lease_lost()
        else:
            self._services.ended.append(self.shard)
        self._refusing = self._over = True

    def _is_closed(self) -> bool:
        """Whether a shard that KCL takes for ended has an end; False where the stream has it no more.

        The adapter takes a shard that is not found for one that ended. Raises SetupError where it is still open.
        """
        for _ in range(END_ATTEMPTS):
            listed = self._services.retrier.call("describe_stream", self._listed)
            if listed is None:
                return False
            if listed:
                return True
            if self._services.stop.wait(END_SECONDS):
                raise StoppedError("shard end")
        raise SetupError(
            f"shard {self.shard.shard_id} of table {self._plan.table}: KCL says that it ended, and its stream lists it "
            "as open; the shard is halted, nothing is skipped; see `lockside check`, then start again"
        )

    def _listed(self) -> bool | None:
        """Whether the shard is listed with an end; None if it is not listed, or the stream is gone.

        Raises AgainError where the listing does not come to its end: it must not be taken for one without the shard.
        """
        discovery, cursor = Discovery(self._services.streams), None
        cursors: set[str] = set()
        for _ in range(PAGES_MAX):
            try:
                page = discovery.page(self.shard.stream_arn, cursor)
            except ClientError as error:
                if verdict(error) is Verdict.NOT_FOUND:
                    return None
                raise
            found = next((shard for shard in page.shards if shard.shard_id == self.shard.shard_id), None)
            if found is not None:
                return found.closed
            cursor = page.cursor
            if cursor is None:
                # A single listing may leave it out.
                return False if discovery.exists(self.shard.stream_arn, self.shard.shard_id) else None
            if cursor in cursors:
                break
            cursors.add(cursor)
            if self._services.stop.wait(PAGE_PAUSE_SECONDS):
                raise StoppedError("shard end")
        raise AgainError

    def _watch_stall(self, consumer: ShardConsumer, now_ms: int) -> None:
        """Look whether the stream still has what follows, after a pause of hours: the adapter would not tell.

        What KCL had fetched before the pause comes first, and follows on; what was made later than the pause began
        was fetched after it.
        """
        called_ms, self._called_ms = self._called_ms, now_ms
        if now_ms - called_ms < STALL_MS or not consumer.is_lost(now_ms):
            return
        if consumer.position is None or self._is_trimmed(consumer.position):
            self._suspect_ms = called_ms + DELIVERY_MS

    def _judge_suspicion(self, consumer: ShardConsumer, created_ms: int | None, now_ms: int, *, at_end: bool) -> None:
        suspect_ms = self._suspect_ms or 0
        nothing_left = created_ms is None and (at_end or consumer.tip.drained)
        if nothing_left or (created_ms is not None and created_ms > suspect_ms):
            self._suspect_ms = None
            consumer.trimmed(now_ms)

    def _tell_last_loss(self, consumer: ShardConsumer) -> None:
        """Tell of a loss that no change came after: nothing is left behind it."""
        now_ms = self._clock.now().wall_ms
        if self._suspect_ms is not None:
            self._judge_suspicion(consumer, None, now_ms, at_end=True)
        if consumer.loss is not None:
            consumer.consume([], now_ms, ended=True)

    def _is_trimmed(self, position: int) -> bool:
        """Ask the stream whether it still has what follows a position. A shard that is gone is judged at its end."""
        place = {
            "StreamArn": self.shard.stream_arn,
            "ShardId": self.shard.shard_id,
            "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
            "SequenceNumber": spelled(position),
        }
        streams = self._services.streams

        def ask() -> bool:
            try:
                streams.get_records(ShardIterator=iterator_of(streams, place), Limit=1)
            except ClientError as error:
                match verdict(error):
                    case Verdict.TRIMMED:
                        return True
                    case Verdict.NOT_FOUND:
                        return False
                    case Verdict.EXPIRED_ITERATOR:
                        raise AgainError from error
                raise
            return False

        return self._services.retrier.call("position_probe", ask)

    def _begun(self) -> ShardConsumer:
        if self._consumer is None:
            message = "a batch before initialize"
            raise RuntimeError(message)
        return self._consumer
