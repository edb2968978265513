"""The embedded engine against the fake streams server, over a socket and through boto3; one fake clock for both.

Time passes only while the engine waits, so shards that roll every few seconds cost no real ones.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from lockside.emulators.emulator import Emulator
from lockside.engines.tables import Tables
from tests.fakes.processor import Recorder
from tests.fakes.rig import Rig
from tests.fakes.state_table import access
from tests.fakes.stream_model import Shard
from tests.fakes.stream_server import StreamServer

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

READ_SECONDS_MAX = 5.0


def streams_client(server: StreamServer, **settings: Any) -> "DynamoDBStreamsClient":
    """Return a boto3 client of the server that does not try again by itself."""
    once = Config(retries={"total_max_attempts": 1}, max_pool_connections=50, **settings)
    return boto3.client("dynamodbstreams", config=once, **access(server.emulator))


class ServerRig(Rig):
    """The engine's rig with the server in the place of the fake in memory; its `arn` is of the table `locks`."""

    server: StreamServer
    client: "DynamoDBStreamsClient"
    known: Tables | None = None

    @classmethod
    @contextmanager
    def over(cls, emulator: Emulator, **order: Any) -> Iterator["ServerRig"]:
        """Build a rig with its state on an emulator; `order` goes to the stream that is made, without shards."""
        made = cls.on(emulator)
        assert isinstance(made, ServerRig)
        with StreamServer(clock=made.clock) as made.server:
            made.client = streams_client(made.server, read_timeout=READ_SECONDS_MAX)
            made.arn = made.order("create", table="locks", **{"shards": 0, **order})["arn"]
            yield made
            made.client.close()

    def services(self) -> Any:
        """Return what the engine's readers share."""
        return replace(super().services(), streams=self.client)

    def tables(self) -> Tables:
        """Return what the engine knows tables by: `known`, where a test has set it."""
        return super().tables() if self.known is None else self.known

    def order(self, verb: str, **arguments: Any) -> Any:
        """Give the server a command; on the table `locks` unless it says otherwise."""
        place = {} if {"table", "arn"} & arguments.keys() else {"table": "locks"}
        return self.server.control({verb: {**place, **arguments}})

    def add(self, shard_id: str, parent_id: str | None = None, **quirks: Any) -> None:
        """Add a shard under a short name."""
        self.order("add_shard", shard_id=shard_id, parent_id=parent_id, **quirks)

    def put(self, shard_id: str, *keys: str, **more: Any) -> list[int]:
        """Append one change per key to a shard; return their sequence numbers."""
        return [int(number) for number in self.order("put", shard_id=shard_id, keys=keys, **more)["numbers"]]

    def fail(self, operation: str, **fate: Any) -> None:
        """Let the next calls of an operation go wrong."""
        self.server.control({"fail": {"operation": operation, **fate}})

    def asked(self, operation: str) -> list[Any]:
        """Return the requests of all calls of an operation."""
        return [request for name, request in self.server.service.calls if name == operation]

    def shards(self, arn: str | None = None) -> dict[str, Shard]:
        """Return a stream's shards by name, in the order they were made."""
        return self.server.service.model.streams[arn or self.arn].shards


def check_lineages(recorder: Recorder, shards: dict[str, Shard]) -> None:
    """See that every record of these shards was consumed once, in order, and each shard's after all of its parent's."""
    consumed: dict[str, list[int]] = defaultdict(list)
    places: dict[str, list[int]] = defaultdict(list)
    for place, (verb, name, detail) in enumerate(recorder.log):
        if verb == "record":
            consumed[name].append(detail)
            places[name].append(place)
    short = {shard_id: shard_id.rsplit("-", 1)[-1] for shard_id in shards}
    for shard_id, shard in shards.items():
        name = short[shard_id]
        assert consumed[name] == shard.numbers, f"shard {shard_id}"
        parent = short.get(shard.parent_id or "")
        if parent and places[parent] and places[name]:
            assert places[parent][-1] < places[name][0], f"{shard_id} before its parent"
