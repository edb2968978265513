"""A tether: the pipe on a child's stdin. When it ends, for whatever reason, the child ends.

A parent that dies of SIGKILL can tidy nothing up, and a signal on the parent's death (Linux's PDEATHSIG) is bound to
the thread that forked. An open pipe knows neither limit. Children stand in sessions of their own, so that a Ctrl-C
meets the parent alone, which then decides.

Our own programs call `hold`. A foreign one runs under `python tether.py PROGRAM ARGUMENTS`.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

TERM_SECONDS_MAX: Final = 2.0
UNTETHERED: Final = 70


def launch(command: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start one of our own programs, which calls `hold`, with pipes for both outputs."""
    return _popen(command, environment, subprocess.PIPE)


def launch_foreign(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a program that knows nothing of tethers; its two outputs come as one."""
    return _popen([sys.executable, "-I", "-S", __file__, *command], None, subprocess.STDOUT)


def _popen(command: Sequence[str], environment: Mapping[str, str] | None, stderr: int) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - no shell, and our own argument lists
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=None if environment is None else dict(environment),
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], seconds_max: float) -> None:
    """End a tethered child: cut the pipe, ask, wait a bounded time, kill."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(seconds_max)
    except subprocess.TimeoutExpired:
        _kill_session(process)
        process.wait()


def _kill_session(process: subprocess.Popen[str]) -> None:
    """Kill the child with whatever it started: it leads its own process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, ProcessLookupError, PermissionError):
        process.kill()


def hold() -> None:
    """End this process as soon as the pipe on its stdin does."""
    threading.Thread(target=_until_cut, args=(lambda: os._exit(UNTETHERED),), name="tether", daemon=True).start()


def _until_cut(then: Callable[[], None]) -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    then()


def main(command: Sequence[str]) -> int:
    """Run a foreign program until it ends or the tether is cut; return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - no shell, and our own argument list

    def stop(*_signal: object) -> None:
        child.terminate()
        last_resort = threading.Timer(TERM_SECONDS_MAX, child.kill)
        last_resort.daemon = True
        last_resort.start()

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_until_cut, args=(stop,), name="tether", daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
