"""One watched table: its stream, and the one that takes its place when the stream is switched off and on again.

Strategy: the old stream is drained first, however the new one was found, and the new one then begins at its beginning.
Both are remembered until the old one is drained, and for its day (engines/bygone.py). A stream that cannot be found is
judged by what its table says: another stream took its place, the table is gone, or neither, and then it is asked for
again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import structlog

from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.ports import ProcessorFactory
from lockside.engines.bygone import Bygone
from lockside.engines.discovery import Discovery
from lockside.engines.embedded.asking import CALL_ERRORS, Asking
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.embedded.services import Services
from lockside.engines.embedded.watch import StreamWatch
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import TableNow, successors, take_up
from lockside.errors import LocksideError, SetupError

LOG = structlog.get_logger(__name__)


class TableWatch:
    """What one table's streams are up to. Touched by the coordinator only."""

    def __init__(self, plan: StreamPlan, processors: ProcessorFactory, services: Services) -> None:
        """Prepare to watch; `plan` names the table's newest stream."""
        self.plan = plan
        self.gone = False
        self._processors = processors
        self._services = services
        self._asking = Asking(services, "describe_table", plan.table, services.clock.now().mono_ms)
        self._streams = [StreamWatch(plan, processors, services)]
        self._known: set[str] = set()
        self._bygone = Bygone(services.tables, services.checkpoints, services.clock)
        self._begun = False
        self._described = False
        self._follows = True
        self._failure: LocksideError | None = None
        self._asked_why = False
        self._told_drained = False
        self._log = LOG.bind(**{telemetry.TABLE: plan.table})

    @property
    def current(self) -> StreamWatch:
        """The stream that is read."""
        return self._streams[0]

    @property
    def halted(self) -> Mapping[ShardRef, LocksideError]:
        """The shards that were halted, and why."""
        arn = self.current.plan.stream_arn
        return {ShardRef(arn, shard_id): error for shard_id, error in tuple(self.current.halted.items())}

    @property
    def failure(self) -> LocksideError | None:
        """Why there is nothing more to read of this table; None while there may be."""
        return self._failure or self.current.failure

    @property
    def settled(self) -> bool:
        """Whether every shard that could be started was, and no stream waits for its turn."""
        current = self.current
        if current.failure is not None:
            return True
        if len(self._streams) > 1 and not current.halted:
            return False
        return current.settled and (self._described or not self._follows)

    @property
    def exhausted(self) -> bool:
        """Whether nothing will come of this table any more. A stream that is off may be switched on again."""
        if not self.current.exhausted or not self.settled:
            return False
        if self.current.failure is not None or self.current.halted or not self._follows:
            return True
        return self.gone and self.current.drained

    def due_ms(self) -> int:
        """Return when to ask something next, in monotonic milliseconds."""
        return min(self._asking.due_ms, self.current.next_listing_ms())

    def discover(self, discovery: Discovery) -> list[tuple[StreamWatch, ShardReader]]:
        """Ask what is due to be asked; return readers for the shards that may be read now."""
        if not self._begun:
            self._take_up()
        if self._asking.is_due:
            self._describe(discovery)
        current = self.current
        started: list[tuple[StreamWatch, ShardReader]] = []
        if current.listing_due():
            started = [(current, reader) for reader in current.discover(discovery)]
            if current.not_found:
                self._judge_lost(discovery)
            elif not (current.grows or self._asked_why):
                # Perhaps another stream has taken its place by now.
                self._asked_why, self._described = True, False
                self._asking.again_in(0.0)
        self._move_on()
        return started

    def unread(self, failing_seconds_max: float) -> Iterator[str]:
        """Say what is not read, see `EmbeddedEngine.unread`."""
        watch, table = self.current, f"table {self.plan.table}"
        if self.gone:
            yield f"{table}: the table is gone"
        elif watch.failure is not None:
            yield f"{table}: its stream is gone"
        elif not watch.listed:
            yield f"{table}: its stream was not listed yet"
        elif not watch.grows:
            replaced = len(self._streams) > 1
            yield f"{table}: its {'old stream is being drained' if replaced else 'stream is switched off'}"
        for shard_id, error in tuple(watch.halted.items()):
            yield f"{table}, shard {shard_id}: halted ({type(error).__name__})"
        for reader in tuple(watch.readers.values()):
            seconds = reader.failing_seconds
            if seconds > failing_seconds_max:
                yield f"{table}, shard {reader.shard.shard_id}: cannot be read for {seconds:.0f} s"

    def _take_up(self) -> None:
        """Go on with the streams that an earlier run knew and did not drain."""
        remembered, unread = take_up(self._services.tables, self.plan.stream_arn)
        self._known = {known.arn for known in remembered}
        self._bygone.add(known.arn for known in remembered[:-1] if known.drained)
        self._streams = [self._watch(known.arn, follows=known.follows) for known in unread]
        for older in self._streams[:-1]:
            older.superseded()
        self._begun = True

    def _watch(self, arn: str, *, follows: bool) -> StreamWatch:
        start = "TRIM_HORIZON" if follows else self.plan.start
        plan = replace(self.plan, stream_arn=arn, start=start, follows=follows)
        return StreamWatch(plan, self._processors, self._services)

    def _describe(self, discovery: Discovery) -> None:
        try:
            now = self._services.tables.describe(self.plan.table)
            if now is not None and now.exists:
                self._note_stream(now, discovery)
        except CALL_ERRORS as error:
            self._asking.failed(error)
            return
        self._asking.answered()
        self._asking.again_in(self._services.settings.discovery_interval_seconds)
        self._described = True
        self._bygone.forget()
        if now is None:
            self._follows = False
        elif not now.exists and not self.gone:
            self.gone = True
            self._log.error("table_gone")
            for watch in self._streams:
                watch.superseded()

    def _note_stream(self, now: TableNow, discovery: Discovery) -> None:
        """Take up the table's new stream, and those that came and went before it was looked for."""
        found = successors(now, self._known, self._services.tables, discovery, self.plan.table)
        for arn in found:
            self._known.add(arn)
            self._streams[-1].superseded()
            self._streams.append(self._watch(arn, follows=True))
        if not found:
            return
        self.gone = False
        self._failure = None
        self._asked_why = self._told_drained = False

    def _judge_lost(self, discovery: Discovery) -> None:
        """Find out why there is no such stream as the one that is read: the table tells."""
        self._describe(discovery)
        if self._follows and not self._asking.is_failing and (self.gone or len(self._streams) > 1):
            self.current.failure = None
            self.current.vanish()

    def _move_on(self) -> None:
        """Go on to the next stream when this one is drained, or wait for one."""
        while self.current.drained and len(self._streams) > 1:
            drained = self._streams.pop(0)
            self._services.tables.drained(drained.plan.stream_arn)
            self._bygone.add([drained.plan.stream_arn])
            self._log.info("stream_drained", **{telemetry.REASON: drained.plan.stream_arn})
        if not self.current.drained or self._told_drained:
            return
        self._told_drained = True
        if self.gone:
            self._failure = SetupError(
                f'table "{self.plan.table}" was deleted; all that its stream held was read to the end. Take its '
                "sources out of the configuration, or make the table again with its stream switched on"
            )
        else:
            self._log.warning("stream_drained_and_off", **{telemetry.REASON: "waits until it is switched on again"})
