"""One operating-system process of the world: its clocks, its stop, and the bad line over which it speaks to AWS.

A process can die at any call, before or after the call took effect, and it can be frozen for longer than any lease.
What is left of its frames on the stack dies with it as soon as it is touched again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore import exceptions as aws

from lockside.core.now import Now
from tests.fakes.dynamodb import service_error
from tests.simulation.chance import Chance
from tests.simulation.scheduler import Actor, Scheduler

ENDPOINT: Final = "https://dynamodb.us-east-1.amazonaws.com"
WAIT_MS_MAX: Final = 1_000
WRITES: Final = frozenset({"put_item", "update_item", "delete_item"})


class CrashError(BaseException):
    """The process is gone: not an Exception, so that nothing in the worker can handle it."""


class Process:
    """One run of a worker, from its start to its death. Its wall clock is off by `skew_ms` and may jump."""

    def __init__(
        self, name: str, scheduler: Scheduler, chance: Chance, skew_ms: int, note: Callable[[str], None]
    ) -> None:
        """Start now."""
        self.name = name
        self.scheduler = scheduler
        self.chance = chance
        self.skew_ms = skew_ms
        self.dead = False
        self.stopping = False
        self.note = note
        self.threads: list[Actor] = []
        self.thaws_ms = 0
        self._began_ms = scheduler.now_ms

    @property
    def frozen(self) -> bool:
        """Whether it stands still, as under SIGSTOP or in a long pause of its machine."""
        return self.scheduler.now_ms < self.thaws_ms

    def freeze(self, milliseconds: int) -> None:
        """Stand still with all threads."""
        self.thaws_ms = max(self.thaws_ms, self.scheduler.now_ms) + milliseconds

    def thaw(self) -> None:
        """Go on, if it stood still."""
        if self.frozen:
            self.thaws_ms = self.scheduler.now_ms
            self._wake()

    def stop(self) -> None:
        """Ask it to stop, as a signal does: nobody waits any longer."""
        self.stopping = True
        self._wake()

    def now(self) -> Now:
        """Read both clocks, as its code does."""
        now_ms = self.scheduler.now_ms
        return Now(wall_ms=now_ms + self.skew_ms, mono_ms=now_ms - self._began_ms)

    def true_ms(self, mono_ms: int) -> int:
        """Return the true time of an instant on its clock that never steps."""
        return self._began_ms + mono_ms

    def is_set(self) -> bool:
        """Whether it was asked to stop."""
        return self.stopping

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as a stop does. How long is drawn here: what the worker asks for is jittered by chance of its own."""
        del timeout
        self._alive()
        if not self.stopping:
            self.pause(self.chance.between(1, WAIT_MS_MAX))
        return self.stopping

    def pause(self, milliseconds: int) -> None:
        """Let time pass for the calling thread; return only while the process lives and turns."""
        self.scheduler.wait(milliseconds)
        while self.frozen and not self.dead:
            self.scheduler.wait(self.thaws_ms - self.scheduler.now_ms)
        self._alive()

    def die(self, why: str) -> None:
        """End the process here and now."""
        self.dead = True
        self.note(f"dies {why}")
        raise CrashError(self.name)

    def call(self, operation: str, request: Mapping[str, Any], function: Callable[..., Any]) -> Any:
        """Do one call over the bad line."""
        self._alive()
        chance = self.chance
        self._trouble(operation)
        if chance.happens("crash_before"):
            self.die(f"before {operation}")
        self._refuse(operation, request)
        self.scheduler.caller = self.name
        try:
            answer = _partly(operation, request, function, chance)
        finally:
            self.scheduler.caller = None
        if chance.happens("crash_after"):
            self.die(f"after {operation}")
        self._trouble(operation)
        if chance.happens("dropped_answer"):
            self.note(f"{operation}: its answer is lost")
            raise aws.ReadTimeoutError(endpoint_url=ENDPOINT)
        return answer

    def _wake(self) -> None:
        for thread in self.threads:
            if not thread.left:
                self.scheduler.at(thread, self.scheduler.now_ms)

    def _alive(self) -> None:
        if self.dead:
            raise CrashError(self.name)

    def _trouble(self, operation: str) -> None:
        """Take a moment, or long, or freeze with all threads."""
        chance = self.chance
        if chance.happens("frozen"):
            self.freeze(chance.between(2_000, 30_000))
            self.note(f"frozen in {operation} for {self.thaws_ms - self.scheduler.now_ms} ms")
        delay_ms = chance.between(500, 8_000) if chance.happens("slow") else chance.between(0, 6)
        if delay_ms or self.frozen:
            self.pause(delay_ms)

    def _refuse(self, operation: str, request: Mapping[str, Any]) -> None:
        """Raise what a service or the network answers instead of doing the call."""
        chance = self.chance
        if chance.happens("refused_connection"):
            raise aws.EndpointConnectionError(endpoint_url=ENDPOINT)
        if chance.happens("server_error"):
            raise service_error("InternalServerError", operation, status=500)
        if chance.happens("throttled"):
            code = "LimitExceededException" if operation == "describe_stream" else "ThrottlingException"
            raise service_error(code, operation)
        if operation == "get_records" and chance.happens("expired_iterators"):
            raise service_error("ExpiredIteratorException", operation)
        if operation == "transact_write_items" and chance.happens("conflict"):
            reasons = [{"Code": "TransactionConflict"}, *({"Code": "None"} for _ in request["TransactItems"][1:])]
            raise service_error("TransactionCanceledException", operation, CancellationReasons=reasons)
        if operation in WRITES and chance.happens("conflict"):
            raise service_error("TransactionConflictException", operation)


def _partly(operation: str, request: Mapping[str, Any], function: Callable[..., Any], chance: Chance) -> Any:
    """Do a call; of a batch, perhaps only a part."""
    if operation not in {"batch_write_item", "batch_get_item"} or not chance.happens("unprocessed"):
        return function(**request)
    ((table, wanted),) = request["RequestItems"].items()
    all_of_it = wanted["Keys"] if operation == "batch_get_item" else wanted
    now = chance.between(1, len(all_of_it))
    order = sorted(range(len(all_of_it)), key=lambda _: chance.random.random())
    done, left = [all_of_it[n] for n in sorted(order[:now])], [all_of_it[n] for n in sorted(order[now:])]
    if operation == "batch_get_item":
        answer = function(RequestItems={table: {**wanted, "Keys": done}})
        return {**answer, "UnprocessedKeys": {table: {**wanted, "Keys": left}} if left else {}}
    return {**function(RequestItems={table: done}), "UnprocessedItems": {table: left} if left else {}}


class Line:
    """A boto3 client as a process reaches it."""

    def __init__(self, process: Process, service: Any) -> None:
        """Connect."""
        self._process = process
        self._service = service

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        """Return an operation of the client."""
        function = getattr(self._service, operation)

        def call(**request: Any) -> Any:
            return self._process.call(operation, request, function)

        self.__dict__[operation] = call
        return call
