"""Stores with a bug planted in each, for the check to find. Opened in the processes of a trial's clients."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from lockside.app.store_check import Site, open_shop
from lockside.stores.phrase_row import Address, Phrase
from lockside.stores.trial_client import Part, Shop

RACE_SECONDS: Final = 0.05
HOLD_LEASES: Final = 0.6


class _Wrapped:
    """Something with a few of its methods replaced."""

    def __init__(self, inner: Any, **replaced: Callable[..., Any]) -> None:
        self._inner = inner
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _with_phrases(shop: Shop, **replaced: Callable[..., Any]) -> Shop:
    phrases: Any = _Wrapped(shop.phrases, **replaced)
    return Shop(phrases, shop.locks, shop.client, shop.counters)


def lost_update(site: Site, part: Part) -> Shop:
    """A write that does not ask whether its version is still there."""
    shop = open_shop(site, part)

    def write(key: str, value: Any, *, if_version: str | None = None, ttl: float | None = None) -> str:
        del if_version
        time.sleep(RACE_SECONDS)
        return shop.phrases.write(key, value, ttl=ttl)

    return _with_phrases(shop, write=write)


def missed_shard(site: Site, part: Part) -> Shop:
    """A scan that leaves one of the shards out."""
    shop = open_shop(site, part)
    placement = shop.phrases.store.placement

    def phrases(*args: Any, **kwargs: Any) -> Iterator[Phrase]:
        for phrase in shop.phrases.phrases(*args, **kwargs):
            if placement.places(shop.phrases.name, phrase.key)[0] != 0:
                yield phrase

    return _with_phrases(shop, phrases=phrases)


def stale_replica_write(site: Site, part: Part) -> Shop:
    """What replicates the table back into itself without stamps: an old row comes late, over a newer one."""
    shop = open_shop(site, part)
    store = shop.phrases.store

    def write(key: str, value: Any, **kwargs: Any) -> str:
        shard = store.placement.places(shop.phrases.name, key)[0]
        address = Address(site.phrases, shop.phrases.name, key, shard)
        old = shop.client.get_item(TableName=site.phrases, Key=address.wire, ConsistentRead=True).get("Item")
        version = shop.phrases.write(key, value, **kwargs)
        if old:
            shop.client.put_item(TableName=site.phrases, Item=old)
        return version

    return _with_phrases(shop, write=write)


def unconditional_release(site: Site, part: Part) -> Shop:
    """A release that removes the lock's row, whoever's it is by then. Holders hold for long, so that it shows."""
    shop = open_shop(site, part)

    def acquire(name: str, **kwargs: Any) -> Any:
        lock = shop.locks.acquire(name, **kwargs)

        def release() -> bool:
            shop.client.delete_item(TableName=site.locks, Key={"key": {"S": name}})
            return lock.release()

        return _Wrapped(lock, release=release)

    def update_item(**request: Any) -> Any:
        answer = shop.client.update_item(**request)
        time.sleep(HOLD_LEASES * site.lease_seconds)
        return answer

    locks: Any = _Wrapped(shop.locks, acquire=acquire)
    client: Any = _Wrapped(shop.client, update_item=update_item)
    return Shop(shop.phrases, locks, client, shop.counters)


def unfenced_counter(site: Site, part: Part) -> Shop:
    """A counter that takes every write."""
    shop = open_shop(site, part)

    def update_item(**request: Any) -> Any:
        return shop.client.update_item(
            **{name: value for name, value in request.items() if name != "ConditionExpression"}
        )

    client: Any = _Wrapped(shop.client, update_item=update_item)
    return Shop(shop.phrases, shop.locks, client, shop.counters)


PLANTED: Final = {
    "lost_update": (lost_update, "every read is explained"),
    "missed_shard": (missed_shard, "every read is explained"),
    "stale_replica_write": (stale_replica_write, "every read is explained"),
    "unconditional_release": (unconditional_release, "no two holders within a lease"),
    "unfenced_counter": (unfenced_counter, "a superseded holder is refused"),
}
"""Each bug, and the law that finds it."""
