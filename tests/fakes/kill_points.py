"""Where a worker may die: every kind of call it makes, told apart by what the call is for, and the moments around it.

A call that no rule here names is still a kind of its own, so that a new one cannot hide: the tests of kills demand that
every kind of write that a worker was seen to make was also one it died at.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

Moment = Literal["before", "after"]
"""`before`: nothing was sent. `after`: the service has done it, and nobody has learned of it."""

ANY: Final = "any"
"""Stands for every call."""

READS: Final = frozenset(
    {
        "BatchGetItem",
        "DescribeStream",
        "DescribeTable",
        "GetItem",
        "GetRecords",
        "GetShardIterator",
        "Query",
    }
)


@dataclass(frozen=True, slots=True)
class Point:
    """The worker dies before or after its `nth` call of a kind, counted from its start."""

    kind: str
    moment: Moment
    nth: int = 1

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Read it from JSON."""
        return cls(told["kind"], told["moment"], told["nth"])

    def told(self) -> dict[str, Any]:
        """Spell it for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.moment} {self.kind} #{self.nth}"


@dataclass(frozen=True, slots=True)
class OwnTables:
    """The worker's own tables; all others are watched ones."""

    audit: str
    state: str

    def kind_of(self, operation: str, params: Mapping[str, Any]) -> str:
        """Say what a call is for."""
        table, key, expression = _aim(operation, params)
        if table == self.audit:
            return _audit_kind(operation, key, expression)
        if table == self.state:
            return _state_kind(operation, key, expression)
        return "proof" if operation == "BatchGetItem" else operation


def is_write(kind: str) -> bool:
    """Whether a kind of call leaves something behind."""
    return kind not in READS and kind not in {"proof", ANY}


def _aim(operation: str, params: Mapping[str, Any]) -> tuple[str, tuple[str, str], str]:
    """Return the table, the key and the expression that a call is about; of a transaction, those of its last action."""
    match operation:
        case "BatchWriteItem" | "BatchGetItem":
            return next(iter(params["RequestItems"])), ("", ""), ""
        case "BatchExecuteStatement":
            return params["Statements"][0]["Statement"].split('"')[1], ("", ""), ""
        case "TransactWriteItems":
            (action,) = params["TransactItems"][-1].values()
            return action["TableName"], _key_of(action), action.get("UpdateExpression", "")
        case _:
            return params.get("TableName", ""), _key_of(params), params.get("UpdateExpression", "")


def _key_of(params: Mapping[str, Any]) -> tuple[str, str]:
    item = params.get("Key") or params.get("Item") or {}
    return item.get("pk", {}).get("S", ""), item.get("sk", {}).get("S", "")


def _audit_kind(operation: str, key: tuple[str, str], expression: str) -> str:
    pk, sk = key
    match operation, sk:
        case ("BatchWriteItem", _):
            return "records"
        case ("TransactWriteItems", "H"):
            return f"observe {_log_kind(pk)}"
        case ("PutItem", "G"):
            return f"genesis {_log_kind(pk)}"
        case ("PutItem", "H"):
            return f"first head {_log_kind(pk)}"
        case ("PutItem", _) if pk.startswith("CAT"):
            return "catalogue"
        case ("UpdateItem", "H"):
            return "seal" if "#sealed = :true" in expression else "head"
        case _:
            return operation


def _log_kind(pk: str) -> str:
    log = pk.removeprefix("LOG#")
    if log.startswith("application/"):
        return "of application"
    return "of observer" if log.endswith("/observer") else "of shard"


def _state_kind(operation: str, key: tuple[str, str], expression: str) -> str:
    pk, _sk = key
    item = pk.partition("#")[0]
    match operation, item:
        case ("UpdateItem", "CK"):
            return _checkpoint_kind(expression)
        case ("PutItem", "OWNER"):
            return "take-over"
        case ("UpdateItem", "OWNER"):
            return "release" if "REMOVE" in expression else "renewal"
        case _ if operation in READS:
            return operation
        case _:
            return STATE_KINDS.get((operation, item), f"{operation} {item}".strip())


def _checkpoint_kind(expression: str) -> str:
    if "#finished" in expression:
        return "finished"
    if "#position" in expression:
        return "checkpoint"
    return "tip" if "#tip" in expression else "claim"


STATE_KINDS: Final[Mapping[tuple[str, str], str]] = {
    ("BatchExecuteStatement", ""): "live batch",
    ("BatchWriteItem", ""): "status",
    ("DeleteItem", "CK"): "forget",
    ("DeleteItem", "LIVE"): "live delete",
    ("PutItem", "LIVE"): "live put",
    ("PutItem", "UNDEC"): "undecodable",
    ("TransactWriteItems", "CK"): "first checkpoint",
    ("UpdateItem", "TABLE"): "stream known",
}
