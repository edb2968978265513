"""moto's server in this process: DynamoDB and its streams in pure Python, up in a moment.

Strategy: the server is built from moto's own application rather than through `ThreadedMotoServer`, which binds every
interface unless told otherwise, waits for ever if the port is taken, leaves its socket open, and logs each request
to a logger that belongs to everybody. It answers one request at a time: moto looks at a condition and then writes, and
another request in between would see, and do, what DynamoDB never allows.
"""

import io
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from lockside.emulators.emulator import LOOPBACK, Emulator
from lockside.errors import SetupError

CLOSE_SECONDS_MAX: Final = 5.0
BACKLOG: Final = 128


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep the request log off the terminal; errors are still logged."""


@dataclass(slots=True)
class _Users:
    """How many servers run: moto keeps one set of tables per process, emptied when the last server ends."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0


_USERS: Final = _Users()
_ANSWERING: Final = threading.Lock()


def _one_at_a_time(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Answer one request after another, in all servers of the process; each is read whole before its turn."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH", "")
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)) if length else b"")
        with _ANSWERING:
            return application(environ, start_response)

    return answer


def start(port: int = 0) -> Emulator:
    """Start a server on the loopback address. All servers of one process share their tables.

    Raises:
        SetupError: the port is taken.
    """
    listener = _bind(port)
    with listener:
        server = make_server(
            LOOPBACK,
            0,
            _one_at_a_time(DomainDispatcherApplication(create_backend_app)),
            threaded=True,
            request_handler=_QuietHandler,
            fd=listener.fileno(),
        )
    thread = threading.Thread(target=server.serve_forever, name="moto", daemon=True)
    thread.start()
    with _USERS.lock:
        _USERS.count += 1
    endpoint_url = f"http://{LOOPBACK}:{server.port}"
    return Emulator("moto", endpoint_url, _ending(server, thread, endpoint_url))


def _bind(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SetupError(f"port {port} on {LOOPBACK} cannot be used ({error.strerror}); choose another or 0") from error
    return listener


def _ending(server: BaseWSGIServer, thread: threading.Thread, endpoint_url: str) -> Callable[[], None]:
    ended = threading.Lock()

    def end() -> None:
        if not ended.acquire(blocking=False):
            return
        with _USERS.lock:
            _USERS.count -= 1
            if _USERS.count == 0:
                _empty(endpoint_url)
        server.shutdown()
        server.server_close()
        thread.join(CLOSE_SECONDS_MAX)

    return end


def _empty(endpoint_url: str) -> Any:
    request = urllib.request.Request(f"{endpoint_url}/moto-api/reset", method="POST")  # noqa: S310 - our own loopback
    with urllib.request.urlopen(request, timeout=CLOSE_SECONDS_MAX) as answer:  # noqa: S310 - our own loopback
        answer.read()
