"""Answers that broke off on their way, of tables and streams alike, through the clients that the worker uses."""

from collections.abc import Iterator
from typing import Any

import pytest

from lockside.aws.answers import BrokenAnswerError
from lockside.aws.clients import Clients, connect
from lockside.aws.retrying import Retrier, error_code, verdict
from lockside.core.failures import Verdict
from lockside.core.telemetry import NoMeter
from lockside.emulators import tables
from lockside.emulators.emulator import Emulator
from lockside.settings import AwsSettings
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.kill_evidence import table_names
from tests.fakes.stream_server import StreamServer

TABLE = "answers"
ROW: dict[str, Any] = {"lock_key": {"S": "a"}, "sort_key": {"S": "-"}}
KEY = {"TableName": TABLE, "Key": ROW}
PUT = {"TableName": TABLE, "Item": ROW}
BATCH = {"RequestItems": {TABLE: [{"PutRequest": {"Item": ROW}}]}}


@pytest.fixture(scope="module")
def server(moto: Emulator) -> Iterator[StreamServer]:
    """Stand in front of moto, with a table and its stream."""
    with StreamServer(backing_url=moto.endpoint_url) as made:
        clients = connected(made)
        if TABLE not in table_names(clients.dynamodb):
            tables.create_lock_table(clients.dynamodb, TABLE)
        yield made


def connected(server: StreamServer) -> Clients:
    """Return the clients of a worker."""
    access = server.emulator
    with pytest.MonkeyPatch.context() as patch:
        for name, value in access.environment.items():
            patch.setenv(name, value)
        return connect(AwsSettings(endpoint_url=access.endpoint_url, region=access.region))


CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a table described": ("dynamodb", "DescribeTable", {"TableName": TABLE}),
    "a row read": ("dynamodb", "GetItem", KEY),
    "a row put": ("dynamodb", "PutItem", PUT),
    "a row removed": ("prompt", "DeleteItem", KEY),
    "a batch written": ("writer", "BatchWriteItem", BATCH),
    "a batch read": ("dynamodb", "BatchGetItem", {"RequestItems": {TABLE: {"Keys": [ROW]}}}),
    "a transaction": ("dynamodb", "TransactWriteItems", {"TransactItems": [{"Put": PUT}]}),
    "streams listed": ("streams", "ListStreams", {"TableName": TABLE}),
}


@pytest.mark.parametrize("kind", ["truncated", "garbled"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_answer_that_broke_off_is_tried_again(
    server: StreamServer, call: tuple[str, str, dict[str, Any]], kind: str
) -> None:
    """Botocore takes it for one without members: nothing unprocessed, no rows, no streams. Our clients refuse it."""
    clients = connected(server)
    client, operation, request = call
    method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
    ask = getattr(getattr(clients, client), method)
    good = ask(**request)
    server.control({"fail": {"operation": operation, "kind": kind}})
    with pytest.raises(BrokenAnswerError) as raised:
        ask(**request)
    assert (error_code(raised.value), verdict(raised.value)) == ("BrokenAnswer", Verdict.RETRY)
    server.control({"fail": {"operation": operation, "kind": kind, "times": 2}})
    stop = FakeStop(FakeClock())
    again = Retrier(stop, NoMeter()).call(operation, lambda: ask(**request))
    assert stop.waits
    assert again.keys() == good.keys()
