"""What is the same for every shard, whoever reads it: records are handed over, the position moves, a loss is told of.

Strategy: the position moves when `process_records` returned, the checkpoint when `flush` did (law 4). An error moves
neither. Where the stream no longer has what follows the position, and something may be lost by that, it is told to the
processor before anything that comes after it, with the first change there as its other end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from lockside.aws.retrying import error_code
from lockside.core import decode, gap, telemetry
from lockside.core.change import ShardRef
from lockside.core.gap import Gap, Loss
from lockside.core.ports import Clock, Processor
from lockside.core.telemetry import Meter
from lockside.engines.reach import Reach
from lockside.engines.stream import StreamPlan
from lockside.engines.tip import Tip, creation_ms
from lockside.errors import HaltError, SetupError, StoppedError, StreamLostError
from lockside.state.checkpoints import Checkpoints

LOG = structlog.get_logger(__name__)

HALTS: Final = (HaltError, SetupError)
"""Errors that concern one shard and are understood; the other shards go on. All end the worker with one exit code."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a shard is begun: after `position`, else at the trim horizon, leaving out changes before `since_ms`.

    All of the shard, or of those it came from, was consumed up to `tip_ms`; None where that is not known. `tip_kept`:
    it is remembered for this very shard. Of a shard without a position nothing may be lost since `promised_ms`.
    """

    position: int | None = None
    since_ms: int | None = None
    tip_ms: int | None = None
    tip_kept: bool = False
    promised_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """A checkpoint is due this long after the last one, or this many records after it, whichever comes first."""

    interval_seconds: float = 5.0
    records: int = 10_000


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a consumer keeps its progress with. `page_records` is a full page, `tip_pages` empty ones are the tip."""

    checkpoints: Checkpoints
    clock: Clock
    meter: Meter
    policy: CheckpointPolicy
    page_records: int
    tip_pages: int


