"""When a stream was begun, as the trail tells it: the state table, which remembers it, may be lost or another one.

Every log's genesis holds its start. The catalogue lists a stream's logs under the days of their records and of their
writing, so any log of a day tells.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from lockside.audit.genesis import CREATED, SINCE, START
from lockside.audit.items import CATALOGUE, CATALOGUE_PREFIX, Item, genesis_key
from lockside.audit.pages import Pages, Question
from lockside.aws.tables import PK, SK
from lockside.core.change import ShardRef
from lockside.core.ports import StartMode

DAYS_MAX: Final = 30
"""So many of the newest days that anything was written on are looked through; a stream itself keeps one."""

LOGS_MAX: Final = 20
"""So many logs of a day are asked: of its observers' logs, which tell no start, there are as many as of shards."""

OBSERVER: Final = "/observer"


def begun_ms(pages: Pages, stream_arn: str, start: StartMode) -> int | None:
    """Return when a stream was begun in a start mode, in epoch milliseconds; None if no log of it tells.

    At LATEST it is the instant that the start counts from, else when the earliest of the logs was begun.
    """
    told = (
        int(genesis[name]["N"])
        for genesis in _geneses(pages, stream_arn)
        if genesis.get(START, {}).get("S") == start and (name := SINCE if start == "LATEST" else CREATED) in genesis
    )
    return min(told, default=None)


def _geneses(pages: Pages, stream_arn: str) -> Iterator[Item]:
    prefix = ShardRef(stream_arn, "").origin
    days = Question((PK, CATALOGUE), newest_first=True, limit=DAYS_MAX)
    for day in pages.ask(days):
        listed = pages.ask(
            Question((PK, CATALOGUE_PREFIX + day[SK]["S"]), SK, "begins_with(#sk, :stream)", ((":stream", prefix),))
        )
        logs = (item[SK]["S"] for item in listed if not item[SK]["S"].endswith(OBSERVER))
        yield from pages.get([genesis_key(log) for log in islice(logs, LOGS_MAX)])
