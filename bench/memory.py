"""Resident memory of live locks in a worker, and what a million heartbeats add to it."""

import gc
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import orjson

from bench import rows
from bench.figures import Figure
from bench.sizes import Sizes
from lockside.core.batch import Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.now import Now

LIVE_BYTES_MAX: Final = 300.0
GROWTH_MAX: Final = 1.0
"""Bytes per live lock and million heartbeats that count as none: the allocator's own noise is of this size."""

LAYOUTS: Final = ("awslabs", "flask-session")
TICK_MS: Final = 50
STARTED_MS: Final = 10**12


def measure(sizes: Sizes) -> list[Figure]:
    """Measure each layout in a process of its own: what one frees, another would take."""
    figures: list[Figure] = []
    for layout in LAYOUTS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            figures += pool.submit(measure_layout, layout, sizes).result()
    return figures


def measure_layout(layout: str, sizes: Sizes) -> list[Figure]:
    """Measure one layout in this process."""
    locks = sizes.memory_locks
    kind = "session" if layout == "flask-session" else "lock"
    book = _Book(layout)
    # Pages pass through as they do in a worker, and one is in hand at each look, so that only what stays is counted.
    before = book.consume(rows.PAGE_RECORDS * 5, rows.PAGE_RECORDS, first=locks)
    per_live = (book.consume(locks, locks) - before) / locks
    figures = [
        Figure(f"memory per live {kind}", per_live, "bytes", "at most", LIVE_BYTES_MAX),
        Figure(f"memory per 100,000 live {kind}s", per_live * 100_000 / 2**20, "MiB"),
    ]
    if kind == "lock":
        settled = book.consume(locks, locks, turn=1)
        grown = (book.consume(sizes.memory_heartbeats, locks, turn=2) - settled) / locks
        figures += [
            Figure(
                f"memory growth over {sizes.memory_heartbeats:,} heartbeats",
                grown,
                "bytes / lock",
                "at most",
                GROWTH_MAX,
            )
        ]
    return figures


class _Book:
    """A shard's reader and its memory; the rows that changes are made of stay on disk."""

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.reader = Reader(rows.shard_of(layout), (rows.source_of(layout),), PUBLIC_KEYS)
        self.memory = Memory()
        self.after: int | None = None
        self.now_ms = 0
        self.position = 10**20

    def consume(self, takes: int, locks: int, *, first: int = 0, turn: int = 0) -> int:
        """Take in changes page by page, each page made, parsed and dropped; turn 0 takes the locks first.

        Return the resident bytes while the last page is in hand.
        """
        held = 0
        for start in range(0, takes, rows.PAGE_RECORDS):
            page = [
                self._record(first + number % locks, turn + number // locks)
                for number in range(start, min(start + rows.PAGE_RECORDS, takes))
            ]
            raws = orjson.loads(orjson.dumps(page))
            self.now_ms += TICK_MS
            batch = self.reader.take_in(raws, self.memory, self.after, Now(STARTED_MS + self.now_ms, self.now_ms))
            self.after = batch.last_position
            self.memory.deadlines.next_deadline()
            if start + rows.PAGE_RECORDS >= takes:
                held = resident()
        return held

    def _record(self, number: int, turn: int) -> dict[str, object]:
        self.position += 3
        keys, new = rows.ROWS[self.layout](number, _version(number, turn), STARTED_MS // 1_000)
        body: dict[str, object] = {
            "ApproximateCreationDateTime": (STARTED_MS + self.now_ms) // 1_000,
            "Keys": keys,
            "NewImage": {**keys, **new},
            "SequenceNumber": str(self.position),
        }
        if turn:
            _, old = rows.ROWS[self.layout](number, _version(number, turn - 1), STARTED_MS // 1_000)
            body["OldImage"] = {**keys, **old}
        return {"eventName": "MODIFY" if turn else "INSERT", "dynamodb": body}


def _version(number: int, turn: int) -> str:
    """Make a text as long as a UUID's."""
    return f"{number:08x}-0000-4000-8000-{turn % 16**12:012x}"


def resident() -> int:
    """Return this process' resident bytes, all garbage collected."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
