"""The threads of a simulated worker, as actors: each acts in turns, while its process lives and is not frozen."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import PASSING, verdict
from lockside.core.ownership import Standing
from lockside.engines.embedded.crew import Outcome
from lockside.engines.embedded.reader import Progress, ShardReader
from lockside.engines.embedded.watch import StreamWatch
from lockside.errors import FencedError, StoppedError
from tests.simulation.process import CrashError

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

LOOK_MS: Final = 800
RENEWALS: Final = 3


@dataclass(eq=False)
class Thread:
    """One thread."""

    worker: "Worker"
    at_ms: int | None = field(init=False)

    def __post_init__(self) -> None:
        """Act at once."""
        self.at_ms = self.worker.process.scheduler.now_ms

    @property
    def name(self) -> str:
        """Name it by its process."""
        return f"{self.worker.process.name} {type(self).__name__.lower()}"

    @property
    def due_ms(self) -> int | None:
        """When it acts next."""
        return None if self.worker.process.dead or self.worker.process.frozen else self.at_ms

    def step(self) -> None:
        """Act; whatever the process is doing ends with it."""
        try:
            self.act()
        except CrashError:
            self.end()
        except StoppedError:
            self.stopped()
        except Exception as error:  # noqa: BLE001 the worker ends with it, or the world if it may not happen
            self.worker.fail(error)
            self.stopped()
        if self.worker.process.dead:
            self.end()

    def act(self) -> None:
        """Do what the thread does in one turn."""
        raise NotImplementedError

    def stopped(self) -> None:
        """Learn that a wait was ended by the stop."""
        self.end()

    def end(self) -> None:
        """Act no more."""
        self.at_ms = None
        self.worker.process.scheduler.remove(self)

    def again_in(self, milliseconds: float) -> None:
        """Act again after a while."""
        self.at_ms = self.worker.process.scheduler.now_ms + round(milliseconds)


class Owning(Thread):
    """Stands by until the application is ours, then renews the lease; lost, the worker stops."""

    def act(self) -> None:
        """Look or renew once; a call that failed is made again."""
        worker = self.worker
        if worker.process.stopping and not worker.term.epoch:
            worker.process.dead = True
            return
        if worker.released:
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
        elif standing is Standing.MINE and not worker.begun:
            worker.begin()
        self.again_in(worker.lease_ms // RENEWALS if worker.term.epoch else LOOK_MS)

class Coordinator(Thread):
    """Asks for streams and shards, gives readers their turns, and takes note of those that ended."""

    def act(self) -> None:
        """Go round once; when the process stops, hand the application back and end it once all readers have."""
        worker = self.worker
        while worker.endings:
            worker.settle(worker.endings.popleft())
        if worker.process.stopping:
            if not worker.tasks:
                self._leave()
            self.again_in(100)
            return
        now_ms = worker.process.now().mono_ms
        for table in worker.tables:
            if table.due_ms() <= now_ms:
                for watch, reader in table.discover(worker.discovery):
                    task = Reading(worker, watch, reader)
                    worker.tasks[reader] = task
                    worker.process.scheduler.add(task)
        self.again_in(max(50, min(400, min(table.due_ms() for table in worker.tables) - now_ms)))

    def stopped(self) -> None:
        """Go round until all readers have ended."""
        self.again_in(0)

    def _leave(self) -> None:
        worker = self.worker
        worker.released = True
        try:
            worker.ownership.release()
        except (ClientError, BotoCoreError):
            worker.process.note("could not hand the application back")
        worker.process.note("has stopped")
        worker.process.dead = True


@dataclass(eq=False)
class Reading(Thread):
    """Reads one shard, step by step."""

    watch: StreamWatch
    reader: ShardReader

    def act(self) -> None:
        """Do one step, or close when the process stops."""
        try:
            if self.worker.process.stopping:
                self.reader.close()
                self._done(ended=False)
                return
            step = self.reader.step()
        except StoppedError:
            self.again_in(0)
        except Exception as error:  # noqa: BLE001 settled by the coordinator
            self.reader.abandon()
            self._done(ended=False, error=error)
        else:
            if step.progress is Progress.ENDED:
                self._done(ended=True)
            else:
                self.again_in(step.wait_seconds * 1000)

    def _done(self, *, ended: bool, error: Exception | None = None) -> None:
        self.worker.endings.append(Outcome(self.watch, self.reader.shard.shard_id, ended, error))
        self.worker.tasks.pop(self.reader, None)
        self.end()


class Timing(Thread):
    """Tests the deadlines that are due."""

    @property
    def due_ms(self) -> int | None:
        """Return when the next deadline may be due, in true time."""
        process = self.worker.process
        if process.dead or process.frozen or process.stopping or self.at_ms is None:
            return None
        instants = [tracer.processor.next_deadline() for tracer in self.worker.tracers if tracer.begun]
        nearest = min((at_ms for at_ms in instants if at_ms is not None), default=None)
        return None if nearest is None else max(process.true_ms(nearest), self.at_ms)

    def act(self) -> None:
        """Test what is due by now in each shard."""
        process = self.worker.process
        for tracer in self.worker.tracers:
            at_ms = tracer.processor.next_deadline() if tracer.begun else None
            if at_ms is None or at_ms > process.now().mono_ms:
                continue
            tracer.processor.tick()
        self.at_ms = process.scheduler.now_ms + 20
