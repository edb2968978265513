"""Whether an answer arrived whole: a body that broke off or was spoilt on its way is a broken connection, no answer.

botocore reads a body that is no JSON as an answer without members, whatever its announced length. Such an answer would
say that nothing is left unprocessed, that a stream has no shards, that a shard has ended.

An error's body may be a proxy's, which botocore's parser stumbles over in ways of its own. It is then judged by its
status alone.
"""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import BotoCoreError, HTTPClientError
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.model import OperationModel
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

ERRORS_FROM: Final = 301
"""botocore reads answers from this status on as errors."""

NO_MEMBERS: Final = b"{}"
"""Stands in the place of an error's body that is none: the status is what is left of it."""

LEFT_OUT: Final = "GetRecords"
"""Large, and looked over member by member by the engine: not parsed twice."""

UNREADABLE: Final = (
    ResponseParserError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What botocore's parser raises at an answer that is not as its model says; all else it wraps in errors of its own."""


class BrokenAnswerError(HTTPClientError):
    """An answer that is not whole. One of botocore's errors, so that it is tried again like a broken connection."""

    fmt = "the answer to {operation} is not whole, or no answer of DynamoDB's"

    def __init__(self, operation: str) -> None:
        """Name the operation; nothing of the answer is kept."""
        super().__init__(operation=operation)


def look_over(client: "DynamoDBClient | DynamoDBStreamsClient") -> None:
    """Have a client's calls raise BrokenAnswerError for good answers that are no JSON object, and errors by status."""
    client.meta.events.register(f"before-parse.{client.meta.service_model.service_id.hyphenize()}", _look)


def _look(operation_model: "OperationModel", response_dict: MutableMapping[str, Any], **_: object) -> None:
    failed = response_dict["status_code"] >= ERRORS_FROM
    if not failed and operation_model.name == LEFT_OUT:
        return
    members = _members(response_dict["body"])
    if failed:
        if members is None or not isinstance(members.get("__type", ""), str):
            response_dict["body"] = NO_MEMBERS
    elif members is None:
        raise BrokenAnswerError(operation_model.name)


def _members(body: bytes) -> dict[str, Any] | None:
    try:
        read = orjson.loads(body)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def having(member: str, kind: type, operation: str, ask: "Callable[[], Any]") -> Any:
    """Ask, and return the answer, which has this member. Raises BrokenAnswerError for one without, or unreadable.

    What the client raises comes as it is.
    """
    try:
        answer = ask()
    except BotoCoreError:
        raise
    except UNREADABLE as error:
        raise BrokenAnswerError(operation) from error
    if not isinstance(answer.get(member), kind):
        raise BrokenAnswerError(operation)
    return answer
