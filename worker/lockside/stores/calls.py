"""Calls of the stores: what is tried again, for how long, and what a failure means to whoever called.

A read is tried again freely. A write is tried again only where the failure says that it was not done, or where its own
condition keeps it from being done twice.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore import exceptions as aws

from lockside.aws.retrying import NO_ANSWER, NO_CREDENTIALS, error_code, verdict
from lockside.core.failures import SERVER_ERROR, Verdict
from lockside.errors import LimitError, LocksideError, NotFoundOutError, SetupError

if TYPE_CHECKING:
    from lockside.core.ports import Stop
    from lockside.stores.machine import Machine

T = TypeVar("T")

ATTEMPTS_MAX: Final = 8
WAIT_FIRST_SECONDS: Final = 0.05
WAIT_SECONDS_MAX: Final = 2.0

TRIED_AGAIN: Final = frozenset({Verdict.RETRY, Verdict.THROTTLED})
NEVER_SPELLED: Final = (
    aws.ParamValidationError,
    aws.ValidationError,
    aws.EndpointProviderError,
    aws.InvalidRegionError,
    aws.NoRegionError,
    aws.UnknownEndpointError,
)
"""What botocore finds wrong with a request by itself."""

NEVER_SENT: Final = (aws.EndpointConnectionError, aws.ConnectTimeoutError, *NO_CREDENTIALS, *NEVER_SPELLED)
MAYBE_DONE: Final = frozenset({"RequestTimeout", "RequestTimeoutException", "TransactionInProgressException"})
"""Refusals with a status below 500 that leave open whether the write was done."""

CONFLICTS: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons of a cancelled transaction that pass; nothing of it was done."""

CANCELLED: Final = "TransactionCanceledException"
FAILED: Final = "ConditionalCheckFailed"
INVALID: Final = frozenset({"ValidationException", "ValidationError"})
"""Of a call, and as the reason of a cancelled transaction."""


def surely_not_done(error: Exception) -> bool:
    """Whether a failed write certainly took no effect, and will take none."""
    if isinstance(error, NEVER_SENT):
        return True
    if not isinstance(error, aws.ClientError):
        return False
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0 < status < SERVER_ERROR and error_code(error) not in MAYBE_DONE


def reasons(error: aws.ClientError) -> list[dict[str, Any]]:
    """Return why a transaction was cancelled, one reason for each of its items; empty if it was not cancelled."""
    found: Any = error.response.get("CancellationReasons") or []
    return [dict(reason) for reason in found]


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, aws.ClientError) and error_code(error) == CANCELLED:
        codes = _why_cancelled(error)
        return bool(codes) and codes <= CONFLICTS
    return verdict(error) in TRIED_AGAIN


def condition_failed(error: Exception) -> bool:
    """Whether a condition did not hold; a transaction is cancelled for other reasons too, which are no such answer."""
    if isinstance(error, aws.ClientError) and error_code(error) == CANCELLED:
        codes = _why_cancelled(error)
        return not codes or (FAILED in codes and not codes & INVALID)
    return verdict(error) is Verdict.CONDITION


def _why_cancelled(error: aws.ClientError) -> set[str]:
    return {str(reason.get("Code")) for reason in reasons(error)} - {"None"}


def refusal(error: Exception, table: str) -> LocksideError:
    """Say what a failed call means, and the way out. The service's own text may quote what was sent: it is left out."""
    code = error_code(error)
    if isinstance(error, aws.ClientError) and code == CANCELLED:
        # Which of its items it was does not matter: what is wrong with one stands for the call.
        why = _why_cancelled(error) - {FAILED}
        code = next(iter(sorted(why & INVALID) or sorted(why)), code)
    match verdict(error):
        case Verdict.NOT_FOUND:
            return SetupError(f'table "{table}": there is no such table here; `lockside init` or create() makes it')
        case Verdict.DENIED:
            return SetupError(
                f'table "{table}": {code}; renew the credentials, or allow the action (docs/stores.md lists them)'
            )
        case _ if code in INVALID:
            return SetupError(
                f'table "{table}": DynamoDB refuses the request as not valid: the table has another key schema than '
                "this store's; name another table, or the key attributes it has"
            )
        case _ if isinstance(error, NEVER_SPELLED):
            return LimitError(
                f'table "{table}": boto3 refuses the request before it is sent ({type(error).__name__}); see that the '
                "table's name, the region, the endpoint and each value are what boto3 takes"
            )
        case _ if isinstance(error, NO_ANSWER):
            return NotFoundOutError(f'table "{table}": no answer ({type(error).__name__}); see whether it is reachable')
        case _:
            return NotFoundOutError(f'table "{table}": the call failed with {code}; try again')


class UnmetError(Exception):
    """A condition of a write did not hold; `unsure` if an earlier attempt may have been done. Caught by who asked."""

    def __init__(self, *, unsure: bool) -> None:
        """Say no more: what the condition was is known to who sent it."""
        super().__init__()
        self.unsure = unsure


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes calls on one table; `stop` ends its waits."""

    table: str
    machine: "Machine"
    stop: "Stop" = field(default_factory=threading.Event)

    def read(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer, a bounded number of times. Raises SetupError or NotFoundOutError."""
        return self._repeat(ask, lambda _error: True)

    def write(self, send: Callable[[], T]) -> T:
        """Send a write; again only where it was surely not done.

        A condition that does not hold and a write with an unknown outcome come as boto3 raised them.
        """
        return self._repeat(send, surely_not_done)

    def finish(self, send: Callable[[], object]) -> None:
        """Send a write that may be sent twice until it is answered. Raises UnmetError, or what `refusal` says."""
        unsure = False
        for attempt in range(ATTEMPTS_MAX):
            try:
                send()
            except (aws.ClientError, aws.BotoCoreError) as error:
                if condition_failed(error):
                    raise UnmetError(unsure=unsure) from error
                unsure = unsure or not surely_not_done(error)
                if attempt + 1 < ATTEMPTS_MAX and (unsure or is_passing(error)) and not self.pause(attempt):
                    continue
                if unsure:
                    raise UnmetError(unsure=True) from error
                raise refusal(error, self.table) from error
            else:
                return

    def pause(self, attempt: int) -> bool:
        """Wait before another attempt, longer each time and never two the same; True if the stop was set."""
        bound = min(WAIT_SECONDS_MAX, WAIT_FIRST_SECONDS * 2**attempt)
        return self.machine.wait(self.stop, bound * (0.5 + self.machine.chance() / 2))

    def _repeat(self, call: Callable[[], T], again: Callable[[Exception], bool]) -> T:
        for attempt in range(ATTEMPTS_MAX):
            try:
                return call()
            except (aws.ClientError, aws.BotoCoreError) as error:
                if condition_failed(error) and not is_passing(error):
                    raise
                if not again(error):
                    raise
                if not is_passing(error) or attempt + 1 == ATTEMPTS_MAX or self.pause(attempt):
                    raise refusal(error, self.table) from error
        raise AssertionError("the last attempt returns or raises")
