"""The real worker, in a process that ends itself where it is told to: `python -m tests.fakes.kill_worker`.

Strategy: what is slow to import is imported once. Each line on stdin is an order for one worker, in JSON: a process is
forked for it, which runs `lockside run` and hears of every call of its clients. A line on stdout tells of its pid,
another of how it ended. It dies of SIGKILL, so that nothing of its own can tidy up after it; when stdin ends, so does
whatever still runs. The next order may come when the line of the last one's pid was read.
"""

import json
import os
import select
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lockside.app import worker
from lockside.aws.clients import Clients, connect, reached
from lockside.cli.main import main as lockside
from lockside.settings import AwsSettings, load
from tests.fakes.kill_points import ANY, OwnTables, Point

KIND: Final = "kill_kind"
"""Where in a call's context its kind waits."""

POLL_SECONDS: Final = 0.02
OK: Final = 200
FAILED: Final = 70


@dataclass
class Executioner:
    """Hears of every call, and ends this process, or asks it to stop, when the hour has come."""

    tables: OwnTables
    die: Point | None
    halt: Point | None
    journal: int
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def reached(self, settings: AwsSettings, table: str) -> Clients:
        """Make the clients of a worker, and follow them."""
        clients = reached(settings, table)
        for client in (clients.dynamodb, clients.streams, clients.writer, clients.prompt):
            self._watch(client)
        return clients

    def _watch(self, client: Any) -> None:
        # First of all handlers: the fast path takes a call's parameters apart.
        events = client.meta.events
        events.register_first("provide-client-params", self._provide)
        events.register_first("before-call", self._before)
        events.register_first("after-call", self._after)

    def _provide(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:
        context[KIND] = self.tables.kind_of(model.name, params)

    def _before(self, context: Mapping[str, Any], **_: object) -> None:
        self._note(context[KIND], "before")

    def _after(self, context: Mapping[str, Any], http_response: Any, **_: object) -> None:
        if http_response.status_code == OK:
            self._note(context[KIND], "after")

    def _note(self, kind: str, moment: str) -> None:
        with self._guard:
            for name in (kind, ANY):
                self._counts[name, moment] += 1
                self._judge(name, moment)
            if self._counts[kind, moment] == 1:
                os.write(self.journal, f"{moment} {kind}\n".encode())

    def _judge(self, kind: str, moment: str) -> None:
        reached = (kind, moment, self._counts[kind, moment])
        if self.halt is not None and reached == (self.halt.kind, self.halt.moment, self.halt.nth):
            os.kill(os.getpid(), signal.SIGTERM)
        if self.die is not None and reached == (self.die.kind, self.die.moment, self.die.nth):
            os.kill(os.getpid(), signal.SIGKILL)


def work(order: Mapping[str, Any]) -> None:
    """Run `lockside run`; raises SystemExit with its exit code."""
    os.environ.update(order["environment"])
    settings = load(Path(order["config"]))
    executioner = Executioner(
        OwnTables(settings.audit.table, settings.state.table),
        Point.read(order["die"]) if order["die"] else None,
        Point.read(order["halt"]) if order["halt"] else None,
        os.open(order["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    )
    # The one seam: the command makes its clients by this name.
    if "reached" not in vars(worker):
        raise AttributeError("the worker makes its clients by another name now: follow it here")
    vars(worker)["reached"] = executioner.reached
    lockside(["run", "--config", order["config"], *(["--once"] if order["once"] else [])], "lockside")


def fork(order: Mapping[str, Any]) -> int:
    """Begin a worker in a process of its own; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        os.dup2(os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), sys.stderr.fileno())
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        work(order)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else FAILED
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)


def tell(**facts: Any) -> None:
    """Write a line to whoever gives the orders."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def bury(running: set[int]) -> None:
    """Tell of those that ended."""
    for pid in sorted(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.remove(pid)
            tell(ended=pid, code=os.waitstatus_to_exitcode(status))


def main() -> None:
    """Carry out orders until there are no more."""
    # What botocore imports only when it makes a client is imported here, for all that are forked.
    connect(AwsSettings(region="us-east-1", endpoint_url="http://127.0.0.1:1"))
    running: set[int] = set()
    tell(ready=os.getpid())
    while True:
        if select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
            line = sys.stdin.readline()
            if not line:
                break
            pid = fork(json.loads(line))
            running.add(pid)
            tell(began=pid)
        bury(running)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
