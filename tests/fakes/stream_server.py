"""DynamoDB Streams over HTTP, as badly behaved as the real one can be: `python -m tests.fakes.stream_server --help`.

Any SDK speaks to it. With a backing endpoint it stands in front of a real emulator: calls of DynamoDB itself go
through, and what they write comes out of the fake's own shards. `POST /_control` takes the commands of
tests.fakes.stream_control.
"""

import http.client
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

import orjson

from lockside.core.ports import Clock
from lockside.emulators.emulator import LOOPBACK, Credentials, Emulator
from lockside.ops.clock import SystemClock
from tests.fakes.stream_backing import Backing
from tests.fakes.stream_control import CommandError, command
from tests.fakes.stream_faults import Kind
from tests.fakes.stream_model import ServiceError, StreamModel
from tests.fakes.stream_names import REGION
from tests.fakes.stream_service import GARBLED, TABLES_TARGET, Reply, StreamService

CONTROL_PATH: Final = "/_control"
PIECES: Final = 10
"""A slow body comes in so many pieces."""

BODY_BYTES_MAX: Final = 32 << 20
CLOSE_SECONDS_MAX: Final = 5.0
IDLE_SECONDS_MAX: Final = 300.0


class _Handler(BaseHTTPRequestHandler):
    """One connection. Answers are written in one go, so that no small packet waits for an acknowledgement."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_SECONDS_MAX
    server: "_Listener"

    def do_POST(self) -> None:
        """Answer an SDK's call or a command."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), BODY_BYTES_MAX))
        if self.path == CONTROL_PATH:
            self._send(self._control(body))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.host.answer(headers, body))

    def do_GET(self) -> None:
        """Tell of the state; whoever waits for the server to come up asks this."""
        self._send(self._control(b'{"state":{}}'))

    def log_message(self, *_: object) -> None:
        """Keep the request log off the terminal."""

    def _control(self, body: bytes) -> Reply:
        service = self.server.host.service
        try:
            return service.reply(HTTPStatus.OK, {"answer": self.server.host.control(orjson.loads(body))})
        except (CommandError, ServiceError, orjson.JSONDecodeError) as error:
            return service.reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _send(self, reply: Reply) -> None:
        fault = reply.fault
        kind = fault.kind if fault else None
        if kind is Kind.DROPPED:
            self.close_connection = True
            return
        body = GARBLED if kind is Kind.GARBLED else reply.body
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            if kind is not Kind.GARBLED or name != "x-amz-crc32":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault is not None and kind is Kind.SLOW:
            self._dribble(body, fault.seconds)
        elif kind is Kind.TRUNCATED:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _dribble(self, body: bytes, seconds: float) -> None:
        size = max(1, len(body) // PIECES)
        for start in range(0, len(body), size):
            self.wfile.flush()
            self.server.host.closing.wait(seconds / PIECES)
            self.wfile.write(body[start : start + size])


class _Listener(ThreadingHTTPServer):
    # Its threads are waited for when it closes, so that a test leaves none behind.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, host: "StreamServer", port: int) -> None:
        """Listen on the loopback address."""
        self.host = host
        self._lines: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__((LOOPBACK, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a new connection in a thread of its own."""
        with self._guard:
            self._lines.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that is done with."""
        with self._guard:
            self._lines.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections, the idle ones too."""
        with self._guard:
            for line in self._lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of peers that hang up; anything else is a fault of the fake's, and is told."""
        if not isinstance(sys.exception(), OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


class StreamServer:
    """A running server. Use as a context; `control` and `service` script it in process."""

    def __init__(
        self,
        service: StreamService | None = None,
        *,
        clock: Clock | None = None,
        port: int = 0,
        backing_url: str | None = None,
    ) -> None:
        """Begin to answer. Raises OSError if the port is taken."""
        self.service = service or StreamService(clock or SystemClock(), StreamModel())
        self.closing = threading.Event()
        self.credentials = Credentials()
        self.backing = Backing(self.service, backing_url, self.credentials) if backing_url else None
        self._listener = _Listener(self, port)
        self.endpoint_url = f"http://{LOOPBACK}:{self._listener.server_address[1]}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), name="streams", daemon=True)
        self._thread.start()
        if self.backing:
            self.backing.start()

    @property
    def emulator(self) -> Emulator:
        """This server as an emulator like any other: how to reach it from here or from another process."""
        return Emulator("moto", self.endpoint_url, self.close, REGION, self.credentials)

    def control(self, order: Mapping[str, Any]) -> Any:
        """Carry out a command; what was written before it is in the streams before it."""
        if self.backing:
            self.backing.pull()
        return command(self.service, order)

    def answer(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one call; header names are in lower case."""
        target, _dot, operation = headers.get("x-amz-target", "").partition(".")
        if self.backing and target == TABLES_TARGET:
            return self.backing.forward(operation, headers, body)
        try:
            request = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError:
            return self.service.refuse(ServiceError("SerializationException", "the body is no JSON"))
        return self.service.call(target, operation, request)

    def close(self) -> None:
        """End all that runs. May be called again."""
        if self.closing.is_set():
            return
        self.closing.set()
        self._listener.shutdown()
        self._listener.hang_up()
        self._listener.server_close()
        if self.backing:
            self.backing.close(CLOSE_SECONDS_MAX)
        self._thread.join(CLOSE_SECONDS_MAX)

    def __enter__(self) -> Self:
        """Return the server, which runs already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the server."""
        self.close()


if __name__ == "__main__":
    from tests.fakes.stream_program import main

    raise SystemExit(main())
