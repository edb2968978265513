"""A fleet of real workers over rolling shards, the traffic they watch, and a lone embedded worker to compare with.

The streams are the fake server's, in front of DynamoDB Local, where all tables are, KCL's too. A fleet of its own finds
the leases that a first start would make: KCL waits up to half a minute before it makes them.
"""

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from lockside.app import fleet, provision
from lockside.aws.clients import Clients, connect
from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.emulators.tables import create_lock_table, create_session_table
from lockside.engines.kcl.leases import LeaseTable, lease_table
from lockside.engines.kcl.provision import first_lease, make_tables
from lockside.settings import Settings, load
from lockside.state import keys_file
from tests.fakes.kill_evidence import Trail, check_logs, last_changes, read_trail
from tests.fakes.kill_traffic import Traffic, Writing
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_server import StreamServer
from tests.fakes.truth import expected, session_name
from tests.fakes.worker_process import WorkerProcess, worker_process

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SETTINGS: Final = """
application = "{side}-{name}"
[aws]
endpoint_url = "{endpoint_url}"
region = "us-east-1"
[audit]
table = "{name}-{side}-audit"
deletion_protection = false
point_in_time_recovery = false
[state]
table = "{name}-{side}-state"
[keys]
file = "{keys}"
[engine]
checkpoint_interval_seconds = 1.0
[recipe]
clock_margin_ms = 200
[ops]
log_format = "json"
status_seconds = 1.0
[[source]]
id = "locks"
table = "{name}-locks"
layout = "pydynlock"
[[source]]
id = "sessions"
table = "{name}-sessions"
layout = "flask-session"
"""
START_SECONDS_MAX: Final = 90.0
POLL_SECONDS: Final = 0.1
SETTLE_SECONDS_MAX: Final = 180.0
END_SECONDS_MAX: Final = 60.0


