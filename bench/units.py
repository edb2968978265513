"""Write units and calls per recorded change, observer record and live-index entry, on DynamoDB Local."""

import os
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from threading import Event
from typing import Final

import orjson

from bench import rows
from bench.counting import Bill
from bench.figures import Bar, Figure
from bench.sizes import Sizes
from bench.stage import Stage, staged
from bench.writing import recorded
from lockside.audit import items
from lockside.audit.items import Retention
from lockside.audit.table import AuditTable
from lockside.audit.write import AuditTrail
from lockside.aws.retrying import Retrier
from lockside.core import merkle, observer
from lockside.core.batch import Memory, Reader
from lockside.core.deadlines import Declared
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.log import LogHead, Placed
from lockside.core.now import Now
from lockside.core.observer import Sighting
from lockside.core.ports import LiveEntry, LiveRemoval
from lockside.core.records import Naming
from lockside.core.telemetry import NoMeter
from lockside.ops.clock import SystemClock
from lockside.state.live_index import NONCE_BYTES, LiveTable, to_item
from lockside.state.live_statements import Statements

RECORD_UNITS_MAX: Final = 3.1
RECORD_CALLS_MAX: Final = 0.06
LIVE_UNITS_MAX: Final = 1.1
LIVE_CALLS_MAX: Final = 0.05
HEAD_SECONDS: Final = 10
UNIT_BYTES: Final = 1_024
FAR: Final = 1_000


def measure(sizes: Sizes) -> list[Figure]:
    """Count on real tables."""
    figures: list[Figure] = []
    with staged("awslabs") as stage:
        for layout, barred in (("awslabs", True), ("flask-session", False)):
            kind = rows.source_of(layout).kind
            full = _written(stage, layout, sizes.unit_changes, sizes.unit_changes)
            slow = _written(stage, layout, sizes.slow_changes, 1)
            figures.append(Figure(f"{kind} record: item", item_bytes(layout), "bytes"))
            figures += _pair(f"{kind} record, full batches", *full, barred=barred)
            figures += _pair(f"{kind} record, one a second", *slow)
        figures += _pair("observer record (a lapse), one by one", *_observed(stage, sizes.slow_changes))
        figures += _live(stage, sizes.unit_changes)
    return figures


def _pair(name: str, units: float, calls: float, *, barred: bool = False) -> list[Figure]:
    sense: Bar | None = "at most" if barred else None
    return [
        Figure(f"{name}: write units", units, "WCU", sense, RECORD_UNITS_MAX if barred else None),
        Figure(f"{name}: calls", calls, "calls", sense, RECORD_CALLS_MAX if barred else None),
    ]


def item_bytes(layout: str) -> int:
    """Return a record's size as DynamoDB counts it: the names and values of its attributes, all of them text."""
    [one] = recorded(layout, 1)
    return sum(
        len(name) + len(value) for name, wire in items.change_item(one, Retention()).items() for value in wire.values()
    )


def _trail(stage: Stage) -> AuditTrail:
    table = AuditTable(stage.clients.writer, stage.settings.audit.table, Retrier(Event(), NoMeter()))
    return AuditTrail(table, SystemClock())


def _written(stage: Stage, layout: str, changes: int, at_once: int) -> tuple[float, float]:
    """Write records so many at once, and the head once for every ten seconds' worth.

    At full batches ten seconds' worth is taken to be all of them; at one a second, ten.
    """
    trail, source = _trail(stage), rows.source_of(layout)
    head = trail.open(rows.shard_of(layout), (source,), "TRIM_HORIZON")
    # Rows of their own: to write a record again costs less than to write it.
    placed = recorded(layout, changes + 1, first=at_once * FAR, head=head)
    heads = _heads(head, placed)
    trail.write(placed[:1])
    bill = Bill()
    bill.watch(stage.clients.writer)
    between = changes if at_once > 1 else HEAD_SECONDS
    for start in range(0, changes, at_once):
        done = min(start + at_once, changes)
        trail.write(placed[1 + start : 1 + done])
        if done % between == 0 or done == changes:
            trail.write_head(heads[done])
    trail.close()
    return bill.units / changes, sum(bill.calls.values()) / changes


