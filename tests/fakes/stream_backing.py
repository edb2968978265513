"""A real emulator behind the fake: its tables are used through it, and their streams are drawn into the fake's shards.

Strategy: a call of DynamoDB itself goes through untouched, but for what an answer says of streams. One thread draws the
emulator's own streams, each from its trim horizon, and feeds every record to the fake: one after another, so that what
happened to an item stays in order.
"""

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from lockside.emulators.emulator import Credentials
from tests.fakes.stream_model import ServiceError
from tests.fakes.stream_names import REGION
from tests.fakes.stream_reads import with_stream
from tests.fakes.stream_service import CONTENT_TYPE, STREAMS_TARGET, Reply, StreamService

DESCRIPTIONS: Final = {
    "CreateTable": "TableDescription",
    "DeleteTable": "TableDescription",
    "DescribeTable": "Table",
    "UpdateTable": "TableDescription",
}
"""The operations that say what a table's stream is, and where in their answers."""

SILENT: Final = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "host", "x-amz-crc32"})
"""Headers that belong to one connection, or to a body that may be changed here."""

ANSWER_SECONDS_MAX: Final = 60.0
IDLE_MIN_SECONDS: Final = 0.02
IDLE_MAX_SECONDS: Final = 0.2
MINUTE_MS: Final = 60_000
DRAW_MS_MAX: Final = 5_000
"""How long after it was made a change may be drawn and still count as made just now."""


def made_within(told_ms: int, drawn_ms: int) -> int:
    """Return when a change was made whose time is told to the minute only, as DynamoDB Local does.

    What it made just now was made just before it was drawn, and no later than the told minute's end: the draw itself
    may fall into the next. Of older ones no more is known than what was told.
    """
    if 0 <= drawn_ms - told_ms < MINUTE_MS + DRAW_MS_MAX:
        return min(drawn_ms, told_ms + MINUTE_MS - 1)
    return told_ms


@dataclass
class Source:
    """A table of the emulator whose stream is drawn: where in which shard."""

    table: str
    arn: str
    read: set[str] = field(default_factory=set)
    shard_id: str = ""
    iterator: str = ""
    position: str = ""


