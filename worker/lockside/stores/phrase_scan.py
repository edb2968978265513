"""A scan of a prefix in key order: the shards' pages, merged window by window.

Strategy: a window reaches as far as every shard's page that is at hand; what lies in it is complete, is sorted and
handed out. While a store's shards are being raised, the new shards are read only after the old ones' pages of the same
window: a phrase goes from old to new only, so that it is in one of the two readings, and twice at most. A window that
was read by a placement from before another step may lack phrases: it is read anew by the one in force.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from lockside.aws.tables import PK, SK
from lockside.stores import phrase_row
from lockside.stores.phrase_row import Phrase

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.calls import Calls
    from lockside.stores.placement import Placement
    from lockside.stores.placements import Placements

THREADS_MAX: Final = 8
ITEMS_PER_PAGE_MAX: Final = 1_000
"""Of a scan with a limit. One without takes pages as large as they come, 1 MB: two for each shard are in memory."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which keys: from `start` on, up to before `end`, after `after` in the direction of reading. None: no bound.

    `upto` is the last key that is in it: no text would name the one that follows the longest key.
    """

    start: str | None = None
    end: str | None = None
    after: str | None = None
    reverse: bool = False
    upto: str | None = None

    def holds(self, key: str) -> bool:
        """Whether a key is in it."""
        return (
            (self.start is None or key >= self.start)
            and (self.end is None or key < self.end)
            and (self.upto is None or key <= self.upto)
            and (self.after is None or (key < self.after if self.reverse else key > self.after))
        )

    def beyond(self, key: str) -> Self:
        """Return what is left after a key."""
        return replace(self, after=key)

    def within(self, bound: str | None) -> Self:
        """Return the part up to and with a key, in the direction of reading; all of it for None."""
        if bound is None:
            return self
        if self.reverse:
            return replace(self, start=bound if self.start is None else max(self.start, bound))
        return replace(self, upto=bound if self.upto is None else min(self.upto, bound))

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Return the bounds as a condition on the sort key; DynamoDB's are inclusive where it takes two."""
        lows = [self.start] if self.reverse else [self.start, self.after]
        highs = [self.end, self.upto, self.after] if self.reverse else [self.end, self.upto]
        low = max((bound for bound in lows if bound), default=None)
        high = min((bound for bound in highs if bound is not None), default=None)
        match low, high:
            case None, None:
                return "", {}
            case str(), None:
                return " AND #sk >= :low", {":low": {"S": low}}
            case None, str():
                return " AND #sk <= :high", {":high": {"S": high}}
            case _:
                return " AND #sk BETWEEN :low AND :high", {":low": {"S": low}, ":high": {"S": high}}

    @property
    def is_empty(self) -> bool:
        """Whether its bounds leave nothing; DynamoDB refuses bounds that are the wrong way round."""
        low = max((bound for bound in (self.start, None if self.reverse else self.after) if bound), default="")
        bounds = (self.end, self.upto, self.after if self.reverse else None)
        highs = [bound for bound in bounds if bound is not None]
        return any(not bound or low > bound for bound in highs)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a scan reads from: one prefix of a table."""

    client: "DynamoDBClient"
    calls: "Calls"
    prefix: str
    placements: "Placements"
    page_items: int | None = None

    def page(self, shard: int, span: Span) -> "Page":
        """Read the first page of a span in one shard."""
        if span.is_empty:
            return Page((), whole=True)
        bounds, values = span.condition()
        request: dict[str, Any] = {
            "TableName": self.calls.table,
            "KeyConditionExpression": f"#pk = :pk{bounds}",
            "ExpressionAttributeNames": {"#pk": PK, **({"#sk": SK} if bounds else {})},
            "ExpressionAttributeValues": {":pk": {"S": phrase_row.partition_of(shard, self.prefix)}, **values},
            "ScanIndexForward": not span.reverse,
            "ConsistentRead": True,
        }
        if self.page_items is not None:
            request["Limit"] = self.page_items
        answer = self.calls.read(lambda: self.client.query(**request))
        last = answer.get("LastEvaluatedKey")
        return Page(tuple(answer["Items"]), whole=last is None, reach=last[SK]["S"] if last else None)


@dataclass(frozen=True, slots=True)
class Page:
    """Items of one shard in order. `reach` is the key up to which they are all; `whole`: there are no more."""

    items: tuple[Any, ...]
    whole: bool
    reach: str | None = None


@dataclass(slots=True)
class _Stream:
    """One shard's pages, the next one asked for before it is needed."""

    ask: Callable[[Span], "Future[Page]"]
    span: Span
    coming: "Future[Page] | None" = None
    items: list[Any] = field(default_factory=list)
    reach: str | None = None
    whole: bool = False

    def fill(self) -> None:
        """Have a page at hand, unless the shard is read to its end."""
        while not self.items and not self.whole:
            page = (self.coming or self.ask(self.span)).result()
            self.items = [item for item in page.items if self.span.holds(item[SK]["S"])]
            self.reach, self.whole, self.coming = page.reach, page.whole, None
            if page.reach is not None:
                self.span = self.span.beyond(page.reach)
                self.coming = self.ask(self.span)

    def through(self, bound: str | None) -> list[Any]:
        """Take the items up to and with a key; all for None."""
        if bound is None:
            taken, self.items = self.items, []
            return taken
        cut = next((at for at, item in enumerate(self.items) if self._beyond(item, bound)), len(self.items))
        taken, self.items = self.items[:cut], self.items[cut:]
        return taken

    def _beyond(self, item: Any, bound: str) -> bool:
        key: str = item[SK]["S"]
        return key < bound if self.span.reverse else key > bound


