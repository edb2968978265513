"""Runs a command under a lock, stops it when the lock is lost, and gives the lock back when it ends.

Strategy: signals that are meant for the command are handed on to it, and this process ends when it does. On a terminal
the command shares this process's group, so that Ctrl-C meets both and it may read the keyboard; elsewhere it leads one
of its own. Either way it is stopped with whatever it started and is still in its group; only where a script on a
terminal runs us, so that the group is the script's too, the command alone is stopped.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Final

from lockside.errors import LockTakenError

if TYPE_CHECKING:
    from lockside.stores import Lock, LockClient

HANDED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINAL: Final = frozenset({signal.SIGINT, signal.SIGQUIT})
"""A terminal sends these to the whole group by itself."""

LOST: Final = 125
CANNOT_RUN: Final = 126
NOT_FOUND: Final = 127
BY_SIGNAL: Final = 128
LOOK_SECONDS: Final = 0.05

FENCE: Final = "LOCKSIDE_FENCE"
LOCK: Final = "LOCKSIDE_LOCK"


@dataclass(frozen=True, slots=True)
class Order:
    """What to run under which lock. `grace_seconds` is what a command has to end by itself once the lock is lost."""

    lock: str
    command: Sequence[str]
    wait_seconds: float
    conflict_code: int
    grace_seconds: float


@dataclass(slots=True)
class _Running:
    """The command, and whether it was stopped because the lock was lost."""

    process: subprocess.Popen[bytes]
    leads_group: bool
    stopping: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False

    def send(self, number: int) -> None:
        """Send a signal to the command, and to what it started where it leads a group."""
        with suppress(ProcessLookupError):
            if self.leads_group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def stop(self, grace_seconds: float) -> None:
        """Ask it to end, and all that it started; kill what does not in time. Called again it waits for the first."""
        with self.stopping:
            if self.stopped:
                return
            group = self.process.pid if self.leads_group else _left_group()
            self._signal(group, signal.SIGTERM)
            until = time.monotonic() + grace_seconds
            while self._is_there(group) and (rest := until - time.monotonic()) > 0:
                time.sleep(min(rest, LOOK_SECONDS))
            # Also where the command itself ended at once: what it started may not have.
            self._signal(group, signal.SIGKILL)
            self.stopped = True

    def _signal(self, group: int | None, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if group is None:
                self.process.send_signal(number)
            else:
                os.killpg(group, number)

    def _is_there(self, group: int | None) -> bool:
        # Asked first in any case: a command that nobody has waited for keeps its group.
        runs = self.process.poll() is None
        if group is None:
            return runs
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _left_group() -> int | None:
    """Leave the group that this process leads, so that it can be stopped without us; None if it leads none."""
    own = os.getpgrp()
    if own != os.getpid():
        return None
    try:
        os.setpgid(0, os.getpgid(os.getppid()))
    except OSError:
        # It leads the session too, or was started from another one.
        return None
    return own


def run(client: "LockClient", order: Order, environment: Mapping[str, str]) -> int:
    """Run the command; return the exit code to end with. Main thread only.

    Raises what `LockClient.acquire` raises, but for a lock that stayed taken, which is the order's own exit code.
    """
    started: list[_Running] = []
    gone = threading.Event()

    def lost(_lock: "Lock") -> None:
        gone.set()
        for running in started:
            # In a thread of its own: this one keeps other locks.
            threading.Thread(target=running.stop, args=(order.grace_seconds,), name="stop-command", daemon=True).start()

    try:
        held = client.acquire(order.lock, wait=order.wait_seconds, on_lost=lost)
    except LockTakenError as error:
        sys.stderr.write(f"lockside: {error}\n")
        return order.conflict_code
    try:
        with _handing_on() as relay:
            running = _start(order, {**environment, FENCE: str(held.fence), LOCK: order.lock})
            if isinstance(running, int):
                return running
            started.append(running)
            relay.to(running)
            if gone.is_set():
                running.stop(order.grace_seconds)
            code = running.process.wait()
            if gone.is_set():
                # The lock is another's by now: what the command left behind ends before we do.
                running.stop(order.grace_seconds)
    finally:
        held.release()
    if held.lost is not None:
        sys.stderr.write(f'lockside: lock "{order.lock}": {held.lost}; the command was stopped, or ended too late\n')
        return LOST
    return BY_SIGNAL - code if code < 0 else code


def _start(order: Order, environment: Mapping[str, str]) -> "_Running | int":
    # None where it was closed before we began.
    leads_group = sys.stdin is None or not sys.stdin.isatty()
    try:
        process = subprocess.Popen(  # noqa: S603 - what the user asked to run, without a shell
            list(order.command), env=dict(environment), process_group=0 if leads_group else None
        )
    except FileNotFoundError:
        sys.stderr.write(f"lockside: {order.command[0]}: there is no such command\n")
        return NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"lockside: {order.command[0]}: cannot be run ({error.strerror})\n")
        return CANNOT_RUN
    return _Running(process, leads_group)


@dataclass(slots=True)
class _Relay:
    """Hands signals on to the command; those that come before it runs wait for it, one of each kind at most."""

    running: _Running | None = None
    early: set[int] = field(default_factory=set)

    def hand_on(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal in."""
        if self.running is None:
            self.early.add(number)
        elif self.running.leads_group or number not in FROM_TERMINAL:
            self.running.send(number)

    def to(self, running: _Running) -> None:
        """Hand on to this command from now on, also what came before: no terminal sent that to it."""
        self.running = running
        while self.early:
            running.send(self.early.pop())


@contextmanager
def _handing_on() -> Iterator[_Relay]:
    """Take signals in before anything is started: one that ended this process then would leave the command alone."""
    relay = _Relay()
    before = {number: signal.signal(number, relay.hand_on) for number in HANDED_ON}
    try:
        yield relay
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
