"""The deadline timer: who is tested, when, and what becomes of a failure."""

import threading

from lockside.app.timer import DeadlineTimer
from lockside.core.ports import NoLoops
from tests.fakes.clock import FakeClock

WAIT_SECONDS = 10


class Deadlines:
    """A shard with so many deadlines due; each tick tests one."""

    def __init__(self, due: int, error: Exception | None = None) -> None:
        """Start with what is due; `error` is raised by the first tick."""
        self.due = due
        self.ticks = 0
        self.ticked = threading.Event()
        self._error = error

    def next_deadline(self) -> int | None:
        """Due at once, while there is any."""
        return 0 if self.due else None

    def tick(self) -> None:
        """Test one."""
        self.ticks += 1
        self.due -= 1
        self.ticked.set()
        if self._error is not None:
            raise self._error

    @property
    def done(self) -> bool:
        """Whether nothing will come any more."""
        return False


def timer(failures: list[BaseException] | None = None) -> DeadlineTimer:
    """Make a timer that is not started."""
    return DeadlineTimer(FakeClock(), NoLoops(), (failures if failures is not None else []).append)


def test_what_is_due_can_be_tested_at_once() -> None:
    """All that is due in all shards, also where one test leaves something over."""
    made, shards = timer(), [Deadlines(3), Deadlines(0), Deadlines(1)]
    for number, shard in enumerate(shards):
        made.add(number, shard)
    made.test_due()
    assert [shard.ticks for shard in shards] == [3, 0, 1]


def test_a_shard_that_is_added_is_watched() -> None:
    """By the timer's own thread, which ends when told to."""
    made, shard = timer(), Deadlines(1)
    made.start()
    made.add("shard", shard)
    assert shard.ticked.wait(WAIT_SECONDS)
    made.stop(WAIT_SECONDS)
    assert not made._thread.is_alive()


def test_a_failure_is_told() -> None:
    """Without its timer the worker would miss lapses in silence."""
    failures: list[BaseException] = []
    made, error = timer(failures), ZeroDivisionError()
    made.add("shard", Deadlines(1, error))
    threading.excepthook, before = (lambda _: None), threading.excepthook
    try:
        made.start()
        made._thread.join(WAIT_SECONDS)
    finally:
        threading.excepthook = before
    assert failures == [error]
