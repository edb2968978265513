"""A stage for foreign clients: their table, a worker beside it, their programs, and what they say truly happened."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lockside.app import provision
from lockside.app.worker import Worker
from lockside.aws.clients import Clients, connect
from lockside.emulators import tether
from lockside.emulators.emulator import Emulator
from lockside.settings import Settings, load
from tests.clients.packages import PACKAGES

LEASE_MS: Final = 4_000
PROGRAM_SECONDS_MAX: Final = 60.0
LAPSE_SECONDS_MAX: Final = 20.0
POLL_SECONDS: Final = 0.05
SAID_LINES: Final = 20

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """One foreign client: its packages and program, its table's keys, the layout, and what must never come out."""

    packages: str
    program: str
    keys: tuple[str, ...]
    index: tuple[str, ...]
    layout: str
    parts: tuple[str, ...]
    secrets: tuple[str, ...] = ()


CLIENTS: Final[Mapping[str, Client]] = {
    "awslabs": Client(
        "java", "Locks", ("key",), (), "awslabs", ("workers", "victim", "heir"), ("made-up-token", "bWFkZS11cC10b2tlbg")
    ),
    "tristanls": Client("node", "locks.mjs", ("id",), (), "tristanls", ("workers", "victim", "heir")),
    "authjs": Client(
        "node", "sessions.mjs", ("pk", "sk"), ("GSI1PK", "GSI1SK"), "authjs", ("all",), ("made-up-token", "example.org")
    ),
    "session-flask": Client("flask", "visitors.py", ("id",), (), "session-web", ("all",), ("basket", "tea")),
}


@dataclass
class Play:
    """What a client's programs did, and what the worker made of it."""

    client: Client
    settings: Settings
    clients: Clients
    truth: list[Line] = field(default_factory=list)
    heard: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def expired(self) -> int:
        """How many lapses truly happened."""
        return sum(line["step"] == "expired" for line in self.truth)


@contextmanager
def played(name: str, emulator: Emulator, folder: Path) -> Iterator[Play]:
    """Let a client play beside a worker until every lapse is told; then let another drain what the stream still has."""
    client = CLIENTS[name]
    settings = _settings(f"foreign-{name}", client, emulator, folder)
    clients = connect(settings.aws)
    _create(clients, settings.source[0].table, client)
    provision.apply(provision.plan(settings, clients), clients, threading.Event(), "2026-11-28", lambda _line: None)
    play, stop = Play(client, settings, clients), threading.Event()
    failures: list[BaseException] = []
    thread = threading.Thread(target=lambda: _work(play, stop, failures), daemon=True)
    thread.start()
    try:
        _play(play, emulator)
        _until(lambda: _lapses(play.heard) >= play.expired or bool(failures), LAPSE_SECONDS_MAX)
    finally:
        stop.set()
        thread.join(LAPSE_SECONDS_MAX)
    if failures:
        raise failures[0]
    with closing(Worker.connected(settings, stop=threading.Event(), announce=play.heard.extend)) as worker:
        worker.run(once=True)
    yield play


def _work(play: Play, stop: threading.Event, failures: list[BaseException]) -> None:
    try:
        with closing(Worker.connected(play.settings, stop=stop, announce=play.heard.extend)) as worker:
            worker.run()
    except BaseException as error:  # noqa: BLE001 - raised again by the thread that plays
        failures.append(error)


def _lapses(heard: Sequence[Mapping[str, Any]]) -> int:
    return sum(event["type"].endswith(".expired.v1") for event in list(heard))


def _play(play: Play, emulator: Emulator) -> None:
    """Play all parts: a victim is killed once it has told all, its heir comes when it is dead."""
    table = play.settings.source[0].table

    def start(part: str) -> "_Program":
        return _Program(part, [*_command(play.client), *_arguments(part, table, emulator)], play.truth)

    first, *others = play.client.parts
    running = [start(first)]
    if others:
        victim, heir = others
        dying = start(victim)
        dying.wait_for("ready")
        dying.kill()
        due = {line["lock"]: line for line in play.truth if line.get("owner") == "crash"}
        play.truth += [{**line, "t": line["t"] + LEASE_MS / 1000, "step": "expired"} for line in due.values()]
        running.append(start(heir))
    for program in running:
        program.finish()


def _command(client: Client) -> list[str]:
    return PACKAGES[client.packages].start(client.program)


def _arguments(part: str, table: str, emulator: Emulator) -> list[str]:
    made_up = emulator.credentials
    keys = [made_up.access_key_id, made_up.secret_access_key]
    return [part, emulator.endpoint_url, emulator.region, table, *keys, str(LEASE_MS)]


class _Program:
    """One program under a tether, its truth read line by line; what else it says is kept for a failure."""

    def __init__(self, part: str, command: Sequence[str], truth: list[Line]) -> None:
        """Start it."""
        self._part = part
        self._process = tether.launch_foreign(command)
        self._truth = truth
        self._steps: set[str] = set()
        self._said: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def wait_for(self, step: str) -> None:
        """Wait until it has told a step."""
        _until(lambda: step in self._steps or self._process.poll() is not None, PROGRAM_SECONDS_MAX)
        if step not in self._steps:
            self._fail(f"never told {step!r}")

    def kill(self) -> None:
        """End it with all it started, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._end()

    def finish(self) -> None:
        """Wait for its end; anything but a good one is a failure."""
        try:
            code = self._process.wait(PROGRAM_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._end()
            self._fail(f"did not end within {PROGRAM_SECONDS_MAX} s")
        self._end()
        if code != 0:
            self._fail(f"ended with {code}")

    def _end(self) -> None:
        self._process.wait()
        self._reading.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _fail(self, what: str) -> None:
        raise AssertionError(f"part {self._part!r} {what}; it said:\n{''.join(self._said[-SAID_LINES:])}")

    def _read(self) -> None:
        for text in self._process.stdout or ():
            if text.startswith('{"t"') and text.endswith("}\n"):
                line: Line = json.loads(text)
                self._truth.append(line)
                self._steps.add(line["step"])
            else:
                self._said.append(text)


def _until(done: Any, seconds_max: float) -> None:
    waiting = threading.Event()
    until = time.monotonic() + seconds_max
    while not done() and time.monotonic() < until:
        waiting.wait(POLL_SECONDS)


def _settings(name: str, client: Client, emulator: Emulator, folder: Path) -> Settings:
    path = folder / "lockside.toml"
    path.write_text(
        f'application = "{name}"\n[aws]\nregion = "{emulator.region}"\nendpoint_url = "{emulator.endpoint_url}"\n'
        f'[audit]\ntable = "{name}-audit"\n[state]\ntable = "{name}-state"\n[keys]\nfile = "{folder / "keys.json"}"\n'
        f'[[source]]\nid = "{client.layout}"\ntable = "{name}"\nlayout = "{client.layout}"\n',
        encoding="utf-8",
    )
    return load(path)


def _create(clients: Clients, table: str, client: Client) -> None:
    def schema(names: Sequence[str]) -> Any:
        return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]

    index: dict[str, Any] = {}
    if client.index:
        one = {"IndexName": "GSI1", "KeySchema": schema(client.index), "Projection": {"ProjectionType": "ALL"}}
        index["GlobalSecondaryIndexes"] = [one]
    clients.dynamodb.create_table(
        TableName=table,
        KeySchema=schema(client.keys),
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in (*client.keys, *client.index)],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        **index,
    )
