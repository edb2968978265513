"""What an exception of a boto3 call means for the record path."""

from typing import Any

import pytest
from botocore import exceptions as aws

from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict

AT: Any = {"endpoint_url": "https://localhost", "error": "x"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aws.EndpointConnectionError(**AT), Verdict.RETRY),
        (aws.ConnectTimeoutError(**AT), Verdict.RETRY),
        (aws.ReadTimeoutError(**AT), Verdict.RETRY),
        (aws.ConnectionClosedError(**AT), Verdict.RETRY),
        (aws.SSLError(**AT), Verdict.RETRY),
        (aws.ProxyConnectionError(proxy_url="http://localhost", error="x"), Verdict.RETRY),
        (aws.NoCredentialsError(), Verdict.DENIED),
        (aws.UnauthorizedSSOTokenError(), Verdict.DENIED),
        (aws.MetadataRetrievalError(error_msg="x"), Verdict.DENIED),
        (aws.ParamValidationError(report="x"), Verdict.FATAL),
        (ZeroDivisionError(), Verdict.FATAL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_never_got_an_answer_is_waited_for(error: Exception, expected: Verdict) -> None:
    """A proxy, a TLS end or a token service that is down is an outage like any other."""
    assert verdict(error) is expected
