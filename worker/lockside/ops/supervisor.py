"""What systemd is told: that the worker is up, that its loops turn, that it stops (sd_notify(3), `Type=notify`).

A message is one datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET names. Where it names none, nothing is
told. The watchdog is fed only while every loop turns, so that a worker which hangs is started anew.
"""

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import structlog

from lockside.core import telemetry
from lockside.ops.health import Reasons

LOG = structlog.get_logger(__name__)

ROUND_SECONDS_MAX: Final = 5.0
"""How often the status line is brought up to now, which `systemctl status` shows."""

ROUNDS_PER_WATCHDOG: Final = 3
"""sd_watchdog_enabled(3) recommends to feed it at half of its time at the latest."""

JOIN_SECONDS_MAX: Final = 5.0
SEND_SECONDS_MAX: Final = 1.0
STATUS_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Who supervises this process: its socket, and after how much silence it ends us."""

    address: str
    watchdog_seconds: float | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str], process_id: int) -> Self | None:
        """Read it off the environment; None where nobody wants to be told.

        A path or an abstract name with `@` before it is an address that we can speak to.
        """
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        # Of a watchdog for another process, such as the shell that started us, nothing must be fed.
        ours = environment.get("WATCHDOG_PID", str(process_id)) == str(process_id)
        microseconds = environment.get("WATCHDOG_USEC", "")
        fed = ours and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1_000_000 if fed else None)

    def tell(self, message: str) -> None:
        """Send one message. Raises OSError if it does not arrive."""
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(SEND_SECONDS_MAX)
            line.connect(name)
            line.sendall(message.encode())


class Supervised:
    """Keeps a supervisor informed for as long as a block runs: READY at its beginning, STOPPING once `stop` is set."""

    def __init__(self, supervisor: Supervisor | None, stop: threading.Event, live: Reasons, ready: Reasons) -> None:
        """Tell nothing yet; `live` and `ready` are those of the health pages."""
        self._supervisor = supervisor
        self._stop = stop
        self._live = live
        self._ready = ready
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        """Say that the worker is up."""
        if self._supervisor is not None:
            self._tell(f"READY=1\n{self._status()}")
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Say that it stops, if that was not said yet."""
        self._stop.set()
        if self._supervisor is not None:
            self._thread.join(JOIN_SECONDS_MAX)

    def _run(self) -> None:
        while not self._stop.wait(self._round_seconds()):
            silent = self._live()
            self._tell(f"STATUS={_line(silent[0])}" if silent else f"WATCHDOG=1\n{self._status()}")
        self._tell("STOPPING=1\nSTATUS=finishing the batch and saving the progress")

    def _round_seconds(self) -> float:
        watchdog = self._supervisor.watchdog_seconds if self._supervisor is not None else None
        return min(ROUND_SECONDS_MAX, (watchdog or ROUND_SECONDS_MAX) / ROUNDS_PER_WATCHDOG)

    def _status(self) -> str:
        reasons = self._ready()
        return f"STATUS={_line(reasons[0]) if reasons else 'reading'}"

    def _tell(self, message: str) -> None:
        if self._supervisor is None:
            return
        try:
            self._supervisor.tell(message)
        except OSError as error:
            # Once: it is asked for every few seconds, and stops nothing.
            if not self._failed:
                LOG.warning("supervisor_not_told", **{telemetry.ERROR: error.strerror or type(error).__name__})
            self._failed = True
        else:
            self._failed = False


def _line(reason: str) -> str:
    return " ".join(reason.split())[:STATUS_CHARACTERS_MAX]
