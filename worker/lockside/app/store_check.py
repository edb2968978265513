"""The random read/write check: clients in processes of their own, some of them stopped in mid-lock, and a verdict.

Strategy: clients note what they did and when, on one clock that all processes of a machine share; afterwards it is
found out whether it may have been so (core/trial.py). A client that says that it holds a lock is now and then stopped
with SIGSTOP until another has the lock and has written under it; then it goes on, and writes with its old fence.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from random import Random
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lockside.app import lock_history, trial_faults
from lockside.aws.clients import connect, refusal
from lockside.core.trial import Event, Verdict, judge, last_fences
from lockside.errors import NotFoundOutError
from lockside.ops.trace import trace
from lockside.stores import connect as stores_connect
from lockside.stores import tables
from lockside.stores.lock_client import LockClient
from lockside.stores.phrases import KeyPhraseStore
from lockside.stores.trial_client import Part, Shop, TrialClient

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from lockside.aws.clients import Clients
    from lockside.settings import AwsSettings

SHARDS: Final = 4
PAUSE_SHARE: Final = 0.25
PAUSE_LEASES_MAX: Final = 15
OVERTIME_LEASES: Final = 30
READY_SECONDS_MAX: Final = 120.0
END_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.1
READ_LEASES_MAX: Final = 0.5
"""A call of a client waits for its answer for so much of a lease: a lost one must not cost it all its heartbeats."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a trial is held: the endpoint, its four tables, and the run's own name for its keys and locks."""

    aws: "AwsSettings"
    table: str
    run: str
    lease_seconds: float
    faults: float = 0.0

    @property
    def phrases(self) -> str:
        """The table of key phrases."""
        return f"{self.table}-phrases"

    @property
    def locks(self) -> str:
        """The lock table."""
        return f"{self.table}-locks"

    @property
    def counters(self) -> str:
        """The table of fenced counters."""
        return f"{self.table}-counters"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, with how many clients, from which seed; they share so many keys and locks.

    It goes on for up to `OVERTIME_LEASES` until a holder that was stopped has been overtaken and has written.
    """

    seconds: float
    clients: int
    seed: int
    keys: int = 40
    locks: int = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a trial. `milliseconds` are the times of each kind of call, sorted."""

    verdict: Verdict
    seconds: float
    calls: int
    unknown: int
    pauses: int
    milliseconds: dict[str, list[float]]


Maker = Callable[[Site, Part], Shop]
"""Opens the stores for one client, in its own process."""


def open_shop(site: Site, part: Part) -> Shop:
    """Open the stores as anybody would."""
    client = client_of(site, part)
    store = KeyPhraseStore(client, site.phrases)
    locks = LockClient(client, site.locks, lease=site.lease_seconds, look=site.lease_seconds / 4)
    return Shop(store.prefix(f"{site.run}/"), locks, client, site.counters)


def client_of(site: Site, part: Part) -> Any:
    """Make one client's connection, with the faults that it is to meet."""
    session = boto3.Session(region_name=site.aws.region or None, profile_name=site.aws.profile or None)
    config = Config(read_timeout=max(1.0, site.lease_seconds * READ_LEASES_MAX))
    client = stores_connect.client(session, endpoint_url=site.aws.endpoint_url or None, config=config)
    if site.faults:
        chance = Random(f"{part.seed}/{part.number}/faults")  # noqa: S311 - to be repeated, not secret
        trial_faults.install(client, site.faults, chance)
    return client


@dataclass(frozen=True, slots=True)
class _Seat:
    """A client's line to the process that started it, and that one's words: begin, and come to an end."""

    wire: Connection
    go: Any
    ending: Any


