"""What must be true when faults have stopped and time has passed: nothing lags, and everything due was declared.

What the design admits is known here exactly: the lapse of a hold is required of a worker that saw the hold's last
change itself and watched on. One whose last change came before a restart is the sure net's to find.
"""

from collections.abc import Iterator, Sequence

from tests.simulation.checks import Checks
from tests.simulation.oracle import Oracle
from tests.simulation.table import Accepted
from tests.simulation.truth import Truth, label, undecodable
from tests.simulation.violation import ViolationError
from tests.simulation.worker import Worker


class Rest:
    """The last checks of a world."""

    def __init__(self, checks: Checks, oracle: Oracle, truth: Truth) -> None:
        """Look at everything as it comes to stand."""
        self._checks = checks
        self._oracle = oracle
        self._truth = truth

    def unsettled(self, workers: Sequence[Worker]) -> str | None:
        """Say what is still to come; None at rest."""
        return next(self._lagging(), None) or next(self._undeclared(workers), None)

    def check(self, workers: Sequence[Worker]) -> None:
        """Require no lag, whole logs and all lapses."""
        unsettled = self.unsettled(workers)
        if unsettled is not None:
            raise ViolationError(f"at rest, {unsettled}")
        for arn, history in self._oracle.histories.items():
            if not self._oracle.promised(arn):
                continue
            for change in history.changes:
                fault = self._checks.explained(change)
                if fault is not None:
                    raise ViolationError(f"at rest, of change {change.position} in {label(change.shard)}: {fault}")
        for view in self._checks.logs.views.values():
            view.root_at(view.size)
            if not view.sealed and len(view.bodies) != view.size:
                raise ViolationError(
                    f"at rest log {view.name} has {len(view.bodies)} records and a head of {view.size}"
                )

    def _lagging(self) -> Iterator[str]:
        """Yield shards that are not consumed to their end."""
        for arn, history in self._oracle.histories.items():
            if not self._oracle.promised(arn):
                continue
            for shard, changes in history.shards.items():
                truly = history.shard(shard)
                if truly.aged_out and any(self._checks.explained(change) for change in changes):
                    yield f"{label(shard)} has aged out, and what it lost is not told"
                if truly.aged_out or shard in self._checks.finished:
                    continue
                last = next((change for change in reversed(changes) if not self._left_out(change)), None)
                passed = self._checks.positions.get(shard, 0)
                if last is not None and passed < last.position:
                    yield f"{label(shard)} stands at {passed}, its last change is {last.position}"
                elif truly.closed:
                    yield f"{label(shard)} is closed and not finished"

    def _left_out(self, change: Accepted) -> bool:
        excused = self._oracle.before_start(change) or self._checks.gaps.excuse(change, self._oracle)
        return excused or self._recorded_and_gone(change)

    def _recorded_and_gone(self, change: Accepted) -> bool:
        """Whether a worker that was fenced recorded a change, and the stream lost it before another could read it."""
        truly = self._oracle.histories[change.shard.stream_arn].shard(change.shard)
        return change.position in truly.numbers[: truly.trimmed] and self._checks.explained(change) is None

    def _undeclared(self, workers: Sequence[Worker]) -> Iterator[str]:
        """Yield holds that no more change will come of, and whose lapse a worker has to declare."""
        tracers = [each for worker in workers if not worker.process.dead for each in worker.tracers]
        for span in self._truth.held.values():
            change = span.last
            if span.name in self._checks.lapses or undecodable(change) or self._oracle.before_start(change):
                continue
            if any(each.shard == change.shard and each.saw(change.position) for each in tracers):
                yield f"{span} was seen and its lapse is not declared"
