"""Following the trail: every record once, in the order of its log, from a cursor that can be kept.

Strategy: a log's indexes are contiguous, so a missing one is noticed. The index by log is eventually consistent: a hole
means wait. Only one that stays is reported, as `Hole`, and passed: retention removed it, or somebody did.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from lockside.audit import items
from lockside.audit.pages import BATCH_GET_MAX, PAGE_ITEMS, Pages, Question
from lockside.audit.read import Seals, TrailReader
from lockside.audit.stored import Entry, Place, Stored, read_entry
from lockside.audit.window import DAY_MS, Window
from lockside.aws.tables import LOG_INDEX, LOG_KEY, LOG_SORT

DISCOVER_EVERY_MS: Final = 1_000
IDLE_FIRST_MS: Final = 100
IDLE_MAX_MS: Final = 3_000
IDLE_FACTOR: Final = 1.25


@dataclass(frozen=True, slots=True)
class Hole:
    """Records of a log that are not there: indexes `first` up to and including `last`."""

    log: str
    first: int
    last: int


Step = tuple[Place, Entry | Hole]


@dataclass(slots=True)
class Follower:
    """How far one log was read: `reached` is the last sort key, `next_index` the index that must come next."""

    log: str
    reached: str
    next_index: int
    due_ms: int = 0
    idle_ms: int = IDLE_FIRST_MS
    hole_since_ms: int | None = None
    finished: bool = False

    def is_due(self, now_ms: int) -> bool:
        """Whether to ask for more now."""
        return not self.finished and self.due_ms <= now_ms

    def asked(self, now_ms: int, *, found: bool) -> None:
        """Ask again at once where something came, and less and less often where nothing did."""
        self.idle_ms = IDLE_FIRST_MS if found else min(IDLE_MAX_MS, round(self.idle_ms * IDLE_FACTOR))
        self.due_ms = now_ms if found else now_ms + self.idle_ms

    def pass_hole(self, entry: Entry, now_ms: int, patience_ms: int) -> Hole | None:
        """Return the hole before an entry once it was waited for long enough; None while there is time."""
        if self.hole_since_ms is None:
            self.hole_since_ms = now_ms
        if now_ms - self.hole_since_ms < patience_ms:
            return None
        return Hole(self.log, self.next_index, entry.place.index - 1)


@dataclass(slots=True)
class Tail:
    """Follows all logs, from a time on or from a cursor: by log, the time and index of the last record given out.

    `patience_ms` is how long a hole is waited for. A cursor is kept for every log met, some hundred bytes each.
    """

    pages: Pages
    since_ms: int
    patience_ms: int
    cursor: dict[str, str] = field(default_factory=dict)
    _followers: dict[str, Follower] = field(default_factory=dict)
    _active: list[str] = field(default_factory=list)
    _discovered_ms: int | None = None

    @property
    def waiting(self) -> bool:
        """Whether a hole is being waited for."""
        return any(follower.hole_since_ms is not None for follower in self._followers.values())

    def poll(self, now_ms: int) -> Iterator[Stored | Hole]:
        """Yield what has come since the last poll, by time over all logs. Consume it whole before the next."""
        self._discover(now_ms)
        seals = Seals(self.pages)
        due = [self._followers[log] for log in self._active if self._followers[log].is_due(now_ms)]
        merged = heapq.merge(*(self._follow(follower, seals, now_ms) for follower in due), key=itemgetter(0))
        chunk: list[Entry] = []
        for _, step in merged:
            if isinstance(step, Entry):
                chunk.append(step)
            if isinstance(step, Hole) or len(chunk) == BATCH_GET_MAX:
                yield from self._given(chunk)
                chunk = []
            if isinstance(step, Hole):
                yield step
        yield from self._given(chunk)

    def _given(self, chunk: list[Entry]) -> Iterator[Stored]:
        for stored in self.pages.stored(entry.key for entry in chunk):
            self.cursor[stored.entry.place.log] = stored.entry.place.sort
            yield stored
        self.cursor.update({entry.place.log: entry.place.sort for entry in chunk})

    def _discover(self, now_ms: int) -> None:
        if self._discovered_ms is not None and now_ms - self._discovered_ms < DISCOVER_EVERY_MS:
            return
        # Whoever writes to a log lists it under the day of writing too, so that later looks need no older days.
        start = self.since_ms if self._discovered_ms is None else max(self.since_ms, now_ms - DAY_MS)
        logs = TrailReader(self.pages).logs(Window(start, now_ms + DAY_MS))
        for log in logs:
            if log not in self._followers:
                self._followers[log] = self._begin(log)
        halted = [log for log, follower in self._followers.items() if follower.hole_since_ms is not None]
        self._active = list(dict.fromkeys([*logs, *halted]))
        self._discovered_ms = now_ms

    def _begin(self, log: str) -> Follower:
        if log in self.cursor:
            reached = self.cursor[log]
            return Follower(log, reached, int(reached.partition("#")[2]) + 1)
        start = items.time_key(self.since_ms)
        before = Question(
            (LOG_KEY, log), LOG_SORT, "#sk < :start", ((":start", start),), LOG_INDEX, newest_first=True, limit=1
        )
        last = next((read_entry(item).place for item in self.pages.ask(before)), None)
        return Follower(log, items.time_key(0), 0) if last is None else Follower(log, last.sort, last.index + 1)

    def _follow(self, follower: Follower, seals: Seals, now_ms: int) -> Iterator[Step]:
        found = False
        while page := self._page(follower):
            # Looked at after the page: what a worker writes to a log it has lost comes after the seal.
            seals.look_again(follower.log)
            for entry in page:
                size = seals.size(follower.log)
                if size is not None and entry.place.index >= size:
                    follower.finished = True
                    return
                if entry.place.index > follower.next_index:
                    hole = follower.pass_hole(entry, now_ms, self.patience_ms)
                    if hole is None:
                        follower.asked(now_ms, found=False)
                        return
                    yield entry.place, hole
                follower.hole_since_ms = None
                follower.reached, follower.next_index = entry.place.sort, entry.place.index + 1
                found = True
                yield entry.place, entry
            if len(page) < PAGE_ITEMS:
                break
        follower.asked(now_ms, found=found)

    def _page(self, follower: Follower) -> list[Entry]:
        question = Question(
            (LOG_KEY, follower.log),
            LOG_SORT,
            "#sk > :reached",
            ((":reached", follower.reached),),
            LOG_INDEX,
            limit=PAGE_ITEMS,
        )
        return [read_entry(item) for item in self.pages.ask(question)]
