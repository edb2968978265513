"""What a lock table went through, by its own stream: each change of each lock's row, in order."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.core.trial import Step, last_fences
from lockside.stores import lock_row
from lockside.stores.tables import LOCK_KEY

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.core.ports import Stop

EMPTY_PAGES: Final = 10
"""So many in a row, and nothing more is there: one alone may stand before data (API reference, GetRecords)."""

PAUSE_SECONDS: Final = 0.1
SHARDS_MAX: Final = 10_000
READS_MAX: Final = 10
AGAIN_SECONDS: Final = 2.0
"""A stream is a second or so late, by experience; a history that lacks the end is read again so many times at most."""


def steps(
    clients: "Clients", table: str, locks: Collection[str], until: Mapping[str, int], stop: "Stop"
) -> list[Step] | None:
    """Read a lock table's history until it shows these fences, or a bounded time; None if its stream cannot be read."""
    read: list[Step] | None = []
    for number in range(READS_MAX):
        if number and stop.wait(AGAIN_SECONDS):
            break
        read = _read(clients, table, locks, stop)
        if read is None:
            break
        shown = last_fences((step.lock, step.fence or 0) for step in read)
        if all(shown.get(lock, 0) >= fence for lock, fence in until.items()):
            break
    return read


def _read(clients: "Clients", table: str, locks: Collection[str], stop: "Stop") -> list[Step] | None:
    try:
        arn = clients.dynamodb.describe_table(TableName=table)["Table"]["LatestStreamArn"]
        shards = _parents_first(_shards(clients, arn))
        records = (record for shard_id in shards for record in _records(clients, arn, shard_id, stop))
        return [step for step in map(_step, records) if step.lock in locks]
    except (BotoCoreError, ClientError, KeyError):
        return None


def _shards(clients: "Clients", arn: str) -> dict[str, str | None]:
    """Return each shard's parent."""
    shards: dict[str, str | None] = {}
    request: dict[str, Any] = {"StreamArn": arn}
    while len(shards) < SHARDS_MAX:
        page: Any = clients.streams.describe_stream(**request)["StreamDescription"]
        shards.update((each["ShardId"], each.get("ParentShardId")) for each in page["Shards"])
        if not page.get("LastEvaluatedShardId"):
            break
        request["ExclusiveStartShardId"] = page["LastEvaluatedShardId"]
    return shards


def _parents_first(shards: Mapping[str, str | None]) -> list[str]:
    """Order shards so that each comes after the one that it came from: an item's changes move along."""
    ordered: list[str] = []
    waiting = dict(shards)
    while waiting:
        ready = [shard_id for shard_id, parent in waiting.items() if parent not in waiting or parent == shard_id]
        # What goes round in a circle is no lineage; then any order is as good.
        for shard_id in ready or list(waiting):
            ordered.append(shard_id)
            del waiting[shard_id]
    return ordered


def _records(clients: "Clients", arn: str, shard_id: str, stop: "Stop") -> Iterator[Mapping[str, Any]]:
    iterator: str | None = clients.streams.get_shard_iterator(
        StreamArn=arn, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    empty = 0
    while iterator and empty < EMPTY_PAGES:
        page: Any = clients.streams.get_records(ShardIterator=iterator)
        yield from page["Records"]
        iterator, empty = page.get("NextShardIterator"), 0 if page["Records"] else empty + 1
        if empty:
            stop.wait(PAUSE_SECONDS)


def _step(record: Mapping[str, Any]) -> Step:
    from_wire: Any = record["dynamodb"]
    image = from_wire.get("NewImage")
    # Pages are read fast: an image may still be text (core/lazy_image.py).
    image = image.read() if hasattr(image, "read") else image
    lock = from_wire["Keys"][LOCK_KEY]["S"]
    if not image:
        return Step(lock, None, "")
    fence = image.get(lock_row.FENCE, {}).get("N")
    return Step(lock, None if fence is None else int(fence), image.get(lock_row.OWNER, {}).get("S", ""))
