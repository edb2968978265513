"""A flood of heartbeats: the worker as it is, against the plainest loop one would write with boto3."""

import gc
import time
from threading import Event
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer

from bench import rows
from bench.canned import Canned, Content, serving
from bench.figures import Bar, Figure
from bench.sizes import Sizes
from bench.stage import Stage, create_watched, staged
from lockside.app.sources import Stream
from lockside.app.worker import Worker
from lockside.core.change import ShardRef
from lockside.ops import garbage
from lockside.ops.clock import SystemClock
from lockside.state import keys_file

AT_LEAST_TIMES = 5.0
GARBAGE = gc.get_threshold()
BARRED = ("awslabs", "pydynlock")


def measure(sizes: Sizes) -> list[Figure]:
    """Measure each layout."""
    with staged("awslabs") as stage:
        return [figure for layout in rows.ROWS for figure in _measure(stage, layout, sizes)]


def _measure(stage: Stage, layout: str, sizes: Sizes) -> list[Figure]:
    takes = sizes.flood_locks + sizes.flood_heartbeats
    table = f"flood-{layout}"
    arn = create_watched(stage.clients.dynamodb, table, layout)
    content = Content(layout, ShardRef(arn, rows.shard_of(layout).shard_id), takes, sizes.flood_locks)
    with serving(content) as server:
        # Before and after, so that a machine that slows down in between favours nobody.
        plain_before = _plain(server, sizes.plain_heartbeats)
        before = server.cpu_seconds()
        ours, seconds = _ours(stage, server, content)
        served = server.cpu_seconds() - before
        plain = (plain_before + _plain(server, sizes.plain_heartbeats)) / 2
    barred = layout in BARRED
    sense: Bar | None = "at least" if barred else None
    return [
        Figure(f"heartbeats, {layout}: plain boto3", plain, "records / CPU s"),
        Figure(f"heartbeats, {layout}: Lockside", ours, "records / CPU s"),
        Figure(
            f"heartbeats, {layout}: times plain boto3", ours / plain, "times", sense, AT_LEAST_TIMES if barred else None
        ),
        Figure(f"heartbeats, {layout}: share of the wall time the server was busy", served / seconds, "share"),
    ]


def _plain(server: Canned, records: int) -> float:
    """Read and decode, nothing else, as Python's garbage collector comes."""
    gc.set_threshold(*GARBAGE)
    client = boto3.client("dynamodbstreams", endpoint_url=server.url)
    decoder = TypeDeserializer()
    done, iterator = 0, "0"
    began = time.process_time()
    while done < records:
        page: Any = client.get_records(ShardIterator=iterator, Limit=rows.PAGE_RECORDS)
        for record in page["Records"]:
            for member in ("Keys", "OldImage", "NewImage"):
                _ = {name: decoder.deserialize(wire) for name, wire in record["dynamodb"].get(member, {}).items()}
        done += len(page["Records"])
        iterator = page.get("NextShardIterator", "")
        if not iterator:
            break
    return done / (time.process_time() - began)


def _ours(stage: Stage, server: Canned, content: Content) -> tuple[float, float]:
    """Let a whole worker drain the shard: engine, processor, live index, head, checkpoints, logs and metrics."""
    source = rows.source_of(content.layout)
    stream = Stream(content.shard.table, content.shard.stream_arn, "TRIM_HORIZON", (source,))
    keys = keys_file.load(stage.settings.keys.file)
    clients = stage.streams_from(server.url)
    times: list[tuple[float, float]] = []
    # From the second call on, when what comes before a flood is done: start, genesis, the first page's acquisitions.
    clients.streams.meta.events.register(
        "before-call.dynamodb-streams.GetRecords", lambda **_: times.append((time.process_time(), time.monotonic()))
    )
    worker = Worker(stage.settings, clients, keys, [stream], stop=Event(), clock=SystemClock())
    garbage.calm()
    try:
        worker.run(once=True)
    finally:
        worker.close()
    consumed = worker.meter.total("records")
    takes = content.takes
    if consumed != takes:
        raise RuntimeError(f"{consumed} of {takes} records were consumed")
    (cpu_from, wall_from), (cpu_to, wall_to) = times[1], times[-1]
    return (len(times) - 2) * rows.PAGE_RECORDS / (cpu_to - cpu_from), wall_to - wall_from
