"""CPU per written audit record, against boto3's put_item of the same item."""

import time
from collections.abc import Iterable
from threading import Event
from typing import Any

import boto3

from bench import rows
from bench.canned import Canned, Content, serving
from bench.figures import Figure
from bench.sizes import Sizes
from lockside.audit import items
from lockside.audit.items import Retention
from lockside.audit.table import AuditTable
from lockside.audit.write import AuditTrail
from lockside.aws.clients import connect
from lockside.aws.retrying import Retrier
from lockside.core import log
from lockside.core.batch import Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.log import LogHead, Placed
from lockside.core.now import Now
from lockside.core.telemetry import NoMeter
from lockside.ops import garbage
from lockside.ops.clock import SystemClock
from lockside.settings import AwsSettings

SHARE_MAX = 0.2
LAYOUT = "awslabs"
TABLE = "bench-audit"


def measure(sizes: Sizes) -> list[Figure]:
    """Write the same records both ways."""
    with serving(Content(LAYOUT, rows.shard_of(LAYOUT))) as server:
        pages = list(rows.Stream(LAYOUT).pages(sizes.written, sizes.written))
        began = time.process_time()
        placed = placed_from(LAYOUT, pages)
        made = (time.process_time() - began) / sizes.written
        plain = _plain(server, placed[: max(1, sizes.written // 5)])
        garbage.calm()
        before, wall = server.cpu_seconds(), time.monotonic()
        ours = _ours(server, placed)
        busy = (server.cpu_seconds() - before) / (time.monotonic() - wall)
    return [
        Figure("write: boto3 put_item", plain * 1e6, "CPU µs / record"),
        Figure("write: Lockside", ours * 1e6, "CPU µs / record"),
        Figure("write: share of boto3 put_item", ours / plain, "share", "at most", SHARE_MAX),
        Figure("write: to make the record before that (with the change that caused it)", made * 1e6, "CPU µs / record"),
        Figure("write: share of the wall time the server was busy", busy, "share"),
    ]


def recorded(layout: str, count: int, *, first: int = 0, head: LogHead | None = None) -> list[Placed]:
    """Return records of acquisitions or logins, placed in a log; `first` is the first row's number."""
    return placed_from(layout, rows.Stream(layout).pages(count, count, first), head)


def placed_from(layout: str, pages: Iterable[list[dict[str, Any]]], head: LogHead | None = None) -> list[Placed]:
    """Work changes out into records, and place them in a log."""
    reader, memory = Reader(rows.shard_of(layout), (rows.source_of(layout),), PUBLIC_KEYS), Memory()
    head = head or LogHead(f"{rows.shard_of(layout).origin}/1", 1)
    placed: list[Placed] = []
    after = None
    for page in pages:
        batch = reader.take_in(page, memory, after, Now(0, 0))
        after = batch.last_position
        head, more = log.append(head, batch.records)
        placed += more
    return placed


def _plain(server: Canned, placed: list[Placed]) -> float:
    client = boto3.client("dynamodb", endpoint_url=server.url)
    puts = [items.change_item(one, Retention()) for one in placed]
    client.put_item(TableName=TABLE, Item=puts[0])
    began = time.process_time()
    for item in puts:
        client.put_item(TableName=TABLE, Item=item)
    return (time.process_time() - began) / len(puts)


def _ours(server: Canned, placed: list[Placed]) -> float:
    client = connect(AwsSettings(endpoint_url=server.url)).writer
    trail = AuditTrail(AuditTable(client, TABLE, Retrier(Event(), NoMeter())), SystemClock())
    trail.write(placed[:25])
    began = time.process_time()
    for start in range(0, len(placed), rows.PAGE_RECORDS):
        trail.write(placed[start : start + rows.PAGE_RECORDS])
    seconds = time.process_time() - began
    trail.close()
    return seconds / len(placed)
