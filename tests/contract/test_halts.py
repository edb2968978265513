"""A halted shard ends `lockside run` with one exit code, whatever halted it; docs/operations.md has the rule."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from lockside.app.worker import Worker
from lockside.aws.tables import audit_table, state_table
from lockside.cli.main import EXIT_NOT_FOUND_OUT, EXIT_UNEXPECTED, EXIT_USAGE, main
from lockside.core.now import Now
from lockside.emulators import tables
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import HALTS
from lockside.errors import HaltError, UsageError
from lockside.ops.clock import SystemClock
from lockside.settings import load
from lockside.state import keys_file
from tests.fakes.clock import FakeClock
from tests.fakes.sources import lock_keys, pydynlock, wire
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_server import StreamServer

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
DAY = 24 * 3_600.0


@dataclass
class Site:
    """One installation, its settings in a file, all of it behind the fake streams server with a clock of its own."""

    server: StreamServer
    clock: FakeClock
    file: Path
    locks: str

    def feed(self, *records: Any) -> None:
        """Put raw records into the lock table's stream."""
        self.server.control({"put": {"table": self.locks, "records": records}})

    @property
    def shard(self) -> Any:
        """The one shard of the stream."""
        model = self.server.service.model
        (shard,) = model.streams[model.latest[self.locks]].shards.values()
        return shard

    def run(self) -> Result:
        """Run the worker until all is read or halted."""
        return CliRunner().invoke(main, ["run", "--once", "--config", str(self.file)])


@pytest.fixture
def site(moto: Emulator, tmp_path: Path) -> Iterator[Site]:
    """Make an installation with all its tables."""
    name, clock = uuid4().hex[:12], FakeClock()
    with StreamServer(backing_url=moto.endpoint_url, clock=clock) as server, pytest.MonkeyPatch.context() as patch:
        for variable, value in server.emulator.environment.items():
            patch.setenv(variable, value)
        client = dynamodb(server.emulator)
        tables.create_lock_table(client, f"locks-{name}")
        for definition in (audit_table(f"audit-{name}"), state_table(f"state-{name}")):
            client.create_table(**{**definition.create, "DeletionProtectionEnabled": False})
        client.close()
        keys_file.create(tmp_path / "keys.json", "2026-11-23T00:00:00Z")
        file = tmp_path / "lockside.toml"
        file.write_text(
            f'[aws]\nregion = "{server.emulator.region}"\nendpoint_url = "{server.endpoint_url}"\n'
            f'[audit]\ntable = "audit-{name}"\n[state]\ntable = "state-{name}"\n'
            f'[keys]\nfile = "{tmp_path / "keys.json"}"\n'
            "[engine]\nidle_min_ms = 1\nidle_max_ms = 2\nundecodable_max = 0\n"
            f'[[source]]\nid = "locks"\ntable = "locks-{name}"\nlayout = "pydynlock"\non_gap = "halt"\n',
            encoding="utf-8",
        )
        yield Site(server, clock, file, f"locks-{name}")


def faulty(site: Site) -> None:
    """Let a record lose its sequence number for good."""
    site.feed(wire(1, lock_keys("job"), None, pydynlock("ann", "v1")))
    site.server.control({"spoil": {"table": site.locks, "shard_id": site.shard.shard_id, "index": 0}})


def trimmed(site: Site) -> None:
    """Lose what follows the checkpoint."""
    first, later = pydynlock("ann", "v1"), pydynlock("bob", "v2")
    site.feed(wire(1, lock_keys("job"), None, first))
    assert site.run().exit_code == 0
    site.feed(wire(2, lock_keys("job"), first, later))
    site.clock.advance(2 * DAY)
    site.server.control({"trim": {"table": site.locks, "shard_id": site.shard.shard_id}})


def undecodable(site: Site) -> None:
    """Meet a change that is not understood, where none may be kept."""
    site.feed({**wire(1, lock_keys("job"), None, pydynlock("ann", "v1")), "eventName": "?"})


@pytest.mark.parametrize(
    ("halt", "says"),
    [
        (faulty, "out of order, follows its beginning, at the second reading too; the shard is halted"),
        (trimmed, 'to go on after the gap, set on_gap = "continue"'),
        (undecodable, "engine.undecodable_max = 0"),
    ],
    ids=["faulty page", "lost data", "undecodable limit"],
)
def test_every_halt_ends_with_the_same_exit_code(site: Site, halt: Callable[[Site], None], says: str) -> None:
    """It names shard, table and the way out, without a traceback; and again at the next start."""
    halt(site)
    for _ in range(2):
        result = site.run()
        assert result.exit_code == EXIT_USAGE
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith(f"lockside: shard {site.shard.shard_id} of table {site.locks}: ")
        assert says in last
        assert "Traceback" not in result.output


