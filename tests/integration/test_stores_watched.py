"""The worker watches the stores: what many logins at once did is in the trail, each step once."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockside.app.worker import Worker
from lockside.aws.tables import audit_table, state_table
from lockside.emulators.emulator import Emulator
from lockside.errors import SessionLimitError
from lockside.settings import Settings
from lockside.state import keys_file
from lockside.stores import LockClient, SessionStore
from tests.fakes.state_table import dynamodb
from tests.fakes.store_desk import KEY, StoreDesk, make_desk

LOGINS = 100
HOSTS = 5
BACKENDS = ("dynamodb-local",)
"""moto undoes a refused transaction by putting back a copy of all tables, with which others' writes are lost."""


@pytest.fixture(params=BACKENDS)
def watched(
    request: pytest.FixtureRequest,
    emulator_of: Callable[[Any], Emulator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[StoreDesk, Settings]:
    """Return empty store tables, and the settings of a worker that watches them."""
    emulator = emulator_of(request.param)
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    desk, client = make_desk(request.param, emulator_of), dynamodb(emulator)
    audit, state = f"{desk.sessions}-audit", f"{desk.sessions}-state"
    for definition in (audit_table(audit), state_table(state)):
        client.create_table(**{**definition.create, "DeletionProtectionEnabled": False})
    keys_file.create(tmp_path / "keys.json", "2026-11-23T00:00:00Z")
    given: dict[str, Any] = {
        "aws": {"endpoint_url": emulator.endpoint_url, "region": emulator.region},
        "audit": {"table": audit},
        "state": {"table": state},
        "keys": {"file": tmp_path / "keys.json"},
        "engine": {"idle_min_ms": 1, "idle_max_ms": 2},
        "source": [
            {"id": "locks", "table": desk.locks, "layout": "lockside-lock"},
            {"id": "sessions", "table": desk.sessions, "layout": "lockside-session"},
        ],
    }
    return desk, Settings(**given)


def records(desk: StoreDesk, settings: Settings) -> Iterator[Any]:
    """Read all that the audit table holds about entities."""
    for page in desk.client.get_paginator("scan").paginate(TableName=settings.audit.table, ConsistentRead=True):
        for item in page["Items"]:
            if item["pk"]["S"].startswith("E#"):
                yield json.loads(item["ce"]["S"])


@pytest.mark.timeout(240)
def test_a_hundred_logins_leave_one_session_and_a_record_of_each_step(watched: tuple[StoreDesk, Settings]) -> None:
    """Every login took the lock and gave it back, under a fence of its own; one session began, and ended at logout."""
    desk, settings = watched
    locks = [LockClient(desk.client, desk.locks, owner=f"web-{number}", lease=60) for number in range(HOSTS)]
    stores = [SessionStore(desk.client, desk.sessions, each, key=KEY, max_sessions_per_user=1) for each in locks]
    tokens: list[str] = []
    refused: list[str] = []

    def login(store: SessionStore) -> None:
        try:
            tokens.append(store.login("alice", wait=200))
        except SessionLimitError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=login, args=(stores[number % HOSTS],)) for number in range(LOGINS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(tokens), len(refused), len(stores[0].sessions_of("alice"))) == (1, LOGINS - 1, 1)
    assert stores[0].logout(tokens[0])
    for each in locks:
        each.close()

    worker = Worker.connected(settings, stop=threading.Event())
    try:
        worker.run(once=True)
    finally:
        worker.close()
    trail = list(records(desk, settings))
    names = (event["type"].removeprefix("dev.lockside.").removesuffix(".v1") for event in trail)
    told = Counter(name for name in names if not name.startswith("worker."))
    assert told == {"lock.acquired": LOGINS, "lock.released": LOGINS, "session.started": 1, "session.ended": 1}
    fences = [event["data"]["fence"] for event in trail if event["type"].endswith("lock.acquired.v1")]
    assert sorted(map(int, fences)) == list(range(1, LOGINS + 1))
    owners = Counter(event["data"]["actor"] for event in trail if event["type"].endswith("lock.acquired.v1"))
    assert owners == {f"web-{number}": LOGINS // HOSTS for number in range(HOSTS)}
    (begun,) = [event for event in trail if event["type"].endswith("session.started.v1")]
    assert (begun["data"]["actor"], begun["data"]["authenticated"]) == ("alice", "yes")
    assert tokens[0] not in json.dumps(trail)
