"""What `lockside init` does: plan what the audit and state tables and the keys file lack, then make it.

The plan is read off the endpoint and changes nothing; applying it twice changes nothing the second time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.answers import having
from lockside.aws.clients import refusal
from lockside.aws.retrying import error_code
from lockside.aws.tables import TableDefinition, audit_table, state_table
from lockside.engines.kcl.leases import lease_table
from lockside.engines.kcl.provision import definitions as kcl_tables
from lockside.errors import SetupError
from lockside.state import keys_file
from lockside.stores import KeyPhraseStore
from lockside.stores import tables as store_tables

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.core.ports import Stop
    from lockside.settings import Settings, StoresSettings

ACTIVE_SECONDS_MAX: Final = 120
POLL_SECONDS: Final = 1.0
POLLS_PER_WORD: Final = 5
LEASES: Final = "KCL's"
NOT_OFFERED: Final = frozenset({"UnknownOperationException", "UnknownOperation", "NotImplemented"})
"""What emulators answer for features they lack."""

Tell = Callable[[str], None]


class Action(Enum):
    """What a step does."""

    NOTHING = "is there"
    CREATE = "create"
    PROTECT = "turn on deletion protection"
    EXPIRE = "turn on TTL"
    BACK_UP = "turn on point-in-time recovery"
    KEYS = "create the keys file"
    NOT_OFFERED = "not offered here"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, or one that is as it should be. `subject` is a table's or file's name."""

    action: Action
    subject: str
    detail: str

    @property
    def changes(self) -> bool:
        """Whether anything is to be made."""
        return self.action not in {Action.NOTHING, Action.NOT_OFFERED}


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, in order. `definitions` are the tables by name."""

    steps: tuple[Step, ...]
    definitions: Mapping[str, TableDefinition]
    keys_path: Path


def definitions(settings: "Settings", *, stores: bool = False) -> tuple[TableDefinition, ...]:
    """Define Lockside's own tables as these settings want them, and those of the stores if asked for."""
    wanted = (audit_table(settings.audit.table), state_table(settings.state.table))
    return tuple(
        TableDefinition(
            each.purpose,
            {**each.create, "DeletionProtectionEnabled": settings.audit.deletion_protection},
            each.ttl_attribute,
            each.point_in_time_recovery and settings.audit.point_in_time_recovery,
        )
        for each in wanted
    ) + (_store_tables(settings.stores, protected=settings.audit.deletion_protection) if stores else ())


def _fleet_tables(settings: "Settings", clients: "Clients") -> Iterator[TableDefinition]:
    """Define KCL's tables for each stream that is there, so that a fleet needs no right to make them.

    A stream that takes another's place has tables of its own: then `init` is run anew, or the workers make them.
    """
    for table in dict.fromkeys(source.table for source in settings.source):
        described = describe(clients.dynamodb, table)
        if described is not None and (arn := described.get("LatestStreamArn")) is not None:
            name = lease_table(settings.application, arn)
            for create in kcl_tables(name):
                yield TableDefinition(LEASES, {**create, "DeletionProtectionEnabled": False}, None, False)  # noqa: FBT003


def _store_tables(settings: "StoresSettings", *, protected: bool) -> tuple[TableDefinition, ...]:
    wanted = (
        *store_tables.lock_tables(settings.lock_table),
        store_tables.phrase_table(settings.phrase_table),
        store_tables.session_table(settings.session_table),
    )
    return tuple(replace(each, create={**each.create, "DeletionProtectionEnabled": protected}) for each in wanted)


def found_phrases(settings: "Settings", clients: "Clients") -> None:
    """Make the store of key phrases in its table; one that is there stays, whatever number of shards it has.

    Raises SetupError and NotFoundOutError.
    """
    store = KeyPhraseStore(clients.dynamodb, settings.stores.phrase_table)
    store.found(settings.stores.phrase_shards, exactly=False)


def plan(settings: "Settings", clients: "Clients", *, stores: bool = False) -> Plan:
    """Find out what is missing.

    Raises SetupError when a table of that name has another shape, or the endpoint does not answer.
    """
    try:
        fleet = _fleet_tables(settings, clients) if settings.engine.kind == "kcl" else ()
        wanted = (*definitions(settings, stores=stores), *fleet)
        steps = [step for definition in wanted for step in _table_steps(definition, clients)]
    except (BotoCoreError, ClientError) as error:
        raise refusal(error, clients.endpoint) from error
    path = settings.keys.file
    if path.exists():
        keys_file.load(path)
        steps.append(Step(Action.NOTHING, str(path), "keys file"))
    else:
        steps.append(Step(Action.KEYS, str(path), "readable by its owner only; back it up apart from the tables"))
    return Plan(tuple(steps), {definition.name: definition for definition in wanted}, path)


def apply(planned: Plan, clients: "Clients", stop: "Stop", created: str, tell: Tell) -> None:
    """Make what the plan says. `created` is the time to note beside new keys; `tell` is given a line for each step.

    Raises SetupError when a table does not become active in time, or the endpoint refuses.
    """
    for step in planned.steps:
        if not step.changes:
            continue
        tell(f"{step.subject}: {step.action.value}")
        if step.action is Action.KEYS:
            keys_file.create(planned.keys_path, created)
            continue
        try:
            _apply_to_table(step, planned.definitions[step.subject], clients, stop, tell)
        except (BotoCoreError, ClientError) as error:
            raise refusal(error, clients.endpoint) from error


def describe(client: Any, table: str) -> dict[str, Any] | None:
    """Describe a table, None if there is none."""
    try:
        answer = having("Table", dict, "DescribeTable", lambda: client.describe_table(TableName=table))
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return None
        raise
    return dict(answer["Table"])


