"""BatchWriteItem bodies written by orjson: botocore's walk through the request's shape is most of a batch's CPU.

Strategy: `provide-client-params` takes the items out of the parameters and leaves the table's name, by which botocore
finds the endpoint; `before-call`, which comes before signing and the body's length, puts the finished body in. The two
meet in the call's own context, so calls of many threads do not mix. Only what is exactly as known is taken: puts of
flat items, of text, numbers, binary and booleans. Whatever else goes botocore's own way.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from lockside.core import telemetry

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOG = structlog.get_logger(__name__)

BODY: Final = "lockside_fast_body"
"""Where in a call's context the body waits."""

KNOWN: Final = frozenset({"RequestItems", "ReturnConsumedCapacity"})
TYPES: Final[Mapping[str, type]] = {"S": str, "N": str, "B": bytes, "BOOL": bool}

OPTIONS: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
"""orjson would write more kinds of values than botocore does; those are refused here, so that botocore judges them."""

_PUT: Final = frozenset({"PutRequest"})
_ITEM: Final = frozenset({"Item"})


def body_of(params: object) -> bytes | None:
    """Write the body of a BatchWriteItem call; None for anything not as known."""
    if not isinstance(params, dict) or not params.keys() <= KNOWN or not _is_known(params.get("RequestItems")):
        return None
    if not isinstance(params.get("ReturnConsumedCapacity", ""), str):
        return None
    try:
        return orjson.dumps(params, default=_binary, option=OPTIONS)
    except TypeError:
        # A lone surrogate, above all: botocore escapes it, and DynamoDB says what it thinks of it.
        return None


def _is_known(tables: object) -> bool:
    if type(tables) is not dict:
        return False
    for name, requests in tables.items():
        if type(name) is not str or type(requests) is not list:
            return False
        for request in requests:
            if type(request) is not dict or request.keys() != _PUT:
                return False
            put = request["PutRequest"]
            if type(put) is not dict or put.keys() != _ITEM or not _is_flat(put["Item"]):
                return False
    return True


def _is_flat(item: object) -> bool:
    if type(item) is not dict:
        return False
    for name, wire in item.items():
        if type(name) is not str or type(wire) is not dict or len(wire) != 1:
            return False
        for tag, value in wire.items():
            if type(value) is not TYPES.get(tag):
                return False
    return True


def _binary(value: object) -> str:
    if type(value) is bytes:
        return base64.b64encode(value).decode()
    raise TypeError


def _provide(params: Any, context: dict[str, Any], **_: object) -> Any:
    body = body_of(params)
    if body is None:
        return None
    context[BODY] = body
    return {"RequestItems": {name: [] for name in params["RequestItems"]}}


def _put_in(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    body = context.pop(BODY, None)
    if body is not None:
        params["body"] = body


PROVIDE: Final = "provide-client-params.dynamodb.BatchWriteItem"
PUT_IN: Final = "before-call.dynamodb.BatchWriteItem"
SAMPLE: Final[Mapping[str, Any]] = {
    "RequestItems": {
        "sample": [{"PutRequest": {"Item": {"pk": {"S": "\u00e9\u2028"}, "n": {"N": "1.50"}, "b": {"B": b"\x00\x01"}}}}]
    },
    "ReturnConsumedCapacity": "TOTAL",
}
"""What the self-test writes both ways."""


def install(client: "DynamoDBClient") -> bool:
    """Have a client's BatchWriteItem bodies written here if its botocore still works as known; else say so once.

    For a client that does not validate parameters: what stands in for the items would not pass.
    """
    events = client.meta.events
    problem = "different"
    try:
        theirs = _written(client)
        events.register(PROVIDE, _provide)
        events.register(PUT_IN, _put_in)
        if orjson.loads(_written(client)) == orjson.loads(theirs):
            return True
    except Exception as error:  # noqa: BLE001 - whatever a new botocore does, its own serialiser is there
        problem = type(error).__name__
    events.unregister(PROVIDE, _provide)
    events.unregister(PUT_IN, _put_in)
    LOG.warning("fast_write_off", **{telemetry.ERROR: problem})
    return False


@dataclass(frozen=True, slots=True)
class _Unsent:
    """Stands for the answer to a call that is not made."""

    status_code: int = 200


def _written(client: "DynamoDBClient") -> bytes:
    """Return the body a client makes of the sample, without signing or sending it."""
    bodies: list[bytes] = []

    def catch(params: Mapping[str, Any], **_: object) -> tuple[_Unsent, dict[str, Any]]:
        bodies.append(params["body"])
        return _Unsent(), {}

    # Its stubs know no handler that answers, as `before-call` allows.
    events: Any = client.meta.events
    events.register_last(PUT_IN, catch)
    try:
        client.batch_write_item(**SAMPLE)
    finally:
        events.unregister(PUT_IN, catch)
    return bodies[0]