@dataclass
class Fleet:
    """The stage. `workers` are those that live, `log` all lines of all that ever did."""

    emulator: Emulator
    server: StreamServer
    client: "DynamoDBClient"
    clients: Clients
    settings: Mapping[str, Settings]
    configs: Mapping[str, Path]
    arns: tuple[str, str]
    traffic: Traffic
    stack: ExitStack
    workers: list[WorkerProcess] = field(default_factory=list)
    dead: list[WorkerProcess] = field(default_factory=list)
    _writing: Writing | None = None

    # -- workers -----------------------------------------------------------------------------------------------------

    def start(self, number: int = 1) -> list[WorkerProcess]:
        """Start workers, and wait until KCL works in each."""
        config = self.configs["fleet"]
        made = [
            self.stack.enter_context(worker_process(config, self.emulator, "--engine", "kcl")) for _ in range(number)
        ]
        for worker in made:
            for _ in self.arns:
                while worker.until("kcl_state", START_SECONDS_MAX)["state"] != "started":
                    pass
        self.workers += made
        return made

    def stop(self, worker: WorkerProcess) -> float:
        """Stop a worker in good order; return how many seconds it took."""
        began = time.monotonic()
        self.stop_other(worker)
        self.workers.remove(worker)
        self.dead.append(worker)
        return time.monotonic() - began

    @staticmethod
    def stop_other(worker: WorkerProcess) -> None:
        """Stop a worker that is none of the fleet's."""
        worker.send(signal.SIGTERM)
        code = worker.ended()
        assert code == 0, f"ended with {code}: {worker.last()}"

    def kill(self, worker: WorkerProcess) -> float:
        """Kill a worker; return the wall time."""
        at = time.time()
        worker.send(signal.SIGKILL)
        worker.ended()
        self.workers.remove(worker)
        self.dead.append(worker)
        return at

    def named(self, worker_id: str) -> WorkerProcess:
        """Find a living worker by its id in the fleet."""
        return next(each for each in self.workers if self.id_of(each) == worker_id)

    @staticmethod
    def id_of(worker: WorkerProcess) -> str:
        """Return a worker's id in the fleet."""
        return str(next(line for line in worker.lines if line["event"] == "member")["worker"])

    def leases(self, arn: str) -> LeaseTable:
        """Return the leases of a stream."""
        return LeaseTable(self.client, lease_table(self.settings["fleet"].application, arn))

    def owned(self, worker_id: str) -> list[ShardRef]:
        """Return the open shards that a worker has leased."""
        return [
            ShardRef(arn, lease.shard_id)
            for arn in self.arns
            for lease in self.leases(arn).leases()
            if lease.owner == worker_id and not lease.finished
        ]

    def open_owned(self) -> bool:
        """Whether every open shard is leased to a worker that lives."""
        ids = {self.id_of(worker) for worker in self.workers}
        leases = [lease for arn in self.arns for lease in self.leases(arn).leases() if not lease.finished]
        return bool(leases) and all(lease.owner in ids for lease in leases)

    def leader_and_owner(self) -> WorkerProcess:
        """Wait for a worker that leads the lock table's stream and has a shard of it, and return it.

        To whom a lone shard goes is KCL's choice. Where that is not the leader, the leader is started anew: the other,
        which has the shard, leads then.
        """
        self.until(lambda: self._leader() is not None and self.open_owned(), "nobody leads and owns", START_SECONDS_MAX)
        leader = self._leader()
        if leader is not None and not self._owns(leader):
            self.stop(self.named(leader))
            self.start()
        self.until(lambda: self._owns(self._leader()), "no worker both leads and owns", START_SECONDS_MAX)
        leader = self._leader()
        assert leader is not None
        return self.named(leader)

    def _leader(self) -> str | None:
        """Name the worker that leads the lock table's stream, if it lives."""
        leader = self.leases(self.arns[0]).leader()
        return leader if leader in {self.id_of(worker) for worker in self.workers} else None

    def _owns(self, worker_id: str | None) -> bool:
        """Whether a worker has an open shard of the lock table's."""
        leases = self.leases(self.arns[0]).leases()
        return worker_id is not None and any(lease.owner == worker_id and not lease.finished for lease in leases)

    def lines(self) -> list[dict[str, Any]]:
        """Return what all workers have logged up to now."""
        for worker in (*self.workers, *self.dead):
            worker.last()
        return [line for worker in (*self.workers, *self.dead) for line in worker.lines]

    def first_after(self, at: float, events: Callable[[dict[str, Any]], bool], seconds: float) -> float:
        """Wait for a living worker's line that was logged after `at`; return how many seconds after."""
        found: list[float] = []

        def look() -> bool:
            for worker in self.workers:
                worker.last()
                found.extend(wall(line) for line in worker.lines if "timestamp" in line and events(line))
            return any(seen > at for seen in found)

        self.until(look, "no such line", seconds)
        return min(seen for seen in found if seen > at) - at

    # -- streams and traffic -----------------------------------------------------------------------------------------

    def order(self, **order: Any) -> Any:
        """Command the streams server."""
        return self.server.control(order)

    def write(self, steps_per_second: float = 12.0) -> None:
        """Let there be traffic."""
        self._writing = Writing(self.traffic, steps_per_second)

    def quiet(self) -> None:
        """End the traffic; no shard rolls from here on."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        self.order(life={})

    def until(self, done: Callable[[], bool], what: str, seconds: float = SETTLE_SECONDS_MAX) -> None:
        """Wait until something is so."""
        limit = time.monotonic() + seconds
        while not done():
            if time.monotonic() > limit:
                tails = "\n".join(f"{worker.process.pid}: {worker.last(12)}" for worker in self.workers)
                raise AssertionError(f"{what} in {seconds:.0f} s\n{tails}")
            time.sleep(POLL_SECONDS)

    # -- the end -----------------------------------------------------------------------------------------------------

    def trail(self, side: str = "fleet") -> Trail:
        """Read a side's audit table."""
        return read_trail(self.client, self.settings[side].audit.table)

    def settle(self) -> None:
        """End the traffic, let a lone embedded worker read the same streams, and wait until the fleet has as much."""
        self.quiet()
        self.read_alone()
        wanted = self.trail("spared").changes.keys()
        self.until(lambda: wanted <= self.trail().changes.keys(), "the fleet has not recorded all")
        owed = self.owed()
        self.until(
            lambda: owed <= lapsed(self.trail()), f"lapses not declared of {sorted(owed - lapsed(self.trail()))}"
        )

    def told_by(self, *sides: str) -> bool:
        """Whether sides that never died have declared every lapse that nobody removed the traces of."""
        owed = self._shown(self.traffic.names("expired") - self.traffic.names("reaped"))
        return all(owed <= lapsed(self.trail(side)) for side in sides)

    def read_alone(self) -> None:
        """Run `lockside run --once` of an application of its own."""
        with worker_process(self.configs["spared"], self.emulator, "--once") as lone:
            code = lone.process.wait(END_SECONDS_MAX)
            assert code == 0, lone.last()

    def owed(self) -> set[str]:
        """Return the entities whose lapse the fleet owes.

        Not a session that was removed after its deadline, as no worker may have had its shard in between; nor what was
        left before the position that some worker began from, as it never saw the hold. A takeover proves it by itself.
        """
        traffic = self.traffic
        began = [
            (line["table"], line["shard"], int(line["sequence_number"]))
            for line in self.lines()
            if line["event"] == "shard_started" and line["sequence_number"] is not None
        ]
        last = last_changes(self.clients.streams, self.arns)

        def unseen(name: str) -> bool:
            if name not in last:
                return False
            shard, position = last[name]
            # A child's processor begins without its parent's memory.
            passed = any((shard.table, shard.shard_id) == at[:2] and at[2] >= position for at in began)
            return passed or self._closed(shard)

        left = traffic.names("expired") - traffic.names("reaped")
        held = {name for name in left - traffic.names("taken_over") if unseen(name)}
        return self._shown(left - held)

    def _closed(self, shard: ShardRef) -> bool:
        """Whether a shard has ended: its worker keeps its deadlines, until it dies or hands the shard over."""
        return bool(self.dead) and self.server.service.model.streams[shard.stream_arn].shards[shard.shard_id].closed

    def _shown(self, names: set[str]) -> set[str]:
        key = keys_file.load(self.settings["fleet"].keys.file).entity
        return {session_name(name, key) if name.startswith("session:") else name for name in names}

    def check(self) -> None:
        """See that nothing is lost and nothing there twice, byte for byte, and that the lone worker told the truth."""
        ours, alone = self.trail(), self.trail("spared")
        check_logs(alone)
        check_logs(ours)
        assert alone.changes
        facts = {place: (kept.log, kept.index, kept.body) for place, kept in alone.changes.items()}
        assert {place: (kept.log, kept.index, kept.body) for place, kept in ours.changes.items()} == facts
        self._check_truth(alone)
        assert ours.lapses.keys() <= alone.lapses.keys() | self._reaped(ours), "a lapse that never was"
        named = [kept.event["data"]["entity"]["name"] for kept in ours.lapses.values()]
        assert len(named) == len(set(named)), "a lapse told twice"

    def _reaped(self, trail: Trail) -> set[tuple[str, str]]:
        """Lapses of sessions that were removed later: a lone worker that came after that cannot have seen them."""
        names = self._shown(self.traffic.names("reaped"))
        return {place for place, kept in trail.lapses.items() if kept.event["data"]["entity"]["name"] in names}

    def _check_truth(self, trail: Trail) -> None:
        key = keys_file.load(self.settings["fleet"].keys.file).entity
        told = trail.told
        for name, steps in expected(self.traffic.truth, key).items():
            changes = [event for event in told[name] if not event[0].endswith(".expired")]
            assert changes == [(step[0], step[1]) for step in steps], name


