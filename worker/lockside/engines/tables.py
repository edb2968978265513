"""What is known of a watched table: its newest stream, and whether the table is still there.

The engine follows the table, not one stream of it: switched off and on again, a table has another stream.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from botocore.exceptions import ClientError

from lockside.aws.answers import having
from lockside.aws.retrying import verdict
from lockside.core import telemetry
from lockside.core.failures import Verdict
from lockside.engines.discovery import Discovery
from lockside.state.streams import KnownStream, Streams

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOG = structlog.get_logger(__name__)

VIEW_TYPE: Final = "NEW_AND_OLD_IMAGES"


@dataclass(frozen=True, slots=True)
class TableNow:
    """A table as it is now. `stream_arn` is its newest stream, which stays named after it was switched off.

    `usable`: the stream shows both images, without which no change can be told.
    """

    exists: bool = True
    stream_arn: str | None = None
    usable: bool = True


class Tables(Protocol):
    """What the engine asks of watched tables and remembers of their streams."""

    def describe(self, table: str) -> TableNow | None:
        """Describe a table, with one call that raises what boto3 raises; None if tables are not followed."""
        ...

    def known(self, stream_arn: str) -> tuple[KnownStream, ...]:
        """Return what is remembered of all streams of a stream's table, oldest first."""
        ...

    def found(self, stream_arn: str, *, follows: bool) -> None:
        """Remember a stream, and whether it took the place of another."""
        ...

    def drained(self, stream_arn: str) -> None:
        """Remember that a stream is consumed to its end."""
        ...

    def forget(self, stream_arn: str) -> None:
        """Remember a stream no more."""
        ...


class NoTables:
    """Follows no table: the streams that were planned are all there is."""

    def describe(self, table: str) -> TableNow | None:
        """Say nothing."""
        del table
        return None

    def known(self, stream_arn: str) -> tuple[KnownStream, ...]:
        """Remember nothing."""
        del stream_arn
        return ()

    def found(self, stream_arn: str, *, follows: bool) -> None:
        """Remember nothing."""

    def drained(self, stream_arn: str) -> None:
        """Remember nothing."""

    def forget(self, stream_arn: str) -> None:
        """Remember nothing."""


@dataclass(frozen=True, slots=True)
class FollowedTables:
    """Follows tables through DescribeTable, and remembers their streams in the state table."""

    client: "DynamoDBClient"
    streams: Streams

    def describe(self, table: str) -> TableNow | None:
        """Describe a table."""
        try:
            answer = having("Table", Mapping, "DescribeTable", partial(self.client.describe_table, TableName=table))
        except ClientError as error:
            if verdict(error) is Verdict.NOT_FOUND:
                return TableNow(exists=False)
            raise
        described: Mapping[str, Any] = answer["Table"]
        specification = described.get("StreamSpecification") or {}
        view_type = specification.get("StreamViewType", VIEW_TYPE)
        return TableNow(stream_arn=described.get("LatestStreamArn"), usable=view_type == VIEW_TYPE)

    def known(self, stream_arn: str) -> tuple[KnownStream, ...]:
        """Read what is remembered."""
        return self.streams.load(stream_arn)

    def found(self, stream_arn: str, *, follows: bool) -> None:
        """Remember a stream, and whether it took the place of another."""
        self.streams.found(stream_arn, follows=follows)

    def drained(self, stream_arn: str) -> None:
        """Remember the end of a stream."""
        self.streams.drained(stream_arn)

    def forget(self, stream_arn: str) -> None:
        """Remember a stream no more."""
        self.streams.forget(stream_arn)


def take_up(tables: Tables, newest: str) -> tuple[tuple[KnownStream, ...], list[KnownStream]]:
    """Return what an earlier run knew of a table's streams, and those of it that are still to be read, oldest first.

    If all are drained, the last one stands for the table until the one that took its place is found.
    """
    remembered = tables.known(newest)
    if not remembered:
        tables.found(newest, follows=False)
        remembered = (KnownStream(newest),)
    return remembered, [known for known in remembered if not known.drained] or [remembered[-1]]


def successors(now: TableNow, known: Collection[str], tables: Tables, discovery: Discovery, table: str) -> list[str]:
    """Find a table's new stream, and those that came and went before it was looked for, oldest first; remember them."""
    if now.stream_arn is None or now.stream_arn in known:
        return []
    if not now.usable:
        reason = f"its view type is not {VIEW_TYPE}"
        LOG.error("stream_not_usable", **{telemetry.TABLE: table, telemetry.REASON: reason})
        return []
    last = max(known)
    listed = {arn for arn in discovery.streams(table) if last < arn < now.stream_arn}
    found = sorted({*listed, now.stream_arn})
    for arn in found:
        LOG.warning("stream_replaced", **{telemetry.TABLE: table, telemetry.REASON: arn})
        tables.found(arn, follows=True)
    return found
