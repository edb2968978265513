"""Key phrases replicated to Redis: prefix scans in key order work there too, over all shards of the store."""

from pathlib import Path

import pytest

from lockside.emulators.emulator import Emulator
from lockside.settings import load
from lockside.stores.machine import System
from lockside.stores.phrases import KeyPhraseStore
from lockside.stores.redis_phrases import RedisPhrases
from tests.fakes.redis_server import RedisServer
from tests.fakes.replication import Replication, replication
from tests.fakes.state_table import dynamodb

KEYS = ["a", "a\0", "a\0b", "ab", "b", "é", "\uffff", "\U0001f600", *(f"n{number:03d}" for number in range(40))]


@pytest.fixture
def replicated(moto: Emulator, redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replication:
    """Make a store of four shards, and a replica of it in Redis."""
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    made = replication(moto, redis, tmp_path)
    table = f"{made.table}-phrases"
    KeyPhraseStore.create(dynamodb(moto), table, shards=4)
    text = made.config.read_text(encoding="utf-8")
    _, kept, cache = text.partition('[[replica]]\nid = "cache"')
    head = text.partition("[[replica]]")[0]
    cache = cache.replace(f'table = "{made.table}"', f'table = "{table}"\nrows = "phrases"')
    made.config.write_text(head + kept + cache, encoding="utf-8")
    made.settings, made.table = load(made.config), table
    return made


def test_a_prefix_is_scanned_in_key_order_over_all_shards(replicated: Replication) -> None:
    """As the store itself scans it: whole, in part, from the start or not, with what was deleted left out."""
    store = KeyPhraseStore(replicated.client, replicated.table)
    ours, other = store.prefix("orders/"), store.prefix("orders")
    ours.update({key: {"n": place, "text": key} for place, key in enumerate(reversed(KEYS))})
    other.write("a", b"\x00\xff")
    replicated.run_once(bootstrap=True)
    ours.delete("ab")
    ours.write("new", 12)
    replicated.run_once()
    key_prefix = replicated.settings.replica[0].prefix
    with replicated.redis.client() as raw:
        theirs = RedisPhrases(raw, key_prefix, "orders/", System())
        for start, end in [(None, None), ("a\0", None), (None, "n020"), ("b", "n001"), ("x", "b")]:
            assert list(theirs.phrases(start, end)) == list(ours.phrases(start, end)), (start, end)
        assert theirs.read("new") == ours.read("new")
        assert theirs.read("ab") is None
        assert [each.value for each in RedisPhrases(raw, key_prefix, "orders", System()).phrases()] == [b"\x00\xff"]


def test_a_phrase_that_moves_between_shards_is_told_once(replicated: Replication) -> None:
    """While the store is raised it stands in two of them for a moment; its replica never lacks it in the end."""
    store = KeyPhraseStore(replicated.client, replicated.table)
    ours = store.prefix("moving/")
    ours.update({key: place for place, key in enumerate(KEYS)})
    replicated.run_once(bootstrap=True)
    items = replicated.client.scan(TableName=replicated.table)["Items"]
    here = next(item for item in items if item["sk"]["S"] == "b")
    away = {**here, "pk": {"S": ("0" if here["pk"]["S"][0] != "0" else "1") + "#moving/"}}
    replicated.client.put_item(TableName=replicated.table, Item=away)
    replicated.run_once()
    with replicated.redis.client() as raw:
        theirs = RedisPhrases(raw, replicated.settings.replica[0].prefix, "moving/", System())
        assert [each.key for each in theirs.phrases()] == sorted(KEYS)
        key = {"pk": here["pk"], "sk": here["sk"]}
        replicated.client.delete_item(TableName=replicated.table, Key=key)
        replicated.run_once()
        assert [each.key for each in theirs.phrases()] == sorted(KEYS)
