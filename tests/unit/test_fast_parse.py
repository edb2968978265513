"""GetRecords answers read by orjson: what is taken, what goes back to botocore, and the self-test."""

import json
from typing import Any

import boto3
import pytest
from botocore.parsers import ResponseParserFactory
from structlog.testing import capture_logs

from lockside.aws import fast_parse
from lockside.aws.clients import connect
from lockside.aws.fast_parse import FastParser, FastParserFactory, UnexpectedError, prove, read_page
from lockside.core import attributes, decode
from lockside.core.batch import Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.lazy_image import LazyImage, opened
from lockside.core.now import Now
from lockside.errors import WireFaultError
from lockside.settings import AwsSettings
from tests.fakes.captures import CAPTURES, NAMES, read
from tests.fakes.sources import SHARD, source

HEADERS = {"x-amzn-RequestId": "id", "Date": "Mon, 23 Nov 2026 10:00:00 GMT"}


class Reading:
    """One answer read both ways."""

    def __init__(self) -> None:
        """Make botocore's parser for the streams service."""
        model: Any = boto3.client("dynamodbstreams", region_name="us-east-1").meta.service_model
        self.shape = model.operation_model("GetRecords").output_shape
        self.theirs = ResponseParserFactory().create_parser(model.resolved_protocol)
        self.ours = FastParser(self.theirs)

    def answer(self, body: object, status: int = 200, operation: str = "GetRecords") -> dict[str, Any]:
        """Make an answer as botocore's endpoint hands it to a parser."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return {"status_code": status, "headers": HEADERS, "context": {"operation_name": operation}, "body": raw}

    def both(self, answer: dict[str, Any]) -> tuple[Any, Any]:
        """Read it: ours, botocore's."""
        return self.ours.parse(answer, self.shape), self.theirs.parse(answer, self.shape)


@pytest.fixture(scope="module")
def reading() -> Reading:
    """Return both parsers; made once, as the service's model is slow to load."""
    return Reading()


def plain(page: Any) -> Any:
    """Bring a page to what the core sees: creation times in milliseconds, values decoded."""
    return page | {"Records": [plain_record(record) for record in page["Records"]]}


def plain_record(record: Any) -> Any:
    """Bring one record to what the core sees."""
    body = dict(record["dynamodb"])
    body["ApproximateCreationDateTime"] = decode.created_ms(body, 1)
    for name in {"Keys", "OldImage", "NewImage"} & body.keys():
        body[name] = attributes.decode_image(opened(body[name]))
    return dict(record) | {"dynamodb": body}


def record(**body: Any) -> dict[str, Any]:
    """Make a record."""
    made = {"ApproximateCreationDateTime": 1.7e9, "Keys": {"k": {"S": "a"}}, "SequenceNumber": "1"}
    return {"eventID": "1", "eventName": "REMOVE", "dynamodb": made | {"OldImage": {"k": {"S": "a"}}} | body}


@pytest.mark.parametrize("name", NAMES)
def test_captures_are_read_as_botocore_does(reading: Reading, name: str) -> None:
    """What real clients wrote comes out alike, status and headers too."""
    answer = reading.answer({"Records": read(CAPTURES / f"{name}.jsonl"), "NextShardIterator": "next"})
    ours, theirs = reading.both(answer)
    assert plain(ours) == plain(theirs)
    assert ours["ResponseMetadata"]["HTTPHeaders"]["date"] == HEADERS["Date"]