def lapsed(trail: Trail) -> set[str]:
    """Return the entities with a declared lapse."""
    return {kept.event["data"]["entity"]["name"] for kept in trail.lapses.values()}


def wall(line: Mapping[str, Any]) -> float:
    """Return when a line was logged, in epoch seconds."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def silences(lines: Sequence[Mapping[str, Any]], born: Mapping[str, str]) -> list[float]:
    """Return, for each child that was born of a parent, how long nothing was consumed: from its last batch on."""
    batches: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line["event"] == "batch":
            batches[line["shard"]].append(wall(line))
    pairs = ((child, parent) for child, parent in born.items() if batches[child] and batches[parent])
    return [max(0.0, min(batches[child]) - max(batches[parent])) for child, parent in pairs]


@contextmanager
def fleet_on(emulator: Emulator, name: str, folder: Path, *, shards: int = 1, seed: int = 1) -> Iterator[Fleet]:
    """Set a stage with streams of so many shards, before any worker starts; end all in the end."""
    fleet.fetch_jars()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        server = stack.enter_context(StreamServer(backing_url=emulator.endpoint_url))
        assert server.backing is not None
        server.backing.shards = shards
        for variable, value in server.emulator.environment.items():
            patch.setenv(variable, value)
        # Where the locks on ordinals are: workers of other tests are no workers of this fleet.
        patch.setenv("TMPDIR", str(folder))
        client = dynamodb(server.emulator)
        stack.callback(client.close)
        arns = (create_lock_table(client, f"{name}-locks"), create_session_table(client, f"{name}-sessions"))
        configs = {side: _config(server.emulator, name, side, folder) for side in ("fleet", "spared")}
        settings = {side: load(config) for side, config in configs.items()}
        clients = connect(settings["fleet"].aws)
        for side in settings.values():
            planned = provision.plan(side, clients)
            provision.apply(planned, clients, threading.Event(), "2026-01-01T00:00:00Z", lambda _line: None)
        chance = Random(seed)  # noqa: S311 - no secret hangs on it
        traffic = Traffic(client, f"{name}-locks", f"{name}-sessions", chance)
        made = Fleet(server.emulator, server, client, clients, settings, configs, arns, traffic, stack)
        stack.callback(made.quiet)
        for arn in arns:
            seed_leases(made, arn)
        yield made


def seed_leases(stage: Fleet, arn: str) -> None:
    """Leave a stream's leases as a fleet's first start does."""
    name = stage.leases(arn).name
    make_tables(stage.client, name, Retrier(threading.Event(), NoMeter()))
    for shard_id in stage.server.service.model.streams[arn].shards:
        stage.client.put_item(TableName=name, Item=first_lease(shard_id))


def _config(emulator: Emulator, name: str, side: str, folder: Path) -> Path:
    config = folder / f"{side}.toml"
    text = SETTINGS.format(side=side, name=name, endpoint_url=emulator.endpoint_url, keys=folder / "keys.json")
    config.write_text(text, encoding="utf-8")
    return config
