"""Retries of AWS calls: tenacity, jittered, ended by shutdown, never by a count.

An audit record that cannot be written holds its shard (law 8), so a passing fault is tried again for as long as the
process lives. Verdicts other than passing ones are the caller's to judge and are raised at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
import tenacity
from botocore import exceptions as aws

from lockside.aws.answers import BrokenAnswerError
from lockside.core import telemetry
from lockside.core.failures import Verdict, classify
from lockside.core.telemetry import Meter
from lockside.errors import StoppedError

if TYPE_CHECKING:
    from lockside.core.ports import Stop

T = TypeVar("T")
LOG = structlog.get_logger(__name__)

WAIT_FIRST_SECONDS: Final = 0.05
WAIT_MAX_SECONDS: Final = 20.0
LOUD_AFTER_ATTEMPTS: Final = 5
PASSING: Final = frozenset({Verdict.RETRY, Verdict.THROTTLED, Verdict.DENIED})

NO_ANSWER: Final = (aws.ConnectionError, aws.HTTPClientError)
"""botocore's two families: not reached (address, time-out, TLS, proxy), and reached but broken off."""

NO_CREDENTIALS: Final = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.TokenRetrievalError,
    aws.SSOError,
)
"""Also what a refresh of short-lived credentials raises while the worker runs."""


def error_code(error: BaseException) -> str:
    """Name an error by its service code; `ConnectionError`, `BrokenAnswer` and `NoCredentials` are ours."""
    if isinstance(error, aws.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    if isinstance(error, BrokenAnswerError):
        return "BrokenAnswer"
    if isinstance(error, NO_ANSWER):
        return "ConnectionError"
    if isinstance(error, NO_CREDENTIALS):
        return "NoCredentials"
    return type(error).__name__


def verdict(error: BaseException) -> Verdict:
    """Judge an exception of a boto3 call."""
    status = 0
    if isinstance(error, aws.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    elif not isinstance(error, aws.BotoCoreError):
        return Verdict.FATAL
    return classify(error_code(error), status)


class AgainError(Exception):
    """Raised inside a call to have it tried again, for example for unprocessed items."""


def nobody() -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Retrier:
    """Tries calls again until they succeed or shutdown is asked for.

    `waiting` is told before each wait: a loop that waits for AWS is alive, and a restart would not help it.
    """

    stop: "Stop"
    meter: Meter
    waiting: Callable[[], None] = nobody

    def call(self, operation: str, function: Callable[[], T]) -> T:
        """Run `function` until it succeeds.

        Raises StoppedError on shutdown, and any error that is not passing as it came.
        """

        def waiting(state: tenacity.RetryCallState) -> None:
            self.waiting()
            self.meter.count("retries", operation=operation)
            error = state.outcome.exception() if state.outcome else None
            report = LOG.warning if state.attempt_number >= LOUD_AFTER_ATTEMPTS else LOG.info
            report(
                "aws_call_again",
                **{
                    telemetry.OPERATION: operation,
                    telemetry.ATTEMPT: state.attempt_number,
                    telemetry.ERROR: error_code(error) if error else None,
                },
            )

        def stopped(_state: tenacity.RetryCallState) -> bool:
            return self.stop.is_set()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passing),
            wait=tenacity.wait_random_exponential(multiplier=WAIT_FIRST_SECONDS, max=WAIT_MAX_SECONDS),
            stop=stopped,
            sleep=self._sleep,
            before_sleep=waiting,
        )
        try:
            return retrying(function)
        except tenacity.RetryError as error:
            raise StoppedError(operation) from error

    def _sleep(self, seconds: float) -> None:
        self.stop.wait(seconds)


def _passing(error: BaseException) -> bool:
    return isinstance(error, AgainError) or verdict(error) in PASSING