def status(site: Site, *arguments: str) -> Result:
    """Run `lockside status`."""
    return CliRunner().invoke(main, ["status", "--config", str(site.file), *arguments])


@pytest.mark.parametrize(
    ("halt", "says"),
    [
        (faulty, "see what the endpoint answers, then start again"),
        (trimmed, 'set on_gap = "continue"'),
        (undecodable, "lockside redrive"),
    ],
    ids=["faulty page", "lost data", "undecodable limit"],
)
def test_after_a_halt_status_names_the_shard_and_the_way_out(
    site: Site, halt: Callable[[Site], None], says: str
) -> None:
    """Though the last readable shard has halted and the worker is gone: it did not stop in good order."""
    halt(site)
    assert site.run().exit_code == EXIT_USAGE
    answer = json.loads(status(site, "--json").stdout)
    down, halted = answer["problems"]
    assert down.startswith("no worker runs: the last one, on ")
    assert f"ended: shard {site.shard.shard_id} of table {site.locks}: " in down
    assert halted.startswith(f"table {site.locks}, shard {site.shard.shard_id}: halted: ")
    assert says in down
    assert says in halted
    assert says in answer["owner"]["ended"]
    assert [(shard["shard"], shard["state"]) for shard in answer["shards"]] == [(site.shard.shard_id, "halted")]
    result = status(site)
    assert result.exit_code == 1
    assert "good order" not in result.output


def test_the_next_good_run_takes_back_what_the_last_one_said(site: Site) -> None:
    """A reason counts for the run that it ended, and a halt until its shard goes on."""
    undecodable(site)
    assert site.run().exit_code == EXIT_USAGE
    text = site.file.read_text(encoding="utf-8")
    site.file.write_text(text.replace("undecodable_max = 0", "undecodable_max = 1"), encoding="utf-8")
    assert site.run().exit_code == 0
    answer = json.loads(status(site, "--json").stdout)
    assert ["stopped in good order" in problem for problem in answer["problems"]] == [True]
    assert answer["owner"]["ended"] is None


class AheadClock:
    """The machine's clocks, and so much time as is let pass on top."""

    def __init__(self) -> None:
        """Begin with the machine's."""
        self._clock = SystemClock()
        self.passed_ms = 0

    def now(self) -> Now:
        """Read both."""
        now = self._clock.now()
        return Now(now.wall_ms + self.passed_ms, now.mono_ms + self.passed_ms)


def gauges(worker: Worker, site: Site) -> dict[str, float]:
    """Scrape the worker: the gauges of the shard, and of how many are halted."""
    worker.refresh()
    lines = worker.meter.render().decode().splitlines()
    wanted = (f'shard="{site.shard.shard_id}"', "lockside_shards_halted ")
    shown = (line for line in lines if not line.startswith("#") and any(each in line for each in wanted))
    values = (line.rsplit(" ", 1) for line in shown)
    return {name.partition("{")[0].removeprefix("lockside_"): float(value) for name, value in values}


@pytest.mark.parametrize("halt", [faulty, trimmed, undecodable], ids=["faulty page", "lost data", "undecodable limit"])
def test_the_ages_of_a_halted_shard_go_on_growing(site: Site, halt: Callable[[Site], None]) -> None:
    """An alarm on either resolves when somebody acts, not because the shard stopped; a gauge counts the halts."""
    halt(site)
    clock = AheadClock()
    worker = Worker.connected(load(site.file), stop=threading.Event(), clock=clock)
    try:
        with pytest.raises(UsageError):
            worker.run(once=True)
        first = gauges(worker, site)
        clock.passed_ms += 7_200_000
        later = gauges(worker, site)
    finally:
        worker.close()
    ages = {"lag_seconds", "oldest_unwritten_seconds"}
    assert first.keys() >= ages
    assert (first["shards_halted"], later["shards_halted"]) == (1, 1)
    assert all(7_200 <= later[age] - first[age] < 7_260 for age in ages)


def test_every_kind_of_halt_is_one_that_a_person_must_mend() -> None:
    """So that a new kind cannot end the worker with another code."""
    kinds: tuple[type[Exception], ...] = (*HALTS, *HaltError.__subclasses__())
    assert all(issubclass(kind, UsageError) for kind in kinds)


def test_the_runbook_has_the_exit_codes_that_run_has() -> None:
    """The table in docs/operations.md, the help of the command and the code agree."""
    rows = OPERATIONS.read_text(encoding="utf-8").partition("## How `lockside run` ends")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1].strip() for line in rows.splitlines() if line.startswith("| ")][1:]
    assert first_cells == ["0", str(EXIT_USAGE), str(EXIT_NOT_FOUND_OUT), str(EXIT_UNEXPECTED), "130, 143"]
    assert "A halted shard ends the worker with 2" in rows
    said = " ".join(CliRunner().invoke(main, ["run", "--help"]).stdout.split())
    assert "2 wrong set-up, a halted shard" in said
