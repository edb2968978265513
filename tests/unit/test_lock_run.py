"""A command under a lock: no signal comes between its start and who hands signals on to it."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from lockside.app import lock_run
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.machine import FakeMachine
from tests.fakes.store_desk import StoreDesk, definitions

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_before_the_command_runs_reaches_it(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It neither ends this process and leaves the command running without the lock, nor is forgotten."""
    client = FakeDynamoDB(*(each.create for each in definitions(0))).client
    desk = StoreDesk(client, "locks-0", "phrases-0", "sessions-0", FakeMachine(0))
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def starting(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), number)
        process: subprocess.Popen[bytes] = popen(*args, **options)
        started.append(process)
        os.kill(os.getpid(), number)
        return process

    monkeypatch.setattr(subprocess, "Popen", starting)
    before = signal.getsignal(number)
    order = lock_run.Order("nightly", SLEEPER, 0.0, 1, 5.0)
    code = lock_run.run(desk.lock_client("a"), order, os.environ)
    assert code in {lock_run.BY_SIGNAL + number, 1}
    assert started[0].poll() is not None
    assert desk.row("nightly") is None
    assert signal.getsignal(number) is before
