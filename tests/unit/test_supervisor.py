"""What systemd is told of a worker, over a real socket of its kind."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from lockside.ops.supervisor import Supervised, Supervisor

WAIT_SECONDS_MAX = 20.0
Listen = Callable[[str], socket.socket]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listen as systemd does, and close at the end."""
    open_sockets: list[socket.socket] = []

    def of(address: str) -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        open_sockets.append(line)
        line.settimeout(WAIT_SECONDS_MAX)
        line.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        return line

    yield of
    for line in open_sockets:
        line.close()


def heard(line: socket.socket) -> list[str]:
    """Return the lines of the next message."""
    return line.recv(4096).decode().splitlines()


def well() -> Sequence[str]:
    """Say that nothing is wrong."""
    return ()


@pytest.mark.parametrize("abstract", [False, True])
def test_a_worker_says_that_it_is_up_and_that_it_stops(listen: Listen, tmp_path: Path, *, abstract: bool) -> None:
    """READY comes before the block runs, STOPPING as soon as a stop is asked for, not when all is over."""
    address = f"@lockside-{uuid4()}" if abstract else str(tmp_path / "notify")
    line, stop = listen(address), threading.Event()
    with Supervised(Supervisor.of({"NOTIFY_SOCKET": address}, 1), stop, well, lambda: ["standby: owned by w1\nx"]):
        assert heard(line) == ["READY=1", "STATUS=standby: owned by w1 x"]
        stop.set()
        while (message := heard(line))[0] != "STOPPING=1":
            assert "STOPPING=1" not in message


def test_a_block_that_ends_by_itself_says_that_it_stops(listen: Listen, tmp_path: Path) -> None:
    """A halted worker was not asked to stop, and yet does."""
    line = listen(str(tmp_path / "notify"))
    with Supervised(Supervisor(str(tmp_path / "notify")), threading.Event(), well, well):
        assert heard(line) == ["READY=1", "STATUS=reading"]
    while "STOPPING=1" not in heard(line):
        pass


def test_the_watchdog_is_fed_while_the_loops_turn_and_only_then(listen: Listen, tmp_path: Path) -> None:
    """A silent loop is told as the status, and starves the watchdog until it turns again."""
    line, silent = listen(str(tmp_path / "notify")), threading.Event()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "7"}

    def live() -> Sequence[str]:
        return ["engine: silent for 61 s"] if silent.is_set() else []

    with Supervised(Supervisor.of(environment, 7), threading.Event(), live, well):
        while heard(line)[0] != "WATCHDOG=1":
            pass
        silent.set()
        while (message := heard(line)) != ["STATUS=engine: silent for 61 s"]:
            assert message[0] in {"READY=1", "WATCHDOG=1"}
        assert heard(line) == ["STATUS=engine: silent for 61 s"]
        silent.clear()
        while heard(line)[0] != "WATCHDOG=1":
            pass


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, Supervisor("/run/n")),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "120000000"}, Supervisor("/run/n", 120.0)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "8"}, Supervisor("/run/n")),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "soon"}, Supervisor("/run/n")),
    ],
)
def test_who_supervises_is_read_off_the_environment(environment: dict[str, str], expected: Supervisor | None) -> None:
    """A watchdog meant for another process, or with no number, is none of ours."""
    assert Supervisor.of(environment, 7) == expected


def test_a_supervisor_that_does_not_listen_stops_nothing(listen: Listen, tmp_path: Path) -> None:
    """It is said once, and not at each round."""
    line = listen(str(tmp_path / "notify"))
    line.close()
    supervised = Supervised(Supervisor(str(tmp_path / "notify"), 0.01), threading.Event(), well, well)
    with capture_logs() as logs, supervised:
        pass
    assert [(entry["event"], entry["error"]) for entry in logs] == [("supervisor_not_told", "Connection refused")]


def test_without_a_supervisor_nothing_is_told_and_no_thread_runs() -> None:
    """As on a laptop."""
    with Supervised(None, threading.Event(), well, well):
        assert "supervisor" not in [thread.name for thread in threading.enumerate()]
