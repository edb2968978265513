"""The stores against what there is: python_dynamodb_lock, one plain Query, Flask-Session; all on one DynamoDB Local.

Both sides of a comparison are warmed up, then measured by turns, one call each, and their medians compared: what else
the machine does meets both.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from statistics import median
from typing import Any, Final

import boto3
from flask import Flask
from flask_session.dynamodb import DynamoDBSessionInterface  # type: ignore[import-untyped]
from python_dynamodb_lock.python_dynamodb_lock import DynamoDBLockClient  # type: ignore[import-untyped]

from bench.figures import Figure
from bench.sizes import Sizes
from lockside.emulators import tables
from lockside.emulators.start import start
from lockside.stores import KeyPhraseStore, LockClient, SessionStore, connect
from lockside.stores import tables as store_tables

SHARDS: Final = 8
PREFIX: Final = "bench/"
PLAIN: Final = "plain"
WARM_UP: Final = 2
SCANS: Final = 3
LEASE_SECONDS: Final = 60.0
USER: Final = "alice"


def measure(sizes: Sizes) -> list[Figure]:
    """Measure locks, scans and sessions."""
    logging.disable(logging.WARNING)
    with start("dynamodb-local") as emulator:
        access: dict[str, Any] = {"endpoint_url": emulator.endpoint_url, "region_name": emulator.region}
        client = connect.client(boto3.Session(), **access)
        resource = boto3.resource("dynamodb", **access)
        return [*_locks(client, resource, sizes), *_sessions(client, resource, sizes), *_scans(client, sizes)]


def _locks(client: Any, resource: Any, sizes: Sizes) -> Iterator[Figure]:
    LockClient.create(client, "locks")
    tables.create_lock_table(client, "DynamoDBLockTable")
    other = DynamoDBLockClient(resource, heartbeat_period=timedelta(seconds=20), lease_duration=timedelta(seconds=60))
    with LockClient(client, "locks", lease=LEASE_SECONDS) as ours:

        def our_cycle() -> None:
            ours.acquire("job").release()

        def their_cycle() -> None:
            other.acquire_lock("job").release()

        seconds = _in_turns([our_cycle, their_cycle], sizes.lock_cycles)
        with _counted(client) as our_calls, _counted(resource.meta.client) as their_calls:
            for _ in range(sizes.lock_cycles):
                our_cycle()
                their_cycle()
    other.close()
    rates = [1 / each for each in seconds]
    calls = [len(each) / sizes.lock_cycles for each in (our_calls, their_calls)]
    yield Figure("lock cycles per second", rates[0], "1/s")
    yield Figure("lock cycles per second, python_dynamodb_lock", rates[1], "1/s")
    yield Figure("lock cycles: times python_dynamodb_lock", rates[0] / rates[1], "x", "at least", 1.0)
    yield Figure("calls per lock cycle", calls[0], "calls")
    yield Figure("calls per lock cycle, python_dynamodb_lock", calls[1], "calls")
    yield Figure("calls per lock cycle: share of python_dynamodb_lock", calls[0] / calls[1], "", "at most", 0.7)


def _scans(client: Any, sizes: Sizes) -> Iterator[Figure]:
    spread = KeyPhraseStore.create(client, "phrases", shards=SHARDS).prefix(PREFIX)
    values: dict[str, Any] = {f"order-{number:08}": {"sum": number, "paid": True} for number in range(sizes.phrases)}
    for phrases in (_without_stream(client).prefix(PREFIX), spread):
        phrases.update(values)

    def scan() -> None:
        _expect(sum(1 for _ in spread.phrases()), len(values))

    def query() -> None:
        """Read the same items with nothing but boto3: pages, keys and values out of them."""
        found, request = 0, _query()
        while True:
            page = client.query(**request)
            found += len([(item["sk"]["S"], json.loads(item["v"]["S"])) for item in page["Items"]])
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        _expect(found, len(values))

    ours, plain = _in_turns([scan, query], SCANS)
    yield Figure(f"scan of {sizes.phrases:,} phrases over {SHARDS} shards", ours, "s")
    yield Figure("one plain Query of the same", plain, "s")
    yield Figure("scan: times the plain Query", ours / plain, "x", "at most", 1.5)


def _without_stream(client: Any) -> KeyPhraseStore:
    """Make the plain table. On DynamoDB Local a write to one table costs as much as another one's stream is long."""
    definition = store_tables.phrase_table(PLAIN)
    create = {name: value for name, value in definition.create.items() if name != "StreamSpecification"}
    store_tables.create(client, replace(definition, create=create))
    store = KeyPhraseStore(client, PLAIN)
    store.found(shards=1)
    return store


def _query() -> dict[str, Any]:
    return {
        "TableName": PLAIN,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": f"0#{PREFIX}"}},
        "ConsistentRead": True,
    }


def _sessions(client: Any, resource: Any, sizes: Sizes) -> Iterator[Figure]:
    SessionStore.create(client, "our-sessions")
    LockClient.create(client, "session-locks")
    tables.create_session_table(client, "Sessions")
    app = Flask("bench")
    theirs = DynamoDBSessionInterface(app, client=resource, table_name="Sessions", key_prefix="session:")
    contents = {"user": USER, "cart": list(range(20)), "csrf": "x" * 40}
    theirs._upsert_session(timedelta(hours=1), _Contents(contents), "session:one")  # noqa: SLF001 - what its requests do
    with LockClient(client, "session-locks") as locks:
        ours = SessionStore(client, "our-sessions", locks, key=b"k" * 32)
        token = ours.login(USER, attributes=contents)  # type: ignore[arg-type]

        def read_ours() -> None:
            _expect(getattr(ours.read(token), "user", None), USER)

        def read_theirs() -> None:
            found = theirs._retrieve_session_data("session:one")  # noqa: SLF001 - what its requests do
            _expect((found or {}).get("user"), USER)

        seconds = _in_turns([read_ours, read_theirs], sizes.session_reads)
    milliseconds = [1000 * each for each in seconds]
    yield Figure("session read", milliseconds[0], "ms")
    yield Figure("session read, Flask-Session", milliseconds[1], "ms")
    yield Figure("session read: share of Flask-Session's", milliseconds[0] / milliseconds[1], "", "at most", 1.0)


class _Contents(dict[str, Any]):
    """What Flask-Session stores: a dictionary is enough."""


def _in_turns(works: list[Callable[[], None]], times: int) -> list[float]:
    """Do the works by turns, so many times each after a warm-up; return each one's median seconds."""
    taken: list[list[float]] = [[] for _ in works]
    for turn in range(WARM_UP + times):
        for at, work in enumerate(works):
            begun = time.perf_counter()
            work()
            if turn >= WARM_UP:
                taken[at].append(time.perf_counter() - begun)
    return [median(each) for each in taken]


@contextmanager
def _counted(client: Any) -> Iterator[list[str]]:
    """Count the calls that a client makes."""
    calls: list[str] = []

    def count(model: Any, **_: Any) -> None:
        calls.append(model.name)

    client.meta.events.register("before-call.dynamodb", count)
    yield calls
    client.meta.events.unregister("before-call.dynamodb", count)


def _expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{found} was read, and {wanted} was to be")
