"""Calls that go wrong at random, for a trial: refused, failed, or done with the answer lost on its way back."""

from random import Random
from typing import TYPE_CHECKING, Any, Final

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from botocore.httpsession import URLLib3Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_dynamodb import DynamoDBClient

THROTTLED: Final = (
    400,
    b'{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"planted"}',
)
FAILED: Final = (
    500,
    b'{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"planted"}',
)


class _Body:
    """The body of an answer that never came over a wire."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> list[bytes]:
        """Hand the body over."""
        return [self._body]


def install(client: "DynamoDBClient", share: float, chance: Random) -> None:
    """Let a share of a client's calls go wrong, one kind as often as another."""
    session = URLLib3Session()

    def refused(request: Any) -> AWSResponse:
        return _answer(request, *THROTTLED)

    def failed(request: Any) -> AWSResponse:
        return _answer(request, *FAILED)

    def unreached(request: Any) -> AWSResponse:
        raise EndpointConnectionError(endpoint_url=request.url)

    def answer_lost(request: Any) -> AWSResponse:
        session.send(request)
        raise ConnectionClosedError(endpoint_url=request.url)

    def failed_after_all(request: Any) -> AWSResponse:
        session.send(request)
        return _answer(request, *FAILED)

    kinds: list[Callable[[Any], AWSResponse]] = [refused, failed, unreached, answer_lost, failed_after_all]

    def meddle(request: Any, **_: object) -> Any:
        return chance.choice(kinds)(request) if chance.random() < share else None

    client.meta.events.register("before-send.dynamodb", meddle)


def _answer(request: Any, status: int, body: bytes) -> AWSResponse:
    headers = {"content-type": "application/x-amz-json-1.0", "content-length": str(len(body))}
    return AWSResponse(request.url, status, HTTPHeaders.from_dict(headers), _Body(body))
