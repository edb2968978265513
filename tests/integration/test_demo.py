"""The demo as a command: what ships with it, and how it ends when it is told to."""

import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from lockside.app import demo
from lockside.errors import StoppedError

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "lockside", "demo"]
END_SECONDS_MAX = 60.0


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo in a process of its own, with its temporary files in `folder`."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
    )


def read_to(running: subprocess.Popen[str], word: str) -> None:
    """Read the demo's output until a line holds a word."""
    assert running.stdout is not None
    assert any(word in line for line in running.stdout)


def test_the_wheel_holds_what_the_commands_read(tmp_path: Path) -> None:
    """An installed `lockside demo` finds its settings, its jar list and every layout."""
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as wheel:
        names = set(wheel.namelist())
        assert wheel.read("lockside/app/demo.toml") == (ROOT / "config" / "demo.toml").read_bytes()
    data = {*(ROOT / "worker").rglob("*.toml"), *(ROOT / "worker").rglob("*.lock")}
    wanted = {str(file.relative_to(ROOT / "worker")) for file in data if file.name != "ruff.toml"}
    assert "lockside/emulators/dynamodb-local.lock" in wanted
    assert wanted - names == set()


@pytest.mark.parametrize("word", ["Starting", "worker.started"])
def test_a_signal_ends_the_demo_and_leaves_nothing(tmp_path: Path, word: str) -> None:
    """During the start and during the play: it says so, exits with 0, and its temporary folder is gone."""
    running = started(tmp_path)
    read_to(running, word)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=END_SECONDS_MAX)
    assert running.returncode == 0
    assert said.splitlines()[-1] == "Ended; nothing stays behind."
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_leaves_nothing_either(tmp_path: Path) -> None:
    """It ends the demo at once; what would have tidied up no longer runs, so the signal's own way does."""
    running = started(tmp_path)
    read_to(running, "LOCK OR SESSION")
    assert [each.name.startswith("lockside-demo-") for each in tmp_path.iterdir()] == [True]
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=END_SECONDS_MAX)
    assert running.returncode in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert list(tmp_path.iterdir()) == []


def test_a_stop_before_the_play_starts_nothing(tmp_path: Path) -> None:
    """A demo that was stopped while its emulator started makes no table and no client."""
    stop = threading.Event()
    stop.set()
    staged = demo.staged("moto", tmp_path, stop, lambda _line: None, lambda _events: None)
    with pytest.raises(StoppedError), staged:
        pass
    assert list(tmp_path.iterdir()) == []
