"""A table, its replicas in DynamoDB and Redis, and the real replicator between them, in this process or another."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from lockside.app import replicate
from lockside.app.patience import Patience
from lockside.app.replica_comparison import ReplicaReport, comparing
from lockside.app.replicate import Process, Reader
from lockside.aws.clients import connect
from lockside.aws.retrying import Retrier
from lockside.emulators.emulator import Emulator
from lockside.ops.clock import SystemClock
from lockside.ops.heartbeat import Heartbeats
from lockside.ops.metrics import PrometheusMeter
from lockside.settings import Settings, load
from tests.fakes.redis_server import RedisServer
from tests.fakes.state_table import dynamodb, make_state_table

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

NUMBERS = itertools.count()
STREAM: Final[Any] = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
JOIN_SECONDS_MAX: Final = 60.0
PATIENCE_SECONDS: Final = 60.0

SETTINGS: Final = """\
[aws]
region = "us-east-1"
endpoint_url = "{endpoint_url}"
[state]
table = "{state}"
[engine]
owner_lease_seconds = 0.5
checkpoint_interval_seconds = {checkpoint_seconds}
idle_min_ms = 20
idle_max_ms = 50
shard_listing_seconds = 0.2
[ops]
status_seconds = 0.2
[[replica]]
id = "copy"
table = "{table}"
to = "dynamodb"
target_table = "{table}-copy"
reader = "shared"
on_loss = "{on_loss}"
[[replica]]
id = "cache"
table = "{table}"
to = "redis"
url = "{redis_url}"
reader = "shared"
on_loss = "{on_loss}"
"""


@dataclass
class Replication:
    """One table `table` with a sort key, and what is to be replicated of it."""

    client: "DynamoDBClient"
    table: str
    config: Path
    settings: Settings
    redis: RedisServer

    def put(self, partition: str, sort: int, value: str) -> None:
        """Put a row."""
        item: Any = {
            **self.key(partition, sort),
            "v": {"S": value},
            "raw": {"B": value.encode()},
            "n": {"NS": ["1.50"]},
        }
        self.client.put_item(TableName=self.table, Item=item)

    def delete(self, partition: str, sort: int) -> None:
        """Delete a row."""
        self.client.delete_item(TableName=self.table, Key=self.key(partition, sort))

    def write(self, chance: Random, number: int = 1) -> None:
        """Make random changes to few rows, a third of them deletions."""
        for _ in range(number):
            partition, sort = chance.choice("abcd"), chance.randrange(8)
            if chance.random() < 1 / 3:
                self.delete(partition, sort)
            else:
                self.put(partition, sort, f"value {chance.random()}")

    def key(self, partition: str, sort: int) -> dict[str, Any]:
        """Spell a row's key."""
        return {"p": {"S": partition}, "s": {"N": str(sort)}}

    def compare(self, settle_seconds: float = 20.0) -> dict[str, ReplicaReport]:
        """Compare all replicas."""
        found = comparing(self.settings, (), lambda: Patience(PATIENCE_SECONDS))
        return {each.name: each.compare(settle_seconds, lambda _rows: None) for each in found}

    def check_alike(self) -> None:
        """See that every replica holds what the table holds."""
        for report in self.compare(60.0).values():
            assert report.comparison.is_alike, report

    def readers(self, *, bootstrap: bool = False) -> tuple[Process, list[Reader]]:
        """Make readers, as a process does that starts."""
        stop, clock, meter = threading.Event(), SystemClock(), PrometheusMeter()
        clients = connect(self.settings.aws)
        retrier = Retrier(stop, meter)
        process = Process(self.settings, clients, clock, meter, Heartbeats(clock), stop, retrier)
        wanted = replicate.chosen(self.settings, ())
        return process, replicate.readers_of(process, wanted, bootstrap=bootstrap)

    @contextmanager
    def running(self, *, bootstrap: bool = False) -> Iterator[Process]:
        """Replicate in threads; stop in good order in the end."""
        process, readers = self.readers(bootstrap=bootstrap)
        failures: list[BaseException] = []

        def run(reader: Reader) -> None:
            try:
                reader.run(once=False)
            except BaseException as error:  # noqa: BLE001 - raised by the test
                failures.append(error)

        threads = [threading.Thread(target=run, args=(reader,), daemon=True) for reader in readers]
        for thread in threads:
            thread.start()
        try:
            yield process
        finally:
            process.stop.set()
            for thread in threads:
                thread.join(JOIN_SECONDS_MAX)
            for reader in readers:
                reader.close()
        assert not any(thread.is_alive() for thread in threads)
        if failures:
            raise failures[0]

    def run_once(self, *, bootstrap: bool = False) -> None:
        """Replicate what the stream holds now."""
        _, readers = self.readers(bootstrap=bootstrap)
        for reader in readers:
            try:
                reader.run(once=True)
            finally:
                reader.close()


def replication(  # noqa: PLR0913 - one argument for each thing that a test may want otherwise
    emulator: Emulator,
    redis: RedisServer,
    folder: Path,
    *,
    on_loss: str = "bootstrap",
    checkpoint_seconds: float = 0.2,
    rows: Sequence[tuple[str, int]] = (),
) -> Replication:
    """Make a table with rows and what its replicas need; the replicas themselves are made by the first bootstrap."""
    client, table = dynamodb(emulator), f"replicated-{next(NUMBERS)}"
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "s", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "p", "AttributeType": "S"},
            {"AttributeName": "s", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification=STREAM,
    )
    config = folder / f"{table}.toml"
    text = SETTINGS.format(
        endpoint_url=emulator.endpoint_url,
        state=make_state_table(client),
        table=table,
        redis_url=redis.url.replace("127.0.0.1", "localhost"),
        on_loss=on_loss,
        checkpoint_seconds=checkpoint_seconds,
    )
    config.write_text(text.replace('id = "cache"', f'id = "cache"\nkey_prefix = "{table}:"'), encoding="utf-8")
    made = Replication(client, table, config, load(config), redis)
    for partition, sort in rows:
        made.put(partition, sort, "before")
    return made
