"""How long a worker that starts needs to its first record, by what its predecessor left in the live index."""

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from bench import rows
from bench.figures import Figure
from bench.sizes import Sizes
from bench.stage import Stage, staged
from bench.units import begun
from lockside.app import sources
from lockside.core.change import ShardRef
from lockside.state import keys_file
from lockside.state.live_index import NONCE_BYTES, to_item

LAYOUT: Final = "awslabs"
ANSWER_SECONDS_MAX: Final = 120.0
BATCH: Final = 25


def measure(sizes: Sizes) -> list[Figure]:
    """Start a worker in a process of its own for each number of live locks."""
    with staged(LAYOUT) as stage:
        # A first worker leaves its checkpoint, and its code in the file cache.
        _first_record_seconds(stage, 0)
        figures: list[Figure] = []
        filled = 0
        for turn, locks in enumerate(sizes.restart_locks, start=1):
            _fill(stage, filled, locks)
            filled = locks
            seconds = _first_record_seconds(stage, turn)
            figures.append(Figure(f"process start to first record, {locks:,} live locks", seconds, "s"))
    return figures


def _fill(stage: Stage, first: int, last: int) -> None:
    """Put entries of live locks into the state table, as a predecessor would have."""
    keys = keys_file.load(stage.settings.keys.file)
    [stream] = sources.resolve(stage.clients.dynamodb, stage.settings, keys)
    described = stage.clients.streams.describe_stream(StreamArn=stream.arn)["StreamDescription"]
    shard = ShardRef(stream.arn, described["Shards"][0]["ShardId"])
    entries = begun(LAYOUT, last)[first:]
    for start in range(0, len(entries), BATCH):
        puts: Any = [
            {"PutRequest": {"Item": to_item(shard, entry, keys, os.urandom(NONCE_BYTES))}}
            for entry in entries[start : start + BATCH]
        ]
        stage.clients.writer.batch_write_item(RequestItems={stage.settings.state.table: puts})


def _first_record_seconds(stage: Stage, turn: int) -> float:
    """Write one change, start a worker, and wait until it tells of the record."""
    row: Any = {
        "key": {"S": f"restart-{turn}"},
        "ownerName": {"S": "bench"},
        "recordVersionNumber": {"S": "1"},
        "leaseDuration": {"S": str(rows.LEASE_SECONDS * 1_000)},
    }
    stage.clients.dynamodb.put_item(TableName=stage.settings.source[0].table, Item=row)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    began = time.monotonic()
    process = context.Process(target=work, args=(stage.config, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(ANSWER_SECONDS_MAX):
            raise RuntimeError("the worker told of no record")
        return float(ours.recv()) - began
    finally:
        process.join(ANSWER_SECONDS_MAX)
        process.kill()


def work(config: Path, told: Connection) -> None:
    """Run a worker until its first record, and tell when that was."""
    # Imported here: importing is part of what a start takes.
    from lockside.app.worker import Worker  # noqa: PLC0415
    from lockside.ops import garbage, logs  # noqa: PLC0415
    from lockside.settings import load  # noqa: PLC0415

    settings = load(config)
    logs.configure(settings.ops.log_level, "json")
    stop = threading.Event()

    def heard(events: Sequence[Mapping[str, Any]]) -> None:
        if not stop.is_set() and any(event["type"].startswith("dev.lockside.lock.") for event in events):
            told.send(time.monotonic())
            stop.set()

    worker = Worker.connected(settings, stop=stop, announce=heard)
    garbage.calm()
    worker.run()
    worker.close()
