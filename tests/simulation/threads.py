"""The threads of a simulated worker, as actors: each acts in turns, while its process lives and is not frozen.

They turn the real parts one step at a time where `app` has threads that loop; nothing is decided here.
"""

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import PASSING, verdict
from lockside.core.ownership import Standing
from lockside.engines.embedded.crew import closed
from lockside.errors import FencedError, StoppedError
from tests.simulation.process import CrashError
from tests.simulation.scheduler import Actor

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

LOOK_MS: Final = 800
RENEWALS: Final = 3
TURN_MS_MAX: Final = 1_000
"""Longest sleep of a loop, as in the real worker's timer and rota."""

LISTING_MS_MAX: Final = 10_000
LISTING_MS_MIN: Final = 20


class Thread(Actor):
    """One thread; begins at once."""

    def __init__(self, worker: "Worker") -> None:
        """Join the process."""
        self.worker = worker
        self.process = worker.process
        self.scheduler = worker.process.scheduler
        self.name = f"{self.process.name} {type(self).__name__.lower()}"
        self.due_ms = self.scheduler.now_ms
        self.process.threads.append(self)
        self.scheduler.add(self)

    def held_until_ms(self) -> int:
        """Stand still with the process."""
        return 0 if self.process.dead else self.process.thaws_ms

    def step(self) -> None:
        """Act; whatever the process is doing ends with it."""
        if not self.process.dead:
            try:
                self.act()
            except CrashError:
                self.end()
            except StoppedError:
                self.stopped()
            except Exception as error:  # noqa: BLE001 the worker ends with it, or the world if it may not happen
                self.worker.fail(error)
                self.stopped()
        if self.process.dead:
            self.end()

    def act(self) -> None:
        """Do what the thread does in one turn."""
        raise NotImplementedError

    def stopped(self) -> None:
        """Learn that a wait was ended by the stop."""
        self.end()

    def end(self) -> None:
        """Act no more."""
        self.scheduler.remove(self)

    def again_in(self, milliseconds: int) -> None:
        """Act again after a while."""
        self.due_ms = self.scheduler.now_ms + milliseconds

    def wake(self) -> None:
        """Act now, if it sleeps."""
        if not self.left:
            self.scheduler.at(self, self.scheduler.now_ms)


class Owning(Thread):
    """Stands by until the application is ours, then renews the lease; lost, the worker stops."""

    def act(self) -> None:
        """Look or renew once; a call that failed is made again."""
        worker = self.worker
        if self.process.stopping and not worker.term.epoch:
            self.process.dead = True
            return
        if worker.leaving:
            self.end()
            return
        try:
            standing = worker.ownership.renew() if worker.term.epoch else worker.ownership.look()
        except (ClientError, BotoCoreError) as error:
            if verdict(error) not in PASSING:
                raise
            self.again_in(LOOK_MS // 2)
            return
        if standing is Standing.LOST:
            worker.fail(FencedError("another worker has taken over"))
            self.end()
            return
        if standing is Standing.MINE and not worker.begun:
            worker.begin()
        self.again_in(worker.lease_ms // RENEWALS if worker.term.epoch else LOOK_MS)


class Coordinator(Thread):
    """Asks for streams and shards, and takes note of the readers that came to their end: `EmbeddedEngine.run`."""

    _told = False

    def act(self) -> None:
        """Go round once; when the process stops, hand the application back once all readers have ended."""
        worker, engine = self.worker, self.worker.engine
        worker.settle()
        if self.process.stopping:
            if all(reading.left for reading in worker.readings):
                self._leave()
            self.again_in(TURN_MS_MAX // 10)
            return
        if not self._told:
            self._told = True
            worker.tell("worker.started")
        engine._discover()
        for reading in worker.readings:
            reading.due_if_earlier()
        if worker.exhausted:
            self.process.note("has nothing left to read")
            self.process.stop()
        wait_ms = engine._asking_ms() - self.process.now().mono_ms
        self.again_in(max(LISTING_MS_MIN, min(LISTING_MS_MAX, wait_ms)))

    def stopped(self) -> None:
        """Go round until all readers have ended."""
        self.again_in(0)

    def _leave(self) -> None:
        self.worker.leaving = True
        self.worker.tell("worker.stopped")
        try:
            self.worker.ownership.release()
        except (ClientError, BotoCoreError):
            self.process.note("could not hand the application back")
        self.process.note("has stopped")
        self.process.dead = True


class Reading(Thread):
    """One thread of the crew: takes the next turn of any reader, or closes readers when the process stops."""

    def act(self) -> None:
        """Do one step of one reader."""
        rota, crew = self.worker.rota, self.worker.crew
        if self.process.stopping:
            turn = rota.leave()
            if turn is None:
                self.end()
            else:
                crew._outcomes.put(closed(turn))
                self.again_in(0)
        else:
            turn = rota.take_due()
            if turn is not None:
                crew._step(turn)
            self.due_ms = self._next_ms()
        if turn is not None and not crew._outcomes.empty():
            self.worker.coordinator.wake()

    def due_if_earlier(self) -> None:
        """Learn that turns may have been added."""
        next_ms = self._next_ms()
        if not (self.busy or self.left) and (self.due_ms is None or next_ms < self.due_ms):
            self.scheduler.at(self, next_ms)

    def stopped(self) -> None:
        """Close what is left."""
        self.again_in(0)

    def _next_ms(self) -> int:
        now_ms, next_ms = self.scheduler.now_ms, self.worker.rota.next_ms
        if next_ms is None:
            return now_ms + TURN_MS_MAX
        return min(now_ms + TURN_MS_MAX, max(now_ms, self.process.true_ms(next_ms)))


class Timing(Thread):
    """The thread of the deadline timer."""

    def act(self) -> None:
        """Test what is due by now in each shard, and sleep until the next."""
        if self.process.stopping:
            self.end()
            return
        timer = self.worker.timer
        for timed in timer._all():
            timer._test(timed)
        self.due_ms = self._next_ms()

    def rearmed(self) -> None:
        """Learn that a deadline may have moved."""
        next_ms = self._next_ms()
        if not (self.busy or self.left) and (self.due_ms is None or next_ms < self.due_ms):
            self.scheduler.at(self, next_ms)

    def _next_ms(self) -> int:
        now_ms = self.scheduler.now_ms
        instants = [at_ms for timed in self.worker.timer._all() if (at_ms := timed.next_deadline()) is not None]
        nearest_ms = self.process.true_ms(min(instants)) if instants else now_ms + TURN_MS_MAX
        return max(now_ms + 1, min(now_ms + TURN_MS_MAX, nearest_ms))
