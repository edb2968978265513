"""The demo's cast: starts the clients, kills the victim with SIGKILL, gathers what truly happened, ends them all."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from lockside.emulators.clients import member
from lockside.emulators.clients.cast import CRASH, VICTIM_LOCKS
from lockside.emulators.clients.member import Member
from lockside.emulators.clients.truth import Line
from lockside.emulators.emulator import Emulator

LOCKS: Final = "lockside.emulators.clients.locks"
SESSIONS: Final = "lockside.emulators.clients.sessions"
NOTHING_ELSE: Final = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Keeps what the user's own files say about AWS away from the clients."""


@dataclass(frozen=True, slots=True)
class Script:
    """How long the clients play and how fast. As it stands: about 20 seconds."""

    rounds: int = 3
    lease_seconds: float = 4.0
    heartbeat_seconds: float = 1.0
    beats: int = 2
    lifetime_seconds: float = 5.0
    pace_seconds: float = 0.3
    late_seconds: float | None = None
    """So long after her deadline one visitor comes back; None: nobody does."""


QUICK: Final = Script(
    rounds=1, lease_seconds=2.0, heartbeat_seconds=0.5, beats=2, lifetime_seconds=2.0, pace_seconds=0.05
)
"""For tests: about 6 seconds."""


@dataclass(slots=True)
class _Watched:
    """The victim's last sign of life on each of its locks, and how often it came."""

    last: dict[str, float] = field(default_factory=dict)
    beats: dict[str, int] = field(default_factory=dict)


class Crew:
    """The clients of one emulator. Start it, let it play, close it; no process outlives it or this process."""

    def __init__(
        self,
        emulator: Emulator,
        lock_table: str,
        session_table: str,
        script: Script | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Know where to play; nothing is started yet."""
        self._emulator = emulator
        self._lock_table = lock_table
        self._session_table = session_table
        self._script = Script() if script is None else script
        self._clock = clock
        self._changed = threading.Condition()
        self._lines: list[Line] = []
        self._due: list[Line] = []
        self._members: list[Member] = []
        self._running = 0
        self._closed = False
        self._watched = _Watched()

    def start(self) -> None:
        """Start all clients but the heir, who comes when the victim is dead."""
        self._start("workers", LOCKS, self._lock_arguments("workers"))
        self._start("victim", LOCKS, self._lock_arguments("victim"))
        self._start("visitors", SESSIONS, self._session_arguments())

    @property
    def truth(self) -> tuple[Line, ...]:
        """What has truly happened until now, in the order of its time, lapses that are due included."""
        now = self._clock()
        with self._changed:
            return tuple(sorted([*self._lines, *(line for line in self._due if line["t"] <= now)], key=_time))

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with clients that have ended; empty while all goes by the script."""
        with self._changed:
            return tuple(problem for each in self._members if (problem := each.problem) is not None)

    @property
    def finished(self) -> bool:
        """Whether every client has ended and every lapse of the script is due."""
        with self._changed:
            return self._played and self._clock() >= self._last_due

    def wait(self, seconds_max: float) -> bool:
        """Wait until all is finished, or closed, or the time is up; whether all is finished."""
        until = time.monotonic() + seconds_max
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._played, seconds_max)
            if self._played:
                rest = min(self._last_due - self._clock(), until - time.monotonic())
                self._changed.wait_for(lambda: self._closed, max(0.0, rest))
        return self.finished

    def close(self) -> None:
        """End every client. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            members = list(self._members)
        for each in members:
            each.end()

    def __enter__(self) -> Self:
        """Start."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End every client."""
        self.close()

    @property
    def _played(self) -> bool:
        return bool(self._members) and self._running == 0 and not any(each.dismissed for each in self._members)

    @property
    def _last_due(self) -> float:
        return max((float(line["t"]) for line in self._due), default=0.0)

    def _start(self, name: str, module: str, arguments: list[str]) -> None:
        with self._changed:
            if self._closed:
                return
            started = member.start(name, module, arguments, self._environment())
            self._members.append(started)
            self._running += 1
        started.listen(self._hear, self._gone)

    def _environment(self) -> dict[str, str]:
        """Leave out whatever points at real AWS: a profile or a session token would win over what we give."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {**own, **self._emulator.environment, **NOTHING_ELSE}

    def _hear(self, teller: Member, text: str) -> None:
        if not text.endswith("\n"):
            return  # a kill may cut the last line short: what it would have said is not known to be true
        line: Line = json.loads(text)
        with self._changed:
            self._lines.append(line)
        if teller.name == "victim" and line.get("lock") in VICTIM_LOCKS:
            self._watch(teller, line)

    def _watch(self, victim: Member, line: dict[str, Any]) -> None:
        """Kill right after a heartbeat: the next is then far enough off that none is under way, untold."""
        lock = line["lock"]
        self._watched.last[lock] = line["t"]
        if line["step"] == "renewed":
            self._watched.beats[lock] = self._watched.beats.get(lock, 0) + 1
        if not victim.killed and all(self._watched.beats.get(each, 0) >= self._script.beats for each in VICTIM_LOCKS):
            victim.kill()

    def _gone(self, teller: Member) -> None:
        try:
            if teller.name == "victim" and teller.killed:
                self._bury()
                self._start("heir", LOCKS, self._lock_arguments("heir"))
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _bury(self) -> None:
        """Tell the kill now, and each lapse at its due time: last sign of life plus lease."""
        now = round(self._clock(), 3)
        with self._changed:
            for lock, last in self._watched.last.items():
                facts = {"lock": lock, "owner": CRASH}
                self._lines.append({"t": now, "step": "killed", "signal": "KILL", **facts})
                self._due.append({"t": round(last + self._script.lease_seconds, 3), "step": "expired", **facts})

    def _lock_arguments(self, part: str) -> list[str]:
        script = self._script
        return [
            *self._common_arguments(self._lock_table),
            *("--part", part),
            *("--lease", str(script.lease_seconds)),
            *("--heartbeat", str(script.heartbeat_seconds)),
            *("--beats", str(script.beats)),
        ]

    def _session_arguments(self) -> list[str]:
        script = self._script
        return [
            *self._common_arguments(self._session_table),
            *("--lifetime", str(script.lifetime_seconds)),
            *("--pace", str(script.pace_seconds)),
            *([] if script.late_seconds is None else ["--late", str(script.late_seconds)]),
        ]

    def _common_arguments(self, table: str) -> list[str]:
        return [
            *("--endpoint", self._emulator.endpoint_url),
            *("--region", self._emulator.region),
            *("--table", table),
            *("--rounds", str(self._script.rounds)),
        ]


def _time(line: Line) -> float:
    return float(line["t"])
