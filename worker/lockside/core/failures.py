"""What a failed call means for the record path. Pure: codes in, verdict out."""

from enum import Enum
from typing import Final


class Verdict(Enum):
    """What to do about a failed call."""

    RETRY = "retry"  # passing: the service, the network, an unprocessed item
    THROTTLED = "throttled"  # passing: slow down
    CONDITION = "condition"  # a condition did not hold; the caller knows what that means
    EXPIRED_ITERATOR = "expired_iterator"  # ask for a new one after the last position
    TRIMMED = "trimmed"  # the stream no longer has the position
    NOT_FOUND = "not_found"  # a table, stream or shard is gone
    DENIED = "denied"  # credentials or permissions; a person must act, and may while we wait
    FATAL = "fatal"  # unknown or our own fault: stop without moving the checkpoint


THROTTLES: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TooManyRequestsException",
        "SlowDown",
    }
)
PASSING: Final = frozenset(
    {
        "InternalServerError",
        "InternalServerErrorException",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ConnectionError",
        "BrokenAnswer",
    }
)
DENIALS: Final = frozenset(
    {
        "AccessDeniedException",
        "AccessDenied",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "ExpiredTokenException",
        "ExpiredToken",
        "MissingAuthenticationTokenException",
        "NoCredentials",
        "KMSAccessDeniedException",
    }
)
EXACT: Final = {
    "ConditionalCheckFailedException": Verdict.CONDITION,
    "TransactionCanceledException": Verdict.CONDITION,
    "ExpiredIteratorException": Verdict.EXPIRED_ITERATOR,
    "TrimmedDataAccessException": Verdict.TRIMMED,
    "ResourceNotFoundException": Verdict.NOT_FOUND,
}
SERVER_ERROR: Final = 500


def classify(code: str, status: int) -> Verdict:
    """Judge a failed call by its error code (`ConnectionError` where none came back) and HTTP status (0 likewise)."""
    if code in EXACT:
        return EXACT[code]
    if code in THROTTLES:
        return Verdict.THROTTLED
    if code in DENIALS:
        return Verdict.DENIED
    if code in PASSING or status >= SERVER_ERROR:
        return Verdict.RETRY
    return Verdict.FATAL
