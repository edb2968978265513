"""Two workers over the same streams, each with tables of its own: one is killed again and again, one is spared."""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from lockside.app import provision
from lockside.aws.clients import Clients, connect
from lockside.emulators import tether
from lockside.emulators.emulator import Emulator
from lockside.emulators.tables import create_lock_table, create_session_table
from lockside.settings import Settings, load
from tests.fakes.kill_evidence import Chronicle
from tests.fakes.kill_points import Point
from tests.fakes.kill_traffic import Traffic
from tests.fakes.state_table import dynamodb

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DEATH_SECONDS_MAX: Final = 30.0
END_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.25
WORDS_MAX: Final = 4_000
OWNER: Final = '"event":"owner"'
"""Stands in a worker's log when the application is its own."""

MARGIN_MS: Final = 200
OTHER_MARGIN_MS: Final = 300
"""What makes another recipe."""

SETTINGS: Final = """
application = "{side}"
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
idle_min_ms = {idle}
idle_max_ms = {idle}
checkpoint_interval_seconds = 0.2
page_limit = 12
shard_listing_seconds = 1.0
owner_lease_seconds = 0.5
[recipe]
clock_margin_ms = {margin}
[ops]
log_format = "json"
status_seconds = 0.5
[[source]]
id = "locks"
table = "{name}-locks"
layout = "pydynlock"
[[source]]
id = "sessions"
table = "{name}-sessions"
layout = "flask-session"
"""


class Nursery:
    """Where workers are born that may die."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start the process that workers are forked from, without the settings and credentials of who runs the test."""
        foreign = ("LOCKSIDE_", "AWS_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        command = [sys.executable, "-m", "tests.fakes.kill_worker"]
        self._process = tether.launch(command, {**inherited, **environment})
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="nursery", daemon=True)
        self._reader.start()
        self._codes: dict[int, int] = {}
        self._hear("ready", END_SECONDS_MAX)

    def begin(self, **order: Any) -> int:
        """Start a worker; return its pid."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._hear("began", DEATH_SECONDS_MAX)["began"])

    def end(self, pid: int, seconds_max: float) -> int | None:
        """Wait for a worker's end; return its exit code, None if it goes on living."""
        limit = time.monotonic() + seconds_max
        while pid not in self._codes:
            try:
                self._hear("ended", max(0.0, limit - time.monotonic()))
            except queue.Empty:
                return None
        return self._codes.pop(pid)

    def close(self) -> None:
        """End it, and the workers that it has."""
        tether.end(self._process, DEATH_SECONDS_MAX)
        self._reader.join(DEATH_SECONDS_MAX)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("{}")

    def _hear(self, wanted: str, seconds_max: float) -> Any:
        """Listen up to a line of this kind; whoever ended meanwhile is remembered."""
        while True:
            told = json.loads(self._lines.get(timeout=seconds_max))
            assert told, "the process that workers are forked from has ended"
            if "ended" in told:
                self._codes[told["ended"]] = told["code"]
            if wanted in told:
                return told


@dataclass(frozen=True)
class Side:
    """One application over the streams, with its tables."""

    settings: Settings
    config: Path

    @property
    def name(self) -> str:
        """Its application."""
        return self.settings.application

    @property
    def audit(self) -> str:
        """Its audit table."""
        return self.settings.audit.table

    @property
    def state(self) -> str:
        """Its state table."""
        return self.settings.state.table


