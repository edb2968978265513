"""Whether a watched table's stream is on, shows what is needed, and may be read: each call of the worker, made once.

A permission that is missing would else show only while the worker runs, as a shard that cannot be read.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.app.finding import Finding
from lockside.app.sources import VIEW_TYPE
from lockside.aws.answers import having
from lockside.aws.retrying import NO_ANSWER, error_code, verdict
from lockside.core.failures import Verdict

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

READERS_MAX: Final = 2
"""Readers that a shard bears at a time, whoever they are (API reference, GetRecords, LimitExceededException)."""

ACTIONS: Final = "dynamodb:DescribeStream, dynamodb:GetShardIterator, dynamodb:GetRecords and dynamodb:ListStreams"
"""What the worker calls of a stream."""


def stream(
    place: str, name: str, table: Mapping[str, Any], streams: "DynamoDBStreamsClient", readers: Sequence[str] = ()
) -> Iterator[Finding]:
    """Look at one table's stream; `place` is its section among the settings, `readers` are those of ours by name."""
    setting = f"{place}.table"
    specification = table.get("StreamSpecification", {})
    view = specification.get("StreamViewType")
    command = f"aws dynamodb update-table --table-name {name} --stream-specification"
    turn_on = f"{command} StreamEnabled=true,StreamViewType={VIEW_TYPE}"
    if not specification.get("StreamEnabled"):
        yield Finding("fault", name, setting, "its stream is off", turn_on)
    elif view != VIEW_TYPE:
        what = f"its stream shows {view}; both images are needed to tell what a change means"
        # AWS does not change the view of a stream that is on: it must be turned off and on again.
        fix = f"{command} StreamEnabled=false, then {turn_on} (the old stream is lost to its other readers)"
        yield Finding("fault", name, setting, what, fix)
    else:
        yield Finding("good", name, setting, f"its stream is on with {VIEW_TYPE}")
        yield _read(setting, name, table["LatestStreamArn"], streams)
        yield _other_readers(setting, name, readers, is_global=bool(table.get("Replicas")))


def _read(setting: str, name: str, arn: str, client: "DynamoDBStreamsClient") -> Finding:
    """Make the worker's calls; the newest iterator leads to no record, so nothing is read that is not wanted."""
    try:
        listed = having("StreamDescription", dict, "DescribeStream", lambda: client.describe_stream(StreamArn=arn))
        shards = listed["StreamDescription"].get("Shards", ())
        if shards:
            _read_shard(arn, shards[-1]["ShardId"], client)
        client.list_streams(TableName=name, Limit=1)
    except (ClientError, BotoCoreError) as error:
        return _unread(setting, name, arn, error, client.meta.endpoint_url)
    return Finding("good", name, setting, "its stream may be read")


def _read_shard(arn: str, shard_id: str, client: "DynamoDBStreamsClient") -> None:
    place: dict[str, Any] = {"StreamArn": arn, "ShardId": shard_id, "ShardIteratorType": "LATEST"}
    found = having("ShardIterator", str, "GetShardIterator", lambda: client.get_shard_iterator(**place))
    client.get_records(ShardIterator=found["ShardIterator"], Limit=1)


def _unread(setting: str, name: str, arn: str, error: ClientError | BotoCoreError, endpoint: str) -> Finding:
    operation = error.operation_name if isinstance(error, ClientError) else "its endpoint"
    code = error_code(error)
    match verdict(error):
        case Verdict.DENIED:
            what, fix = (
                f"{operation} on its stream is denied ({code})",
                f"allow {ACTIONS} on {arn.rpartition('/')[0]}/*",
            )
            return Finding("fault", name, setting, what, fix)
        case Verdict.THROTTLED:
            what = f"{operation} on its stream is throttled ({code}): others read it too, or list it often"
            return Finding("warning", name, setting, what, "see who else reads it: a shard bears two readers")
        case _ if isinstance(error, NO_ANSWER):
            what = f"its stream was not answered for at {endpoint} ({code})"
            fix = "streams have an endpoint of their own: open the network to it, or correct aws.endpoint_url"
            return Finding("fault", name, setting, what, fix)
        case _:
            what = f"{operation} on its stream failed ({code})"
            return Finding("warning", name, setting, what, "run the check again; the worker would try again by itself")


def _other_readers(setting: str, name: str, readers: Sequence[str], *, is_global: bool) -> Finding:
    """Say what no call can find out: who else reads the stream (developer guide, Streams: at most two at a time)."""
    if len(readers) > (1 if is_global else READERS_MAX):
        what = f"each shard of its stream would have {len(readers)} readers of ours: {', '.join(readers)}"
        what += "; of a global table it should have one" if is_global else f"; it bears {READERS_MAX} at a time"
        fix = "give replicas of this table one reader to share: the same reader = … in their [[replica]] sections"
        return Finding("warning" if is_global else "fault", name, setting, what, fix)
    if len(readers) > 1:
        what = f"each shard of its stream has two readers of ours, which is all that it bears: {', '.join(readers)}"
        return Finding("note", name, setting, what, "let nothing else read it (Lambda, KCL, other tools)")
    if is_global:
        what = "it is a global table: each shard of its stream should have no reader but this worker"
    else:
        what = "each shard of its stream bears two readers at a time, and this worker is one"
    fix = "see what else reads it (Lambda, KCL, other tools): too many are throttled, this worker among them"
    return Finding("note", name, setting, what, fix)
