"""What DynamoDB Streams answers: its four operations and DescribeTable, over the model. Pure: requests in, answers out.

Requests and answers are JSON as it is on the wire: times are epoch seconds, bytes are base64.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.fakes.stream_model import ServiceError, Shard, Stream, StreamModel, not_found
from tests.fakes.stream_names import Iterator, parse_iterator, table_arn

Answer = dict[str, Any]

RECORDS_MAX: Final = 1_000
SHARDS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Whims:
    """How one call misbehaves, beside what is written on the shards.

    `hole` leaves a shard out of a listing, `reopen` shows a closed one open: the one at that part of the page.
    """

    empty_page: bool = False
    expired: bool = False
    hole: float | None = None
    reopen: float | None = None


NO_WHIMS: Final = Whims()

Operation = Callable[[StreamModel, Mapping[str, Any], int, Whims], Answer]


def describe_stream(model: StreamModel, request: Mapping[str, Any], now_ms: int, whims: Whims) -> Answer:
    """List one page of shards."""
    stream = model.stream_of(_text(request, "StreamArn"))
    wanted = request.get("ShardFilter") or {}
    if wanted.get("Type", "CHILD_SHARDS") != "CHILD_SHARDS":
        raise _invalid("ShardFilter.Type", wanted["Type"])
    names = list(stream.shards)
    if wanted and model.options.child_filter == "honoured":
        names = [name for name in names if stream.shards[name].parent_id == wanted.get("ShardId")]
    limit = _limit(request, SHARDS_MAX, SHARDS_MAX)
    start = request.get("ExclusiveStartShardId")
    first = names.index(start) + 1 if start in names else 0
    living = [name for name in names[first:] if not stream.shards[name].aged_out]
    page = living[: min(limit, model.options.shards_per_page)]
    description = {**_described(stream), "Shards": _listed(stream, page, now_ms, whims)}
    if len(page) < len(living):
        description["LastEvaluatedShardId"] = page[-1]
    if model.options.repeat_cursor and start is not None:
        model.options.repeat_cursor -= 1
        description["LastEvaluatedShardId"] = start
    return {"StreamDescription": description}


def get_shard_iterator(model: StreamModel, request: Mapping[str, Any], now_ms: int, _whims: Whims) -> Answer:
    """Give an iterator out."""
    stream = model.stream_of(_text(request, "StreamArn"))
    shard = _shard(stream, _text(request, "ShardId"))
    index = _index(shard, _text(request, "ShardIteratorType"), request.get("SequenceNumber"))
    if index < shard.trimmed:
        raise _trimmed()
    return {"ShardIterator": _issue(model, stream.arn, shard, index, now_ms)}


def get_records(model: StreamModel, request: Mapping[str, Any], now_ms: int, whims: Whims) -> Answer:
    """Return one page of records."""
    iterator = parse_iterator(_text(request, "ShardIterator"))
    if iterator is None:
        raise ServiceError("ValidationException", "Invalid ShardIterator")
    if request.get("Limit", 1) > RECORDS_MAX:
        raise ServiceError("LimitExceededException", f"Limit exceeds {RECORDS_MAX}")
    age_ms = now_ms - iterator.issued_ms
    if whims.expired or iterator.serial <= model.iterators_expired or age_ms > model.options.iterator_life_ms:
        raise ServiceError("ExpiredIteratorException", "Iterator expired: it was issued more than 15 minutes ago")
    shard = _shard(model.stream_of(iterator.arn), iterator.shard_id)
    if iterator.index < shard.trimmed:
        raise _trimmed()
    limit = min(_limit(request, RECORDS_MAX, RECORDS_MAX), model.options.page_records)
    following = iterator.index if _is_empty(shard, iterator.index, whims) else _end(model, shard, iterator.index, limit)
    records = [_seen(shard, index) for index in range(iterator.index, following)]
    answer: Answer = {"Records": records}
    at_end = shard.closed and following == len(shard.records) and (shard.null_with_records or not records)
    if not at_end:
        answer["NextShardIterator"] = _issue(model, iterator.arn, shard, following, now_ms)
    return answer


def list_streams(model: StreamModel, request: Mapping[str, Any], _now_ms: int, _whims: Whims) -> Answer:
    """List one page of streams."""
    arns = [arn for arn, stream in model.streams.items() if request.get("TableName") in {None, stream.table}]
    start = request.get("ExclusiveStartStreamArn")
    first = arns.index(start) + 1 if start in arns else 0
    page = arns[first : first + _limit(request, SHARDS_MAX, SHARDS_MAX)]
    streams = [model.streams[arn] for arn in page]
    answer: Answer = {
        "Streams": [{"StreamArn": each.arn, "TableName": each.table, "StreamLabel": each.label} for each in streams]
    }
    if first + len(page) < len(arns):
        answer["LastEvaluatedStreamArn"] = page[-1]
    return answer


def describe_table(model: StreamModel, request: Mapping[str, Any], _now_ms: int, _whims: Whims) -> Answer:
    """Describe a table, as far as its stream is concerned."""
    name = _text(request, "TableName")
    if name not in model.latest:
        raise not_found(f"Table: {name}")
    stream = model.streams.get(model.latest[name])
    table: Answer = {"TableName": name, "TableArn": table_arn(name), "TableStatus": "ACTIVE"}
    if stream is not None:
        kinds = [{"AttributeName": key["AttributeName"], "AttributeType": "S"} for key in stream.key_schema]
        table |= {"KeySchema": list(stream.key_schema), "AttributeDefinitions": kinds}
    return {"Table": with_stream(model, name, table)}


def with_stream(model: StreamModel, name: str, table: Mapping[str, Any]) -> Answer:
    """Put this model's stream in the place of whatever a table's description says of streams."""
    own = {"LatestStreamArn", "LatestStreamLabel", "StreamSpecification"}
    described = {key: value for key, value in table.items() if key not in own}
    stream = model.streams.get(model.latest.get(name, ""))
    if stream is not None:
        described |= {"LatestStreamArn": stream.arn, "LatestStreamLabel": stream.label}
        if stream.status in {"ENABLED", "ENABLING"}:
            described["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": stream.view_type}
    return described


STREAMS: Final[Mapping[str, Operation]] = {
    "DescribeStream": describe_stream,
    "GetShardIterator": get_shard_iterator,
    "GetRecords": get_records,
    "ListStreams": list_streams,
}
TABLES: Final[Mapping[str, Operation]] = {"DescribeTable": describe_table}


def _described(stream: Stream) -> Answer:
    return {
        "StreamArn": stream.arn,
        "StreamLabel": stream.label,
        "StreamStatus": stream.status,
        "StreamViewType": stream.view_type,
        "CreationRequestDateTime": stream.created_ms / 1000,
        "TableName": stream.table,
        "KeySchema": list(stream.key_schema),
    }


def _listed(stream: Stream, page: list[str], now_ms: int, whims: Whims) -> list[Answer]:
    hole, reopened = (None if at is None else int(at * len(page)) for at in (whims.hole, whims.reopen))
    listed: list[Answer] = []
    for place, name in enumerate(page):
        shard = stream.shards[name]
        if _hidden(shard, now_ms) or place == hole:
            continue
        listed.append(_shown(shard, reopened=place == reopened))
    return listed


def _hidden(shard: Shard, now_ms: int) -> bool:
    if shard.hidden_listings:
        shard.hidden_listings -= 1
        return True
    return now_ms < shard.hidden_until_ms


def _shown(shard: Shard, *, reopened: bool) -> Answer:
    numbers = {"StartingSequenceNumber": str(shard.starting)}
    if shard.open_listings:
        shard.open_listings -= 1
    elif shard.ending is not None and not reopened:
        numbers["EndingSequenceNumber"] = str(shard.ending)
    shown: Answer = {"ShardId": shard.shard_id, "SequenceNumberRange": numbers}
    if shard.parent_id is not None:
        shown["ParentShardId"] = shard.parent_id
    return shown


def _shard(stream: Stream, shard_id: str) -> Shard:
    shard = stream.shards.get(shard_id)
    if shard is None or shard.aged_out:
        raise not_found(f"Shard: {shard_id} in stream {stream.arn}")
    return shard


def _index(shard: Shard, kind: str, sequence_number: object) -> int:
    match kind:
        case "TRIM_HORIZON":
            return shard.trimmed
        case "LATEST":
            return len(shard.numbers)
        case "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER":
            return _index_of(shard, sequence_number, after=kind == "AFTER_SEQUENCE_NUMBER")
        case _:
            # DynamoDB Local says the same of AT_TIMESTAMP (seen on 2.6.1), which botocore's model has.
            raise ServiceError("ValidationException", "Invalid ShardIteratorType")


def _index_of(shard: Shard, sequence_number: object, *, after: bool) -> int:
    if not isinstance(sequence_number, str) or not sequence_number.isdecimal():
        raise _invalid("SequenceNumber", sequence_number)
    number = int(sequence_number)
    # "Older than the trim point" (API reference, GetShardIterator): the position itself, whether or not all was read.
    if shard.trimmed and number <= shard.numbers[shard.trimmed - 1]:
        raise _trimmed()
    return bisect_left(shard.numbers, number + after)


def _issue(model: StreamModel, arn: str, shard: Shard, index: int, now_ms: int) -> str:
    model.iterators += 1
    return Iterator(arn, shard.shard_id, index, now_ms, model.iterators).token


def _is_empty(shard: Shard, index: int, whims: Whims) -> bool:
    if index == len(shard.records):
        return True
    if shard.empty_pages:
        shard.empty_pages -= 1
        return True
    return whims.empty_page


def _end(model: StreamModel, shard: Shard, first: int, limit: int) -> int:
    """Return where a page ends: the first record is always on it, however large."""
    end, size = first + 1, shard.sizes[first]
    while end < min(first + limit, len(shard.records)) and size + shard.sizes[end] <= model.options.page_bytes:
        size += shard.sizes[end]
        end += 1
    return end


def _seen(shard: Shard, index: int) -> Answer:
    record = shard.records[index]
    if shard.spoilt.get(index, 0) <= 0:
        return record
    shard.spoilt[index] -= 1
    body = {name: value for name, value in record["dynamodb"].items() if name != "SequenceNumber"}
    return {**record, "dynamodb": body}


def _limit(request: Mapping[str, Any], default: int, most: int) -> int:
    limit = request.get("Limit", default)
    if not isinstance(limit, int) or not 1 <= limit <= most:
        raise _invalid("Limit", limit)
    return limit


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str):
        raise _invalid(name, value)
    return value


def _invalid(name: str, value: object) -> ServiceError:
    return ServiceError("ValidationException", f"1 validation error detected: Value {value!r} at {name!r} is invalid")


def _trimmed() -> ServiceError:
    return ServiceError("TrimmedDataAccessException", "The operation attempted to read past the oldest stream record")
