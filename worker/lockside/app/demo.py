"""The demo: an emulator, real clients that write to it, and the worker that watches them.

Strategy: what a person would do by hand, in order, each step ended by the stop event: start a local DynamoDB, create
the clients' tables, `lockside init`, start the clients, start the worker. The worker is the one `lockside run` starts.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from lockside.app import provision
from lockside.app.second_act import SecondAct
from lockside.app.stores import store_client
from lockside.app.worker import Worker
from lockside.aws.clients import connect
from lockside.core.ports import Announce, Clock
from lockside.emulators import tables
from lockside.emulators.clients.crew import Crew, Script
from lockside.emulators.emulator import Emulator, Kind
from lockside.emulators.jars import Fetched
from lockside.emulators.start import start
from lockside.errors import SetupError, StoppedError
from lockside.ops.clock import SystemClock
from lockside.settings import Settings, load
from lockside.stores import LockClient, SessionStore

PLAY_SECONDS_MAX: Final = 120.0
"""The clients play for about half a minute; on a slow machine longer, but not for ever."""

QUIET_SECONDS_MAX: Final = 20.0
"""How long the last sessions may take to lapse after the clients have gone."""

CLOSE_SECONDS_MAX: Final = 30.0
POLL_SECONDS: Final = 0.1

Tell = Callable[[str], None]


@dataclass(slots=True)
class Summary:
    """What a demo came to. Delays are from a change, or from the legal instant of a lapse, to the written record."""

    events: Counter[str] = field(default_factory=Counter)
    change_delays_ms: list[int] = field(default_factory=list)
    lapse_delays_ms: list[int] = field(default_factory=list)
    renewals: int = 0
    retries: int = 0

    def hear(self, event: Mapping[str, Any], now_ms: int) -> None:
        """Take in one written event."""
        self.events[event_name(event)] += 1
        late_ms = event["data"].get("known_late_ms")
        if late_ms is not None:
            self.lapse_delays_ms.append(int(late_ms))
        elif "sequence_number" in event["data"]:
            self.change_delays_ms.append(max(0, now_ms - instant_ms(event["time"])))


@dataclass(frozen=True, slots=True)
class Stage:
    """All that a demo needs, ready to play."""

    emulator: Emulator
    settings: Settings
    config: Path
    worker: Worker
    worker_stop: threading.Event
    crew: Crew
    second_act: SecondAct
    clock: Clock
    summary: Summary

    @property
    def truth(self) -> tuple[dict[str, Any], ...]:
        """What has truly happened, in both acts."""
        return (*self.crew.truth, *self.second_act.truth)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with those who play."""
        return (*self.crew.problems, *self.second_act.problems)


@contextmanager
def staged(  # noqa: PLR0913 - one argument for each thing that differs between a terminal and a test
    kind: Kind, folder: Path, stop: threading.Event, tell: Tell, announce: Announce, *, script: Script | None = None
) -> Iterator[Stage]:
    """Start the emulator, create all tables, join the worker; take all away again at the end.

    `folder` gets the settings and the keys file, and is the caller's to remove. Raises UsageError, and StoppedError
    where the stop event is set before all is ready.
    """
    clock, summary, worker_stop = SystemClock(), Summary(), threading.Event()
    listeners: list[Callable[[Mapping[str, Any]], None]] = []

    def heard(events: Sequence[Mapping[str, Any]]) -> None:
        for event in events:
            summary.hear(event, clock.now().wall_ms)
            for listen in listeners:
                listen(event)
        announce(events)

    def go_on() -> None:
        if stop.is_set():
            raise StoppedError("the demo was stopped before it began")

    def fetching(fetched: Fetched) -> None:
        go_on()
        tell(f"  {fetched.count}/{fetched.total} {fetched.jar.coordinate}")

    with ExitStack() as stack:
        emulator = stack.enter_context(start(kind, progress=fetching))
        go_on()
        _point_aws_at(emulator)
        config = folder / "lockside.toml"
        settings = _write_settings(config, emulator)
        clients = connect(settings.aws)
        lock_table, session_table, login_locks, logins = (source.table for source in settings.source)
        tables.create_lock_table(clients.dynamodb, lock_table)
        tables.create_session_table(clients.dynamodb, session_table)
        LockClient.create(clients.dynamodb, login_locks)
        SessionStore.create(clients.dynamodb, logins)
        created = datetime.fromtimestamp(clock.now().wall_ms / 1000, UTC).isoformat(timespec="seconds")
        provision.apply(provision.plan(settings, clients), clients, stop, created, lambda _line: None)
        worker = Worker.connected(settings, stop=worker_stop, clock=clock, announce=heard)
        stack.callback(worker.close)
        crew = Crew(emulator, lock_table, session_table, script)
        stack.callback(crew.close)
        second_act = SecondAct(store_client(settings.aws), login_locks, logins, tell)
        listeners.append(second_act.hear)
        go_on()
        yield Stage(emulator, settings, config, worker, worker_stop, crew, second_act, clock, summary)