class ShardConsumer:
    """One shard's progress. Driven from one thread at a time."""

    def __init__(self, plan: StreamPlan, shard: ShardRef, start: Start, processor: Processor, keeping: Keeping) -> None:
        """Prepare; `begin` comes first."""
        self.shard = shard
        self.position = start.position
        self.tip = Tip(plan.precision_ms, keeping.page_records, keeping.tip_pages)
        self.loss: Loss | None = None
        self._plan = plan
        self._since_ms = start.since_ms
        self._processor = processor
        self._keeping = keeping
        self._checkpointed = start.position
        self._reach = Reach(start.tip_ms, start.tip_ms if start.tip_kept else None, start.promised_ms)
        self._begun = False
        self._ended = False
        self._unflushed_records = 0
        self._flushed_ms = keeping.clock.now().mono_ms
        self._started_ms: int | None = None
        self._newest_ms = 0
        self._log = LOG.bind(**{telemetry.TABLE: plan.table, telemetry.SHARD: shard.shard_id})

    @property
    def read_past_its_start(self) -> bool:
        """Whether a change was read that was surely made after this consumer's first page."""
        return self._started_ms is not None and self._newest_ms > self._started_ms

    @property
    def remembered(self) -> bool:
        """Whether something of this shard is remembered, a position or a tip."""
        return self._checkpointed is not None or self._reach.written_ms is not None

    @property
    def _is_known(self) -> bool:
        """Whether it is known how far the shard, or what it came from, was consumed."""
        return self.position is not None or self._reach.tip_ms is not None

    @property
    def tip_ms(self) -> int | None:
        """The instant up to which the shard was surely consumed."""
        return self._reach.tip_ms

    def begin(self) -> None:
        """Begin, once: remember that the shard is begun, and open its log."""
        if self._begun:
            return
        self._remember_start()
        head = self._processor.initialize(self.shard, self.position, self._since_ms)
        if head is not None and head.last_position is not None and head.running_max_ms and not self._is_known:
            # The state table was lost, or is another one: up to its last record the shard was consumed all the same.
            self._reach.begin(head.running_max_ms)
        self._begun = True

    def consume(self, records: Sequence[Mapping[str, Any]], now_ms: int, *, ended: bool) -> None:
        """Hand a page over, and only then take its end as the position; `ended` for the shard's last page.

        `now_ms` is the endpoint's clock. Raises what the processor raises, StreamLostError where a loss is to halt.
        """
        position = decode.sequence_number(records[-1]) if records else None
        if self._started_ms is None:
            self._started_ms = now_ms
        self.tip.page(records, now_ms)
        if self.loss is not None:
            self._tell_loss(self.loss, records, ended=ended)
        if records and not self.remembered:
            self._promise(creation_ms(records[0]) or now_ms)
        self._processor.process_records(self._since(records), caught_up=self.tip.caught_up)
        self.position = self.position if position is None else position
        self._unflushed_records += len(records)
        if records:
            # Floored as the stream does it: whatever it is after, the change itself is too.
            created_ms = creation_ms(records[-1]) or 0
            self._newest_ms = created_ms - created_ms % self._plan.precision_ms
            self._reach.consumed(self._newest_ms)
        # The end of a shard is no tip: it may have been closed long ago, and its children begin then.
        if self.tip.caught_up and self.loss is None and not ended:
            self._reach.caught_up(now_ms)

    def judge_start(self, now_ms: int) -> None:
        """Find out whether the first changes behind the horizon are gone; no error tells.

        Asked of every iterator at the horizon: one that expired after an empty page may have been given out days ago.
        """
        if self.is_lost(now_ms):
            self.loss = "trimmed"

    def trimmed(self, now_ms: int) -> None:
        """Learn that the stream no longer has what follows the position; find out whether something is lost by that."""
        if self.is_lost(now_ms):
            self.loss = "trimmed"
            self._log.error("stream_trimmed_before_read", **{telemetry.SEQUENCE: str(self.position)})

    def is_lost(self, now_ms: int) -> bool:
        """Whether what follows the position may be lost, if the stream does not have it any more."""
        tip_ms = self._reach.tip_ms
        if tip_ms is None and self.position is None:
            tip_ms = self._reach.promised_ms
        return gap.lost(self.position, tip_ms, now_ms)

    def checkpoint_if_due(self) -> int | None:
        """Checkpoint if it is time to; return the position that was flushed, None if it was not time."""
        if self._checkpoint_due():
            return self.checkpoint()
        if self.loss is None and self.tip.caught_up and self._reach.is_due:
            # A tip that is remembered vouches for all before it, so it comes with the position, or after it.
            position = self.checkpoint()
            self._remember_tip()
            return position
        return None

    def checkpoint(self) -> int | None:
        """Flush, then save the position; return it."""
        position = self._processor.flush()
        if position is not None and (self._checkpointed is None or position > self._checkpointed):
            self._keeping.checkpoints.advance(self.shard, position, self._reach.tip_ms)
            self._keeping.meter.count("checkpoints")
            self._checkpointed = position
            self._reach.wrote()
        self._unflushed_records = 0
        self._flushed_ms = self._keeping.clock.now().mono_ms
        return position

    def close(self) -> int | None:
        """Stop in good order: let the processor finish, then checkpoint; what could not be written is read again.

        Return the position that was saved, None if there was nothing to save or no time to.
        """
        if not self._begun or self._ended:
            return None
        try:
            self._processor.shutdown_requested()
            position = self.checkpoint()
            if self.loss is None and self.tip.caught_up and not self._reach.is_written:
                self._remember_tip()
        except StoppedError:
            self._log.warning("stopped_without_checkpoint")
            return None
        return position

    def abandon(self, error: BaseException | None = None) -> None:
        """Stop after an error: the processor writes nothing more, and the checkpoint stays where it is.

        Of a shard that is halted what was consumed before is saved first: nothing is wrong with it, and the shard may
        stand for hours. What stayed above the head that long would be in no log, and a gap told later seals below it.
        """
        if not self._begun:
            return
        # A gap's end is not ours to pass: on_gap = "halt" demands that the checkpoint stays before it.
        if isinstance(error, HALTS) and not isinstance(error, StreamLostError):
            self._save_what_is_good()
        try:
            self._processor.lease_lost()
        except Exception as failed:  # noqa: BLE001 the error that led here is the one to be raised
            self._log.warning("abandon_failed", **{telemetry.ERROR: error_code(failed)})

    def _save_what_is_good(self) -> None:
        try:
            self.checkpoint()
        except Exception as error:  # noqa: BLE001 as below; it may be that the checkpoint is what halts the shard
            self._log.warning("halted_without_checkpoint", **{telemetry.ERROR: error_code(error)})

    def end(self) -> None:
        """End a shard that was read to its end."""
        self._processor.shard_ended()
        self.checkpoint()
        self._keeping.checkpoints.finish(self.shard, self._reach.tip_ms)
        self._ended = True
        self._log.info("shard_ended")

    def end_lost(self, missing_ms: int) -> None:
        """End a shard that is gone: whatever followed the position in it is lost, unless the tip shows otherwise."""
        if self.is_lost(missing_ms):
            self._tell_gap("aged_out")
        self.end()

    def _remember_start(self) -> None:
        """Remember that a shard is begun, before its log is.

        Else nobody is left to tell of it, if its stream is replaced and ages out before its first change is read.
        """
        if not self.remembered:
            self._keeping.checkpoints.touch(self.shard, self._reach.tip_ms)
            self._reach.wrote()

    def _promise(self, created_ms: int) -> None:
        """Remember, before the first change of a shard is recorded, that nothing from it on may be lost in silence.

        Else a worker that dies before its first checkpoint leaves records and no sign that the shard was ever begun.
        """
        self._reach.begin(created_ms - created_ms % self._plan.precision_ms)
        self._remember_tip()

    def _remember_tip(self) -> None:
        """Remember that all was consumed up to now, though no position moved."""
        if self._reach.tip_ms is not None and not self._reach.is_written:
            self._keeping.checkpoints.touch(self.shard, self._reach.tip_ms)
            self._reach.wrote()

    def _tell_loss(self, loss: Loss, records: Sequence[Mapping[str, Any]], *, ended: bool) -> None:
        """Tell of a loss as soon as its other end is known: a change, or that none is left."""
        if records:
            first = records[0]
            self._tell_gap(loss, decode.sequence_number(first), creation_ms(first))
        elif ended or self.tip.drained:
            self._tell_gap(loss)

    def _tell_gap(self, loss: Loss, until: int | None = None, until_ms: int | None = None) -> None:
        # A seal is for good, so that only who still owns the shard may set one; others are fenced here.
        self._keeping.checkpoints.touch(self.shard, None)
        told = self._processor.gap(Gap(loss, self.position, self._reach.tip_ms, until, until_ms))
        self.loss = None
        if told and self._plan.on_gap == "halt":
            raise StreamLostError(
                f"shard {self.shard.shard_id} of table {self._plan.table}: the stream no longer holds what follows "
                f"{self.place()}; the gap is recorded, the shard is halted and its checkpoint stays, as "
                'on_gap = "halt" of its source demands; to go on after the gap, set on_gap = "continue" and start the '
                "worker again"
            )

    def place(self) -> str:
        """Name the position for people."""
        return "its beginning" if self.position is None else f"position {self.position}"

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

    def _checkpoint_due(self) -> bool:
        policy = self._keeping.policy
        if self._unflushed_records == 0:
            return False
        elapsed_ms = self._keeping.clock.now().mono_ms - self._flushed_ms
        return self._unflushed_records >= policy.records or elapsed_ms >= policy.interval_seconds * 1000