def _work(maker: Maker, site: Site, part: Part, seat: _Seat) -> None:
    """Be one client; the body of its process."""
    # Ctrl-C is for the process that started us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard, ended = threading.Lock(), threading.Event()

    def tell(*message: object) -> None:
        with guard:
            seat.wire.send(message)

    def watch() -> None:
        seat.ending.wait()
        ended.set()

    try:
        shop = maker(site, part)
        tell("ready")
        seat.go.wait()
        threading.Thread(target=watch, daemon=True).start()
        note: Callable[[Event], None] = lambda event: tell("event", event)  # noqa: E731
        TrialClient(part, shop, note, lambda name, fence: tell("holding", name, fence), ended).run()
        shop.locks.close()
        tell("ended")
    except BaseException as error:
        tell("failed", "\n".join(trace(error)) if isinstance(error, Exception) else type(error).__name__)
        raise


@dataclass(slots=True)
class _Pauser:
    """Stops a holder now and then, and lets it go on once another has taken its lock and written under it."""

    pids: dict[int, int]
    chance: Random
    patience_seconds: float
    pauses: int = 0
    refusals: int = 0
    _last: int | None = None
    _who: int | None = None
    _lock: str = ""
    _since: float = 0.0
    _successor: int | None = None

    def holding(self, client: int, lock: str) -> None:
        """Hear that a client holds a lock now."""
        if self._who is None:
            # The first in any case: a short trial is to show it too.
            if not self.pauses or self.chance.random() < PAUSE_SHARE:
                os.kill(self.pids[client], signal.SIGSTOP)
                self._who, self._lock, self._since, self._successor = client, lock, time.monotonic(), None
                self.pauses += 1
        elif lock == self._lock and client != self._who:
            self._successor = client

    def happened(self, event: Event) -> None:
        """Hear of a call."""
        self.refusals += event.outcome == "refused" and event.did == "fenced" and event.client == self._last
        wrote = event.did == "fenced" and event.outcome == "done" and event.key == self._lock
        if wrote and event.client == self._successor:
            self.go_on()

    def tick(self) -> None:
        """Let who was stopped for too long go on."""
        if self._who is not None and time.monotonic() - self._since > self.patience_seconds:
            self.go_on()

    def go_on(self) -> None:
        """Let who is stopped go on."""
        if self._who is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pids[self._who], signal.SIGCONT)
            self._last, self._who = self._who, None


@dataclass(slots=True)
class _Crowd:
    """The clients' processes, and what they told."""

    processes: "list[BaseProcess]"
    wires: dict[Connection, int]
    events: list[Event] = field(default_factory=list)
    ready: int = 0
    failure: str = ""

    def listen(self, pauser: _Pauser | None) -> None:
        """Take in what was told within a moment."""
        for wire in wait(list(self.wires), LOOK_SECONDS):
            if not isinstance(wire, Connection):
                continue
            client = self.wires[wire]
            try:
                kind, *told = wire.recv()
            except EOFError:
                del self.wires[wire]
                continue
            match kind, told:
                case "ready", _:
                    self.ready += 1
                case "event", [Event() as event]:
                    self.events.append(event)
                    if pauser is not None:
                        pauser.happened(event)
                case "holding", [str(lock), _] if pauser is not None:
                    pauser.holding(client, lock)
                case "failed", [str(text)]:
                    self.failure = self.failure or text
                case _:
                    pass


