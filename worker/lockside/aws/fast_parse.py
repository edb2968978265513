"""GetRecords answers read by msgspec: most of a stream reader's CPU is botocore's walk through the response's shape.

Strategy: a parser factory, set as the session's component `response_parser_factory`, wraps each parser that botocore
makes. A GetRecords answer with nothing unexpected in it is read here; whatever else, an error or a member that is not
known, goes to botocore's own parser as it came. Status, headers and request id are botocore's own work in both cases:
it is given the same answer with an empty body.

What differs from botocore's reading, and is read alike by `core.decode` and `core.attributes`: a record only reads like
a map (`core.lazy_record`), a whole creation time stays a number, binary stays base64 text, and an image stays text
until it is asked for (`core.lazy_image`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import structlog
from botocore.parsers import ResponseParserFactory
from botocore.utils import parse_timestamp
from msgspec import Struct

from lockside.core import attributes, decode, telemetry
from lockside.core.lazy_image import opened
from lockside.core.lazy_record import CREATED, LazyRecord

if TYPE_CHECKING:
    from botocore.model import Shape
    from botocore.parsers import ResponseParser
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

LOG = structlog.get_logger(__name__)

COMPONENT: Final = "response_parser_factory"
"""The session's component that this module takes the place of."""

OPERATION: Final = "GetRecords"
STATUS_GOOD: Final = 200
IMAGES: Final = ("NewImage", "OldImage")


class Page(Struct, gc=False, forbid_unknown_fields=True):
    """An answer. A closed shard's last page may spell its missing iterator as null."""

    Records: list[LazyRecord]
    NextShardIterator: str | None = None


_READ: Final = msgspec.json.Decoder(Page).decode
_READ_RECORDS: Final = msgspec.json.Decoder(list[LazyRecord]).decode

SAMPLE: Final = (
    b'{"NextShardIterator":"next","Records":[{"awsRegion":"us-east-1","dynamodb":{"ApproximateCreationDateTime":1.7e9,'
    b'"Keys":{"k":{"S":"a"}},"NewImage":{"k":{"S":"a"},"b":{"B":"AAE="},"n":{"N":"1.50"}},"SequenceNumber":"1"},'
    b'"eventName":"INSERT","userIdentity":{"PrincipalId":"dynamodb.amazonaws.com","Type":"Service"}}]}'
)
"""What the self-test reads both ways."""


class UnexpectedError(Exception):
    """The answer is not as known; never leaves this module."""


def read_page(body: bytes) -> dict[str, Any]:
    """Read a GetRecords body; images stay as they came. Raises UnexpectedError for anything not as known."""
    try:
        # What is passed over unread is looked through for JSON's grammar, and not for UTF-8's.
        if not body.isascii():
            body.decode()
        page = _READ(body)
    except (ValueError, RecursionError):
        raise UnexpectedError from None
    read: dict[str, Any] = {"Records": _timed(page.Records)}
    return read if page.NextShardIterator is None else {**read, "NextShardIterator": page.NextShardIterator}


def read_records(body: bytes) -> Sequence[Mapping[str, Any]]:
    """Read a JSON list of records alone, as `read_page` does those of a page."""
    try:
        if not body.isascii():
            body.decode()
        return cast("Sequence[Mapping[str, Any]]", _timed(_READ_RECORDS(body)))
    except (ValueError, RecursionError):
        raise UnexpectedError from None


def _timed(records: list[LazyRecord]) -> list[LazyRecord]:
    """Make of a fractional creation time what botocore makes of it.

    Both ways of rounding a fraction to a millisecond differ now and then, and a record's bytes may not (law 2).
    """
    for record in records:
        created = record.dynamodb.ApproximateCreationDateTime
        if type(created) is float and not created.is_integer():
            record.dynamodb.ApproximateCreationDateTime = _moment(created)
    return records


def _moment(seconds: Any) -> Any:
    try:
        return parse_timestamp(seconds)
    except (ValueError, OverflowError, RuntimeError):
        raise UnexpectedError from None


class FastParser:
    """One of botocore's parsers, with GetRecords answers read by `read_page`."""

    def __init__(self, theirs: "ResponseParser") -> None:
        """Wrap botocore's parser."""
        self._theirs = theirs

    def parse(self, response: Mapping[str, Any], shape: "Shape") -> Any:
        """Read an answer."""
        context, body = response.get("context"), response.get("body")
        if (
            response.get("status_code") != STATUS_GOOD
            or not isinstance(context, Mapping)
            or context.get("operation_name") != OPERATION
            or not isinstance(body, bytes)
        ):
            return self._theirs.parse(response, shape)
        try:
            page = read_page(body)
        except UnexpectedError:
            return self._theirs.parse(response, shape)
        parsed = self._theirs.parse({**response, "body": b""}, shape)
        return {**parsed, **page}


class FastParserFactory(ResponseParserFactory):
    """botocore's factory, whose parsers read GetRecords fast until it is switched off."""

    def __init__(self) -> None:
        """Begin switched on."""
        super().__init__()
        self.on = True

    def create_parser(self, protocol_name: str) -> Any:
        """Make a parser; botocore asks for one per answer."""
        parser = super().create_parser(protocol_name)
        return FastParser(parser) if self.on else parser


def prove(factory: FastParserFactory, client: "DynamoDBStreamsClient") -> bool:
    """Read one answer both ways, as this botocore does it; switch the factory off if they differ, and say so once."""
    try:
        same = _alike(client)
    except Exception as error:  # noqa: BLE001 - whatever a new botocore does, its own parser is there
        LOG.warning("fast_parse_off", **{telemetry.ERROR: type(error).__name__})
        same = False
    else:
        if not same:
            LOG.warning("fast_parse_off", **{telemetry.ERROR: "different"})
    factory.on = same
    return same


def _alike(client: "DynamoDBStreamsClient") -> bool:
    model: Any = client.meta.service_model
    shape = model.operation_model(OPERATION).output_shape
    theirs = ResponseParserFactory().create_parser(model.resolved_protocol)
    answer = {
        "status_code": STATUS_GOOD,
        "headers": {"x-amzn-requestid": "sample", "date": "Tue, 14 Nov 2023 22:13:20 GMT"},
        "context": {"operation_name": OPERATION},
        "body": SAMPLE,
    }
    return bool(_plain(FastParser(theirs).parse(answer, shape)) == _plain(theirs.parse(answer, shape)))


def _plain(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Bring both readings to one form, that in which the core sees them."""
    return {**parsed, "Records": [_plain_record(record) for record in parsed["Records"]]}


def _plain_record(record: Mapping[str, Any]) -> dict[str, Any]:
    body = record["dynamodb"]
    items = {name: attributes.decode_image(opened(body[name])) for name in ("Keys", *IMAGES) if name in body}
    return {**dict(record), "dynamodb": {**dict(body), CREATED: decode.created_ms(body, 1), **items}}
