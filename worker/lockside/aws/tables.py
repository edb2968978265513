"""Definitions of Lockside's own tables, as data: what `init` creates and the preflight compares with.

Write units decide the audit table's shape: a record under 1 KB costs one unit in the table and one in each index it is
in, so an index carries keys and what a reader filters by, never the record's bytes. Writes are many and reads are few:
a reader fetches the bytes by key.
"""

from dataclasses import dataclass
from typing import Any, Final

PK: Final = "pk"
SK: Final = "sk"

LOG_INDEX: Final = "by_log"
LOG_KEY: Final = "lg"
LOG_SORT: Final = "ls"
ACTOR_INDEX: Final = "by_actor"
ACTOR_KEY: Final = "ak"
ACTOR_SORT: Final = "as"
TYPE: Final = "ty"
TIME: Final = "at"
TTL: Final = "exp"


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """One table: the parameters of CreateTable, and what can only be switched on afterwards.

    `purpose` names it for people.
    """

    purpose: str
    create: dict[str, Any]
    ttl_attribute: str | None
    point_in_time_recovery: bool

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self.create["TableName"])


def audit_table(name: str) -> TableDefinition:
    """Define the audit table: records by entity, and two sparse indexes, by log and by actor."""
    create = _table(name, (LOG_KEY, LOG_SORT, ACTOR_KEY, ACTOR_SORT))
    create["GlobalSecondaryIndexes"] = [
        _index(LOG_INDEX, LOG_KEY, LOG_SORT, (TYPE, TIME)),
        _index(ACTOR_INDEX, ACTOR_KEY, ACTOR_SORT, (TYPE,)),
    ]
    return TableDefinition("audit", create, ttl_attribute=TTL, point_in_time_recovery=True)


def state_table(name: str) -> TableDefinition:
    """Define the state table: checkpoints, ownership, the live index and the workers' status."""
    return TableDefinition("state", _table(name), ttl_attribute=None, point_in_time_recovery=True)


def _table(name: str, index_attributes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "TableName": name,
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in (PK, SK, *index_attributes)
        ],
        "KeySchema": _key_schema(PK, SK),
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": True,
    }


def _index(name: str, partition: str, sort: str, carried: tuple[str, ...]) -> dict[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": _key_schema(partition, sort),
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(carried)},
    }


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
