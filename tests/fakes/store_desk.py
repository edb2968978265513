"""Tables of the stores on one backend, a set for each test: in memory, on moto, on DynamoDB Local."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lockside.aws.tables import TableDefinition
from lockside.emulators.emulator import Emulator
from lockside.stores import KeyPhraseStore, LockClient, SessionStore, tables
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.machine import FakeMachine
from tests.fakes.state_table import dynamodb

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BACKENDS: Final = ("memory", "moto", "dynamodb-local")
ATOMIC: Final = ("memory", "dynamodb-local")
"""Without moto, which undoes a refused transaction by putting back a copy of all tables: others' writes are lost."""

KEY: Final = b"k" * 32
_NUMBERS: Final = itertools.count()


@dataclass
class StoreDesk:
    """A lock table, its fences, phrases and sessions, and one machine whose time everybody shares."""

    client: "DynamoDBClient"
    locks: str
    phrases: str
    sessions: str
    machine: FakeMachine = field(default_factory=FakeMachine)

    def lock_client(
        self, owner: str, client: Any = None, machine: FakeMachine | None = None, **options: Any
    ) -> LockClient:
        """Return a client without threads: a test turns its keeper."""
        machine = machine or self.machine
        return LockClient(client or self.client, self.locks, owner=owner, machine=machine, background=False, **options)

    def phrase_store(self, client: Any = None, shards: int = 4, machine: FakeMachine | None = None) -> KeyPhraseStore:
        """Return the store of key phrases, made if it is not there."""
        store = KeyPhraseStore(client or self.client, self.phrases, machine=machine or self.machine)
        store.found(shards)
        return store

    def phrase_store_as_it_is(self, client: Any = None) -> KeyPhraseStore:
        """Return another process's view of the store that is there."""
        return KeyPhraseStore(client or self.client, self.phrases, machine=self.machine)

    def session_store(self, locks: LockClient, client: Any = None, **options: Any) -> SessionStore:
        """Return the store of sessions."""
        return SessionStore(client or self.client, self.sessions, locks, key=KEY, machine=self.machine, **options)

    def row(self, lock: str) -> dict[str, Any] | None:
        """Read a lock's row as it stands."""
        return self.client.get_item(TableName=self.locks, Key={"key": {"S": lock}}, ConsistentRead=True).get("Item")

    def drop(self, lock: str) -> None:
        """Remove a lock's row, as an operator or a Java client does."""
        self.client.delete_item(TableName=self.locks, Key={"key": {"S": lock}})


def definitions(number: int) -> tuple[TableDefinition, ...]:
    """Define the tables of one test."""
    return (
        *tables.lock_tables(f"locks-{number}"),
        tables.phrase_table(f"phrases-{number}"),
        tables.session_table(f"sessions-{number}"),
    )


def make_desk(backend: str, emulator_of: Callable[[Any], Emulator], page_items: int = 7) -> StoreDesk:
    """Return empty tables. In memory pages are small, so that there are many."""
    number = next(_NUMBERS)
    wanted = definitions(number)
    if backend == "memory":
        client = FakeDynamoDB(*(each.create for each in wanted), page_items=page_items).client
    else:
        client = dynamodb(emulator_of(backend))
        for definition in wanted:
            tables.create(client, definition)
    # A seed of its own: one service remembers the tokens of all tests' transactions.
    return StoreDesk(client, f"locks-{number}", f"phrases-{number}", f"sessions-{number}", FakeMachine(number))