def test_images_are_not_walked_through(reading: Reading) -> None:
    """A whole creation time stays a number, an image text and its binary base64: there the time is saved."""
    ours, _ = reading.both(reading.answer({"Records": [record(NewImage={"b": {"B": "AAE="}})]}))
    image = ours["Records"][0]["dynamodb"]["NewImage"]
    assert type(image) is LazyImage
    assert image.read() == {"b": {"B": "AAE="}}
    assert ours["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] == 1.7e9


def test_a_record_reads_like_the_map_it_stands_for(reading: Reading) -> None:
    """What is there, and nothing of what is not; equal to what it reads like, and to itself spelt otherwise."""
    (ours,), (theirs,) = (page["Records"] for page in reading.both(reading.answer({"Records": [record()]})))
    assert [*ours] == [*ours.keys()]
    assert sorted(ours) == sorted(theirs)
    assert sorted(ours["dynamodb"]) == sorted(theirs["dynamodb"])
    assert len(ours) == len(ours.items()) == len(ours.values()) == len(theirs)
    assert ("eventSource" in ours, "eventName" in ours, "nobody" in ours) == (False, True, False)
    assert (ours.get("eventSource"), ours.get("eventName"), ours.get("keys", 7)) == (None, "REMOVE", 7)
    with pytest.raises(KeyError, match="eventSource"):
        ours["eventSource"]
    assert ours == dict(ours)
    assert not ours != dict(ours)  # noqa: SIM202 - msgspec has an answer of its own to `!=`
    spaced = json.dumps({"Records": [record()]}, indent=1).encode()
    [again] = reading.ours.parse(reading.answer(spaced), reading.shape)["Records"]
    assert again == ours
    assert not again != ours  # noqa: SIM202 - as above
    assert again != record(SequenceNumber="2")


def test_lazy_images_are_equal_that_read_the_same() -> None:
    """A record that came twice is the same record, however its text is spaced."""
    one, other = LazyImage(b'{"k":{"S":"a"}}'), LazyImage(b'{ "k": {"S": "\\u0061"} }')
    assert one == other
    assert one != LazyImage(b'{"k":{"S":"b"}}')
    assert one != {"k": {"S": "a"}}


def test_a_number_that_none_can_hold_costs_one_record() -> None:
    """JSON's grammar allows it, a wire value never has it."""
    with pytest.raises(WireFaultError, match="image_shape"):
        LazyImage(b'{"k":1e999}').read()


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5_000])
def test_comparing_images_that_cannot_be_read_never_fails(number: bytes) -> None:
    """A record that came twice is compared before anything of it is understood."""
    text = b'{"k":{"N":' + number + b"}}"
    assert LazyImage(text) == LazyImage(bytes(bytearray(text)))
    assert LazyImage(text) != LazyImage(text + b" ")
    assert LazyImage(text) != LazyImage(b'{"k":{"S":"a"}}')
    assert LazyImage(b'{"k":{"S":"a"}}') != LazyImage(text)


def test_an_unreadable_record_that_came_twice_is_one_undecodable_change() -> None:
    """It costs its own place, not the worker."""
    record = (
        b'{"eventName":"INSERT","dynamodb":{"ApproximateCreationDateTime":1700000000,"SequenceNumber":"1","Keys":'
        b'{"lock_key":{"S":"a"},"sort_key":{"S":"-"}},"NewImage":{"lock_key":{"S":"a"},"x":{"N":1e400}}}}'
    )
    page = read_page(b'{"Records":[' + record + b"," + record + b"]}")
    batch = Reader(SHARD, (source("pydynlock"),), PUBLIC_KEYS).take_in(page["Records"], Memory(), None, Now(1, 1))
    assert [(fault.position, fault.code) for fault in batch.faults] == [(1, "image_shape")]


def test_a_fractional_creation_time_is_rounded_by_botocore(reading: Reading) -> None:
    """Two ways of rounding would give two records of one change."""
    ours, theirs = reading.both(reading.answer({"Records": [record(ApproximateCreationDateTime=1795422043.9055)]}))
    moment = "ApproximateCreationDateTime"
    assert ours["Records"][0]["dynamodb"][moment] == theirs["Records"][0]["dynamodb"][moment]


