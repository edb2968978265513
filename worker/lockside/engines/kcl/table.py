"""One watched table: the stream that is read, and those that take its place when it is switched off and on again.

Strategy: as in the embedded engine the old stream is drained first, and the new one then begins at its beginning. Each
worker of the fleet finds that out for itself, from the same leases.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code
from lockside.core import telemetry
from lockside.engines.discovery import Discovery
from lockside.engines.kcl.services import Services
from lockside.engines.kcl.stream_run import StreamRun
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import TableNow, successors, take_up
from lockside.errors import SetupError

LOG = structlog.get_logger(__name__)

DRAINED_LOOKS: Final = 3
"""So many looks in a row must show nothing unread of a stream that gets no more: its last shards may show up late."""


class TableRun:
    """Reads what one table's streams hold."""

    def __init__(self, plan: StreamPlan, services: Services) -> None:
        """Prepare; `plan` names the table's newest stream."""
        self.plan = plan
        self._services = services
        self._runs = [StreamRun(plan, services)]
        self._known: set[str] = set()
        self._gone = False
        self._drained_looks = 0
        self._look_ms = 0
        self._log = LOG.bind(**{telemetry.TABLE: plan.table})

    @property
    def alive(self) -> bool:
        """Whether a scheduler of it works."""
        return any(run.alive for run in self._runs)

    def begin(self) -> None:
        """Go on with the streams that an earlier run knew and did not drain."""
        remembered, unread = take_up(self._services.tables, self.plan.stream_arn)
        self._known = {known.arn for known in remembered}
        self._runs = [self._run(known.arn, follows=known.follows) for known in unread]
        self._listen(self._runs[0])
        self._runs[0].start()
        self._look_again()

    def tend(self) -> None:
        """See that its scheduler works; now and then, look for another stream, and for the end of the old one.

        Raises SetupError where the table is gone and all of it is read, and as `StreamRun.check` does.
        """
        self._runs[0].check()
        if self._services.keeping.clock.now().mono_ms < self._look_ms:
            return
        self._look_again()
        try:
            self._look()
        except (BotoCoreError, ClientError) as error:
            self._log.warning("table_not_described", **{telemetry.ERROR: error_code(error)})

    def unread(self, failing_seconds_max: float) -> Iterator[str]:
        """Say what is not read, see `KclEngine.unread`."""
        if self._gone:
            yield f"table {self.plan.table}: the table is gone"
        yield from self._runs[0].unread(failing_seconds_max)

    def ask_to_stop(self) -> None:
        """Ask to end in good order."""
        self._runs[0].ask_to_stop()

    def close(self) -> None:
        """End it as it is."""
        self._runs[0].close()

    def _run(self, arn: str, *, follows: bool) -> StreamRun:
        start = "TRIM_HORIZON" if follows else self.plan.start
        return StreamRun(replace(self.plan, stream_arn=arn, start=start, follows=follows), self._services)

    def _look_again(self) -> None:
        wait_ms = round(self._services.member.listing_seconds * 1000)
        self._look_ms = self._services.keeping.clock.now().mono_ms + wait_ms

    def _look(self) -> None:
        now = self._services.tables.describe(self.plan.table)
        if now is not None and now.exists:
            self._note_stream(now)
        elif now is not None and not self._gone:
            self._gone = True
            self._log.error("table_gone")
        self._listen(self._runs[0])
        self._runs[0].forget_old()
        if self._gone or len(self._runs) > 1:
            self._drained_looks = self._drained_looks + 1 if self._runs[0].is_drained() else 0
            if self._drained_looks >= DRAINED_LOOKS:
                self._move_on()

    def _listen(self, run: StreamRun) -> None:
        """Hear the endpoint's clock, which deadlines run by: KCL does not hand on what came with a page."""
        asked = self._services.keeping.clock.now()
        theirs_ms = self._services.retrier.call("describe_stream", run.endpoint_ms)
        if theirs_ms is not None:
            self._services.heard(asked, theirs_ms)

    def _note_stream(self, now: TableNow) -> None:
        """Take up the table's new stream, and those that came and went before it was looked for."""
        discovery = Discovery(self._services.streams)
        found = successors(now, self._known, self._services.tables, discovery, self.plan.table)
        self._known |= set(found)
        self._runs += [self._run(arn, follows=True) for arn in found]
        if found:
            self._gone = False

    def _move_on(self) -> None:
        """Go on to the next stream, now that this one is drained."""
        self._drained_looks = 0
        drained = self._runs[0]
        if len(self._runs) == 1:
            raise SetupError(
                f'table "{self.plan.table}" was deleted; all that its stream held was read to the end. Take its '
                "sources out of the configuration, or make the table again with its stream switched on"
            )
        self._services.tables.drained(drained.plan.stream_arn)
        self._log.info("stream_drained", **{telemetry.REASON: drained.plan.stream_arn})
        drained.ask_to_stop()
        drained.close()
        del self._runs[0]
        self._runs[0].start()