@dataclass
class Stage:
    """All that a story of kills needs, running."""

    killed: Side
    spared: Side
    client: "DynamoDBClient"
    clients: Clients
    arns: tuple[str, ...]
    nursery: Nursery
    environment: Mapping[str, str]
    traffic: Traffic
    chance: Random
    chronicle: Chronicle = field(default_factory=Chronicle)
    died: list[str] = field(default_factory=list)
    _pids: dict[str, int] = field(default_factory=dict)

    @property
    def kinds(self) -> set[str]:
        """The kinds of calls that the workers made which were killed."""
        lines = self._file(self.killed, "journal").read_text(encoding="utf-8").splitlines()
        return {line.partition(" ")[2] for line in lines}

    def kill(self, point: Point, halt: Point | None = None) -> None:
        """Run a worker until it dies at a point; with `halt`, at what it does once it was asked to stop."""
        pid = self.begin(self.killed, die=point, halt=halt)
        code = self.nursery.end(pid, DEATH_SECONDS_MAX)
        assert code is not None, f"no death {point} within {DEATH_SECONDS_MAX:.0f} s; {self.last_words(self.killed)}"
        self._bury(str(point), code)

    def kill_after(self, seconds: float, point: Point | None = None) -> None:
        """Run a worker, and kill it from outside after a while, wherever it is; unless it dies at a point before."""
        pid = self.begin(self.killed, die=point)
        code, how = self.nursery.end(pid, seconds), str(point)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            code, how = self.nursery.end(pid, DEATH_SECONDS_MAX), "anywhere"
        self._bury(how, code)

    def rest(self, done: Callable[[], bool], seconds_max: float) -> None:
        """Run a worker in peace until something is so; then stop it, and the one that was spared, in good order."""
        began = len(self._log(self.killed))
        self.begin(self.killed)
        # Before it owns its application it may not even know yet what a SIGTERM asks for.
        self._await(lambda: OWNER in self._log(self.killed)[began:] and OWNER in self._log(self.spared), seconds_max)
        self._await(done, seconds_max)
        for side in (self.killed, self.spared):
            os.kill(self._pids[side.name], signal.SIGTERM)
        self._end_well()

    def drain(self) -> None:
        """Let `lockside run --once` write what is left, on either side."""
        for side in (self.killed, self.spared):
            self.begin(side, once=True)
        self._end_well()

    def change_recipe(self) -> None:
        """Give both sides other settings, which their next workers begin with."""
        for side in (self.killed, self.spared):
            text = side.config.read_text(encoding="utf-8")
            changed = text.replace(f"clock_margin_ms = {MARGIN_MS}", f"clock_margin_ms = {OTHER_MARGIN_MS}")
            side.config.write_text(changed, encoding="utf-8")

    def begin(self, side: Side, *, die: Point | None = None, halt: Point | None = None, once: bool = False) -> int:
        """Start a side's worker; return its pid."""
        pid = self._pids[side.name] = self.nursery.begin(
            config=str(side.config),
            environment=dict(self.environment),
            log=str(self._file(side, "log")),
            journal=str(self._file(side, "journal")),
            once=once,
            die=None if die is None else die.told(),
            halt=None if halt is None else halt.told(),
        )
        return pid

    def last_words(self, side: Side) -> str:
        """Return the end of a side's log."""
        return self._log(side)[-WORDS_MAX:]

    def _log(self, side: Side) -> str:
        log = self._file(side, "log")
        return log.read_text(encoding="utf-8") if log.exists() else ""

    @staticmethod
    def _await(done: Callable[[], bool], seconds_max: float) -> None:
        """Wait, but not for ever: whoever checks afterwards finds what is missing, and names it."""
        limit = time.monotonic() + seconds_max
        while not done() and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)

    def _end_well(self) -> None:
        for side in (self.killed, self.spared):
            code = self.nursery.end(self._pids[side.name], END_SECONDS_MAX)
            assert code == 0, f"{side.name}: ended with {code}; {self.last_words(side)}"

    def give_up(self) -> None:
        """Kill what still runs, where a story ended badly."""
        for pid in self._pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _file(self, side: Side, kind: str) -> Path:
        return side.config.with_suffix(f".{kind}")

    def _bury(self, how: str, code: int | None) -> None:
        assert code == -signal.SIGKILL, f"{how}: ended with {code} instead; {self.last_words(self.killed)}"
        self.died.append(how)
        self.chronicle.note(self.client, self.killed.audit, self.killed.state, self.arns)


@contextmanager
def staged(nursery: Nursery, emulator: Emulator, name: str, folder: Path, seed: int) -> Iterator[Stage]:
    """Make the tables, start the worker that is spared; end all in the end."""
    # Traffic and deaths draw apart: how much is written meanwhile is not the same in any two runs.
    deaths, writes = Random(seed), Random(seed)  # noqa: S311 - no secret hangs on it
    client = dynamodb(emulator)
    with ExitStack() as stack:
        stack.callback(client.close)
        arns = (create_lock_table(client, f"{name}-locks"), create_session_table(client, f"{name}-sessions"))
        killed, spared = (_side(emulator, name, side, folder) for side in ("killed", "spared"))
        clients = connect(killed.settings.aws)
        for side in (killed, spared):
            planned = provision.plan(side.settings, clients)
            provision.apply(planned, clients, threading.Event(), "2026-01-01T00:00:00Z", lambda _line: None)
        traffic = Traffic(client, f"{name}-locks", f"{name}-sessions", writes)
        stage = Stage(killed, spared, client, clients, arns, nursery, emulator.environment, traffic, deaths)
        stack.callback(stage.give_up)
        stage.begin(stage.spared)
        yield stage


def _side(emulator: Emulator, name: str, side: str, folder: Path) -> Side:
    config = folder / f"{side}.toml"
    # Who is killed must get on; who is spared has time, and leaves the machine to the other.
    idle = 50 if side == "killed" else 250
    text = SETTINGS.format(
        side=side, idle=idle, margin=MARGIN_MS, name=name, endpoint_url=emulator.endpoint_url, keys=folder / "keys.json"
    )
    config.write_text(text, encoding="utf-8")
    return Side(load(config), config)
