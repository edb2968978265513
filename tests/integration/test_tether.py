"""No child survives its parent, however the parent ends."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from lockside.emulators import tether

LIFE_SIGN_SECONDS_MAX = 30.0
OURS = "from lockside.emulators import tether; tether.hold()\n"
# Holds a connection for as long as it lives: its end is seen at once, and nobody has to poll a process list.
HANG_ON = "import socket, sys, threading\nline = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
WAIT = "threading.Event().wait()\n"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
PARENTS = {
    "our own": "tether.launch([sys.executable, '-c', {child!r}, sys.argv[1]])",
    "foreign": "tether.launch_foreign([sys.executable, '-c', {child!r}, sys.argv[1]])",
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen where children show that they live."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIFE_SIGN_SECONDS_MAX)
        yield server


def port(listener: socket.socket) -> str:
    """Return the port as an argument."""
    return str(listener.getsockname()[1])


def alive(listener: socket.socket) -> "closing[socket.socket]":
    """Wait for a child's connection."""
    line, _address = listener.accept()
    line.settimeout(LIFE_SIGN_SECONDS_MAX)
    return closing(line)


def ended(line: socket.socket) -> bool:
    """Wait for the connection to end with its process."""
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("kind", ["our own", "foreign"])
def test_a_child_dies_with_a_killed_parent(kind: str, listener: socket.socket) -> None:
    """SIGKILL of the parent, which can tidy nothing up, ends its children, ours and foreign ones."""
    child = (OURS if kind == "our own" else DEAF) + HANG_ON + WAIT
    starting = PARENTS[kind].format(child=child)
    program = f"import sys, threading\nfrom lockside.emulators import tether\nheld = {starting}\n{WAIT}"
    parent = subprocess.Popen([sys.executable, "-c", program, port(listener)])  # noqa: S603 - our own program
    with alive(listener) as line:
        parent.kill()
        parent.wait()
        assert ended(line)


def test_a_deaf_foreign_child_is_killed(listener: socket.socket) -> None:
    """A program that ignores SIGTERM is gone after a bounded wait."""
    child = tether.launch_foreign([sys.executable, "-c", DEAF + HANG_ON + WAIT, port(listener)])
    with alive(listener) as line:
        tether.end(child, 0.1)
        assert ended(line)
    assert child.stdout is not None
    child.stdout.close()


def test_a_foreign_child_passes_on_output_and_exit_code() -> None:
    """What a foreign program says and how it ends comes through."""
    child = tether.launch_foreign([sys.executable, "-c", "import sys; print('so long'); sys.exit(3)"])
    assert child.stdout is not None
    assert child.stdout.read() == "so long\n"
    assert child.wait() == 3
    tether.end(child, 0.1)
    child.stdout.close()


def test_a_terminals_interrupt_does_not_reach_children(listener: socket.socket) -> None:
    """Children stand in a session of their own: Ctrl-C is the parent's to act on."""
    child = tether.launch([sys.executable, "-c", OURS + HANG_ON + WAIT, port(listener)])
    with alive(listener) as line:
        assert os.getsid(child.pid) != os.getsid(0)
        tether.end(child, 5.0)
        assert ended(line)
    for pipe in (child.stdout, child.stderr):
        assert pipe is not None
        pipe.close()
