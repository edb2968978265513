"""From what a person types to what the trail is keyed by: a lock's name, a session's id, an actor.

A name does not say how its table's key is built, so every reading of it is looked up: types, a default sort key, a
sort key after a slash, a client's key prefix. One that is wrong finds nothing and costs one small read.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockside.app.sources import describe_own, specs_of
from lockside.audit.pages import Pages
from lockside.audit.table import AuditTable
from lockside.aws.clients import reached
from lockside.aws.retrying import Retrier
from lockside.core import attributes
from lockside.core.entity import PUBLIC_KEYS, EntityKey, Keys, Kind
from lockside.core.records import Naming
from lockside.core.telemetry import NoMeter
from lockside.errors import UsageError, WireFaultError

if TYPE_CHECKING:
    from lockside.core.ports import Stop
    from lockside.layouts.spec import Spec
    from lockside.settings import Settings

SLASHES_MAX: Final = 8
"""Slashes of a name that are tried as the border between its two key parts."""

FLASK_SESSION_PREFIX: Final = "session:"
"""Flask-Session's SESSION_KEY_PREFIX unless set otherwise; its layout leaves it open, as it may be."""

PSEUDONYM: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Watched:
    """One source as a name is looked up in it."""

    naming: Naming
    default_sorts: tuple[str, ...]
    prefixes: tuple[str, ...]


class Lookup:
    """Reads names as the configured sources would have written them. Keys are read only if a name is a pseudonym."""

    def __init__(self, settings: "Settings", load_keys: Callable[[], Keys]) -> None:
        """Work out what the sources are; raises ConfigError where the settings name an unknown layout."""
        known = settings.layouts
        self._specs = [(source, specs_of(source, number, known)) for number, source in enumerate(settings.source)]
        self._load_keys = load_keys

    def lock_pks(self, name: str) -> list[str]:
        """Return the partition keys a lock's history may stand under."""
        return self._pks("lock", name, hidden="name" in self._hidden("lock"))

    def session_pks(self, session: str) -> list[str]:
        """Return the partition keys a session's history may stand under, for its id, its key or its pseudonym."""
        return self._pks("session", session, hidden=True)

    def actors(self, actor: str) -> list[str]:
        """Return how records may spell an actor: as given, which may be a pseudonym, and as the sources would."""
        keys = self._keys(hidden=bool({"owner", "principal"} & (self._hidden("lock") | self._hidden("session"))))
        spelled = (each.naming.actor(actor) for kind in _KINDS for each in self._watched(kind, keys))
        return list(dict.fromkeys([actor, *filter(None, spelled)]))

    def _pks(self, kind: Kind, name: str, *, hidden: bool) -> list[str]:
        watched = self._watched(kind, self._keys(hidden=hidden))
        if not watched:
            raise UsageError(
                f"--{kind}: no source of the settings watches {kind}s; add a [[source]] with a {kind} layout, or use "
                "--actor or --event"
            )
        found = (entity_id for each in watched for entity_id in _entity_ids(each, name))
        return list(dict.fromkeys(f"E#{entity_id}" for entity_id in found))

    def _watched(self, kind: Kind, keys: Keys) -> list[Watched]:
        return [
            Watched(
                Naming(
                    source_id=source.id,
                    kind=kind,
                    pseudonymise=source.pseudonymise,
                    default_sort=None,
                    key=keys.entity,
                ),
                tuple(dict.fromkeys(spec.default_sort for spec in specs if spec.default_sort is not None)),
                ("", FLASK_SESSION_PREFIX, *_key_prefixes(specs)) if kind == "session" else ("",),
            )
            for source, specs in self._specs
            if specs[0].traits.kind == kind
        ]

    def _hidden(self, kind: Kind) -> set[str]:
        of_kind = [source for source, specs in self._specs if specs[0].traits.kind == kind]
        return {attribute for source in of_kind for attribute in source.pseudonymise}

    def _keys(self, *, hidden: bool) -> Keys:
        return self._load_keys() if hidden else PUBLIC_KEYS


def reading(settings: "Settings", stop: "Stop") -> Pages:
    """Connect to the audit table for reading.

    Raises SetupError within seconds if it is not there or does not answer; later failures are tried again until `stop`.
    """
    clients = reached(settings.aws, settings.audit.table)
    describe_own(clients.dynamodb, settings.audit.table, "audit.table")
    return Pages(AuditTable(clients.dynamodb, settings.audit.table, Retrier(stop, NoMeter())))


_KINDS: Final[tuple[Kind, ...]] = ("lock", "session")


def _entity_ids(watched: Watched, name: str) -> Iterator[str]:
    if PSEUDONYM.fullmatch(name):
        yield f"{watched.naming.source_id}:{name}"
    if name.startswith(f"{watched.naming.source_id}:"):
        yield name
    for prefix in watched.prefixes:
        for key in _keys_of(prefix + name, watched.default_sorts):
            yield watched.naming.entity_id(key)
    for left, right in _splits(name):
        for prefix in watched.prefixes[1:]:
            yield watched.naming.entity_id(EntityKey((("S", left), ("S", prefix + right))))


def _keys_of(name: str, default_sorts: tuple[str, ...]) -> Iterator[EntityKey]:
    yield from (EntityKey((part,)) for part in _typed(name))
    yield from (EntityKey((part, ("S", sort))) for part in _typed(name) for sort in default_sorts)
    for left, right in _splits(name):
        yield from (EntityKey(parts) for parts in itertools.product(_typed(left), _typed(right)))


def _splits(name: str) -> Iterator[tuple[str, str]]:
    borders = itertools.islice((at for at, letter in enumerate(name) if letter == "/"), SLASHES_MAX)
    yield from ((name[:at], name[at + 1 :]) for at in borders)


def _typed(text: str) -> Iterator[tuple[str, str]]:
    yield "S", text
    with suppress(WireFaultError):
        yield "N", attributes.number_text(attributes.number(text))


def _key_prefixes(specs: "tuple[Spec, ...]") -> Iterator[str]:
    for spec in specs:
        for rule in spec.rows.keys:
            yield from rule.prefix if rule is not None else ()
