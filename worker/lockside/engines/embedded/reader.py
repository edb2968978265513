"""One shard's reader: a page, its records, and now and then a checkpoint, one step at a time.

Strategy: `step` does one GetRecords call and whatever follows from it, and says how long to wait before the next. It
never waits by itself, so that a thread, a loop over many shards or a test can drive it. The position moves when
`process_records` returned; the checkpoint when `flush` did (law 4). An error moves neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, assert_never

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code, verdict
from lockside.core import decode, telemetry
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.core.ports import Clock, Loops, NoLoops, Processor
from lockside.core.telemetry import Meter
from lockside.engines.embedded.endpoint import endpoint_ms
from lockside.engines.embedded.pace import Jitter, Outage
from lockside.engines.embedded.plan import Settings, StreamPlan
from lockside.engines.embedded.tip import Tip, creation_ms
from lockside.errors import FaultyPageError, SetupError, StoppedError, StreamLostError
from lockside.state.checkpoints import Checkpoints

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

LOG = structlog.get_logger(__name__)

LOUD_AFTER_SECONDS: Final = 300.0
"""An outage this long is told of as an error: the stream keeps what is unread for 24 hours only."""


class Progress(Enum):
    """Where a reader stands after a step."""

    READING = "reading"
    DRAINED = "drained"  # nothing more is there for now
    ENDED = "ended"  # the shard was read to its end, and is marked so


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to, and how long to wait before the next."""

    progress: Progress
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where a shard is begun: after `position`, else at the trim horizon, leaving out changes before `since_ms`."""

    position: int | None = None
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """What every reader of an engine shares."""

    streams: "DynamoDBStreamsClient"
    checkpoints: Checkpoints
    clock: Clock
    meter: Meter
    jitter: Jitter
    settings: Settings
    loops: Loops = field(default_factory=NoLoops)


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
        self._position = start.position
        self._checkpointed = start.position
        self._iterator: str | None = None
        self._begun = False
        self._ended = False
        self._faulty_page = False
        self._outage = Outage()
        self._tip = Tip(plan.precision_ms, self._settings.page_records, self._settings.tip_pages)
        self._unflushed_records = 0
        self._flushed_ms = services.clock.now().mono_ms
        self._log = LOG.bind(**{telemetry.TABLE: plan.table, telemetry.SHARD: shard.shard_id})

    def step(self) -> Step:
        """Read one page and hand it over; checkpoint if it is time.

        Raises StreamLostError, SetupError or FaultyPageError where the shard cannot be read on, StoppedError on
        shutdown, and what the processor or the checkpoint raised, as it came.
        """
        if not self._begun:
            self._processor.initialize(self.shard, self._position)
            self._begun = True
        try:
            page = self._fetch()
        except (ClientError, BotoCoreError) as error:
            return self._after_failure(error)
        self._recovered()
        try:
            self._consume(page)
        except FaultyPageError as error:
            return self._after_faulty_page(error)
        if self._iterator is None:
            self._end()
            return Step(Progress.ENDED)
        if self._checkpoint_due():
            self._checkpoint()
        return Step(Progress.DRAINED if self._tip.drained else Progress.READING, self._idle_seconds(page))

    def close(self) -> None:
        """Stop in good order: let the processor finish, then checkpoint; what could not be written is read again."""
        if not self._begun or self._ended:
            return
        try:
            self._processor.shutdown_requested()
            self._checkpoint()
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

    def _fetch(self) -> Mapping[str, Any]:
        streams = self._services.streams
        if self._iterator is None:
            place: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
            if self._position is not None:
                place = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": spelled(self._position)}
            answer = streams.get_shard_iterator(StreamArn=self._plan.stream_arn, ShardId=self.shard.shard_id, **place)
            self._iterator = answer["ShardIterator"]
        page: Mapping[str, Any] = streams.get_records(ShardIterator=self._iterator, Limit=self._settings.page_records)
        return page

    def _consume(self, page: Mapping[str, Any]) -> None:
        """Hand a page over, and only then take its end as the position. A last page's null iterator changes nothing."""
        records: Sequence[Mapping[str, Any]] = page["Records"]
        position = decode.sequence_number(records[-1]) if records else self._position
        self._tip.page(records, self._endpoint_now_ms(page))
        self._processor.process_records(self._since(records), caught_up=self._tip.caught_up)
        self._position = position
        self._unflushed_records += len(records)
        self._faulty_page = False
        self._iterator = page.get("NextShardIterator")

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
        self._services.checkpoints.finish(self.shard)
        self._ended = True
        self._log.info("shard_ended")

    def _checkpoint(self) -> None:
        position = self._processor.flush()
        if position is not None and (self._checkpointed is None or position > self._checkpointed):
            self._services.checkpoints.advance(self.shard, position)
            self._services.meter.count("checkpoints")
            self._checkpointed = position
        self._unflushed_records = 0
        self._flushed_ms = self._services.clock.now().mono_ms

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

    def _endpoint_now_ms(self, page: Mapping[str, Any]) -> int:
        theirs = endpoint_ms(page)
        return self._services.clock.now().wall_ms if theirs is None else theirs

    def _after_failure(self, error: ClientError | BotoCoreError) -> Step:
        judged = verdict(error)
        match judged:
            case Verdict.RETRY | Verdict.THROTTLED | Verdict.DENIED:
                pass
            case Verdict.EXPIRED_ITERATOR:
                self._iterator = None
                if not self._outage.failures:
                    self._outage.failed(self._services.clock.now().mono_ms)
                    return Step(Progress.READING)
            case Verdict.TRIMMED:
                self._trimmed(error)
            case Verdict.NOT_FOUND:
                raise SetupError(
                    f"shard {self.shard.shard_id} of table {self._plan.table}: not found in {self._plan.stream_arn}; "
                    "the table was deleted, its stream was switched off, or the shard aged out unread: "
                    "`lockside check` tells which"
                ) from error
            case Verdict.CONDITION | Verdict.FATAL:
                raise error
            case _:
                assert_never(judged)
        return self._back_off(error)

    def _trimmed(self, error: ClientError | BotoCoreError) -> None:
        """Judge lost data. Stream gaps and the policy for them come in here."""
        self._iterator = None
        if self._position is not None:
            raise StreamLostError(
                f"shard {self.shard.shard_id} of table {self._plan.table}: the stream no longer holds what follows "
                f"position {self._position} ({error_code(error)}): it was not read within the stream's 24 hours; "
                "the shard is halted and its checkpoint stays"
            ) from error
        # Nothing was read yet, and the horizon moved on between two calls: the new horizon is the start.

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
        return Step(Progress.READING, seconds)

    def _recovered(self) -> None:
        if self._outage.failures > 1:
            now_ms = self._services.clock.now().mono_ms
            self._log.warning("stream_read_again", **{telemetry.SECONDS: self._outage.seconds(now_ms)})
        self._outage.over()

    def _after_faulty_page(self, error: FaultyPageError) -> Step:
        if self._faulty_page:
            raise FaultyPageError(
                f"shard {self.shard.shard_id} of table {self._plan.table}: a record without a usable sequence number "
                f"follows position {self._position}, at the second reading too; the shard is halted, nothing is skipped"
            ) from error
        self._faulty_page = True
        self._iterator = None
        self._log.warning("faulty_page")
        return Step(Progress.READING, self._settings.idle.min_seconds)


def spelled(position: int) -> str:
    """Spell a position as GetShardIterator takes it: 21 digits at least (botocore's model), as emulators pad it."""
    return f"{position:021d}"
