"""Answers whose body is not what their status promises, through a real client that no network is behind."""

import io
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from urllib3 import HTTPResponse

from lockside.aws.answers import BrokenAnswerError, having, look_over
from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict

BATCH = {"t": [{"PutRequest": {"Item": {"pk": {"S": "a"}}}}]}
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a page": ("dynamodbstreams", "get_records", {"ShardIterator": "x"}),
    "a batch": ("dynamodb", "batch_write_item", {"RequestItems": BATCH}),
    "a row": ("dynamodb", "get_item", {"TableName": "t", "Key": {"pk": {"S": "a"}}}),
}
FOREIGN = [b"", b"null", b"[]", b'"busy"', b"5", b"<html>", b"\xff\xfe", b'{"__type":5}', b'{"__type":null}']


def answered(service: str, status: int, body: bytes) -> Any:
    """Make a client that is always answered so, and does not ask again by itself."""
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    client: Any = boto3.client(service, region_name="us-east-1", config=config)  # type: ignore[call-overload]

    def answer(**_: object) -> AWSResponse:
        return AWSResponse(
            "http://localhost", status, HTTPHeaders(), HTTPResponse(io.BytesIO(body), preload_content=False)
        )

    client.meta.events.register("before-send", answer)
    look_over(client)
    return client


@pytest.mark.parametrize("body", FOREIGN)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_error_with_a_foreign_body_is_judged_by_its_status(
    call: tuple[str, str, dict[str, Any]], body: bytes
) -> None:
    """A proxy's 503 passes, whatever it says; botocore's parser would raise what stops the worker."""
    service, method, request = call
    for status, expected in ((503, Verdict.RETRY), (400, Verdict.FATAL)):
        client = answered(service, status, body)
        with pytest.raises(client.exceptions.ClientError) as raised:
            getattr(client, method)(**request)
        assert verdict(raised.value) is expected


def test_an_error_of_dynamodbs_own_keeps_its_code() -> None:
    """What has a code is judged by it."""
    client = answered("dynamodb", 400, b'{"__type":"com.amazonaws#ThrottlingException","message":"slow down"}')
    with pytest.raises(client.exceptions.ClientError, match=r"ThrottlingException.*slow down"):
        client.get_item(TableName="t", Key={"pk": {"S": "a"}})


def test_a_status_that_botocore_takes_for_success_is_no_success() -> None:
    """It reads 300 as good: without a look, a redirect would be a row that is not there."""
    with pytest.raises(BrokenAnswerError):
        answered("dynamodb", 300, b"<html>").get_item(TableName="t", Key={"pk": {"S": "a"}})


def test_a_batch_read_without_its_member_is_a_broken_answer() -> None:
    """It is asked for again, as one that broke off is."""
    client = answered("dynamodb", 200, b"{}")
    with pytest.raises(BrokenAnswerError):
        having(
            "Responses",
            dict,
            "BatchGetItem",
            lambda: client.batch_get_item(RequestItems={"t": {"Keys": [{"pk": {"S": "a"}}]}}),
        )