class Scan(Iterator[Phrase]):
    """The phrases of a span, one by one. `cursor` is where it stands: give it as `after=` to go on, today or later.

    Close it if it is not read to its end; it is a context manager too.
    """

    def __init__(self, shelf: Shelf, span: Span, limit: int | None, after: str | None = None) -> None:
        """Read nothing yet."""
        self.cursor: str | None = after
        self._phrases = _phrases(shelf, span)
        self._left = limit

    def __next__(self) -> Phrase:
        """Return the next phrase in order."""
        if self._left == 0:
            self.close()
            raise StopIteration
        phrase = next(self._phrases)
        self.cursor = phrase.key
        if self._left is not None:
            self._left -= 1
        return phrase

    def close(self) -> None:
        """End the reading of pages."""
        self._phrases.close()

    def __enter__(self) -> Self:
        """Return the scan."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _phrases(shelf: Shelf, span: Span) -> Generator[Phrase]:
    now_ms = shelf.calls.machine.wall_ms()
    for item in _items(shelf, span):
        phrase = phrase_row.phrase_of(item, now_ms)
        if phrase is not None:
            yield phrase


def _items(shelf: Shelf, span: Span) -> Iterator[Any]:
    known = shelf.placements.current()
    with ThreadPoolExecutor(min(known.placement.target, THREADS_MAX), thread_name_prefix="phrases") as pool:
        streams = _streams(shelf, known.placement, span, pool)
        try:
            while True:
                bound = _filled(streams, reverse=span.reverse)
                window = [item for stream in streams for item in stream.through(bound)]
                young = range(known.placement.shards, known.placement.target)
                window += [item for shard in young for item in _whole(shelf, shard, span.within(bound))]
                if shelf.placements.outdated(known):
                    known = shelf.placements.current()
                    streams = _streams(shelf, known.placement, span, pool)
                    continue
                yield from _in_order(window, known.placement, shelf.prefix, reverse=span.reverse)
                if bound is None:
                    return
                span = span.beyond(bound)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _streams(shelf: Shelf, placement: "Placement", span: Span, pool: ThreadPoolExecutor) -> list[_Stream]:
    return [_stream(shelf, shard, span, pool) for shard in range(placement.shards)]


def _filled(streams: Sequence[_Stream], *, reverse: bool) -> str | None:
    """Have pages at hand; return the key up to which they are all, None to the end."""
    for stream in streams:
        stream.fill()
    reaches = [stream.reach for stream in streams if not stream.whole and stream.reach is not None]
    return (max if reverse else min)(reaches) if reaches else None


def _stream(shelf: Shelf, shard: int, span: Span, pool: ThreadPoolExecutor) -> _Stream:
    def ask(rest: Span) -> "Future[Page]":
        return pool.submit(shelf.page, shard, rest)

    return _Stream(ask, span, coming=ask(span))


def _whole(shelf: Shelf, shard: int, span: Span) -> Iterator[Any]:
    while True:
        page = shelf.page(shard, span)
        yield from (item for item in page.items if span.holds(item[SK]["S"]))
        if page.reach is None:
            return
        span = span.beyond(page.reach)


def _in_order(window: Sequence[Any], placement: "Placement", prefix: str, *, reverse: bool) -> Iterator[Any]:
    """Sort a window. A phrase that was read in both placements is told once, as it stands in the new one.

    What stands where neither placement has it is the remains of a late writer, and no phrase.
    """
    found: dict[str, Any] = {}
    for item in window:
        key = item[SK]["S"]
        if not placement.raised or int(item[PK]["S"].partition("#")[0]) in placement.places(prefix, key):
            found[key] = item
    for key in sorted(found, reverse=reverse):
        yield found[key]
