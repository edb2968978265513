"""`lockside lock run` and `lockside phrases` as commands, on an emulator."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lockside.stores import KeyPhraseStore, LockClient
from tests.fakes.store_desk import StoreDesk, make_desk

PYTHON = sys.executable
END_SECONDS_MAX = 60.0


@pytest.fixture
def desk(emulator_of: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> StoreDesk:
    """Return tables on moto, and an environment in which commands find it."""
    for name, value in emulator_of("moto").environment.items():
        monkeypatch.setenv(name, value)
    return make_desk("moto", emulator_of)


@pytest.fixture
def started(desk: StoreDesk, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Return what starts `lockside lock run`; what still runs at the end is ended."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [PYTHON, "-m", "lockside", "lock", "run", "--table", desk.locks, *arguments]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, cwd=tmp_path, start_new_session=True, **pipes)  # noqa: S603
        running.append(process)
        return process

    yield start
    for process in running:
        # With what it runs: that holds the pipes open too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=END_SECONDS_MAX)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a command; return its exit code and what it said."""
    out, err = process.communicate(timeout=END_SECONDS_MAX)
    return process.returncode, out, err


def first_line(process: "subprocess.Popen[str]") -> str:
    """Read the first line of a command that goes on."""
    assert process.stdout is not None
    return process.stdout.readline()


WAITING = (PYTHON, "-u", "-c", "import signal; print('up'); signal.pause()")


def test_a_command_runs_under_the_lock(desk: StoreDesk, started: Callable[..., Any]) -> None:
    """It knows its fence and its lock's name; its exit code is passed on; the lock is free afterwards."""
    code = "import os, sys; print(os.environ['LOCKSIDE_FENCE'], os.environ['LOCKSIDE_LOCK']); sys.exit(7)"
    assert ended(started("job", "--", PYTHON, "-c", code))[:2] == (7, "1 job\n")
    assert ended(started("job", PYTHON, "-c", code))[:2] == (7, "2 job\n")
    assert desk.row("job") is None


def test_a_taken_lock_is_told_by_the_exit_code(desk: StoreDesk, started: Callable[..., Any]) -> None:
    """At once, or after a while; the command is not run."""
    with LockClient(desk.client, desk.locks, owner="me") as client, client.lock("job"):
        code, out, err = ended(started("--nonblock", "job", "--", "echo", "ran"))
        assert (code, out) == (1, "")
        assert 'lock "job": held by "me" for all of the 0 s' in err
        assert ended(started("-w", "0.5", "-E", "9", "job", "--", "echo", "ran"))[:2] == (9, "")


def test_what_cannot_be_run_is_told_as_a_shell_does(
    desk: StoreDesk, started: Callable[..., Any], tmp_path: Path
) -> None:
    """127 for what is not there, 126 for what is no program, 128 and more for a signal."""
    no_program = tmp_path / "no-program"
    no_program.write_text("", encoding="utf-8")
    assert ended(started("job", "--", "no-such-command"))[0] == 127
    assert ended(started("job", "--", str(no_program)))[0] == 126
    code = "import os; os.kill(os.getpid(), 9)"
    assert ended(started("job", "--", PYTHON, "-c", code))[0] == 137
    assert desk.row("job") is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_handed_on(desk: StoreDesk, started: Callable[..., Any], number: signal.Signals) -> None:
    """The command ends by it, or does with it what it likes; then the lock is given back."""
    running = started("job", "--", *WAITING)
    assert first_line(running) == "up\n"
    running.send_signal(number)
    assert ended(running)[0] in {128 + number, 1}
    assert desk.row("job") is None


def test_a_lost_lock_stops_the_command(desk: StoreDesk, started: Callable[..., Any]) -> None:
    """With whatever it started, also if it does not want to."""
    stubborn = "trap '' TERM; echo up; while true; do sleep 0.1; done"
    running = started("--lease", "1.5", "--grace", "0.2", "job", "--", "sh", "-c", stubborn)
    assert first_line(running) == "up\n"
    desk.drop("job")
    code, _, err = ended(running)
    assert code == 125
    assert "somebody removed or changed its row; the command was stopped" in err


