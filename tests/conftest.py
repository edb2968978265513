"""Shared by all tests: Hypothesis' profiles, and a clean environment."""

import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import structlog
from hypothesis import HealthCheck, settings

from lockside.emulators.emulator import Emulator, Kind
from lockside.emulators.start import start
from tests.clients.packages import PACKAGES
from tests.fakes.redis_server import RedisServer, redis_server

# Seeds vary from run to run; a failure prints the blob and the seed that bring it back.
settings.register_profile("default", print_blob=True, deadline=None)
# No database: a run depends on nothing that an earlier one left behind.
settings.register_profile("ci", print_blob=True, deadline=None, database=None)
settings.register_profile(
    "soak", print_blob=True, deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("LOCKSIDE_TEST_PROFILE") or ("ci" if os.environ.get("CI") else "default"))

FOREIGN_PROGRAMS = {program for packages in PACKAGES.values() for program in packages.tools}
MADE_UP = {"AWS_ACCESS_KEY_ID": "lockside", "AWS_SECRET_ACCESS_KEY": "lockside", "AWS_DEFAULT_REGION": "us-east-1"}


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note, in a process of pytest-xdist, how many tests were left out; it does not tell by itself."""
    output = getattr(items[0].config, "workeroutput", None) if items else None
    if output is not None:
        output["left_out"] = output.get("left_out", 0) + len(items)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out foreign clients whose toolchain is not here. Never with CI set: there it must be."""
    absent = {item.nodeid for item in items if _absent_programs(item)}
    if absent and not os.environ.get("CI"):
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in absent])
        items[:] = [item for item in items if item.nodeid not in absent]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line that foreign clients were left out, and for want of what."""
    programs = sorted({program for program in FOREIGN_PROGRAMS if shutil.which(program) is None})
    if programs and not os.environ.get("CI"):
        terminalreporter.write_line(f"foreign_clients: left out for want of {', '.join(programs)} (`.ci/run` needs it)")


def _absent_programs(item: pytest.Item) -> list[str]:
    marks = item.iter_markers("foreign_clients")
    return [program for mark in marks for program in mark.args if shutil.which(program) is None]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Count what was left out in the summary. Each process leaves out the same tests, so one tells for all."""
    left_out = getattr(node, "workeroutput", {}).get("left_out", 0)
    reporter = node.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.stats["deselected"] = [SimpleNamespace() for _ in range(left_out)]


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Let Ctrl-C end the programs that tests start: a shell that starts a run in the background has it ignored."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own settings and credentials out of every test; no test may reach real AWS by accident."""
    for name in [name for name in os.environ if name.startswith(("LOCKSIDE_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in MADE_UP.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put the process-wide logging back: a command run in a test sets it up for itself."""
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook, threading.excepthook)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def emulator_of() -> Iterator[Callable[[Kind], Emulator]]:
    """Return an emulator of a kind, started when it is first asked for and shared by the whole run."""
    running: dict[Kind, Emulator] = {}
    with ExitStack() as stack:

        def of(kind: Kind) -> Emulator:
            if kind not in running:
                running[kind] = stack.enter_context(start(kind))
            return running[kind]

        yield of


@pytest.fixture(params=get_args(Kind))
def endpoint(request: pytest.FixtureRequest, emulator_of: Callable[[Kind], Emulator]) -> Emulator:
    """Run a test on every backend; it makes tables under names of its own."""
    return emulator_of(request.param)


@pytest.fixture(scope="session")
def moto(emulator_of: Callable[[Kind], Emulator]) -> Emulator:
    """Run moto's server; tests share it, so each makes tables of its own names."""
    return emulator_of("moto")


@pytest.fixture(scope="session")
def dynamodb_local(emulator_of: Callable[[Kind], Emulator]) -> Emulator:
    """Run DynamoDB Local; tests share it, so each makes tables of its own names."""
    return emulator_of("dynamodb-local")


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run Redis; tests share it, so each uses a prefix of its own."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def backend(endpoint: Emulator) -> Emulator:
    """Run a test against both emulators."""
    return endpoint
