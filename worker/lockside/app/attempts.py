"""Whether the worker may make its calls of a table: each is made once, in a form that cannot take effect.

A condition that cannot hold, a key that is in no table, a statement that cannot be carried out: DynamoDB asks IAM
before it looks at any of them, so a refusal for want of permission is told apart from the refusal that was meant. A
permission that is missing would else show only while the worker runs, as a write that it tries for ever.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.app.finding import Finding
from lockside.aws.retrying import error_code, verdict
from lockside.aws.tables import PK, SK
from lockside.core.failures import Verdict

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DENIED_ACTION: Final = re.compile(r"not authorized to perform: (dynamodb:[A-Za-z]+)")
"""Of a denial's text, the one part that is taken: it says which action of a transaction was missing."""

CANNOT_HOLD: Final[Mapping[str, Any]] = {
    "ConditionExpression": "attribute_exists(#pk)",
    "ExpressionAttributeNames": {"#pk": PK},
}
"""Of an item under a key that nobody uses."""

NO_UPDATE: Final[Mapping[str, Any]] = {
    **CANNOT_HOLD,
    "UpdateExpression": "REMOVE #nothing",
    "ExpressionAttributeNames": {"#pk": PK, "#nothing": "nothing"},
}

STATEMENT_DENIED: Final = "AccessDenied"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call, and the actions that allow it; `needed` is False where the worker gets on without it."""

    actions: tuple[str, ...]
    call: Callable[[], object]
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """A table as findings name it, and the client to reach it with.

    `absent` is a name that nobody uses, so that nothing is met; `policy` is the file with all that the worker needs.
    """

    name: str
    setting: str
    client: "DynamoDBClient"
    absent: str
    policy: str

    @property
    def key(self) -> dict[str, Any]:
        """A key of ours under which nothing stands."""
        return {PK: {"S": f"CHECK#{self.absent}"}, SK: {"S": self.absent}}

    def denied(self, action: str, code: str, *, needed: bool = True) -> Finding:
        """Say that an action is denied, and what to do."""
        what, fix = f"{action} is denied ({code})", f"allow {action} on table/{self.name}; {self.policy} has all"
        if needed:
            return Finding("fault", self.name, self.setting, what, fix)
        return Finding("warning", self.name, self.setting, what, f"{fix}, or set state.batched = false")


def audit(place: Place) -> Iterator[Finding]:
    """Try what the worker calls of the audit table."""
    attempts = [*_common(place), _query(place), _batch_get(place, place.key), _transaction(place, "Put", "Update")]
    yield from tried(place, attempts)


def state(place: Place, *, batched: bool, owned: bool = True) -> Iterator[Finding]:
    """Try what the worker calls of the state table; with `batched`, also the statements of the live index.

    Without `owned` it is one of a fleet, and no write of its hangs on an owner's row.
    """
    client, name = place.client, place.name
    attempts = [
        *_common(place),
        Attempt(("DeleteItem",), lambda: client.delete_item(TableName=name, Key=place.key, **CANNOT_HOLD)),
        _query(place),
    ]
    if owned:
        attempts.append(_transaction(place, "ConditionCheck", "Update"))
    if batched:
        attempts += _statements(place)
    yield from tried(place, attempts)


def watched(place: Place, table: Mapping[str, Any]) -> Iterator[Finding]:
    """Try the one call that the worker makes of a watched table itself: the read that proves a lapse."""
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    names = [each["AttributeName"] for each in table["KeySchema"]]
    yield from tried(place, [_batch_get(place, {name: _value(types[name], place.absent) for name in names})])


def _common(place: Place) -> list[Attempt]:
    client, name, key = place.client, place.name, place.key
    absent: Any = [{"DeleteRequest": {"Key": key}}]
    return [
        Attempt(("GetItem",), lambda: client.get_item(TableName=name, Key=key, ConsistentRead=True)),
        Attempt(("PutItem",), lambda: client.put_item(TableName=name, Item=key, **CANNOT_HOLD)),
        Attempt(("UpdateItem",), lambda: client.update_item(TableName=name, Key=key, **NO_UPDATE)),
        Attempt(("BatchWriteItem",), lambda: client.batch_write_item(RequestItems={name: absent})),
    ]


def _query(place: Place) -> Attempt:
    query: Any = {"KeyConditionExpression": "#pk = :pk", "ExpressionAttributeNames": {"#pk": PK}}
    query["ExpressionAttributeValues"] = {":pk": place.key[PK]}
    return Attempt(("Query",), lambda: place.client.query(TableName=place.name, ConsistentRead=True, **query))


def _batch_get(place: Place, key: Mapping[str, Any]) -> Attempt:
    request: Any = {place.name: {"Keys": [key], "ConsistentRead": True}}
    return Attempt(("BatchGetItem",), lambda: place.client.batch_get_item(RequestItems=request))


def _transaction(place: Place, *kinds: str) -> Attempt:
    """Build a transaction of which no part can be carried out, each under a key of its own."""
    parts: list[Any] = []
    for number, kind in enumerate(kinds):
        key = {**place.key, SK: {"S": f"{place.absent}-{number}"}}
        subject = "Item" if kind == "Put" else "Key"
        terms = NO_UPDATE if kind == "Update" else CANNOT_HOLD
        parts.append({kind: {"TableName": place.name, subject: key, **terms}})
    actions = tuple(f"{kind}Item" for kind in kinds)
    return Attempt(actions, lambda: place.client.transact_write_items(TransactItems=parts))


def _statements(place: Place) -> list[Attempt]:
    """Build an INSERT under a key of the wrong type, and a DELETE of what is not there.

    An INSERT knows no condition, so what keeps it from effect must be in its item. Nothing documents that IAM is asked
    before the key's type is looked at; were it not so, the worker would find out and write singly.
    """
    pk, sk = place.key[PK], place.key[SK]
    insert = {
        "Statement": f"INSERT INTO \"{place.name}\" VALUE {{'{PK}': ?, '{SK}': ?}}",
        "Parameters": [pk, {"N": "0"}],
    }
    delete = {
        "Statement": f'DELETE FROM "{place.name}" WHERE "{PK}" = ? AND "{SK}" = ? AND "position" <= ?',  # noqa: S608
        "Parameters": [pk, sk, {"S": "0"}],
    }
    return [
        Attempt(("PartiQLInsert",), partial(_execute, place.client, insert), needed=False),
        Attempt(("PartiQLDelete",), partial(_execute, place.client, delete), needed=False),
    ]


def _execute(client: "DynamoDBClient", statement: Any) -> None:
    """Attempt a statement; one that is denied in the answer is raised like one whose call is denied."""
    for response in client.batch_execute_statement(Statements=[statement])["Responses"]:
        error: Any = response.get("Error", {})
        if error.get("Code") == STATEMENT_DENIED:
            raise ClientError({"Error": error}, "BatchExecuteStatement")


def tried(place: Place, attempts: Sequence[Attempt]) -> Iterator[Finding]:
    """Make all attempts; what is denied is told once, however many calls need it."""
    told: dict[tuple[str, str], Finding] = {}
    for attempt in attempts:
        finding = _outcome(place, attempt)
        if finding is not None:
            told.setdefault((finding.level, finding.what), finding)
    yield from told.values()
    if all(finding.level == "note" for finding in told.values()):
        yield Finding("good", place.name, place.setting, f"the worker's {len(attempts)} calls of it are allowed")


def _outcome(place: Place, attempt: Attempt) -> Finding | None:
    """Make one attempt. Return what is wrong; None if the call is allowed."""
    try:
        attempt.call()
    except ClientError as error:
        code, judged = error_code(error), verdict(error)
        if judged is Verdict.CONDITION:
            return None
        if judged is Verdict.DENIED:
            return place.denied(_action(error, attempt), code, needed=attempt.needed)
        if not attempt.needed:
            what = f"{error.operation_name} does not work here ({code}): entries of the live index are written singly"
            return Finding("note", place.name, place.setting, what)
        what, fix = f"{error.operation_name} failed ({code})", "run the check again; the worker would try again itself"
        return Finding("warning", place.name, place.setting, what, fix)
    return None


def _action(error: ClientError, attempt: Attempt) -> str:
    found = DENIED_ACTION.search(str(error.response.get("Error", {}).get("Message", "")))
    return found[1] if found else " or ".join(f"dynamodb:{action}" for action in attempt.actions)


def _value(type_: str, absent: str) -> dict[str, Any]:
    match type_:
        case "N":
            return {"N": str(int.from_bytes(absent.encode()[:12]))}
        case "B":
            return {"B": absent.encode()}
        case _:
            return {"S": absent}
