"""A DynamoDB Local with Lockside's tables and a watched one, and the settings to reach them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Final

from bench.rows import shard_of
from lockside.app import provision
from lockside.aws.clients import Clients, connect
from lockside.emulators.start import start
from lockside.layouts import registry
from lockside.settings import Settings, load

MADE_UP: Final = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
STOPPED: Final = Event()


def point_away() -> None:
    """Take this process off real AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(MADE_UP)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is. `config` is the settings file, for a worker in a process of its own."""

    config: Path
    settings: Settings
    clients: Clients

    def streams_from(self, url: str) -> Clients:
        """Return clients that read streams at another address."""
        elsewhere = self.settings.aws.model_copy(update={"endpoint_url": url})
        return replace(self.clients, streams=connect(elsewhere).streams)


@contextmanager
def staged(layout: str) -> Iterator[Stage]:
    """Start DynamoDB Local, make the tables; all goes at the end."""
    point_away()
    with start("dynamodb-local") as emulator, TemporaryDirectory(prefix="lockside-bench-") as folder:
        config = Path(folder) / "bench.toml"
        config.write_text(_settings(layout, emulator.endpoint_url, folder), encoding="utf-8")
        settings = load(config)
        clients = connect(settings.aws)
        create_watched(clients.dynamodb, settings.source[0].table, layout)
        provision.apply(provision.plan(settings, clients), clients, STOPPED, "bench", lambda _line: None)
        yield Stage(config, settings, clients)


def create_watched(client: Any, name: str, layout: str) -> str:
    """Make a table that is watched, and return its stream's ARN."""
    keys = registry.builtin().find(layout)[0].key_names
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    client.get_waiter("table_exists").wait(TableName=name)
    return str(client.describe_table(TableName=name)["Table"]["LatestStreamArn"])


def _settings(layout: str, url: str, folder: str) -> str:
    return f"""
application = "bench"
[aws]
endpoint_url = "{url}"
[audit]
table = "bench-audit"
deletion_protection = false
point_in_time_recovery = false
[state]
table = "bench-state"
[keys]
file = "{folder}/bench.keys.json"
[ops]
log_level = "error"
[[source]]
id = "bench"
table = "{shard_of(layout).table}"
layout = "{layout}"
"""
