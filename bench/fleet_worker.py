"""A worker of a fleet in a process of its own: `python -m bench.fleet_worker CONFIG URL RECORDS` says what it took."""

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import rows
from bench.fleet import IDLE_MS, LAYOUT, SECONDS_MAX
from lockside.app import fleet
from lockside.app.sources import Stream
from lockside.app.worker import Worker
from lockside.aws.clients import connect
from lockside.ops import garbage, logs
from lockside.ops.clock import SystemClock
from lockside.settings import load
from lockside.state import keys_file

LOOK_SECONDS: Final = 0.1
"""Looking takes CPU time of its own, which is to be none of the worker's."""


def main(config: str, url: str, wanted: int) -> None:
    """Run a worker until it has consumed so many records."""
    logs.configure("warning", "json")
    knobs = {"engine.kind": "kcl", "engine.kcl.idle_ms": IDLE_MS, "engine.kcl.shard_sync_ms": 200}
    settings = load(Path(config), {**knobs, "engine.shard_listing_seconds": 3600})
    elsewhere = connect(settings.aws.model_copy(update={"endpoint_url": url}))
    clients = replace(connect(settings.aws), streams=elsewhere.streams)
    arn = rows.shard_of(LAYOUT).stream_arn
    stream = Stream(rows.shard_of(LAYOUT).table, arn, "TRIM_HORIZON", (rows.source_of(LAYOUT),))
    stop = threading.Event()
    fleet.fetch_jars()
    fleet.machine_of(settings.engine.kcl).start()
    keys = keys_file.load(settings.keys.file)
    worker = Worker(settings, clients, keys, [stream], stop=stop, clock=SystemClock(), worker_id="bench")
    garbage.calm()
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    first = _wait(worker, 1)
    began = time.process_time()
    last = _wait(worker, wanted)
    took = time.process_time() - began
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    memory = int(status.partition("VmRSS:")[2].split()[0])
    sys.stdout.write(json.dumps({"records": last - first, "cpu_ns": took * 1e9, "rss_kb": memory}) + "\n")
    sys.stdout.flush()
    # Java's pools have threads that never end.
    os._exit(0)


def _wait(worker: Worker, records: int) -> float:
    """Wait until so many records were consumed; return how many it were."""
    limit = time.monotonic() + SECONDS_MAX
    while (total := worker.meter.total("records")) < records:
        if time.monotonic() > limit:
            sys.stderr.write(f"{total} of {records} records in {SECONDS_MAX} s\n")
            os._exit(1)
        time.sleep(LOOK_SECONDS)
    return total


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
