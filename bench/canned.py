"""A server whose every answer is ready before it is asked, in a process of its own: it must not be what is measured."""

import multiprocessing
import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Final
from urllib.request import urlopen

import orjson

from bench import rows
from lockside.core.change import ShardRef

LOOPBACK: Final = "127.0.0.1"
END_SECONDS_MAX: Final = 5.0


def _answer(body: bytes) -> bytes:
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nx-amzn-RequestId: canned\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True, slots=True)
class Content:
    """What a server holds: one shard of takes, round the locks."""

    layout: str
    shard: ShardRef
    takes: int = 1
    locks: int = 1


class _Handler(socketserver.StreamRequestHandler):
    pages: ClassVar[list[bytes]] = []
    stream: ClassVar[bytes] = b""
    empty: ClassVar[bytes] = _answer(b'{"UnprocessedItems":{}}')
    first: ClassVar[bytes] = _answer(b'{"ShardIterator":"0"}')
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer one connection's requests until it is closed."""
        while line := self.rfile.readline():
            length, target = 0, b""
            while (header := self.rfile.readline()) not in {b"\r\n", b""}:
                name, _, value = header.partition(b":")
                match name.lower():
                    case b"content-length":
                        length = int(value)
                    case b"x-amz-target":
                        target = value.rsplit(b".", 1)[-1].strip()
                    case _:
                        pass
            self.wfile.write(self._reply(line, target, self.rfile.read(length)))

    def _reply(self, line: bytes, target: bytes, body: bytes) -> bytes:
        if line.startswith(b"GET"):
            return _answer(str(time.process_time()).encode())
        match target:
            case b"GetRecords":
                return self.pages[int(orjson.loads(body)["ShardIterator"])]
            case b"GetShardIterator":
                return self.first
            case b"DescribeStream":
                return self.stream
            case _:
                return self.empty


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


def _serve(content: Content, told: Connection) -> None:
    shard = content.shard
    described: dict[str, Any] = {
        "StreamArn": shard.stream_arn,
        "StreamStatus": "ENABLED",
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        "Shards": [{"ShardId": shard.shard_id, "SequenceNumberRange": {"StartingSequenceNumber": str(10**20)}}],
    }
    _Handler.pages = [_answer(body) for body in rows.bodies(content.layout, content.takes, content.locks)]
    _Handler.stream = _answer(orjson.dumps({"StreamDescription": described}))
    with _Server((LOOPBACK, 0), _Handler) as server:
        told.send(server.server_address[1])
        server.serve_forever()


@dataclass(frozen=True, slots=True)
class Canned:
    """A running server."""

    url: str

    def cpu_seconds(self) -> float:
        """Ask for the CPU time it took so far."""
        with urlopen(self.url) as answer:  # noqa: S310 - our own loopback
            return float(answer.read())


@contextmanager
def serving(content: Content) -> Iterator[Canned]:
    """Run a server that holds one closed shard, and takes whatever is written."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(content, theirs), daemon=True)
    process.start()
    try:
        theirs.close()
        yield Canned(f"http://{LOOPBACK}:{ours.recv()}")
    finally:
        process.terminate()
        process.join(END_SECONDS_MAX)
