"""How late a change is recorded, and how late a lapse is known, with a whole worker on DynamoDB Local."""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bench.figures import Figure, spread
from bench.sizes import Sizes
from bench.stage import Stage, staged
from lockside.app.worker import Worker
from lockside.ops import garbage

LAYOUT: Final = "awslabs"
LAPSE_P99_MAX_MS: Final = 250.0
LEASE_FIRST_MS: Final = 6_000
LEASE_STEP_MS: Final = 37
PAUSE_SECONDS: Final = 0.02
WAIT_SECONDS_MAX: Final = 60.0


def measure(sizes: Sizes) -> list[Figure]:
    """Take locks that nobody renews; hear of each when it is recorded and when it lapses."""
    with staged(LAYOUT) as stage:
        written, recorded, lapsed, known = _played(stage, sizes.delays)
    changes = [recorded[name] - written[name] for name in written]
    lease = {name: LEASE_FIRST_MS + number * LEASE_STEP_MS for number, name in enumerate(written)}
    return [
        *spread("change to record (idle pause 200 ms)", changes),
        *spread("legal instant to lock.expired", [known[name] - lapsed[name] for name in written], LAPSE_P99_MAX_MS),
        *spread("write + lease to lock.expired", [known[name] - written[name] - lease[name] for name in written]),
    ]


def _played(stage: Stage, count: int) -> tuple[dict[str, float], ...]:
    """Return, by lock and in epoch milliseconds: written, recorded, legal instant, lapse known."""
    recorded: dict[str, float] = {}
    lapsed: dict[str, float] = {}
    known: dict[str, float] = {}
    done = threading.Event()

    def heard(events: Sequence[Mapping[str, Any]]) -> None:
        now_ms = time.time() * 1_000
        for event in events:
            data = event["data"]
            if event["type"] == "dev.lockside.lock.acquired.v1":
                recorded[data["entity"]["name"]] = now_ms
            elif event["type"] == "dev.lockside.lock.expired.v1":
                known[data["entity"]["name"]] = now_ms
                lapsed[data["entity"]["name"]] = datetime.fromisoformat(data["legal_instant"]).timestamp() * 1_000
        if len(known) == count:
            done.set()

    stop = threading.Event()
    worker = Worker.connected(stage.settings, stop=stop, announce=heard)
    garbage.calm()
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    try:
        written = _write(stage, count)
        if not done.wait(WAIT_SECONDS_MAX):
            raise RuntimeError(f"{len(known)} of {count} lapses were told")
    finally:
        stop.set()
        thread.join()
        worker.close()
    return written, recorded, lapsed, known


def _write(stage: Stage, count: int) -> dict[str, float]:
    """Take locks one after the other; return when each call was back."""
    written: dict[str, float] = {}
    for number in range(count):
        name = f"lock-{number:04d}"
        lease_ms = LEASE_FIRST_MS + number * LEASE_STEP_MS
        row: Any = {
            "key": {"S": name},
            "ownerName": {"S": f"owner-{number}"},
            "recordVersionNumber": {"S": f"version-{number}"},
            "leaseDuration": {"S": str(lease_ms)},
        }
        stage.clients.dynamodb.put_item(TableName=stage.settings.source[0].table, Item=row)
        written[name] = time.time() * 1_000
        time.sleep(PAUSE_SECONDS)
    return written
