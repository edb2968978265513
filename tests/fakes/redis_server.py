"""Debian's Redis in a process of its own, on a free port, that keeps nothing. Without it tests fail."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis

LOOPBACK: Final = "127.0.0.1"
START_LOOKS_MAX: Final = 200
LOOK_SECONDS: Final = 0.05
END_SECONDS_MAX: Final = 10.0


@dataclass
class RedisServer:
    """One server. `stop` and `start` again lose what it held."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Where its database 0 is."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def client(self) -> "redis.Redis":
        """Return a client that does not try again by itself."""
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = shutil.which("redis-server")
        assert program is not None, "there is no redis-server; on Debian and Ubuntu: apt-get install redis-server"
        options = {"port": self.port, "bind": LOOPBACK, "save": "", "appendonly": "no", "dir": self.folder}
        command = [program, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
        with self.client() as client:
            for _ in range(START_LOOKS_MAX):
                with suppress(redis.ConnectionError):
                    client.ping()
                    return
                with suppress(subprocess.TimeoutExpired):
                    raise AssertionError(f"redis-server ended with {self._process.wait(LOOK_SECONDS)}")
        raise AssertionError("redis-server did not answer in time")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(END_SECONDS_MAX)
            self._process = None


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Start a server on a free port; end it in the end."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        server = RedisServer(folder, probe.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        server.stop()
