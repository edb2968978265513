"""The HTTP side door: /livez, /readyz and /metrics, on a thread of its own.

prometheus_client's own server answers every path with 200 and the metrics, so a probe of it is always content.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from lockside.errors import SetupError
from lockside.ops import metrics
from lockside.settings import listen_address

Reasons = Callable[[], Sequence[str]]
"""Says what is wrong, one reason a line; nothing means well."""

REQUEST_SECONDS_MAX: Final = 5.0
CLOSE_SECONDS_MAX: Final = 5.0
TEXT: Final = "text/plain; charset=utf-8"

STANDBY_IS_READY: Final = "standby=ready"
"""Asks /readyz of a standby too whether it does *its* job."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What is served: whether the loops turn, whether the worker does its job, and the numbers.

    `fit` is as `ready`, but a standby that sees its owner is well: a rolling update goes on when the new worker *could*
    take over.
    """

    live: Reasons
    ready: Reasons
    fit: Reasons
    metrics: Callable[[], bytes]

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Answer a path with status, content type and body."""
        page, _, query = path.partition("?")
        match page:
            case "/livez":
                return _verdict(self.live())
            case "/readyz":
                return _verdict(self.fit() if STANDBY_IS_READY in query.split("&") else self.ready())
            case "/metrics":
                return HTTPStatus.OK, metrics.CONTENT_TYPE, self.metrics()
            case _:
                return HTTPStatus.NOT_FOUND, TEXT, b"here are /livez, /readyz and /metrics\n"


def _verdict(reasons: Sequence[str]) -> tuple[HTTPStatus, str, bytes]:
    if reasons:
        return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, "".join(f"{reason}\n" for reason in reasons).encode()
    return HTTPStatus.OK, TEXT, b"ok\n"


class HealthServer:
    """Serves `pages` from `start` to `close`."""

    def __init__(self, listen: str, pages: Pages) -> None:
        """Take `host:port`; nothing is opened yet."""
        address = listen_address(listen)
        if address is None:
            raise SetupError('ops.listen = "": there is no address to serve on')
        self._listen = listen
        self._address = address
        self._pages = pages
        self._server: ThreadingHTTPServer | None = None
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port served on; the port is the real one where 0 was asked for."""
        if self._server is None:
            return self._address
        host, port = self._server.server_address[:2]
        return str(host), port

    def start(self) -> Self:
        """Open the port and serve. Raises SetupError when it cannot be opened."""
        pages = self._pages
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET

        class Server(ThreadingHTTPServer):
            address_family = family
            daemon_threads = True

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS_MAX

            def do_GET(self) -> None:
                status, kind, body = pages.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def version_string(self) -> str:
                return "lockside"

            def log_message(self, *_: object) -> None:
                """Keep quiet: a probe every few seconds is no news."""

        try:
            self._server = Server(self._address, Handler)
        except OSError as error:
            raise SetupError(
                f'ops.listen = "{self._listen}": cannot be opened ({error.strerror}); choose another address or port'
            ) from error
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving and close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(CLOSE_SECONDS_MAX)

    def __enter__(self) -> Self:
        """Open the port and serve."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop serving."""
        self.close()

    def _serve(self) -> None:
        if self._server is not None:
            self._server.serve_forever(poll_interval=0.1)