LEFT_BEHIND = """(trap '' TERM; echo up; while true; do sleep 0.1; done) & wait"""
"""A command that ends at SIGTERM, and leaves something behind that does not and holds its output open."""


def test_a_lost_lock_stops_what_the_command_left_behind(desk: StoreDesk, started: Callable[..., Any]) -> None:
    """It is killed after the grace although the command itself ended at once: only then do we end."""
    running = started("--lease", "1.5", "--grace", "0.2", "job", "--", "sh", "-c", LEFT_BEHIND)
    assert first_line(running) == "up\n"
    desk.drop("job")
    assert ended(running)[0] == 125


def test_a_lost_lock_stops_all_of_it_on_a_terminal_too(desk: StoreDesk, tmp_path: Path) -> None:
    """As a shell starts it: in a group of its own, beside others of the terminal's session, with its keyboard."""
    shell = "import subprocess, sys; sys.exit(subprocess.Popen(sys.argv[1:], process_group=0).wait())"
    run = [PYTHON, "-m", "lockside", "lock", "run", "--table", desk.locks, "--lease", "1.5", "--grace", "0.2"]
    command = [PYTHON, "-c", shell, *run, "job", "--", "sh", "-c", LEFT_BEHIND]
    keyboard, terminal = os.openpty()
    pipes: dict[str, Any] = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = subprocess.Popen(command, text=True, cwd=tmp_path, start_new_session=True, **pipes)  # noqa: S603
    try:
        assert first_line(running) == "up\n"
        desk.drop("job")
        assert ended(running)[0] == 125
    finally:
        running.kill()
        os.close(keyboard)
        os.close(terminal)


def test_its_standard_input_may_be_closed(desk: StoreDesk, started: Callable[..., Any], tmp_path: Path) -> None:
    """As in a service that was started without one."""
    command = [PYTHON, "-m", "lockside", "lock", "run", "--table", desk.locks, "job", "--", "echo", "ran"]
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    done = subprocess.run(closed, capture_output=True, text=True, check=False, cwd=tmp_path)  # noqa: S603
    assert (done.returncode, done.stdout) == (0, "ran\n")
    del started


def test_a_waiter_takes_over_from_a_killed_one(desk: StoreDesk, started: Callable[..., Any]) -> None:
    """After its lease, with the next fence."""
    alone = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    first = started("--lease", "1.5", "job", "--", PYTHON, "-c", alone)
    command = int(first_line(first))
    first.kill()
    os.kill(command, signal.SIGKILL)
    assert ended(started("job", "--", "sh", "-c", "echo $LOCKSIDE_FENCE"))[:2] == (0, "2\n")
    del desk


