"""The worker as a whole, against moto: what it says of itself, and how it ends."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lockside.app import run as app
from lockside.app.pace import silence_max_ms
from lockside.app.worker import Worker
from lockside.aws.tables import audit_table, state_table
from lockside.core.change import ShardRef
from lockside.emulators import tables
from lockside.emulators.emulator import Emulator
from lockside.errors import SetupError
from lockside.settings import Settings
from lockside.state import keys_file
from tests.fakes.state_table import dynamodb


@pytest.fixture
def settings(moto: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a worker over an empty lock table, with all its tables made."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    client, name = dynamodb(moto), uuid4().hex[:12]
    tables.create_lock_table(client, f"locks-{name}")
    for definition in (audit_table(f"audit-{name}"), state_table(f"state-{name}")):
        client.create_table(**{**definition.create, "DeletionProtectionEnabled": False})
    keys_file.create(tmp_path / "keys.json", "2026-11-23T00:00:00Z")
    given: dict[str, Any] = {
        "aws": {"endpoint_url": moto.endpoint_url, "region": moto.region},
        "audit": {"table": f"audit-{name}"},
        "state": {"table": f"state-{name}"},
        "keys": {"file": tmp_path / "keys.json"},
        "engine": {"idle_min_ms": 1, "idle_max_ms": 2},
        "source": [{"id": "locks", "table": f"locks-{name}", "layout": "pydynlock"}],
    }
    return Settings(**given)


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    """Return a connected worker that has not run."""
    made = Worker.connected(settings, stop=threading.Event())
    yield made
    made.close()


def test_it_is_not_ready_before_it_reads(worker: Worker) -> None:
    """A worker that does not own the application, let alone has listed a stream, does not do its job."""
    assert worker.ready() == ["standby: application lockside is owned by nobody yet"]
    worker.run(once=True)
    assert worker.ready() == []


def test_shards_with_nothing_to_watch_are_let_go_without_a_scrape(worker: Worker) -> None:
    """Shards come and go for as long as the worker runs, also where nobody asks for numbers."""
    arn = next(iter(worker._streams))
    for number in range(50):
        worker._processor(ShardRef(arn, f"shardId-{number}")).lease_lost()
    assert len(worker._processors) == 1


def test_a_shard_that_went_to_another_worker_is_told_of_no_more(settings: Settings) -> None:
    """Its row is the new owner's from then on. At the end of the run a worker still tells how it left its own."""
    engine = settings.engine.model_copy(update={"kind": "kcl"})
    worker = Worker.connected(settings.model_copy(update={"engine": engine}), stop=threading.Event())
    arn = next(iter(worker._streams))
    lost, kept = (ShardRef(arn, f"shardId-{number}") for number in range(2))
    worker._processor(lost)
    worker._processor(kept)
    worker._processors[lost].lease_lost()
    assert list(worker._views()) == [kept]
    worker._stop.set()
    worker._processors[kept].shutdown_requested()
    assert list(worker._views()) == [kept]
    worker.close()


@pytest.mark.parametrize("table", ["audit", "state"])
def test_a_table_of_ours_that_is_deleted_is_one_clear_message(
    settings: Settings, moto: Emulator, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Not an unexpected error: its user can mend it."""
    connected: Callable[..., Worker] = Worker.connected

    def then_delete(*arguments: Any, **named: Any) -> Worker:
        made = connected(*arguments, **named)
        dynamodb(moto).delete_table(TableName=getattr(settings, table).table)
        return made

    monkeypatch.setattr(Worker, "connected", then_delete)
    with pytest.raises(SetupError, match=rf"{table}\.table = .*lockside init"):
        app.run(settings, once=True)


def test_a_turning_loop_is_never_taken_for_a_silent_one(settings: Settings) -> None:
    """The health check is more patient than the longest time-outs one may set."""
    slow = settings.model_copy(update={"aws": settings.aws.model_copy(update={"read_timeout_seconds": 120.0})})
    assert silence_max_ms(slow) > 2 * 2 * 120_000
    assert silence_max_ms(settings) >= 60_000
