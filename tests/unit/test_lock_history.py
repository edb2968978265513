"""The history of a lock table by its stream, which is late: it is read on until it shows what clients held."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from lockside.app import lock_history
from lockside.core.trial import Step

if TYPE_CHECKING:
    from lockside.aws.clients import Clients


def record(fence: int) -> dict[str, Any]:
    """Build the stream record of an acquisition."""
    image = {"key": {"S": "l"}, "ownerName": {"S": f"o{fence}"}, "fence": {"N": str(fence)}}
    return {"dynamodb": {"Keys": {"key": {"S": "l"}}, "NewImage": image}}


class LateStream:
    """Shows one record more each time that it is read from its start. Implements what is asked of both clients."""

    def __init__(self, last: int) -> None:
        """Show no more than so many."""
        self.reads = 0
        self._last = last

    def describe_table(self, **_: Any) -> Any:
        """Name the stream."""
        return {"Table": {"LatestStreamArn": "arn"}}

    def describe_stream(self, **_: Any) -> Any:
        """Have one shard."""
        return {"StreamDescription": {"Shards": [{"ShardId": "s"}]}}

    def get_shard_iterator(self, **_: Any) -> Any:
        """Begin anew."""
        self.reads += 1
        return {"ShardIterator": "i"}

    def get_records(self, **_: Any) -> Any:
        """Return what is there, and the end."""
        return {"Records": [record(fence) for fence in range(1, min(self.reads, self._last) + 1)]}


class NoWait:
    """Lets no time pass."""

    def is_set(self) -> bool:
        """Never."""
        return False

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once."""
        del timeout
        return False


def read(stream: LateStream, until: int) -> list[Step] | None:
    """Read the history of one lock until a fence."""
    clients = cast("Clients", SimpleNamespace(dynamodb=stream, streams=stream))
    return lock_history.steps(clients, "locks", ("l",), {"l": until}, NoWait())


def test_it_is_read_until_it_shows_the_last_fence() -> None:
    """And no longer."""
    stream = LateStream(5)
    assert read(stream, 3) == [Step("l", 1, "o1"), Step("l", 2, "o2"), Step("l", 3, "o3")]
    assert stream.reads == 3


def test_it_is_read_a_bounded_number_of_times() -> None:
    """What it never shows remains an open question."""
    stream = LateStream(2)
    assert read(stream, 3) == [Step("l", 1, "o1"), Step("l", 2, "o2")]
    assert stream.reads == lock_history.READS_MAX
