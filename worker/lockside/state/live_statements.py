"""Entries of the live index written 25 a call, each under its own condition.

Strategy: BatchWriteItem knows no conditions and a transaction costs twice, but BatchExecuteStatement takes 25
statements that succeed or fail one by one, at the price of plain writes. INSERT fails if the item is there, DELETE if
its position is higher. So a batch is an attempt: what a statement did not settle is written again singly, under the
full condition, and a call that fails as a whole leaves everything to that. Nothing here has to succeed.

An endpoint that does not know such calls (moto 5.2) fails the first; then no other is made. Passing trouble is no such
answer.
Source: API reference, BatchExecuteStatement; seen on DynamoDB Local 2.6.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.answers import having
from lockside.aws.retrying import error_code, verdict
from lockside.core import telemetry
from lockside.core.failures import Verdict

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOG = structlog.get_logger(__name__)

STATEMENTS_MAX: Final = 25
"""BatchExecuteStatement's limit."""

REFUSED: Final = "ConditionalCheckFailed"

Item = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Put:
    """A new entry."""

    item: Item


@dataclass(frozen=True, slots=True)
class Removal:
    """The end of an entry that is not newer than `position`."""

    pk: str
    sk: str
    position: str


@dataclass(slots=True)
class _Experience:
    """What calls came to: `worked` once one did, `given_up` when the first was refused as such."""

    worked: bool = False
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Statements:
    """Attempts batches on the state table. Safe to share between threads."""

    client: "DynamoDBClient"
    table: str
    _experience: _Experience = field(default_factory=_Experience)

    def attempt(self, writes: Sequence[Put | Removal]) -> list[int]:
        """Attempt up to 25 writes of different entries in one call; return the indexes of those left to be done."""
        everything = list(range(len(writes)))
        if self._experience.given_up:
            return everything
        statements: Any = [self._statement(write) for write in writes]
        try:
            ask = partial(self.client.batch_execute_statement, Statements=statements)
            answers = having("Responses", list, "BatchExecuteStatement", ask)["Responses"]
        except (ClientError, BotoCoreError) as error:
            self._failed(error)
            return everything
        self._experience.worked = True
        return [n for n, write in enumerate(writes) if n >= len(answers) or not _settled(write, answers[n])]

    def _failed(self, error: Exception) -> None:
        if not (self._experience.worked or _is_passing(error)):
            self._experience.given_up = True
            LOG.info("live_index_unbatched", **{telemetry.ERROR: error_code(error)})

    def _statement(self, write: Put | Removal) -> dict[str, Any]:
        match write:
            case Put(item):
                names = ", ".join(f"'{name}': ?" for name in item)
                return {
                    "Statement": f'INSERT INTO "{self.table}" VALUE {{{names}}}',
                    "Parameters": list(item.values()),
                }
            case Removal(pk, sk, position):
                # Only the table's own name is spliced in; every value is a parameter.
                return {
                    "Statement": f'DELETE FROM "{self.table}" WHERE "pk" = ? AND "sk" = ? AND "position" <= ?',  # noqa: S608
                    "Parameters": [{"S": pk}, {"S": sk}, {"S": position}],
                }


def _is_passing(error: Exception) -> bool:
    """Whether a failure tells nothing of what the endpoint knows; moto's does, a 500 without a word of DynamoDB's."""
    return verdict(error) in {Verdict.RETRY, Verdict.THROTTLED} and not error_code(error).isdecimal()


def _settled(write: Put | Removal, answer: Mapping[str, Any]) -> bool:
    """Whether nothing is left to do. A removal refused for its position means that a newer entry stands there."""
    error = answer.get("Error")
    return error is None or (isinstance(write, Removal) and error.get("Code") == REFUSED)
