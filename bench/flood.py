"""A flood of heartbeats: the worker as it is, against the plainest loop one would write with boto3.

A shared core may be half as fast from one second to the next. So the two take turns: after every so many pages of the
worker's, one is read plainly, in the same process and from the same server.
"""

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
    arn = create_watched(stage.clients.dynamodb, f"flood-{layout}", layout)
    content = Content(layout, ShardRef(arn, rows.shard_of(layout).shard_id), takes, sizes.flood_locks)
    with serving(content) as server:
        turns = _Turns(server, sizes.flood_pages_a_turn)
        served, began = server.cpu_seconds(), time.monotonic()
        _consume(stage, server, content, turns)
        share = (server.cpu_seconds() - served) / (time.monotonic() - began)
    plain, ours = turns.plain_records / turns.plain_seconds, turns.records / turns.seconds
    barred = layout in BARRED
    sense: Bar | None = "at least" if barred else None
    return [
        Figure(f"heartbeats, {layout}: plain boto3", plain, "records / CPU s"),
        Figure(f"heartbeats, {layout}: Lockside", ours, "records / CPU s"),
        Figure(
            f"heartbeats, {layout}: times plain boto3", ours / plain, "times", sense, AT_LEAST_TIMES if barred else None
        ),
        Figure(f"heartbeats, {layout}: share of the wall time the server was busy", share, "share"),
    ]


class _Turns:
    """Counts the CPU of both sides. The worker's first page, which acquires, is left out with all that comes before."""

    def __init__(self, server: Canned, pages: int) -> None:
        """Prepare; `pages` are the worker's in a turn."""
        self.seconds = self.plain_seconds = 0.0
        self.records = self.plain_records = 0
        self._pages = pages
        self._calls = 0
        self._resumed = 0.0
        self._client = boto3.client("dynamodbstreams", endpoint_url=server.url)
        self._decoder = TypeDeserializer()
        self._read(warm_up=True)

    def before_call(self, **_: Any) -> None:
        """Learn that the worker asks for its next page."""
        if self._calls > 1:
            self.seconds += time.process_time() - self._resumed
            self.records += rows.PAGE_RECORDS
        self._calls += 1
        if self._calls % self._pages == 0:
            self._read()
        self._resumed = time.process_time()

    def _read(self, *, warm_up: bool = False) -> None:
        """Read and decode a page, nothing else, as Python's garbage collector comes."""
        calm = gc.get_threshold()
        gc.set_threshold(*GARBAGE)
        began = time.process_time()
        page: Any = self._client.get_records(ShardIterator="1", Limit=rows.PAGE_RECORDS)
        for record in page["Records"]:
            for member in ("Keys", "OldImage", "NewImage"):
                _ = {n: self._decoder.deserialize(wire) for n, wire in record["dynamodb"].get(member, {}).items()}
        if not warm_up:
            self.plain_seconds += time.process_time() - began
            self.plain_records += len(page["Records"])
        gc.set_threshold(*calm)


def _consume(stage: Stage, server: Canned, content: Content, turns: _Turns) -> None:
    """Let a whole worker drain the shard: engine, processor, live index, head, checkpoints, logs and metrics."""
    source = rows.source_of(content.layout)
    stream = Stream(content.shard.table, content.shard.stream_arn, "TRIM_HORIZON", (source,))
    keys = keys_file.load(stage.settings.keys.file)
    clients = stage.streams_from(server.url)
    clients.streams.meta.events.register("before-call.dynamodb-streams.GetRecords", turns.before_call)
    worker = Worker(stage.settings, clients, keys, [stream], stop=Event(), clock=SystemClock())
    garbage.calm()
    try:
        worker.run(once=True)
    finally:
        worker.close()
    consumed = worker.meter.total("records")
    if consumed != content.takes:
        raise RuntimeError(f"{consumed} of {content.takes} records were consumed")