def _heads(head: LogHead, placed: list[Placed]) -> list[LogHead]:
    """Return the head after each record."""
    heads: list[LogHead] = []
    frontier = head.frontier
    for size, one in enumerate(placed, start=head.size):
        frontier = merkle.append(size, frontier, merkle.leaf_hash(one.record.body))
        heads.append(LogHead(head.log, head.epoch, size + 1, frontier, one.record.position, one.running_max_ms))
    return heads


def begun(layout: str, count: int) -> list[LiveEntry]:
    """Return entries of locks that were taken."""
    source = rows.source_of(layout)
    naming = Naming.of(source, PUBLIC_KEYS)
    reader, memory = Reader(rows.shard_of(layout), (source,), PUBLIC_KEYS), Memory()
    entries: list[LiveEntry] = []
    for page in rows.Stream(layout).pages(count, count):
        batch = reader.take_in(page, memory, None, Now(0, 0))
        entries += [
            LiveEntry(naming.entity_id(live.key), source.id, live.hold, live.position)
            for live in batch.live.values()
            if live.hold is not None
        ]
    return entries


def _observed(stage: Stage, count: int) -> tuple[float, float]:
    trail, source = _trail(stage), rows.source_of("awslabs")
    seen = Sighting(rows.shard_of("awslabs"), source, PUBLIC_KEYS, 10**20)
    lapses = [
        observer.lapse_record(seen, Declared(entry.hold, entry.hold.created_ms), "read", entry.hold.created_ms)
        for entry in begun("awslabs", count + 1)
    ]
    trail.observe(lapses[-1])
    bill = Bill()
    bill.watch(stage.clients.writer)
    for record in lapses[:-1]:
        trail.observe(record)
    trail.close()
    return bill.units / count, sum(bill.calls.values()) / count


def _live(stage: Stage, count: int) -> list[Figure]:
    """Begin and end locks, batched; then singly, where DynamoDB Local tells what it cost.

    It tells nothing of statements, so a batched write is charged by AWS's rule: a unit for each begun KB of its item.
    """
    shard, entries = rows.shard_of("awslabs"), begun("awslabs", count)
    ends = [LiveRemoval(entry.entity_id, entry.position + 1) for entry in entries]
    client, table = stage.clients.dynamodb, stage.settings.state.table
    retrier = Retrier(Event(), NoMeter())
    bill = Bill()
    bill.watch(client)
    with ThreadPoolExecutor(8) as pool:

        def nonce() -> bytes:
            return os.urandom(NONCE_BYTES)

        batched = LiveTable(client, table, PUBLIC_KEYS, retrier, pool, nonce, Statements(client, table))
        for write in (entries, ends):
            batched.apply(shard, write)
        calls = sum(bill.calls.values())
        charged = [
            ceil(len(orjson.dumps(_plain(to_item(shard, one, PUBLIC_KEYS, nonce())))) / UNIT_BYTES) for one in entries
        ]
        units = 2 * sum(charged) + bill.units
        bill.units = 0.0
        singly = LiveTable(client, table, PUBLIC_KEYS, retrier, pool, nonce)
        for write in (entries, ends):
            singly.apply(shard, write)
    return [
        Figure("live index, per begin or end: write units", units / count / 2, "WCU", "at most", LIVE_UNITS_MAX),
        Figure("live index, per begin or end: calls", calls / count / 2, "calls", "at most", LIVE_CALLS_MAX),
        Figure(
            "live index, per begin or end: write units told by DynamoDB Local, singly", bill.units / count / 2, "WCU"
        ),
    ]


def _plain(item: dict[str, dict[str, object]]) -> dict[str, object]:
    """Spell an item a little longer than DynamoDB counts it."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, wire in item.items()
        for value in wire.values()
    }