def test_the_last_page_of_a_closed_shard_has_no_iterator(reading: Reading) -> None:
    """A null iterator is left out, as botocore does."""
    ours, theirs = reading.both(reading.answer({"Records": [], "NextShardIterator": None}))
    assert ours == theirs
    assert "NextShardIterator" not in ours


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"Records":{}}',
        b'{"Records":[null]}',
        b'{"Records":[],"More":1}',
        b'{"Records":[{"dynamodb":{"ApproximateCreationDateTime":1,"New":1}}]}',
        b'{"Records":[{"dynamodb":{"ApproximateCreationDateTime":1},"New":1}]}',
        b'{"Records":[{"dynamodb":{}}]}',
        b'{"Records":[{"dynamodb":{"ApproximateCreationDateTime":"2026-11-23T10:00:00Z"}}]}',
        b'{"Records":[{"dynamodb":{"ApproximateCreationDateTime":1,"SequenceNumber":"\\ud800"}}]}',
        b'{"Records":[{"dynamodb":{"ApproximateCreationDateTime":1,"NewImage":{"k":{"S":"\xff"}}}}]}',
        b'{"Records":[{"dynamodb":{"ApproximateCreationDateTime":1,"NewImage":{"k":{"S":"\\q"}}}}]}',
        b'{"Records":[{"dynamodb":{"ApproximateCreationDateTime":1,"NewImage":{"k":{"S":"a"}}]}',
    ],
)
def test_anything_not_as_known_goes_to_botocore(reading: Reading, body: bytes) -> None:
    """No JSON, other members, other types: botocore's own parser gets it as it came, and says the same."""
    answer = reading.answer(body)
    with pytest.raises(UnexpectedError):
        read_page(body)
    assert outcome(reading.ours, answer, reading.shape) == outcome(reading.theirs, answer, reading.shape)


def test_an_absurd_creation_time_costs_one_record_and_not_the_page(reading: Reading) -> None:
    """Botocore refuses the whole page; here the record's own decoding does, and the others are read."""
    ours = reading.ours.parse(reading.answer({"Records": [record(ApproximateCreationDateTime=1.5e300)]}), reading.shape)
    with pytest.raises(WireFaultError, match="creation_time"):
        decode.created_ms(ours["Records"][0]["dynamodb"], 1)


def outcome(parser: Any, answer: dict[str, Any], shape: Any) -> Any:
    """Return what a parser reads, or the kind of error it raises."""
    try:
        return parser.parse(answer, shape)
    except Exception as error:  # noqa: BLE001 - whatever botocore raises
        return type(error)


@pytest.mark.parametrize(("status", "operation"), [(400, "GetRecords"), (500, "GetRecords"), (200, "DescribeStream")])
def test_errors_and_other_operations_are_botocores(reading: Reading, status: int, operation: str) -> None:
    """An error is no page, and only GetRecords is read here."""
    answer = reading.answer({"__type": "x#ExpiredIteratorException", "message": "old"}, status, operation)
    ours, theirs = reading.both(answer)
    assert ours == theirs


def test_the_session_reads_with_it() -> None:
    """`connect` sets it, and its switch leaves botocore alone."""
    assert type(made_by(AwsSettings())) is FastParser
    assert type(made_by(AwsSettings(fast_parse=False))) is not FastParser


def made_by(settings: AwsSettings) -> Any:
    """Return a parser as the streams client's endpoint makes it."""
    client: Any = connect(settings).streams
    return client._endpoint._response_parser_factory.create_parser("json")


def test_a_botocore_that_reads_otherwise_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-test at start finds a difference, says so once, and botocore's own parser stays."""
    monkeypatch.setattr(fast_parse, "read_page", lambda _body: {"Records": []})
    factory = FastParserFactory()
    with capture_logs() as logs:
        assert not prove(factory, boto3.client("dynamodbstreams"))
    assert [(line["event"], line["log_level"]) for line in logs] == [("fast_parse_off", "warning")]
    assert type(factory.create_parser("json")) is not FastParser


def test_a_botocore_without_what_it_stands_on_switches_it_off() -> None:
    """Whatever the self-test raises, the worker starts with botocore's own parser."""
    client: Any = object()
    factory = FastParserFactory()
    with capture_logs() as logs:
        assert not prove(factory, client)
    assert [line["error"] for line in logs] == ["AttributeError"]
    assert not factory.on
