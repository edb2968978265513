"""DynamoDB Streams as a boto3 client in memory, straight over the model: a world makes thousands of calls."""

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from lockside.core.change import ShardRef
from tests.fakes import stream_reads
from tests.fakes.dynamodb import service_error
from tests.fakes.stream_model import ServiceError, StreamModel
from tests.fakes.stream_names import parse_iterator
from tests.fakes.stream_reads import Whims
from tests.simulation.chance import Chance
from tests.simulation.scheduler import Scheduler


class StreamsService:
    """The service; its clock is the true time, and its whims are chance.

    `served` is the position of the first record of the newest page of each shard, where that page had one.
    """

    def __init__(self, model: StreamModel, scheduler: Scheduler, chance: Chance) -> None:
        """Serve a model."""
        self.model = model
        self.served: dict[ShardRef, int] = {}
        self._scheduler = scheduler
        self._chance = chance

    def describe_stream(self, **request: Any) -> dict[str, Any]:
        """List one page of shards, perhaps with a hole, or with a closed one shown open."""
        hole = self._chance.random.random() if self._chance.happens("hole") else None
        reopen = self._chance.random.random() if self._chance.happens("reopened") else None
        return self._answer("DescribeStream", stream_reads.describe_stream, request, Whims(hole=hole, reopen=reopen))

    def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
        """Give an iterator out."""
        return self._answer("GetShardIterator", stream_reads.get_shard_iterator, request, Whims())

    def get_records(self, **request: Any) -> dict[str, Any]:
        """Return one page of records, perhaps an empty one."""
        whims = Whims(empty_page=self._chance.happens("empty_pages"))
        answer = self._answer("GetRecords", stream_reads.get_records, request, whims)
        place = parse_iterator(request["ShardIterator"])
        if place is not None:
            shard = ShardRef(place.arn, place.shard_id)
            self.served.pop(shard, None)
            if answer["Records"]:
                self.served[shard] = self.model.streams[place.arn].shards[place.shard_id].numbers[place.index]
        return answer

    def list_streams(self, **request: Any) -> dict[str, Any]:
        """List one page of streams."""
        return self._answer("ListStreams", stream_reads.list_streams, request, Whims())

    def describe_table(self, **request: Any) -> dict[str, Any]:
        """Describe a table."""
        return self._answer("DescribeTable", stream_reads.describe_table, request, Whims())

    def _answer(
        self, operation: str, carry_out: Callable[..., dict[str, Any]], request: dict[str, Any], whims: Whims
    ) -> dict[str, Any]:
        now_ms = self._scheduler.now_ms
        try:
            body = carry_out(self.model, request, now_ms, whims)
        except ServiceError as error:
            raise service_error(error.code, operation, error.message, error.status) from None
        headers = {"date": formatdate(now_ms // 1000, usegmt=True)}
        return {**body, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": headers, "RetryAttempts": 0}}