def shape_faults(definition: TableDefinition, table: Mapping[str, Any]) -> list[str]:
    """Say in what an existing table differs from what Lockside needs; its billing is the owner's choice."""
    faults = []
    if _keys(table) != _keys(definition.create):
        faults.append(f"its key is {_spell(_keys(table))}, it must be {_spell(_keys(definition.create))}")
    there = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", [])}
    for index in definition.create.get("GlobalSecondaryIndexes", []):
        name = index["IndexName"]
        wanted = _keys({**definition.create, "KeySchema": index["KeySchema"]})
        if name not in there:
            faults.append(f"it lacks the index {name} on {_spell(wanted)}")
        elif _keys({**table, "KeySchema": there[name]["KeySchema"]}) != wanted:
            faults.append(f"its index {name} must be on {_spell(wanted)}")
    return faults


def ttl_attribute(client: Any, table: str) -> str | None:
    """Return the attribute TTL is on for, None if it is off or not offered."""
    try:
        answer = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    except ClientError as error:
        if error_code(error) in NOT_OFFERED:
            return None
        raise
    return answer.get("AttributeName") if answer.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"} else None


def point_in_time_recovery(client: Any, table: str) -> bool | None:
    """Return whether point-in-time recovery is on, None if the endpoint does not offer it."""
    try:
        answer = client.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    except ClientError as error:
        if error_code(error) in NOT_OFFERED:
            return None
        raise
    status = answer.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    return bool(status == "ENABLED")


def _keys(table: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    return [(each["KeyType"], each["AttributeName"], types[each["AttributeName"]]) for each in table["KeySchema"]]


def _spell(keys: Sequence[tuple[str, str, str]]) -> str:
    return ", ".join(f"{name} ({type_}, {role})" for role, name, type_ in keys)


def _table_steps(definition: TableDefinition, clients: "Clients") -> list[Step]:
    name, client = definition.name, clients.dynamodb
    table = describe(client, name)
    if table is None:
        steps = [Step(Action.CREATE, name, f"{definition.purpose} table, on demand")]
        if definition.create["DeletionProtectionEnabled"]:
            steps[0] = Step(Action.CREATE, name, f"{definition.purpose} table, on demand, protected from deletion")
        if definition.ttl_attribute:
            steps.append(Step(Action.EXPIRE, name, f"on {definition.ttl_attribute}"))
        if definition.point_in_time_recovery:
            steps.append(Step(Action.BACK_UP, name, "any second of the last 35 days"))
        return steps
    if faults := shape_faults(definition, table):
        raise SetupError(
            f'{_setting(definition)} = "{name}": a table of that name exists and {"; ".join(faults)}; '
            f"name another in {_setting(definition)}"
        )
    steps = [Step(Action.NOTHING, name, f"{definition.purpose} table")]
    if definition.create["DeletionProtectionEnabled"] and not table.get("DeletionProtectionEnabled"):
        steps.append(Step(Action.PROTECT, name, ""))
    if definition.ttl_attribute and ttl_attribute(client, name) is None:
        steps.append(Step(Action.EXPIRE, name, f"on {definition.ttl_attribute}"))
    if definition.point_in_time_recovery:
        match point_in_time_recovery(client, name):
            case False:
                steps.append(Step(Action.BACK_UP, name, "any second of the last 35 days"))
            case None:
                steps.append(Step(Action.NOT_OFFERED, name, "point-in-time recovery"))
            case True:
                pass
    return steps


STORE_SETTINGS: Final[Mapping[str, str]] = {
    "locks": "stores.lock_table",
    "fences": "stores.lock_table",
    "phrases": "stores.phrase_table",
    "sessions": "stores.session_table",
    LEASES: "application",
}


def _setting(definition: TableDefinition) -> str:
    return STORE_SETTINGS.get(definition.purpose, f"{definition.purpose}.table")


def _apply_to_table(step: Step, definition: TableDefinition, clients: "Clients", stop: "Stop", tell: Tell) -> None:
    client: Any = clients.dynamodb
    name = definition.name
    try:
        match step.action:
            case Action.CREATE:
                client.create_table(**definition.create)
            case Action.PROTECT:
                client.update_table(TableName=name, DeletionProtectionEnabled=True)
            case Action.EXPIRE:
                specification = {"Enabled": True, "AttributeName": definition.ttl_attribute}
                client.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
            case Action.BACK_UP:
                specification = {"PointInTimeRecoveryEnabled": True}
                client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=specification)
            case Action.NOTHING | Action.NOT_OFFERED | Action.KEYS:
                return
    except ClientError as error:
        code = error_code(error)
        # Another `init` at the same time was quicker: what is waited for below is the same table.
        if not (step.action is Action.CREATE and code == "ResourceInUseException"):
            if code not in NOT_OFFERED:
                raise
            tell(f"{name}: {step.action.value}: this endpoint does not offer it; left out")
            return
    wait_active(client, name, stop, tell)


def wait_active(client: Any, name: str, stop: "Stop", tell: Tell) -> None:
    """Wait, within a bound, until a table and its indexes are active."""
    for polled in range(int(ACTIVE_SECONDS_MAX / POLL_SECONDS)):
        table = describe(client, name)
        states = [] if table is None else [table, *table.get("GlobalSecondaryIndexes", [])]
        if states and all((s.get("TableStatus") or s.get("IndexStatus") or "ACTIVE") == "ACTIVE" for s in states):
            return
        if polled % POLLS_PER_WORD == 0 and polled:
            tell(f"{name}: waiting to become active ({polled} s)")
        if stop.wait(POLL_SECONDS):
            break
    raise SetupError(f"{name}: not active after {ACTIVE_SECONDS_MAX} s; run `lockside init` again to go on from here")