class Backing:
    """Forwards to an emulator, and draws its streams."""

    def __init__(self, service: StreamService, endpoint_url: str, credentials: Credentials, shards: int = 1) -> None:
        """Prepare; nothing is drawn before `start`. A table's stream begins with so many shards."""
        self.shards = shards
        self._service = service
        self._address = urlsplit(endpoint_url).netloc
        self._credentials = credentials
        self._stop = threading.Event()
        self._drawing = threading.Lock()
        self._sources: dict[str, Source] = {}
        self._connections: list[http.client.HTTPConnection] = []
        self._thread = threading.Thread(target=self._draw, name="draw", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Stop drawing, and hang up."""
        self._stop.set()
        self._thread.join(seconds)
        while self._connections:
            self._connections.pop().close()

    def forward(self, operation: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Hand a call on, and its answer back."""
        fault = self._service.befall(operation)
        if fault is not None and fault.kind.value == "error":
            return self._service.refuse(ServiceError(fault.code, "made to fail", fault.status))
        if operation == "UpdateTable":
            # It may switch the stream off, and moto then answers 500 for what is left in it.
            self.pull()
        status, answered, raw = self._send(headers, body)
        if status == http.client.OK and operation in DESCRIPTIONS:
            raw = self._redescribed(operation, raw)
        kept = {name: value for name, value in answered.items() if name.lower() not in SILENT}
        return Reply(status, kept, raw, fault)

    def pull(self) -> int:
        """Draw all that the emulator's streams have now; return how many records."""
        drawn = 0
        with self._drawing:
            for source in list(self._sources.values()):
                while page := self._page_again(source):
                    drawn += page
        return drawn

    def _draw(self) -> None:
        idle = IDLE_MIN_SECONDS
        while not self._stop.wait(idle):
            try:
                idle = IDLE_MIN_SECONDS if self.pull() else min(IDLE_MAX_SECONDS, idle * 2)
            except (OSError, http.client.HTTPException, ServiceError):
                # The emulator is going down or throttles; what was not drawn is drawn later, from the same place.
                idle = IDLE_MAX_SECONDS

    # -- tables ------------------------------------------------------------------------------------------------------

    def _redescribed(self, operation: str, raw: bytes) -> bytes:
        answer = orjson.loads(raw)
        place = DESCRIPTIONS[operation]
        table = answer[place]
        name = table["TableName"]
        model = self._service.model
        # Under both locks, so that nothing is drawn between a stream's appearance and its first shard.
        with self._drawing, self._service.lock:
            if operation == "DeleteTable":
                self._sources.pop(name, None)
                answer[place] = with_stream(model, name, table)
                model.delete_table(name)
                return orjson.dumps(answer)
            self._follow(name, table)
            answer[place] = with_stream(model, name, table)
        return orjson.dumps(answer)

    def _follow(self, name: str, table: Mapping[str, Any]) -> None:
        """Switch the fake's stream on and off as the emulator's is."""
        model, now_ms = self._service.model, self._service.now_ms()
        specification = table.get("StreamSpecification") or {}
        arn = table.get("LatestStreamArn")
        source = self._sources.get(name)
        if specification.get("StreamEnabled") and arn and (source is None or source.arn != arn):
            if source is not None:
                self._drain(source)
                model.disable(name, now_ms)
            self._sources[name] = Source(name, arn)
            stream = model.add_stream(name, now_ms, shards=self.shards, grows=True)
            stream.view_type = specification["StreamViewType"]
            stream.key_schema = tuple(table["KeySchema"])
        elif source is not None and not specification.get("StreamEnabled"):
            self._drain(source)
            del self._sources[name]
            model.disable(name, now_ms)

    def _drain(self, source: Source) -> None:
        try:
            while self._page(source):
                pass
        except ServiceError:
            # moto answers 500 for the stream of a table whose stream is off.
            return

    # -- streams -----------------------------------------------------------------------------------------------------

    def _page_again(self, source: Source) -> int:
        """Draw one page; with a new iterator, from the same place, where DynamoDB Local has none for the old one."""
        try:
            return self._page(source)
        except ServiceError:
            return self._page(source)

    def _page(self, source: Source) -> int:
        """Draw one page; return the number of its records."""
        if not source.iterator and not self._next_iterator(source):
            return 0
        try:
            page = self._ask("GetRecords", {"ShardIterator": source.iterator, "Limit": 1_000})
        except ServiceError:
            source.iterator = ""
            raise
        records, drawn_ms, to_the_minute = page.get("Records", ()), self._service.now_ms(), ":ddblocal:" in source.arn
        with self._service.lock:
            self._service.turn()
            for record in records:
                told_ms = int(record["dynamodb"]["ApproximateCreationDateTime"] * 1000)
                made_ms = made_within(told_ms, drawn_ms) if to_the_minute else told_ms
                self._service.model.feed(source.table, record, made_ms)
                source.position = record["dynamodb"]["SequenceNumber"]
        source.iterator = page.get("NextShardIterator") or ""
        if not source.iterator:
            source.read.add(source.shard_id)
            source.shard_id = source.position = ""
        return len(records)

    def _next_iterator(self, source: Source) -> bool:
        if not source.shard_id:
            source.shard_id = self._next_shard(source)
        if not source.shard_id:
            return False
        place = {"ShardIteratorType": "TRIM_HORIZON"}
        if source.position:
            place = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": source.position}
        answer = self._ask("GetShardIterator", {"StreamArn": source.arn, "ShardId": source.shard_id, **place})
        source.iterator = answer["ShardIterator"]
        return True

    def _next_shard(self, source: Source) -> str:
        """Return the next shard to draw. The emulators' streams are one line of shards, listed oldest first."""
        listed = self._ask("DescribeStream", {"StreamArn": source.arn})["StreamDescription"]["Shards"]
        return next((shard["ShardId"] for shard in listed if shard["ShardId"] not in source.read), "")

    # -- the wire ----------------------------------------------------------------------------------------------------

    def _ask(self, operation: str, request: Mapping[str, Any]) -> Any:
        scope = f"{self._credentials.access_key_id}/20260101/{REGION}/dynamodb/aws4_request"
        headers = {
            "Content-Type": CONTENT_TYPE,
            "X-Amz-Target": f"{STREAMS_TARGET}.{operation}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        }
        status, _headers, raw = self._send(headers, orjson.dumps(request))
        if status != http.client.OK:
            raise ServiceError("BackingError", raw[:200].decode(errors="replace"), status)
        return orjson.loads(raw)

    def _send(self, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        kept = {name: value for name, value in headers.items() if name.lower() not in SILENT}
        with self._connection() as connection:
            connection.request("POST", "/", body, {**kept, "Host": self._address})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        """Lend a connection that nobody else uses; one that failed is not used again."""
        try:
            connection = self._connections.pop()
        except IndexError:
            connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS_MAX)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._connections.append(connection)
