"""One watched table: the stream that is read, and those that take its place when it is switched off and on again.

Strategy: as in the embedded engine the old stream is drained first, and the new one then begins at its beginning. Each
worker of the fleet finds that out for itself, from the same leases. Nothing here waits for a stream that cannot be
described: the other tables are tended by the same thread. What is remembered of a replaced stream is removed by the
fleet's leader (engines/bygone.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import PASSING, error_code, verdict
from lockside.core import telemetry
from lockside.engines.bygone import Bygone
from lockside.engines.discovery import Discovery
from lockside.engines.kcl.services import Services
from lockside.engines.kcl.stream_run import StreamRun
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import TableNow, successors, take_up
from lockside.errors import LocksideError, SetupError

LOG = structlog.get_logger(__name__)

MakeRun = Callable[[StreamPlan, Services], StreamRun]

CALL_ERRORS: Final = (BotoCoreError, ClientError)
"""What a call of boto3 raises when it fails."""

START_AGAIN_MS: Final = 1_000
"""How soon a stream that could not be described at first is asked again; twice as long after each further attempt."""

START_DOUBLINGS_MAX: Final = 10

DRAINED_LOOKS: Final = 3
"""So many looks in a row must show nothing unread of a stream that gets no more: its last shards may show up late."""


class TableRun:
    """Reads what one table's streams hold."""

    def __init__(self, plan: StreamPlan, services: Services, make_run: MakeRun = StreamRun) -> None:
        """Prepare; `plan` names the table's newest stream, `make_run` makes what reads one stream."""
        self.plan = plan
        self.failure: LocksideError | None = None
        """Why there is nothing more to read of this table; None while there may be."""
        self._services = services
        keeping = services.keeping
        self._bygone = Bygone(services.tables, keeping.checkpoints, keeping.clock)
        self._make_run = make_run
        self._runs = [make_run(plan, services)]
        self._known: set[str] = set()
        self._gone = False
        self._drained_looks = 0
        self._look_ms = 0
        self._start_failures = 0
        self._log = LOG.bind(**{telemetry.TABLE: plan.table})

    @property
    def alive(self) -> bool:
        """Whether a scheduler of it works."""
        return any(run.alive for run in self._runs)

    def begin(self) -> None:
        """Go on with the streams that an earlier run knew and did not drain."""
        remembered, unread = take_up(self._services.tables, self.plan.stream_arn)
        self._known = {known.arn for known in remembered}
        self._bygone.add(known.arn for known in remembered[:-1] if known.drained)
        self._runs = [self._run(known.arn, follows=known.follows) for known in unread]
        self._start()

    def tend(self) -> None:
        """See that its scheduler works; now and then, look for another stream, and for the end of the old one.

        Where the table is gone and all of it is read, `failure` says so. Raises as `StreamRun.check` does.
        """
        run = self._runs[0]
        if run.started:
            run.check()
        if self._services.keeping.clock.now().mono_ms < self._look_ms:
            return
        if not run.started:
            self._start()
            return
        self._look_again()
        try:
            self._look()
        except CALL_ERRORS as error:
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
        return self._make_run(replace(self.plan, stream_arn=arn, start=start, follows=follows), self._services)

    def _start(self) -> None:
        """Start to read the oldest stream, once it can be described: one attempt at a time."""
        try:
            theirs_ms = self._listen()
        except CALL_ERRORS as error:
            if verdict(error) not in PASSING:
                raise
            self._log.warning("stream_not_described", **{telemetry.ERROR: error_code(error)})
            self._look_again(START_AGAIN_MS << min(self._start_failures, START_DOUBLINGS_MAX))
            self._start_failures += 1
            return
        self._start_failures = 0
        self._runs[0].start(theirs_ms)
        self._look_again()

    def _look_again(self, wait_ms: int | None = None) -> None:
        listing_ms = round(self._services.member.listing_seconds * 1000)
        wait_ms = listing_ms if wait_ms is None else min(wait_ms, listing_ms)
        self._look_ms = self._services.keeping.clock.now().mono_ms + wait_ms

    def _look(self) -> None:
        now = self._services.tables.describe(self.plan.table)
        if now is not None and now.exists:
            self._note_stream(now)
        elif now is not None and not self._gone:
            self._gone = True
            self._log.error("table_gone")
        run = self._runs[0]
        run.forget_old()
        run.forget_moved_halts()
        self._forget_bygone()
        self._listen()
        if self._gone or len(self._runs) > 1:
            self._drained_looks = self._drained_looks + 1 if self._runs[0].is_drained() else 0
            if self._drained_looks >= DRAINED_LOOKS:
                self._move_on()

    def _listen(self) -> int | None:
        """Hear the endpoint's clock, which deadlines run by: KCL does not hand on what came with a page.

        One attempt; raises what boto3 raises.
        """
        asked = self._services.keeping.clock.now()
        theirs_ms = self._runs[0].endpoint_ms()
        if theirs_ms is not None:
            self._services.heard(asked, theirs_ms)
        return theirs_ms

    def _forget_bygone(self) -> None:
        """Remove what is remembered of streams whose day is over: the leader's work, so that it is done once."""
        if self._bygone.is_due and self._runs[0].leases.leader() == self._services.member.worker_id:
            self._bygone.forget()

    def _note_stream(self, now: TableNow) -> None:
        """Take up the table's new stream, and those that came and went before it was looked for."""
        discovery = Discovery(self._services.streams)
        found = successors(now, self._known, self._services.tables, discovery, self.plan.table)
        self._known |= set(found)
        self._runs += [self._run(arn, follows=True) for arn in found]
        if found:
            self._gone = False
            self.failure = None

    def _move_on(self) -> None:
        """Go on to the next stream, now that this one is drained."""
        self._drained_looks = 0
        drained = self._runs[0]
        if len(self._runs) == 1:
            self._fail()
            return
        self._services.tables.drained(drained.plan.stream_arn)
        self._bygone.add([drained.plan.stream_arn])
        # Its lease tables are left to people: a worker may remove no table.
        tables = {"lease_tables": f"{drained.leases.name}*"}
        self._log.info("stream_drained", **{telemetry.REASON: drained.plan.stream_arn}, **tables)
        drained.ask_to_stop()
        drained.close()
        del self._runs[0]
        self._start()

    def _fail(self) -> None:
        """Note, and say once, that the table is gone and read to its end; it may yet be made again."""
        if self.failure is not None:
            return
        self.failure = SetupError(
            f'table "{self.plan.table}" was deleted; all that its stream held was read to the end. Take its '
            "sources out of the configuration, or make the table again with its stream switched on"
        )
        self._log.error("table_gone_and_read")
        # Else KCL would complain of the stream for as long as the other tables are read.
        self.ask_to_stop()
        self.close()
