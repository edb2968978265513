"""A DynamoDB client that fails when it is told to: before the call, or after it, when the answer is lost."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from tests.fakes.dynamodb import service_error

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Fault = Callable[[str, Callable[[], Any]], Any]
"""Given the operation and the call; makes the call or does not, returns its answer or raises."""


def lost_answer(_operation: str, call: Callable[[], Any]) -> Any:
    """Do it, and lose the answer."""
    call()
    raise ReadTimeoutError(endpoint_url="http://dynamodb")


def lost_request(_operation: str, _call: Callable[[], Any]) -> Any:
    """Lose the request; the caller cannot know that it was not done."""
    raise ReadTimeoutError(endpoint_url="http://dynamodb")


def unreachable(_operation: str, _call: Callable[[], Any]) -> Any:
    """Never send it."""
    raise EndpointConnectionError(endpoint_url="http://dynamodb")


def refused(code: str, status: int = 400) -> Fault:
    """Refuse with a service code."""

    def fault(operation: str, _call: Callable[[], Any]) -> Any:
        raise service_error(code, operation, status=status)

    return fault


throttled = refused("ProvisionedThroughputExceededException")
expired_credentials = refused("ExpiredTokenException")
broken = refused("InternalServerError", 500)


class FaultyClient:
    """Passes calls on to a client, but for those that a fault was queued for. `calls` names the operations made."""

    def __init__(self, client: "DynamoDBClient") -> None:
        """Fail never."""
        self.calls: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.always: dict[str, Fault] = {}
        self._client = client
        self._queued: dict[str, deque[Fault]] = {}

    @property
    def client(self) -> "DynamoDBClient":
        """This one as a boto3 client."""
        return cast("DynamoDBClient", self)

    def fail(self, operation: str, *faults: Fault) -> None:
        """Have the next calls of an operation meet these faults, one each."""
        self._queued.setdefault(operation, deque()).extend(faults)

    def get_waiter(self, name: Any) -> Any:
        """Return the client's own waiter, which meets no faults."""
        return self._client.get_waiter(name)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        """Return an operation."""
        inner = getattr(self._client, operation)

        def call(**request: Any) -> Any:
            self.calls.append(operation)
            self.requests.append(request)
            queued = self._queued.get(operation)
            fault = queued.popleft() if queued else self.always.get(operation)
            return inner(**request) if fault is None else fault(operation, lambda: inner(**request))

        return call
