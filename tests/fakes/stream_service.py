"""The service as it is called: the model behind a lock, with a clock, a life of its own, and misfortunes.

Both fronts, in memory and over a socket, hand their calls to `call` and get bytes back as they go over the wire.
"""

import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

import orjson

from lockside.core.ports import Clock
from tests.fakes.stream_faults import Fault, Kind, Misfortunes
from tests.fakes.stream_life import Life
from tests.fakes.stream_model import ServiceError, StreamModel
from tests.fakes.stream_reads import STREAMS, TABLES, Whims

STREAMS_TARGET: Final = "DynamoDBStreams_20120810"
TABLES_TARGET: Final = "DynamoDB_20120810"
CONTENT_TYPE: Final = "application/x-amz-json-1.0"
GARBLED: Final = b"<html><body>Bad Gateway</body></html>"
CALLS_MAX: Final = 100_000

ERROR_SPACES: Final = {
    "ValidationException": "com.amazon.coral.validate",
    "UnknownOperationException": "com.amazon.coral.service",
    "SerializationException": "com.amazon.coral.service",
    "AccessDeniedException": "com.amazon.coral.service",
}
ERROR_SPACE: Final = "com.amazonaws.dynamodb.v20120810"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it goes over the wire, and what befalls it on its way."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    fault: Fault | None = None


class StreamService:
    """One account's streams. `calls` are the newest calls, `scenes` what is still to happen by itself."""

    def __init__(self, clock: Clock, model: StreamModel | None = None, life: Life | None = None) -> None:
        """Serve a model on a clock."""
        self.clock = clock
        self.model = model or StreamModel()
        self.life = life
        self.misfortunes = Misfortunes()
        self.calls: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=CALLS_MAX)
        self.lock = threading.RLock()
        self.before_call: Callable[[str, int], None] = lambda _operation, _now_ms: None
        self._request_ids = 0

    def now_ms(self) -> int:
        """Read the clock."""
        return self.clock.now().wall_ms

    def turn(self) -> int:
        """Let the streams live up to now, and return it. Callers hold the lock."""
        now_ms = self.now_ms()
        if self.life is not None:
            self.life.step(self.model, now_ms)
        return now_ms

    def call(self, target: str, operation: str, request: Mapping[str, Any]) -> Reply:
        """Answer one call."""
        with self.lock:
            now_ms = self.turn()
            self.before_call(operation, now_ms)
            self.calls.append((operation, dict(request)))
            fault, whims = self.misfortunes.next(operation, random=target == STREAMS_TARGET)
            if fault is not None and fault.kind is Kind.ERROR:
                return self.refuse(ServiceError(fault.code, "made to fail", fault.status))
            return self._carry_out(target, operation, request, now_ms, (fault, whims))

    def befall(self, operation: str) -> Fault | None:
        """Return what befalls a call that somebody else carries out."""
        with self.lock:
            self.before_call(operation, self.turn())
            return self.misfortunes.next(operation, random=False)[0]

    def reply(self, status: int, body: Mapping[str, Any], fault: Fault | None = None) -> Reply:
        """Wrap an answer."""
        raw = orjson.dumps(body)
        with self.lock:
            self._request_ids += 1
            number = self._request_ids
        headers = {
            "Content-Type": CONTENT_TYPE,
            "x-amzn-RequestId": f"{number:052X}",
            "x-amz-crc32": str(zlib.crc32(raw)),
            "Date": formatdate(self.now_ms() // 1000, usegmt=True),
        }
        return Reply(status, headers, raw, fault)

    def refuse(self, error: ServiceError) -> Reply:
        """Wrap an error."""
        space = ERROR_SPACES.get(error.code, ERROR_SPACE)
        return self.reply(error.status, {"__type": f"{space}#{error.code}", "message": error.message})

    def _carry_out(
        self, target: str, operation: str, request: Mapping[str, Any], now_ms: int, fate: tuple[Fault | None, Whims]
    ) -> Reply:
        carry_out = {STREAMS_TARGET: STREAMS, TABLES_TARGET: TABLES}.get(target, {}).get(operation)
        if carry_out is None:
            return self.refuse(ServiceError("UnknownOperationException", f"unknown operation {target}.{operation}"))
        fault, whims = fate
        try:
            return self.reply(200, carry_out(self.model, request, now_ms, whims), fault)
        except ServiceError as error:
            return self.refuse(error)
