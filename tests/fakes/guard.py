"""A front of an emulator that does what IAM does: each call is held against what is allowed, and denied or handed on.

Moto and DynamoDB Local check nothing. The guard answers a denied call as the service does, and knows what was used.
"""

import http.client
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

from lockside.emulators.emulator import LOOPBACK, Emulator
from tests.fakes.permissions import Grant, covering, needs, table_of

ANSWER_SECONDS_MAX: Final = 60.0
CLOSE_SECONDS_MAX: Final = 5.0
IDLE_SECONDS_MAX: Final = 60.0
HANDED_ON: Final = ("x-amz-target", "content-type", "authorization", "x-amz-date", "x-amz-security-token")
CONTENT_TYPE: Final = "application/x-amz-json-1.0"


class Guard:
    """A running guard, which allows everything while `allowed` is None. Use as a context.

    `used` are the grants that let calls through.
    """

    def __init__(self, emulator: Emulator, allowed: frozenset[Grant] | None = None) -> None:
        """Begin to answer."""
        self.allowed = allowed
        self.used: set[Grant] = set()
        self.denied: set[Grant] = set()
        self._emulator = emulator
        self._address = urlsplit(emulator.endpoint_url).netloc
        self._iterators: dict[str, str] = {}
        self._guard = threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1
            timeout = IDLE_SECONDS_MAX

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = host.answer(dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Keep the request log off the terminal."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.endpoint_url = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="guard", daemon=True)
        self._thread.start()

    @property
    def emulator(self) -> Emulator:
        """The guarded emulator as one like any other."""
        behind = self._emulator
        return Emulator(behind.kind, self.endpoint_url, self.close, behind.region, behind.credentials)

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Answer one call, with its status."""
        given = {name.lower(): value for name, value in headers.items()}
        operation = given["x-amz-target"].partition(".")[2]
        request = orjson.loads(body or b"{}")
        with self._guard:
            needed = needs(operation, request, self._iterators)
            found = {pair: covering(pair, self.allowed) for pair in needed}
            missing = sorted(pair for pair, grant in found.items() if grant is None)
            self.denied.update(missing)
            if not missing:
                self.used.update(grant for grant in found.values() if grant is not None)
        if missing:
            return HTTPStatus.BAD_REQUEST, _denial(*missing[0])
        connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request("POST", "/", body, {name: given[name] for name in HANDED_ON if name in given})
            answered = connection.getresponse()
            status, raw = answered.status, answered.read()
        finally:
            connection.close()
        self._follow(operation, request, raw)
        return status, raw

    def close(self) -> None:
        """End it. May be called again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(CLOSE_SECONDS_MAX)

    def __enter__(self) -> Self:
        """Return the guard, which stands already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self.close()

    def _follow(self, operation: str, request: dict[str, Any], raw: bytes) -> None:
        """Remember whose shard an iterator is of: GetRecords names nothing else."""
        if operation not in {"GetShardIterator", "GetRecords"}:
            return
        answer = orjson.loads(raw)
        iterator = answer.get("ShardIterator") or answer.get("NextShardIterator")
        if iterator is not None:
            with self._guard:
                known = self._iterators.get(request.get("ShardIterator", ""))
                self._iterators[iterator] = known or table_of(request["StreamArn"])


def _denial(action: str, resource: str) -> bytes:
    """Spell a denial as the service does: for people, with the action in it."""
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:{resource}"
    message = (
        f"User: arn:aws:iam::000000000000:user/test is not authorized to perform: {action} on resource: {arn} because "
        f"no identity-based policy allows the {action} action"
    )
    return orjson.dumps({"__type": "com.amazon.coral.service#AccessDeniedException", "Message": message})
