"""The real worker under what systemd would be to it: a socket that is told, and a signal."""

import signal
import socket
from pathlib import Path

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.estate import Estate
from tests.fakes.worker_process import WAIT_SECONDS_MAX, worker_process


def test_a_worker_tells_its_supervisor_of_its_whole_life(
    moto: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up once its tables are found, fed while it turns, stopping when it is asked to, exit code 0."""
    estate = Estate(moto, tmp_path)
    estate.make()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.settimeout(WAIT_SECONDS_MAX)
        line.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "600000")
        with worker_process(tmp_path / "lockside.toml", moto) as worker:
            assert line.recv(4096).startswith(b"READY=1\nSTATUS=")
            while not (message := line.recv(4096)).endswith(b"STATUS=reading"):
                assert message.startswith(b"WATCHDOG=1\n")
            worker.send(signal.SIGTERM)
            while not (message := line.recv(4096)).startswith(b"STOPPING=1"):
                assert message.startswith(b"WATCHDOG=1\n")
            assert worker.ended() == 0
