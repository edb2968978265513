"""BatchWriteItem bodies written by orjson: what is taken, what goes botocore's way, and what reaches the wire."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from lockside.aws import fast_write
from lockside.aws.clients import connect
from lockside.aws.fast_write import body_of, install
from lockside.settings import AwsSettings


def request(**attributes: Any) -> dict[str, Any]:
    """Make the parameters of a call with one item."""
    return {"RequestItems": {"trail": [{"PutRequest": {"Item": {"pk": {"S": "a"}, **attributes}}}]}}


def test_a_batch_is_written_with_binary_as_base64() -> None:
    """Text, numbers, booleans as they are, binary as JSON has it."""
    body = body_of(request(n={"N": "1.50"}, b={"B": b"\0\1"}, t={"BOOL": True}))
    assert body is not None
    assert orjson.loads(body) == request(n={"N": "1.50"}, b={"B": "AAE="}, t={"BOOL": True})


@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        {"RequestItems": []},
        {"RequestItems": {"t": {}}},
        {"RequestItems": {1: []}},
        {"RequestItems": {"t": [{"DeleteRequest": {"Key": {}}}]}},
        {"RequestItems": {"t": [{"PutRequest": {"Item": {}, "More": 1}}]}},
        {"RequestItems": {"t": [{"PutRequest": {"Item": []}}]}},
        {"RequestItems": {}, "New": "x"},
        {"RequestItems": {}, "ReturnConsumedCapacity": 1},
        request(b={"B": "text that botocore encodes"}),
        request(b={"B": bytearray(b"x")}),
        request(n={"N": Decimal(1)}),
        request(n={"N": 1}),
        request(m={"M": {}}),
        request(x={"S": "a", "N": "1"}),
        request(x={}),
        request(x="plain"),
        request(x={"S": "lone \ud800 surrogate"}),
        request(x={"S": type("Text", (str,), {})("subclass")}),
    ],
)
def test_anything_not_as_known_is_left_to_botocore(params: Any) -> None:
    """Only puts of flat items with values of the plain types are written here."""
    assert body_of(params) is None


class Wire:
    """What a server got: bodies and headers of BatchWriteItem calls."""

    def __init__(self) -> None:
        """Start empty; the first `refusals` calls are answered with 500."""
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.refusals = 0


@pytest.fixture
def wire() -> Iterator[tuple[Wire, str]]:
    """Run a server that keeps what it is sent."""
    kept = Wire()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = 500 if len(kept.calls) <= kept.refusals else 200
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield kept, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def writer(url: str, *, fast: bool = True) -> Any:
    """Return the client that writes audit records."""
    return connect(AwsSettings(endpoint_url=url, fast_write=fast)).writer


def test_the_wire_carries_it_with_length_and_hash(wire: tuple[Wire, str]) -> None:
    """Signing and the length come after the body was put in."""
    kept, url = wire
    writer(url).batch_write_item(**request(b={"B": b"\0"}))
    writer(url, fast=False).batch_write_item(**request(b={"B": b"\0"}))
    (ours, our_body), (theirs, their_body) = kept.calls
    assert our_body == orjson.dumps(request(b={"B": "AA=="}))
    assert orjson.loads(our_body) == orjson.loads(their_body)
    assert our_body != their_body, "botocore spells JSON with blanks"
    assert ours["content-length"] == str(len(our_body))
    assert ours.keys() == theirs.keys()
    assert ours["x-amz-target"] == theirs["x-amz-target"]


def test_the_signature_covers_the_new_body() -> None:
    """The hash that is signed is that of the body that is sent."""
    client = writer("http://127.0.0.1:1")
    signed: list[tuple[str, bytes]] = []

    def keep(request: Any, **_: Any) -> None:
        signer = client._request_signer.get_auth("dynamodb", "us-east-1")
        signed.append((signer.payload(request), bytes(request.data)))

    client.meta.events.register("before-sign.dynamodb.BatchWriteItem", keep)
    client.meta.events.register("before-send.dynamodb.BatchWriteItem", lambda **_: Answer())
    client.batch_write_item(**request())
    [(digest, body)] = signed
    assert body == orjson.dumps(request())
    assert digest == hashlib.sha256(body).hexdigest()


class Answer:
    """An answer that never went over a wire."""

    status_code = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - botocore only reads it
    content = b"{}"


def test_a_retry_of_botocore_sends_the_same_body(wire: tuple[Wire, str]) -> None:
    """The body stands in the request, not in what is used up by the first attempt."""
    kept, url = wire
    kept.refusals = 1
    writer(url).batch_write_item(**request())
    assert [body for _, body in kept.calls] == [orjson.dumps(request())] * 2


def test_calls_of_many_threads_do_not_mix(wire: tuple[Wire, str]) -> None:
    """Each call carries its own items."""
    kept, url = wire
    client = writer(url)
    calls = [request(n={"N": str(number)}) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda call: client.batch_write_item(**call), calls))
    assert sorted(body for _, body in kept.calls) == sorted(orjson.dumps(call) for call in calls)


def test_what_is_unknown_reaches_the_service_by_botocore(wire: tuple[Wire, str]) -> None:
    """A nested item is no batch of ours, and is sent all the same."""
    kept, url = wire
    writer(url).batch_write_item(**request(m={"M": {"x": {"B": b"\0"}}}))
    assert orjson.loads(kept.calls[0][1]) == request(m={"M": {"x": {"B": "AA=="}}})


def test_the_callers_parameters_stay_as_they_are(wire: tuple[Wire, str]) -> None:
    """Unprocessed items are put from them again."""
    _, url = wire
    params = request()
    writer(url).batch_write_item(**params)
    assert params == request()


def test_errors_come_out_as_ever(wire: tuple[Wire, str]) -> None:
    """A refused batch raises what boto3 raises."""
    kept, url = wire
    kept.refusals = 9
    with pytest.raises(ClientError, match="500"):
        writer(url).batch_write_item(**request())


def unchecked() -> Any:
    """Return a client that does not validate parameters."""
    return boto3.client("dynamodb", config=Config(parameter_validation=False))


def test_a_botocore_that_works_otherwise_leaves_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-test at start finds a difference, says so once, and botocore's own serialiser stays."""
    monkeypatch.setattr(fast_write, "body_of", lambda _params: b"{}")
    client = unchecked()
    with capture_logs() as logs:
        assert not install(client)
    assert [(line["event"], line["error"]) for line in logs] == [("fast_write_off", "different")]
    assert orjson.loads(fast_write._written(client)) != {}


def test_a_client_that_validates_is_not_touched() -> None:
    """Its check would see what stands in for the items; the self-test, which meets it first, leaves it as it was."""
    client = boto3.client("dynamodb")
    with capture_logs() as logs:
        assert not install(client)
    assert [line["error"] for line in logs] == ["ParamValidationError"]
