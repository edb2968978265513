"""The transcript of a world: what was written and done, in order; for reading, and for telling two runs apart."""

import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from tests.fakes.clock import START_MS
from tests.simulation.scheduler import Scheduler
from tests.simulation.table import Accepted

NOTES_KEPT: Final = 60
MARKS: Final = ("sealed", "finished")

Row = Mapping[str, Any] | None


class Transcript:
    """Keeps the newest lines and a digest of every write. Verbose, it keeps what was written too, and prints."""

    def __init__(self, scheduler: Scheduler, *, verbose: bool) -> None:
        """Start empty."""
        self._scheduler = scheduler
        self._verbose = verbose
        self._notes: deque[str] = deque(maxlen=NOTES_KEPT)
        self._digest = hashlib.sha256()

    @property
    def notes(self) -> tuple[str, ...]:
        """The newest lines."""
        return tuple(self._notes)

    @property
    def digest(self) -> str:
        """Stand for every write, in order and with its instant: equal runs have equal digests."""
        return self._digest.hexdigest()

    def note(self, who: str, text: str) -> None:
        """Add a line: step, seconds since the beginning, who, what."""
        seconds = (self._scheduler.now_ms - START_MS) / 1000
        line = f"{self._scheduler.steps:6d} {seconds:9.3f} {who}: {text}"
        self._notes.append(line)
        if self._verbose:
            print(line)  # noqa: T201 - the transcript is for reading

    def write(self, table: str, before: Row, after: Row) -> None:
        """Take in a write of any table."""
        self._digest.update(f"{self._scheduler.now_ms}|{table}|{after}\n".encode())
        item = after if after is not None else before
        if self._verbose and item is not None and "sk" in item:
            self.note(table, f"{'put' if before is None else 'removed' if after is None else 'updated'} {_told(item)}")

    def change(self, accepted: Accepted) -> None:
        """Take in a change of a watched table."""
        if self._verbose:
            shard, place = accepted.shard, f"{accepted.shard.shard_id[-4:]} at {accepted.position}"
            self.note(shard.table, f"{accepted.raw['eventName']} {accepted.key.canonical} in {place}")


def _told(item: Mapping[str, Any]) -> str:
    parts = [f"{item['pk']['S'][-50:]} / {item['sk']['S'][-48:]}"]
    parts += [
        f"{name}={item[key]['S']}" for key, name in (("ty", "type"), ("lg", "log"), ("position", "at")) if key in item
    ]
    parts += [
        f"{name}={item[key]['N']}"
        for key, name in (("ix", "index"), ("size", "size"), ("epoch", "epoch"))
        if key in item
    ]
    parts += [mark for mark in MARKS if "BOOL" in item.get(mark, {})]
    return " ".join(parts)