def test_wrong_use_and_set_up(desk: StoreDesk, started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 with the way out; 3 where nobody answers."""
    assert ended(started("job"))[0] == 2
    code, _, err = ended(started("--lease", "0", "job", "--", "true"))
    assert (code, "lease = 0.0 s" in err) == (2, True)
    code, _, err = ended(started("--lease", "nan", "job", "--", "true"))
    assert (code, "lease = nan s" in err) == (2, True)
    assert ended(started("--wait", "inf", "job", "--", "true"))[0] == 0
    code, _, err = ended(started("--table", "nowhere", "job", "--", "true"))
    assert (code, 'table "nowhere": there is no such table here' in err) == (2, True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    code, _, err = ended(started("job", "--", "true"))
    assert (code, "no answer (EndpointConnectionError)" in err) == (3, True)
    del desk


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("with unwinding(), client.lock('job'):\n    print('up')\n    signal.pause()", 128 + signal.SIGTERM),
        ("held = client.acquire('job')\nprint('up')\nsys.stdin.read()", 0),
        ("held = client.acquire('job')\nprint('up')\nsys.stdin.read()\nraise SystemExit(5)", 5),
    ],
)
def test_a_program_gives_its_locks_back_on_its_way_out(desk: StoreDesk, body: str, code: int) -> None:
    """At SIGTERM by unwinding, at its end by the client's exit hook."""
    head = "import signal, sys\nfrom lockside.stores import LockClient, connect\n"
    head += "from lockside.stores.sigterm import unwinding\n"
    program = f"{head}client = LockClient(connect.client(), {desk.locks!r})\n{body}\n"
    command = [PYTHON, "-u", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603
        assert first_line(running) == "up\n"
        assert desk.row("job") is not None
        if code > 128:
            running.send_signal(signal.SIGTERM)
        running.communicate(timeout=END_SECONDS_MAX)
    assert running.returncode == code
    assert desk.row("job") is None


def test_init_makes_the_tables_of_the_stores(desk: StoreDesk, tmp_path: Path) -> None:
    """Once or again; a table with another key is named with its setting."""
    names = {"lock": f"{desk.locks}-own", "phrase": f"{desk.phrases}-own", "session": f"{desk.sessions}-own"}
    stores = "".join(f'{kind}_table = "{name}"\n' for kind, name in names.items())
    audit = f'[audit]\ntable = "{desk.locks}-audit"\npoint_in_time_recovery = false\n'
    rest = f'{audit}[state]\ntable = "{desk.locks}-state"\n'
    config = tmp_path / "lockside.toml"
    config.write_text(f"[stores]\n{stores}{rest}", encoding="utf-8")

    def init() -> "subprocess.CompletedProcess[str]":
        command = [PYTHON, "-m", "lockside", "init", "--stores", "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)  # noqa: S603

    for word in ("create", "is there"):
        done = init()
        assert done.returncode == 0, done.stderr
        for name in (names["lock"], f"{names['lock']}-fences", names["phrase"], names["session"]):
            assert re.search(rf"{word} +{name} ", done.stdout), done.stdout
    assert KeyPhraseStore(desk.client, names["phrase"]).placement.target == 8
    with LockClient(desk.client, names["lock"]) as client, client.lock("job") as held:
        assert held.fence == 1
    config.write_text(f'[stores]\nphrase_table = "{desk.locks}"\n{rest}', encoding="utf-8")
    done = init()
    assert done.returncode == 2
    assert (
        f'stores.phrase_table = "{desk.locks}": a table of that name exists and its key is key (S, HASH)' in done.stderr
    )


def phrases(desk: StoreDesk, *arguments: str) -> tuple[str, str]:
    """Run `lockside phrases`; return what it says."""
    command = [PYTHON, "-m", "lockside", "phrases", "--table", desk.phrases, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))  # noqa: S603
    return done.stdout, done.stderr


def test_phrases_are_printed_in_order(desk: StoreDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people a line each, for scripts an object each; what JSON has not is named."""
    monkeypatch.chdir(tmp_path)
    under = KeyPhraseStore.create(desk.client, desk.phrases, shards=3).prefix("p/")
    under.update({"a": {"n": [1, "é"]}, "b": b"\x00\xff", "c": Decimal("1.50"), "d\x1b[0m": "\ud800"})
    out, _ = phrases(desk, "p/")
    assert out == 'a\t{"n": [1, "é"]}\nb\tbase64:AP8=\nc\tdecimal:1.5\nd\\x1b[0m\t"\\ud800"\n'
    lines = [json.loads(line) for line in phrases(desk, "p/", "--json")[0].splitlines()]
    assert [line["key"] for line in lines] == ["a", "b", "c", "d\x1b[0m"]
    assert (lines[0]["value"], lines[1]["base64"], lines[2]["decimal"]) == ({"n": [1, "é"]}, "AP8=", "1.5")
    assert phrases(desk, "p/", "--count")[0] == "4\n"
    out, err = phrases(desk, "p/", "--start", "b", "--limit", "2")
    assert re.findall(r"^\w", out, re.MULTILINE) == ["b", "c"]
    assert "go on with --after c\n" in err
    assert "go on with --after $'d\\U0000001b[0m'\n" in phrases(desk, "p/", "--limit", "4")[1]
    assert phrases(desk, "p/", "--reverse", "--end", "b")[0].startswith("a\t")
    assert phrases(desk, "q/")[1].endswith("Nothing found.\n")
