"""The fast bodies equal botocore's after JSON decoding, whatever is in them."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import boto3
import orjson
from botocore.parsers import ResponseParserFactory
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from lockside.aws.fast_parse import FastParser
from lockside.aws.fast_write import body_of
from lockside.core import attributes, decode
from lockside.core.lazy_image import opened

TEXT = st.text(max_size=12)
NUMBERS = st.integers(-(10**37), 10**37).map(str) | st.decimals(
    allow_nan=False, allow_infinity=False, places=4, min_value=-(10**6), max_value=10**6
).map(str)
SCALARS = st.one_of(
    TEXT.map(lambda value: {"S": value}),
    NUMBERS.map(lambda value: {"N": value}),
    st.binary(max_size=12).map(lambda value: {"B": value}),
    st.booleans().map(lambda value: {"BOOL": value}),
)
VALUES = st.recursive(
    SCALARS
    | st.just({"NULL": True})
    | st.lists(TEXT, max_size=3).map(lambda v: {"SS": v})
    | st.lists(st.binary(max_size=4), max_size=3).map(lambda v: {"BS": v}),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: {"L": v})
        | st.dictionaries(TEXT, inner, max_size=3).map(lambda v: {"M": v})
    ),
    max_leaves=6,
)
ITEMS = st.dictionaries(TEXT, VALUES, max_size=5)
TIMES = st.integers(0, 4 * 10**9) | st.floats(0, 4e9) | st.integers(0, 4 * 10**12).map(lambda ms: ms / 1000)
RECORDS = st.fixed_dictionaries(
    {
        "eventID": TEXT,
        "eventName": st.sampled_from(["INSERT", "MODIFY", "REMOVE", "OTHER"]),
        "dynamodb": st.fixed_dictionaries(
            {"ApproximateCreationDateTime": TIMES, "Keys": ITEMS, "SequenceNumber": TEXT},
            optional={"NewImage": ITEMS, "OldImage": ITEMS, "SizeBytes": st.integers(0, 10**6)},
        ),
    },
    optional={
        "userIdentity": st.fixed_dictionaries({"PrincipalId": TEXT, "Type": TEXT}),
        "awsRegion": TEXT,
    },
)

STREAMS: Any = boto3.client("dynamodbstreams", region_name="us-east-1").meta.service_model
SHAPE = STREAMS.operation_model("GetRecords").output_shape
THEIRS = ResponseParserFactory().create_parser(STREAMS.resolved_protocol)
DYNAMODB: Any = boto3.client("dynamodb", region_name="us-east-1").meta.service_model
BATCH = DYNAMODB.operation_model("BatchWriteItem")
SERIALIZER = create_serializer(DYNAMODB.resolved_protocol, include_validation=False)


def wire_json(value: Any) -> bytes:
    """Spell a page as the service does: binary as base64."""
    return orjson.dumps(value, default=lambda raw: base64.b64encode(raw).decode())


@given(st.lists(RECORDS, max_size=3), st.none() | TEXT)
def test_pages_are_read_as_botocore_reads_them(records: list[dict[str, Any]], iterator: str | None) -> None:
    """Every member, every value decoded, every creation time to the millisecond."""
    body = wire_json({"Records": records, "NextShardIterator": iterator})
    answer = {"status_code": 200, "headers": {}, "context": {"operation_name": "GetRecords"}, "body": body}
    ours, theirs = FastParser(THEIRS).parse(answer, SHAPE), THEIRS.parse(answer, SHAPE)
    assert plain(ours) == plain(theirs)


def plain(page: Any) -> Any:
    """Bring a page to what the core sees."""
    records = []
    for record in page["Records"]:
        body = dict(record["dynamodb"])
        body["ApproximateCreationDateTime"] = decode.created_ms(body, 1)
        for name in {"Keys", "OldImage", "NewImage"} & body.keys():
            body[name] = attributes.decode_image(opened(body[name]))
        records.append(dict(record) | {"dynamodb": body})
    return page | {"Records": records}


@given(
    st.dictionaries(TEXT, st.lists(st.dictionaries(TEXT, SCALARS, max_size=5), max_size=4), max_size=2), st.booleans()
)
def test_batches_are_written_as_botocore_writes_them(
    tables: dict[str, list[dict[str, Any]]],
    asked: bool,  # noqa: FBT001 - drawn
) -> None:
    """The same JSON, if not the same blanks."""
    params: dict[str, Any] = {
        "RequestItems": {name: [{"PutRequest": {"Item": item}} for item in items] for name, items in tables.items()},
        **({"ReturnConsumedCapacity": "TOTAL"} if asked else {}),
    }
    body = body_of(params)
    assert body is not None
    assert orjson.loads(body) == json.loads(SERIALIZER.serialize_to_request(params, BATCH)["body"])


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_taken_is_written_alike(item: dict[str, Any]) -> None:
    """An item of any shape is either left to botocore or written as botocore does."""
    params = {"RequestItems": {"t": [{"PutRequest": {"Item": item}}]}}
    body = body_of(params)
    if body is not None:
        assert orjson.loads(body) == json.loads(SERIALIZER.serialize_to_request(params, BATCH)["body"])


def test_the_epoch_is_no_special_case() -> None:
    """A creation time of zero is a time."""
    record = {"dynamodb": {"ApproximateCreationDateTime": 0, "SequenceNumber": "1"}}
    answer = {
        "status_code": 200,
        "headers": {},
        "context": {"operation_name": "GetRecords"},
        "body": wire_json({"Records": [record]}),
    }
    [ours] = FastParser(THEIRS).parse(answer, SHAPE)["Records"]
    [theirs] = THEIRS.parse(answer, SHAPE)["Records"]
    assert theirs["dynamodb"]["ApproximateCreationDateTime"] == datetime(1970, 1, 1, tzinfo=UTC)
    assert decode.created_ms(ours["dynamodb"], 1) == decode.created_ms(theirs["dynamodb"], 1) == 0
