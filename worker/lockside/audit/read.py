"""The reading side of the trail: by entity, by actor and by kind of event.

A record beyond the size of a sealed log was written by a worker that had lost the log; it is no part of the trail.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from lockside.audit import items
from lockside.audit.items import CATALOGUE, CATALOGUE_PREFIX, OBSERVER_PREFIX, SEALED, SIZE, time_key
from lockside.audit.pages import Pages, Question
from lockside.audit.stored import Entry, Place, Stored, read_entry, read_stored
from lockside.audit.window import Window
from lockside.aws.tables import ACTOR_INDEX, ACTOR_KEY, ACTOR_SORT, LOG_INDEX, LOG_KEY, LOG_SORT, PK, SK

SEALS_MAX: Final = 10_000
"""Heads remembered by one reader; forgetting one costs a read."""


PROVED_BY_CHANGE: Final = frozenset({"takeover", "ttl"})
"""Lapses whose declarer knew of them by the very change that came after."""


@dataclass(slots=True)
class Seals:
    """Tells which records lie beyond the end of a sealed log."""

    pages: Pages
    _sizes: dict[str, int | None] = field(default_factory=dict)

    def covers(self, place: Place) -> bool:
        """Whether a record belongs to its log."""
        size = self.size(place.log)
        return size is None or place.index < size

    def size(self, log: str) -> int | None:
        """Return a log's final size; None while it is open, or was when it was last looked at."""
        if log not in self._sizes:
            found = self.pages.get([items.head_key(log)])
            sealed = bool(found) and SEALED in found[0]
            while len(self._sizes) >= SEALS_MAX:
                del self._sizes[next(iter(self._sizes))]
            self._sizes[log] = int(found[0][SIZE]["N"]) if sealed else None
        return self._sizes[log]

    def look_again(self, log: str) -> None:
        """Forget that a log was open."""
        if self._sizes.get(log, 0) is None:
            del self._sizes[log]


@dataclass(frozen=True, slots=True)
class TrailReader:
    """Answers questions about the trail, lazily: what is not consumed is not read.

    `newest_first` turns the order of every answer around. One reader sees each log as open or sealed once: make one
    per question.
    """

    pages: Pages
    newest_first: bool = False

    def by_entity(self, pks: Iterable[str], window: Window) -> Iterator[Stored]:
        """Yield the history of entities, each by the order of its changes; observations stand where they were made."""
        seals = Seals(self.pages)
        histories = [self._history(pk, seals) for pk in pks]
        merged = heapq.merge(*histories, key=lambda stored: stored.entry.time_ms, reverse=self.newest_first)
        return (stored for stored in merged if stored.entry.effective_ms in window)

    def by_actor(self, actors: Iterable[str], window: Window) -> Iterator[Stored]:
        """Yield what actors did, by time."""
        seals = Seals(self.pages)
        months = window.months()
        if self.newest_first:
            months.reverse()
        acts = [self.pages.stored(self._acts(actor, months, window)) for actor in actors]
        merged = heapq.merge(
            *acts, key=lambda stored: (stored.entry.time_ms, stored.entry.key), reverse=self.newest_first
        )
        return (stored for stored in merged if seals.covers(stored.entry.place))

    def by_type(self, event_type: str, window: Window) -> Iterator[Stored]:
        """Yield the events of one type over all logs, by the order of their logs."""
        seals = Seals(self.pages)
        logs = [self._entries(log, event_type, window) for log in self.logs(window)]
        chosen = (
            entry.key
            for entry in heapq.merge(*logs, key=lambda entry: entry.place, reverse=self.newest_first)
            if entry.effective_ms in window and seals.covers(entry.place)
        )
        return self.pages.stored(chosen)

    def logs(self, window: Window) -> list[str]:
        """Name the logs that the catalogue lists in a window."""
        named: dict[str, None] = {}
        bounds = ((":first", window.first_day), (":last", window.last_day))
        for day in self.pages.ask(Question((PK, CATALOGUE), SK, "#sk BETWEEN :first AND :last", bounds)):
            listed = self.pages.ask(Question((PK, CATALOGUE_PREFIX + day[SK]["S"])))
            named.update({item[SK]["S"]: None for item in listed})
        return list(named)

    def _history(self, pk: str, seals: Seals) -> Iterator[Stored]:
        changes = (
            read_stored(item)
            for item in self.pages.ask(
                Question((PK, pk), SK, "#sk < :tilde", ((":tilde", OBSERVER_PREFIX),), newest_first=self.newest_first)
            )
        )
        # Sorted by event and digest as they stand, so their places, not their bytes, are held to sort them by time.
        observed = [
            read_entry(item)
            for item in self.pages.ask(Question((PK, pk), SK, "#sk >= :tilde", ((":tilde", OBSERVER_PREFIX),)))
        ]
        observed.sort(key=lambda entry: (entry.time_ms, entry.sk), reverse=self.newest_first)
        observations = self.pages.stored(entry.key for entry in observed)
        merged = _merged(changes, observations, newest_first=self.newest_first)
        return (stored for stored in merged if seals.covers(stored.entry.place))

    def _acts(self, actor: str, months: Iterable[str], window: Window) -> Iterator[tuple[str, str]]:
        # A sort key is `time#id`, so a bare time lies before all keys of that time: the upper bound is exclusive.
        bounds = ((":since", time_key(window.since_ms)), (":until", time_key(window.until_ms)))
        for month in months:
            question = Question(
                (ACTOR_KEY, items.actor_key(actor, month)),
                ACTOR_SORT,
                "#sk BETWEEN :since AND :until",
                bounds,
                index=ACTOR_INDEX,
                newest_first=self.newest_first,
            )
            yield from ((item[PK]["S"], item[SK]["S"]) for item in self.pages.ask(question))

    def _entries(self, log: str, event_type: str, window: Window) -> Iterator[Entry]:
        # The running maximum is never below a record's time, so nothing of the window lies before its start; what was
        # declared late lies after its end, so the log is read to its own end.
        question = Question(
            (LOG_KEY, log),
            LOG_SORT,
            "#sk >= :since",
            ((":since", time_key(window.since_ms)),),
            index=LOG_INDEX,
            newest_first=self.newest_first,
            only_type=event_type,
        )
        return (read_entry(item) for item in self.pages.ask(question))


def _merged(changes: Iterable[Stored], observations: Iterable[Stored], *, newest_first: bool) -> Iterator[Stored]:
    """Merge what an entity's changes and its observers tell. Times alone would not do: a change's time is floored."""
    waiting = iter(observations)
    observation = next(waiting, None)
    for change in changes:
        while observation is not None and _before(observation, change) is not newest_first:
            yield observation
            observation = next(waiting, None)
        yield change
    if observation is not None:
        yield observation
        yield from waiting


def _before(observation: Stored, change: Stored) -> bool:
    if observation.after is None:
        return observation.entry.time_ms < change.entry.time_ms
    if observation.position == change.position:
        return observation.event["data"].get("via") in PROVED_BY_CHANGE
    return observation.position < change.position