def check(
    site: Site, plan: Plan, stop: threading.Event, progress: Callable[[float, int], None], maker: Maker = open_shop
) -> Report:
    """Hold a trial in tables that are there; `progress` is told of its seconds and calls. Raises NotFoundOutError."""
    keys = tuple(f"key {number:03d} é" for number in range(plan.keys))
    locks = tuple(f"{site.run}-{number}" for number in range(plan.locks))
    parts = [Part(number, plan.seed, keys, locks, site.lease_seconds) for number in range(plan.clients)]
    with _crowd(site, parts, maker) as (crowd, go, ending):
        pids = {number: process.pid or 0 for number, process in enumerate(crowd.processes)}
        chance = Random(f"{plan.seed}/pauses")  # noqa: S311 - to be repeated, not secret
        pauser = _Pauser(pids, chance, PAUSE_LEASES_MAX * site.lease_seconds)
        _until(crowd, lambda: crowd.ready == plan.clients, READY_SECONDS_MAX, "get ready")
        go.set()
        began = time.monotonic()
        overtime = plan.seconds + OVERTIME_LEASES * site.lease_seconds
        try:
            while not (stop.is_set() or crowd.failure):
                elapsed = time.monotonic() - began
                if elapsed >= (plan.seconds if pauser.refusals else overtime):
                    break
                crowd.listen(pauser)
                pauser.tick()
                progress(elapsed, len(crowd.events))
        finally:
            seconds = time.monotonic() - began
            pauser.go_on()
            ending.set()
        _until(crowd, lambda: not crowd.wires, END_SECONDS_MAX, "come to an end")
    if crowd.failure:
        raise NotFoundOutError(f"a client failed, which is a defect of the store or of the check:\n{crowd.failure}")
    return _report(site, crowd, parts[0], seconds, pauser.pauses)


def _report(site: Site, crowd: _Crowd, part: Part, seconds: float, pauses: int) -> Report:
    events, keys, locks = crowd.events, part.keys, part.lock_names
    last = last_fences((event.key, event.fence) for event in events if event.did == "held")
    history = lock_history.steps(connect(site.aws), site.locks, locks, last, threading.Event())
    verdict = judge(events, history, keys)
    times: dict[str, list[float]] = {}
    for event in events:
        if event.did != "held":
            times.setdefault(event.did, []).append((event.end_ns - event.start_ns) / 1e6)
    calls = sum(map(len, times.values()))
    unknown = sum(event.outcome == "unknown" for event in events)
    return Report(
        verdict, seconds, calls, unknown, pauses, {name: sorted(each) for name, each in sorted(times.items())}
    )


@contextmanager
def _crowd(site: Site, parts: Sequence[Part], maker: Maker) -> Iterator[tuple[_Crowd, Any, Any]]:
    """Start a process for each part; end them all in the end, those too that are stopped."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    go, ending = context.Event(), context.Event()
    processes: list[Any] = []
    wires: dict[Connection, int] = {}
    try:
        for part in parts:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(maker, site, part, _Seat(theirs, go, ending)), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            wires[ours] = part.number
        yield _Crowd(processes, wires), go, ending
    finally:
        go.set()
        ending.set()
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join(END_SECONDS_MAX)
        for wire in wires:
            wire.close()


def _until(crowd: _Crowd, holds: Callable[[], bool], seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not holds() and not crowd.failure:
        if time.monotonic() > limit:
            raise NotFoundOutError(f"not all clients did {what} within {seconds:.0f} s; give fewer --clients")
        crowd.listen(None)


def prepare(clients: "Clients", site: Site) -> list[str]:
    """Make the tables that are not there; return the names of those that were made."""
    wanted = [*tables.lock_tables(site.locks), tables.phrase_table(site.phrases)]
    names = [definition.name for definition in wanted]
    try:
        there = {name for name in [*names, site.counters] if _is_there(clients, name)}
        LockClient.create(clients.dynamodb, site.locks)
        if site.phrases not in there:
            KeyPhraseStore.create(clients.dynamodb, site.phrases, shards=SHARDS)
        if site.counters not in there:
            _make_counters(clients, site.counters)
    except (BotoCoreError, ClientError) as error:
        raise refusal(error, clients.endpoint) from error
    return [name for name in [*names, site.counters] if name not in there]


def remove(clients: "Clients", names: Sequence[str]) -> None:
    """Delete tables that the trial made."""
    for name in names:
        clients.dynamodb.delete_table(TableName=name)


def _is_there(clients: "Clients", name: str) -> bool:
    try:
        clients.dynamodb.describe_table(TableName=name)
    except clients.dynamodb.exceptions.ResourceNotFoundException:
        return False
    return True


def _make_counters(clients: "Clients", name: str) -> None:
    clients.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    clients.dynamodb.get_waiter("table_exists").wait(TableName=name)