def play(stage: Stage, stop: threading.Event, seconds_max: float | None) -> Summary:
    """Let the clients write and the worker watch until all is told, the time is up or the stop event is set.

    Raises what stopped the worker.
    """
    failures: list[Exception] = []

    def work() -> None:
        try:
            stage.worker.run()
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that plays
            failures.append(error)

    def wait(done: Callable[[], bool], seconds: float) -> None:
        until_ms = stage.clock.now().mono_ms + round(1000 * seconds)
        while not (done() or failures or stage.clock.now().mono_ms >= until_ms):
            if stop.wait(POLL_SECONDS):
                return

    thread = threading.Thread(target=work, name="worker", daemon=True)
    thread.start()
    try:
        stage.crew.start()
        wait(lambda: stage.crew.finished, seconds_max or PLAY_SECONDS_MAX)
        stage.crew.close()
        if stage.crew.finished and not failures and not stop.is_set():
            stage.second_act.play()
        if seconds_max is None:
            wait(lambda: stage.second_act.witnessed and not stage.worker.deadlines_armed(), QUIET_SECONDS_MAX)
    finally:
        stage.worker_stop.set()
        thread.join(CLOSE_SECONDS_MAX)
    if failures:
        raise failures[0]
    summary = stage.summary
    summary.retries = round(stage.worker.meter.total("retries"))
    summary.renewals = round(stage.worker.meter.total("events")) - len(summary.change_delays_ms)
    return summary


def _point_aws_at(emulator: Emulator) -> None:
    """Take this process, whose whole purpose is the demo, off real AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(emulator.environment)


def _write_settings(path: Path, emulator: Emulator) -> Settings:
    text = _template().read_text(encoding="utf-8")
    text = text.replace("[aws]", f'[aws]\nendpoint_url = "{emulator.endpoint_url}"')
    if emulator.kind == "moto":
        # It answers such calls with an error, and shows its inside on the terminal.
        text = text.replace("[state]", "[state]\nbatched = false")
    text = text.replace('"demo.keys.json"', f'"{path.with_name("demo.keys.json")}"')
    path.write_text(text, encoding="utf-8")
    return load(path)


def event_name(event: Mapping[str, Any]) -> str:
    """Return the short name of a CloudEvent's type: `lock.acquired`."""
    return str(event["type"]).removeprefix("dev.lockside.").rsplit(".", 1)[0]


def instant_ms(text: str) -> int:
    """Read an RFC 3339 instant, in epoch milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _template() -> Any:
    """Find the demo's settings: beside this file in an installed package, in config/ in a checkout."""
    packaged = files(__package__).joinpath("demo.toml")
    if packaged.is_file():
        return packaged
    checkout = Path(__file__).parents[3] / "config" / "demo.toml"
    if not checkout.is_file():
        raise SetupError("demo.toml: is missing from this installation; install lockside again")
    return checkout
