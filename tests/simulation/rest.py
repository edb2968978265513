"""What must be true when faults have stopped and time has passed: nothing lags, and everything due was declared.

What the design admits is known here exactly: the lapse of a hold is required of a worker that saw the hold's last change
itself and watched on. One whose last change came before a restart is the sure net's to find.
"""

from collections.abc import Sequence

from tests.simulation.checks import Checks
from tests.simulation.oracle import Oracle
from tests.simulation.table import Accepted
from tests.simulation.truth import Span, Truth, label, undecodable
from tests.simulation.violation import ViolationError
from tests.simulation.worker import Worker

PATIENCE_MS = 30_000
"""After the legal instant and the end of all faults, a lapse is known by then."""


class Rest:
    """The last checks of a world."""

    def __init__(self, checks: Checks, oracle: Oracle, truth: Truth, now_ms: int) -> None:
        """Look at everything as it stands."""
        self._checks = checks
        self._oracle = oracle
        self._truth = truth
        self._now_ms = now_ms

    def check(self, workers: Sequence[Worker]) -> None:
        """Require no lag, whole logs and all lapses."""
        self._nothing_lags()
        self._logs_verify()
        for span in self._truth.held.values():
            self._declared(span, workers)

    def _nothing_lags(self) -> None:
        for history in self._oracle.histories.values():
            for shard, changes in history.shards.items():
                if history.shard(shard).aged_out:
                    continue
                wanted = [change.position for change in changes if not self._left_out(change)]
                last = wanted[-1] if wanted else 0
                passed = self._checks.positions.get(shard, 0)
                if passed < last and shard not in self._checks.finished:
                    raise ViolationError(f"at rest {label(shard)} stands at {passed}, its last change is {last}")
                if history.shard(shard).closed and shard not in self._checks.finished:
                    raise ViolationError(f"at rest {label(shard)} is closed and not finished")
            for change in history.changes:
                fault = self._checks.explained(change)
                if fault is not None:
                    raise ViolationError(f"at rest, of change {change.position} in {label(change.shard)}: {fault}")

    def _left_out(self, change: Accepted) -> bool:
        return self._oracle.before_start(change) or self._checks.gaps.excuse(change, self._oracle)

    def _logs_verify(self) -> None:
        for view in self._checks.logs.views.values():
            view.root_at(view.size)
            if not view.sealed and len(view.bodies) != view.size:
                raise ViolationError(f"at rest log {view.name} has {len(view.bodies)} records and a head of {view.size}")

    def _declared(self, span: Span, workers: Sequence[Worker]) -> None:
        change = span.last
        overdue = span.legal_ms + PATIENCE_MS < self._now_ms
        if not overdue or undecodable(change) or self._oracle.before_start(change) or span.name in self._checks.lapses:
            return
        for worker in workers:
            for tracer in worker.tracers:
                if not worker.process.dead and tracer.shard == change.shard and tracer.saw(change.position):
                    raise ViolationError(f"at rest {span} has lapsed, was seen by {worker.process.name}, and not declared")
