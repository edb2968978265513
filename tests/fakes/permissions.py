"""What a call needs to be allowed by IAM, and what a policy of `deploy/iam` allows: pairs of action and resource.

A resource is told as the end of its ARN, `table/NAME`, `table/NAME/index/INDEX` or `table/NAME/stream/*`. Which call
needs which action: the Service Authorization Reference for DynamoDB, "API operations".
"""

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

Grant = tuple[str, str]
"""An action, such as `dynamodb:PutItem`, and the resource it is allowed on."""

PREFIX: Final = "arn:aws:dynamodb:REGION:ACCOUNT:"
"""What stands before each resource of a policy of ours, for its user to fill in."""

IN_TRANSACTIONS: Final = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""A transaction has no action of its own: each part needs what it would need by itself, and a check its own."""

STATEMENT: Final = re.compile(r'(?P<verb>INSERT|DELETE|UPDATE|SELECT)\b[^"]*"(?P<table>[^"]+)"')
STATEMENTS: Final = {"BatchExecuteStatement": "Statements", "ExecuteTransaction": "TransactStatements"}


def grants(policy: Path) -> frozenset[Grant]:
    """Read all pairs that a policy allows. It must be as plain as ours are: no wildcard action, no condition."""
    document = json.loads(policy.read_text(encoding="utf-8"))
    found: set[Grant] = set()
    for statement in document["Statement"]:
        assert statement.keys() == {"Sid", "Effect", "Action", "Resource"}, statement
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            assert re.fullmatch(r"dynamodb:[A-Za-z]+", action), action
            for resource in statement["Resource"]:
                assert resource.startswith(PREFIX), resource
                pair = (action, resource.removeprefix(PREFIX))
                assert pair not in found, f"{pair} is allowed twice"
                found.add(pair)
    return frozenset(found)


def covering(pair: Grant, allowed: frozenset[Grant] | None) -> Grant | None:
    """Return the grant that allows this pair, None if none does; without any list all is allowed by itself."""
    if allowed is None or pair in allowed:
        return pair
    action, resource = pair
    return next(
        (grant for grant in allowed if grant[0] == action and "*" in grant[1] and fnmatchcase(resource, grant[1])), None
    )


def renamed(pairs: frozenset[Grant], names: Mapping[str, str]) -> frozenset[Grant]:
    """Give the tables of a policy other names."""
    return frozenset((action, _renamed(resource, names)) for action, resource in pairs)


def _renamed(resource: str, names: Mapping[str, str]) -> str:
    kind, table, *rest = resource.split("/", 2)
    return "/".join([kind, names.get(table, table), *rest])


def needs(operation: str, request: Mapping[str, Any], iterators: Mapping[str, str]) -> frozenset[Grant]:
    """Return what a call needs. `iterators` says of which table's stream a shard iterator is."""
    return frozenset((f"dynamodb:{action}", resource) for action, resource in _needs(operation, request, iterators))


def _needs(operation: str, request: Mapping[str, Any], iterators: Mapping[str, str]) -> Iterator[Grant]:
    match operation:
        case "BatchGetItem" | "BatchWriteItem":
            yield from ((operation, f"table/{table}") for table in request["RequestItems"])
        case "TransactWriteItems":
            for part in request["TransactItems"]:
                ((kind, inner),) = part.items()
                yield IN_TRANSACTIONS[kind], f"table/{inner['TableName']}"
        case "BatchExecuteStatement" | "ExecuteTransaction":
            for statement in request[STATEMENTS[operation]]:
                found = STATEMENT.match(statement["Statement"])
                assert found is not None, statement["Statement"]
                yield f"PartiQL{found['verb'].title()}", f"table/{found['table']}"
        case "DescribeStream" | "GetShardIterator":
            yield operation, f"table/{table_of(request['StreamArn'])}/stream/*"
        case "GetRecords":
            yield operation, f"table/{iterators[request['ShardIterator']]}/stream/*"
        case "ListStreams":
            # Without a table it would need every resource there is, and ours may not.
            yield operation, f"table/{request['TableName']}/stream/*"
        case "Query" if "IndexName" in request:
            yield operation, f"table/{request['TableName']}/index/{request['IndexName']}"
        case _:
            yield operation, f"table/{request['TableName']}"


def table_of(stream_arn: str) -> str:
    """Name the table that a stream belongs to."""
    return stream_arn.split("/")[1]
