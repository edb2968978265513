"""One shard's reader: a page, its records, and now and then a checkpoint, one step at a time.

Strategy: `step` does one GetRecords call and whatever follows from it, and says how long to wait before the next. It
never waits by itself, so that a thread, a loop over many shards or a test can drive it. The position moves when
`process_records` returned; the checkpoint when `flush` did (law 4). An error moves neither.

Where the stream no longer has what follows the position, reading goes on at the trim horizon. If something may be lost
by that, it is told to the processor before anything that comes after it, with the first change there as its other end.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, assert_never, cast

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code, verdict
from lockside.core import decode, gap, telemetry
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.core.gap import Gap, Loss
from lockside.core.ports import Processor
from lockside.engines.embedded.cursor import Cursor
from lockside.engines.embedded.pace import Outage
from lockside.engines.embedded.services import Services
from lockside.engines.embedded.step import Progress, Start, Step
from lockside.engines.endpoint import endpoint_ms, wire_bytes
from lockside.engines.reach import Reach
from lockside.engines.stream import StreamPlan
from lockside.engines.tip import Tip, creation_ms
from lockside.errors import FaultyPageError, StoppedError, StreamLostError

LOG = structlog.get_logger(__name__)

LOUD_AFTER_SECONDS: Final = 300.0
"""An outage this long is told of as an error: the stream keeps what is unread for 24 hours only."""


def nobody(_page_bytes: int) -> None:
    """Tell nobody."""


class ShardReader:
    """Reads one shard into its processor. Driven from one thread at a time."""

    def __init__(
        self, plan: StreamPlan, shard: ShardRef, start: Start, processor: Processor, services: Services
    ) -> None:
        """Prepare to read; the first step begins."""
        self.shard = shard
        self._plan = plan
        self._since_ms = start.since_ms
        self._processor = processor
        self._services = services
        self._settings = services.settings
        self._cursor = Cursor(shard, start.position)
        self._checkpointed = start.position
        self._reach = Reach(start.tip_ms, start.tip_ms if start.tip_kept else None, start.promised_ms)
        self._begun = False
        self._ended = False
        self._confirmed = False
        self._missing = False
        self._missing_ms = 0
        self._aged_out = False
        self._loss: Loss | None = None
        self._faulty_page = False
        self._outage = Outage()
        self._tip = Tip(plan.precision_ms, self._settings.page_records, self._settings.tip_pages)
        self._unflushed_records = 0
        self._flushed_ms = services.clock.now().mono_ms
        self._started_ms: int | None = None
        self._newest_ms = 0
        self._log = LOG.bind(**{telemetry.TABLE: plan.table, telemetry.SHARD: shard.shard_id})

    @property
    def read_past_its_start(self) -> bool:
        """Whether a change was read that was surely made after this reader's first page."""
        return self._started_ms is not None and self._newest_ms > self._started_ms

    @property
    def failing_seconds(self) -> float:
        """Return for how long no page could be read; 0 while it goes well."""
        return self._outage.seconds(self._services.clock.now().mono_ms) if self._outage.failures else 0.0

    @property
    def confirmed(self) -> bool:
        """Whether the shard is surely there: a page of it was read."""
        return self._confirmed

    @property
    def remembered(self) -> bool:
        """Whether something of this shard is remembered, a position or a tip."""
        return self._checkpointed is not None or self._reach.written_ms is not None

    @property
    def tip_ms(self) -> int | None:
        """The instant up to which the shard was surely consumed."""
        return self._reach.tip_ms

    @property
    def missing(self) -> bool:
        """Whether the stream says that there is no such shard."""
        return self._missing

    def aged_out(self) -> None:
        """Learn that the shard is gone for good, by more than one word: the next step ends it."""
        self._aged_out = True

    def step(self, sized: Callable[[int], None] = nobody) -> Step:
        """Read one page and hand it over; checkpoint if it is time. `sized` is told the page's bytes on the wire.

        Raises StreamLostError or FaultyPageError where the shard cannot be read on, StoppedError on shutdown, and what
        the processor or the checkpoint raised, as it came.
        """
        if not self._begun:
            self._remember_start()
            self._processor.initialize(self.shard, self._cursor.position, self._since_ms)
            self._begun = True
        if self._aged_out and self._missing:
            return self._end_lost()
        asked_ms = self._services.clock.now().wall_ms
        try:
            page = self._cursor.fetch(self._services.streams, self._settings.page_records)
        except (ClientError, BotoCoreError) as error:
            return self._after_failure(error)
        except FaultyPageError as error:
            return self._after_faulty_page(error)
        sized(wire_bytes(page))
        if (theirs_ms := endpoint_ms(page)) is not None:
            self._services.heard(asked_ms, theirs_ms)
        self._recovered()
        try:
            self._consume(page)
        except FaultyPageError as error:
            return self._after_faulty_page(error)
        if self._cursor.iterator is None:
            self._end()
            return Step(Progress.ENDED)
        if self._checkpoint_due():
            self._checkpoint()
        elif self._loss is None and self._tip.caught_up and self._reach.is_due:
            # A tip that is remembered vouches for all before it, so it comes with the position, or after it.
            self._checkpoint()
            self._remember_tip()
        return Step(Progress.DRAINED if self._tip.drained else Progress.READING, self._idle_seconds(page))

    def close(self) -> None:
        """Stop in good order: let the processor finish, then checkpoint; what could not be written is read again."""
        if not self._begun or self._ended:
            return
        try:
            self._processor.shutdown_requested()
            self._checkpoint()
            if self._loss is None and self._tip.caught_up and not self._reach.is_written:
                self._remember_tip()
        except StoppedError:
            self._log.warning("stopped_without_checkpoint")

    def abandon(self) -> None:
        """Stop after an error: the processor writes nothing more, and the checkpoint stays where it is."""
        if not self._begun:
            return
        try:
            self._processor.lease_lost()
        except Exception as error:  # noqa: BLE001 the error that led here is the one to be raised
            self._log.warning("abandon_failed", **{telemetry.ERROR: error_code(error)})

    def _consume(self, page: Mapping[str, Any]) -> None:
        """Hand a page over, and only then take its end as the position. A last page's null iterator changes nothing."""
        cursor, following = self._cursor, page.get("NextShardIterator")
        records = cursor.unread(page["Records"])
        position = decode.sequence_number(records[-1]) if records else None
        now_ms = self._endpoint_now_ms(page)
        if self._started_ms is None:
            self._started_ms = now_ms
        if cursor.at_horizon:
            self._judge_start(now_ms)
        self._tip.page(records, now_ms)
        if self._loss is not None:
            self._tell_loss(self._loss, records, ended=following is None)
        if records and not self.remembered:
            self._promise(creation_ms(records[0]) or now_ms)
        self._processor.process_records(self._since(records), caught_up=self._tip.caught_up)
        cursor.consumed(position, following)
        self._unflushed_records += len(records)
        if records:
            # Floored as the stream does it: whatever it is after, the change itself is too.
            created_ms = creation_ms(records[-1]) or 0
            self._newest_ms = created_ms - created_ms % self._plan.precision_ms
            self._reach.consumed(self._newest_ms)
        self._faulty_page = False
        # The end of a shard is no tip: it may have been closed long ago, and its children begin then.
        if self._tip.caught_up and self._loss is None and following is not None:
            self._reach.caught_up(now_ms)

    def _judge_start(self, now_ms: int) -> None:
        """Find out whether the first changes behind the horizon are gone; no error tells.

        Asked of every iterator at the horizon: one that expired after an empty page may have been given out days ago.
        """
        self._cursor.at_horizon = False
        if self._is_lost(now_ms):
            self._loss = "trimmed"

    def _is_lost(self, now_ms: int) -> bool:
        """Whether what follows the position may be lost, if the stream does not have it any more."""
        tip_ms = self._reach.tip_ms
        if tip_ms is None and self._cursor.position is None:
            tip_ms = self._reach.promised_ms
        return gap.lost(self._cursor.position, tip_ms, now_ms)

    def _remember_start(self) -> None:
        """Remember that a shard is begun, before its log is.

        Else nobody is left to tell of it, if its stream is replaced and ages out before its first change is read.
        """
        if not self.remembered:
            self._services.checkpoints.touch(self.shard, self._reach.tip_ms)
            self._reach.wrote()

    def _promise(self, created_ms: int) -> None:
        """Remember, before the first change of a shard is recorded, that nothing from it on may be lost in silence.

        Else a worker that dies before its first checkpoint leaves records and no sign that the shard was ever begun.
        """
        self._reach.begin(created_ms - created_ms % self._plan.precision_ms)
        self._remember_tip()

    def _tell_loss(self, loss: Loss, records: Sequence[Mapping[str, Any]], *, ended: bool) -> None:
        """Tell of a loss as soon as its other end is known: a change, or that none is left."""
        if records:
            first = records[0]
            self._tell_gap(loss, decode.sequence_number(first), creation_ms(first))
        elif ended or self._tip.drained:
            self._tell_gap(loss)

    def _tell_gap(self, loss: Loss, until: int | None = None, until_ms: int | None = None) -> None:
        # A seal is for good, so that only who still owns the shard may set one; others are fenced here.
        self._services.checkpoints.touch(self.shard, None)
        told = self._processor.gap(Gap(loss, self._cursor.position, self._reach.tip_ms, until, until_ms))
        self._loss = None
        if told and self._plan.on_gap == "halt":
            raise StreamLostError(
                f"shard {self.shard.shard_id} of table {self._plan.table}: the stream no longer holds what follows "
                f"{self._after()}; the gap is recorded, the shard is halted and its checkpoint stays, as "
                'on_gap = "halt" of its source demands; to go on after the gap, set on_gap = "continue" and start the '
                "worker again"
            )

    def _after(self) -> str:
        position = self._cursor.position
        return "its beginning" if position is None else f"position {position}"

    def _since(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Leave out what surely came before a start at LATEST; a time that cannot be read is no ground to."""
        since_ms = self._since_ms
        if since_ms is None:
            return records
        precision_ms = self._plan.precision_ms
        created = ((record, creation_ms(record)) for record in records)
        return [
            record
            for record, at_ms in created
            if at_ms is None or at_ms - at_ms % precision_ms + precision_ms > since_ms
        ]

    def _end(self) -> None:
        self._processor.shard_ended()
        self._checkpoint()
        self._services.checkpoints.finish(self.shard, self._reach.tip_ms)
        self._ended = True
        self._log.info("shard_ended")

    def _end_lost(self) -> Step:
        """End a shard that is gone: whatever followed the position in it is lost, unless the tip shows otherwise."""
        if self._is_lost(self._missing_ms):
            self._tell_gap("aged_out")
        self._end()
        return Step(Progress.ENDED)

    def _checkpoint(self) -> None:
        position = self._processor.flush()
        if position is not None and (self._checkpointed is None or position > self._checkpointed):
            self._services.checkpoints.advance(self.shard, position, self._reach.tip_ms)
            self._services.meter.count("checkpoints")
            self._checkpointed = position
            self._reach.wrote()
        self._unflushed_records = 0
        self._flushed_ms = self._services.clock.now().mono_ms

    def _remember_tip(self) -> None:
        """Remember that all was consumed up to now, though no position moved."""
        if self._reach.tip_ms is not None and not self._reach.is_written:
            self._services.checkpoints.touch(self.shard, self._reach.tip_ms)
            self._reach.wrote()

    def _checkpoint_due(self) -> bool:
        policy = self._settings.checkpoint
        if self._unflushed_records == 0:
            return False
        elapsed_ms = self._services.clock.now().mono_ms - self._flushed_ms
        return self._unflushed_records >= policy.records or elapsed_ms >= policy.interval_seconds * 1000

    def _idle_seconds(self, page: Mapping[str, Any]) -> float:
        if page["Records"] and not self._tip.caught_up:
            return 0.0
        # Below that many empty pages more may be due, so the wait stays short.
        return self._settings.idle.wait_seconds(self._tip.empty_pages - self._settings.tip_pages)

    def _endpoint_now_ms(self, answer: Mapping[str, Any]) -> int:
        theirs = endpoint_ms(answer)
        return self._services.clock.now().wall_ms if theirs is None else theirs

    def _error_now_ms(self, error: ClientError | BotoCoreError) -> int:
        return self._endpoint_now_ms(cast("Any", getattr(error, "response", {})))

    def _after_failure(self, error: ClientError | BotoCoreError) -> Step:
        judged = verdict(error)
        match judged:
            case Verdict.RETRY | Verdict.THROTTLED | Verdict.DENIED:
                pass
            case Verdict.EXPIRED_ITERATOR:
                self._cursor.lose_iterator()
                if not self._outage.failures:
                    self._outage.failed(self._services.clock.now().mono_ms)
                    return Step(Progress.READING)
            case Verdict.TRIMMED if self._cursor.position is not None and not self._cursor.from_horizon:
                return self._to_horizon(error)
            case Verdict.TRIMMED:
                # The horizon moved on between two calls: the new one is asked for.
                self._cursor.lose_iterator()
            case Verdict.NOT_FOUND:
                self._cursor.lose_iterator()
                self._missing = True
                self._missing_ms = self._error_now_ms(error)
            case Verdict.CONDITION | Verdict.FATAL:
                raise error
            case _:
                assert_never(judged)
        return self._back_off(error)

    def _to_horizon(self, error: ClientError | BotoCoreError) -> Step:
        """Go on with the oldest change that is there; find out whether something is lost by that."""
        self._cursor.to_horizon()
        if self._is_lost(self._error_now_ms(error)):
            self._loss = "trimmed"
            self._log.error("stream_trimmed_before_read", **{telemetry.SEQUENCE: str(self._cursor.position)})
        return Step(Progress.READING)

    def _back_off(self, error: ClientError | BotoCoreError) -> Step:
        now_ms = self._services.clock.now().mono_ms
        tell = self._outage.failed(now_ms)
        self._services.meter.count("retries", operation="get_records")
        seconds = self._settings.back_off.wait_seconds(self._outage.failures, self._services.jitter)
        if tell:
            lasted = self._outage.seconds(now_ms)
            report = self._log.error if lasted >= LOUD_AFTER_SECONDS else self._log.warning
            failure = {telemetry.ERROR: error_code(error), telemetry.ATTEMPT: self._outage.failures}
            report("stream_read_failing", **failure, **{telemetry.SECONDS: lasted})
        return Step(Progress.MISSING if self._missing else Progress.READING, seconds)

    def _recovered(self) -> None:
        self._confirmed = True
        self._missing = self._aged_out = False
        if self._outage.failures > 1:
            now_ms = self._services.clock.now().mono_ms
            self._log.warning("stream_read_again", **{telemetry.SECONDS: self._outage.seconds(now_ms)})
        self._outage.over()

    def _after_faulty_page(self, error: FaultyPageError) -> Step:
        if self._faulty_page:
            raise FaultyPageError(
                f"shard {self.shard.shard_id} of table {self._plan.table}: a page that is none, or that has a record "
                f"without a usable sequence number or out of order, follows {self._after()}, at the second reading "
                "too; the shard is halted, nothing is skipped; see what the endpoint answers, then start again"
            ) from error
        self._faulty_page = True
        self._cursor.lose_iterator()
        self._log.warning("faulty_page")
        return Step(Progress.READING, self._settings.idle.min_seconds)
