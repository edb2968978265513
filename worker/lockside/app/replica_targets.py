"""From a configured replica to its source and its target: found, looked over, and the target made where it may be."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from lockside.app import sources
from lockside.app.provision import NOT_OFFERED, describe, ttl_attribute, wait_active
from lockside.aws.clients import connect, refusal
from lockside.aws.retrying import Retrier, error_code
from lockside.core.entity import KeySchema
from lockside.core.replica import EXPIRES, RESERVED
from lockside.errors import SetupError
from lockside.stores.dynamodb_target import DynamoDBTarget

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.core.ports import Clock, Stop
    from lockside.settings import AwsSettings, ReplicaSettings
    from lockside.stores.target import Target

PLACE: Final = ("region", "endpoint_url", "profile")


@dataclass(frozen=True, slots=True)
class SourceTable:
    """The table that a replica is fed from. `keys` are its key attributes' (role, name, type), partition key first."""

    name: str
    keys: tuple[tuple[str, str, str], ...]
    stream_arn: str
    identity: tuple[str, str]
    rows_estimate: int

    @property
    def schema(self) -> KeySchema:
        """Its key schema."""
        return KeySchema(tuple(name for _, name, _ in self.keys))


@dataclass(frozen=True, slots=True)
class Joined:
    """What targets need of their surroundings."""

    aws: "AwsSettings"
    retrier: Retrier
    clock: "Clock"
    stop: "Stop"


def source_table(clients: "Clients", table: str, setting: str) -> SourceTable:
    """Find a replica's source. Raises SetupError where it is not there, or its stream is off or of another view."""
    found = sources.describe(clients.dynamodb, table, setting)
    arn = sources.stream_of(found, setting)
    described = describe(clients.dynamodb, table)
    if described is None:
        raise SetupError(f'{setting} = "{table}": it was deleted just now; create it again, or correct the name')
    keys = _keys(described)
    if RESERVED & {name for _, name, _ in keys}:
        raise SetupError(
            f'{setting} = "{table}": a key attribute has one of the names {sorted(RESERVED)}; it cannot be'
        )
    return SourceTable(table, keys, arn, _identity(described), int(described.get("ItemCount", 0)))


def target(replica: "ReplicaSettings", setting: str, source: SourceTable, joined: Joined, *, create: bool) -> "Target":
    """Find a replica's target; with `create` make the table that is not there.

    Raises SetupError where it cannot be written to, or is the source itself.
    """
    if replica.to == "redis":
        return _redis(replica, setting, source, joined)
    clients = connect(joined.aws.model_copy(update={n: v for n in PLACE if (v := getattr(replica, n))}))
    try:
        _look_over(replica, setting, source, clients, joined, create=create)
    except (BotoCoreError, ClientError) as error:
        raise refusal(error, clients.endpoint) from error
    return DynamoDBTarget(
        clients.writer,
        str(replica.target_table),
        source.schema,
        joined.retrier,
        joined.clock,
        tombstone_hours=replica.tombstone_hours,
        writers=replica.writers,
    )


def _look_over(  # noqa: PLR0913 - one argument for each thing looked at
    replica: "ReplicaSettings", setting: str, source: SourceTable, clients: "Clients", joined: Joined, *, create: bool
) -> None:
    name, place = str(replica.target_table), f'{setting}.target_table = "{replica.target_table}"'
    found = describe(clients.dynamodb, name)
    if found is None:
        if not create:
            raise SetupError(
                f"{place}: there is no such table at {clients.endpoint}; `lockside replicate --bootstrap` makes it"
            )
        _make(clients.dynamodb, name, source, joined.stop)
        return
    if _identity(found) == source.identity:
        raise SetupError(f"{place}: is the source itself, which would replicate its own rows for ever; name another")
    if _keys(found) != source.keys:
        raise SetupError(
            f"{place}: its key is {_spell(_keys(found))}, the source's is {_spell(source.keys)}; name another table, "
            "or one that is not there, and `lockside replicate --bootstrap` makes it"
        )


def _make(client: Any, name: str, source: SourceTable, stop: "Stop") -> None:
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": attribute, "KeyType": role} for role, attribute, _ in source.keys],
        AttributeDefinitions=[
            {"AttributeName": attribute, "AttributeType": type_} for _, attribute, type_ in source.keys
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    wait_active(client, name, stop, lambda _line: None)
    try:
        specification = {"Enabled": True, "AttributeName": EXPIRES}
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
    except ClientError as error:
        if error_code(error) not in NOT_OFFERED:
            raise


def tombstones_stay(clients: "Clients", name: str) -> bool:
    """Whether nothing removes a target's tombstones, so that they pile up."""
    return ttl_attribute(clients.dynamodb, name) != EXPIRES


def eviction(place: "Target") -> str | None:
    """Return the policy by which a target may drop rows by itself; None if it drops none, or does not tell."""
    from lockside.stores.redis_target import RedisTarget

    return place.eviction() if isinstance(place, RedisTarget) else None


def _redis(replica: "ReplicaSettings", setting: str, source: SourceTable, joined: Joined) -> "Target":
    try:
        import redis

        from lockside.stores.redis_target import RedisTarget
    except ImportError as error:
        raise SetupError(f'{setting}.to = "redis": needs the extra `redis`; pip install "lockside[redis]"') from error
    variable, password = replica.password_variable, None
    if variable and (password := os.environ.get(variable)) is None:
        raise SetupError(f'{setting}.password_variable = "{variable}": there is no such variable in the environment')
    parts = urlsplit(replica.url)
    place = f"{parts.hostname}:{parts.port or 6379}{parts.path or '/0'}"
    client = redis.Redis.from_url(
        replica.url,
        password=password,
        socket_connect_timeout=joined.aws.connect_timeout_seconds,
        socket_timeout=joined.aws.read_timeout_seconds,
    )
    try:
        client.ping()
    except redis.AuthenticationError as error:
        way_out = "password_variable names the environment variable that holds the password"
        raise SetupError(f'{setting}.url = "{place}": Redis refuses the password; {way_out}') from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise SetupError(
            f'{setting}.url = "{place}": no answer ({type(error).__name__}); is the address right, and Redis up?'
        ) from error
    make = partial(RedisTarget, client, replica.prefix, source.schema, joined.retrier, joined.clock)
    return make(tombstone_hours=replica.tombstone_hours, place=place, phrases=replica.rows == "phrases")


def _keys(table: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    ordered = sorted(table["KeySchema"], key=lambda each: each["KeyType"] != "HASH")
    return tuple((each["KeyType"], each["AttributeName"], types[each["AttributeName"]]) for each in ordered)


def _spell(keys: tuple[tuple[str, str, str], ...]) -> str:
    return ", ".join(f"{name} ({type_}, {role})" for role, name, type_ in keys)


def _identity(table: Mapping[str, Any]) -> tuple[str, str]:
    """Tell a table from all others, by whatever endpoint it is asked for; moto gives it no id, but a birthday."""
    return str(table.get("TableArn", "")), str(table.get("TableId") or table.get("CreationDateTime"))
