"""One shard's reader: a page, its records, and now and then a checkpoint, one step at a time.

Strategy: `step` does one GetRecords call and whatever follows from it, and says how long to wait before the next. It
never waits by itself, so that a thread, a loop over many shards or a test can drive it. Where the stream no longer has
what follows the position, reading goes on at the trim horizon. What becomes of a page is `engines/consumer.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never, cast

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code, verdict
from lockside.core import decode, telemetry
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict
from lockside.core.ports import Processor
from lockside.engines.consumer import Keeping, ShardConsumer, Start
from lockside.engines.embedded.cursor import Cursor
from lockside.engines.embedded.pace import Outage
from lockside.engines.embedded.services import Services
from lockside.engines.embedded.step import Progress, Step
from lockside.engines.endpoint import endpoint_ms, wire_bytes
from lockside.engines.stream import StreamPlan
from lockside.errors import FaultyPageError

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
        self._services = services
        self._settings = settings = services.settings
        keeping = Keeping(
            services.checkpoints,
            services.clock,
            services.meter,
            settings.checkpoint,
            settings.page_records,
            settings.tip_pages,
        )
        self._consumer = ShardConsumer(plan, shard, start, processor, keeping)
        self._cursor = Cursor(shard, start.position)
        self._confirmed = False
        self._missing = False
        self._missing_ms = 0
        self._aged_out = False
        self._faulty_page = False
        self._outage = Outage()
        self._step_ms: int | None = None
        self._log = LOG.bind(**{telemetry.TABLE: plan.table, telemetry.SHARD: shard.shard_id})

    @property
    def read_past_its_start(self) -> bool:
        """Whether a change was read that was surely made after this reader's first page."""
        return self._consumer.read_past_its_start

    @property
    def failing_seconds(self) -> float:
        """Return for how long no page could be read, or the step under way has taken; 0 while it goes well."""
        now_ms, begun_ms = self._services.clock.now().mono_ms, self._step_ms
        out_seconds = self._outage.seconds(now_ms) if self._outage.failures else 0.0
        return out_seconds if begun_ms is None else max(out_seconds, (now_ms - begun_ms) / 1000)

    @property
    def confirmed(self) -> bool:
        """Whether the shard is surely there: a page of it was read."""
        return self._confirmed

    @property
    def remembered(self) -> bool:
        """Whether something of this shard is remembered, a position or a tip."""
        return self._consumer.remembered

    @property
    def tip_ms(self) -> int | None:
        """The instant up to which the shard was surely consumed."""
        return self._consumer.tip_ms

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
        self._step_ms = self._services.clock.now().mono_ms
        try:
            return self._step(sized)
        finally:
            self._step_ms = None

    def _step(self, sized: Callable[[int], None]) -> Step:
        consumer = self._consumer
        consumer.begin()
        if self._aged_out and self._missing:
            consumer.end_lost(self._missing_ms)
            return Step(Progress.ENDED)
        asked = self._services.clock.now()
        try:
            page = self._cursor.fetch(self._services.streams, self._settings.page_records)
        except (ClientError, BotoCoreError) as error:
            return self._after_failure(error)
        except FaultyPageError as error:
            return self._after_faulty_page(error)
        sized(wire_bytes(page))
        if (theirs_ms := endpoint_ms(page)) is not None:
            self._services.heard(asked, theirs_ms)
        self._recovered()
        try:
            self._consume(page)
        except FaultyPageError as error:
            return self._after_faulty_page(error)
        if self._cursor.iterator is None:
            consumer.end()
            return Step(Progress.ENDED)
        consumer.checkpoint_if_due()
        return Step(Progress.DRAINED if consumer.tip.drained else Progress.READING, self._idle_seconds(page))

    def close(self) -> None:
        """Stop in good order: let the processor finish, then checkpoint; what could not be written is read again."""
        self._consumer.close()

    def abandon(self, error: BaseException | None = None) -> None:
        """Stop after an error, see `ShardConsumer.abandon`."""
        self._consumer.abandon(error)

    def _consume(self, page: Mapping[str, Any]) -> None:
        """Hand a page over, and only then move the cursor. A last page's null iterator changes nothing."""
        cursor, following = self._cursor, page.get("NextShardIterator")
        records = cursor.unread(page["Records"])
        position = decode.sequence_number(records[-1]) if records else None
        now_ms = self._endpoint_now_ms(page)
        if cursor.at_horizon:
            cursor.at_horizon = False
            self._consumer.judge_start(now_ms)
        self._consumer.consume(records, now_ms, ended=following is None)
        cursor.consumed(position, following)
        self._faulty_page = False

    def _idle_seconds(self, page: Mapping[str, Any]) -> float:
        if page["Records"] and not self._consumer.tip.caught_up:
            return 0.0
        # Below that many empty pages more may be due, so the wait stays short.
        return self._settings.idle.wait_seconds(self._consumer.tip.empty_pages - self._settings.tip_pages)

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
        self._consumer.trimmed(self._error_now_ms(error))
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
                f"without a usable sequence number or out of order, follows {self._consumer.place()}, at the second "
                "reading too; the shard is halted, nothing is skipped; see what the endpoint answers, then start again"
            ) from error
        self._faulty_page = True
        self._cursor.lose_iterator()
        self._log.warning("faulty_page")
        return Step(Progress.READING, self._settings.idle.min_seconds)
