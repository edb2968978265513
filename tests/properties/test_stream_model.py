"""The fake streams' model keeps the promises of the real service, whatever is done to it."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.stream_model import HASH_SPACE, Options, Shard, Stream, StreamModel, made_record
from tests.fakes.stream_reads import NO_WHIMS, describe_stream, get_records, get_shard_iterator

NOW_MS = 1_795_421_400_000
ORDERS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 9)),
    st.tuples(st.sampled_from(["roll", "split", "empty"]), st.integers(0, 50)),
)


def apply(model: StreamModel, stream: Stream, order: tuple[str, int]) -> None:
    """Do one thing to a stream."""
    kind, number = order
    leaves = stream.leaves()
    leaf = leaves[number % len(leaves)]
    match kind:
        case "put":
            model.feed(stream.table, made_record(f"key{number}", model.serial), NOW_MS)
        case "empty":
            leaf.empty_pages += 1
        case _:
            leaf.null_with_records = number % 2 == 0
            model.divide(stream, leaf, NOW_MS, 2 if kind == "split" else 1)


def listed(model: StreamModel, arn: str) -> list[Any]:
    """List all shards, page by page."""
    shards: list[Any] = []
    request: dict[str, Any] = {"StreamArn": arn}
    while True:
        page = describe_stream(model, request, NOW_MS, NO_WHIMS)["StreamDescription"]
        shards += page["Shards"]
        if "LastEvaluatedShardId" not in page:
            return shards
        request["ExclusiveStartShardId"] = page["LastEvaluatedShardId"]


def read(model: StreamModel, arn: str, shard: Shard, limit: int) -> list[int]:
    """Read a shard as a plain consumer does, to its end or its tip."""
    place = {"StreamArn": arn, "ShardId": shard.shard_id, "ShardIteratorType": "TRIM_HORIZON"}
    token: str | None = get_shard_iterator(model, place, NOW_MS, NO_WHIMS)["ShardIterator"]
    numbers: list[int] = []
    idle = 0
    while token and idle < 60:
        page = get_records(model, {"ShardIterator": token, "Limit": limit}, NOW_MS, NO_WHIMS)
        numbers += [int(record["dynamodb"]["SequenceNumber"]) for record in page["Records"]]
        idle = 0 if page["Records"] else idle + 1
        token = page.get("NextShardIterator")
    assert (token is None) is shard.closed
    return numbers


@given(orders=st.lists(ORDERS, max_size=50), roots=st.integers(1, 3), pages=st.integers(1, 4), limit=st.integers(1, 5))
def test_every_record_can_be_read_once_in_order_down_its_items_lineage(
    orders: list[tuple[str, int]], roots: int, pages: int, limit: int
) -> None:
    """Leaves share the whole key space, numbers rise down every lineage, and none is given twice."""
    model = StreamModel(Options(shards_per_page=pages))
    stream = model.add_stream("locks", NOW_MS, shards=roots, grows=True)
    for order in orders:
        apply(model, stream, order)
    spans = sorted((shard.span for shard in stream.leaves() if shard.span), key=lambda span: span.start)
    assert [place for span in spans for place in (span.start, span.stop)] == [
        0,
        *(place for span in spans[1:] for place in (span.start, span.start)),
        HASH_SPACE,
    ]
    shards = listed(model, stream.arn)
    assert [shard["ShardId"] for shard in shards] == list(stream.shards)
    seen = {shard_id: read(model, stream.arn, shard, limit) for shard_id, shard in stream.shards.items()}
    flat = [number for numbers in seen.values() for number in numbers]
    assert len(flat) == len(set(flat)) == sum(kind == "put" for kind, _ in orders)
    for shard in shards:
        own, parent = seen[shard["ShardId"]], seen.get(shard.get("ParentShardId", ""), [])
        assert own == sorted(own)
        bounds = shard["SequenceNumberRange"]
        assert all(number >= int(bounds["StartingSequenceNumber"]) for number in own)
        assert all(number <= int(bounds.get("EndingSequenceNumber", number)) for number in own)
        assert not own or not parent or parent[-1] < own[0]
    check_items(stream)


def check_items(stream: Stream) -> None:
    """See that an item's shards are one line of descent."""
    homes: dict[str, list[Shard]] = defaultdict(list)
    for shard in stream.shards.values():
        for record in shard.records:
            key = record["dynamodb"]["Keys"]["id"]["S"]
            if shard not in homes[key]:
                homes[key].append(shard)
    for line in homes.values():
        for older, younger in pairwise(line):
            assert older.shard_id in ancestors(stream, younger)


def ancestors(stream: Stream, shard: Shard) -> list[str]:
    """Return a shard's parents, the nearest first."""
    found: list[str] = []
    at = shard.parent_id
    while at is not None:
        found.append(at)
        at = stream.shards[at].parent_id
    return found
