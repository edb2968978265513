"""Each way the fake streams server misbehaves, as boto3 sees it over a socket."""

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from botocore import exceptions as aws
from botocore.exceptions import ClientError

from tests.fakes.clock import FakeClock
from tests.fakes.stream_model import made_record
from tests.fakes.stream_names import spelled
from tests.fakes.stream_rig import streams_client
from tests.fakes.stream_server import StreamServer

FIFTEEN_MINUTES = 900.0


class Site:
    """A server on a fake clock, one stream of the table `locks`, and a boto3 client that tries once."""

    def __init__(self, server: StreamServer, clock: FakeClock) -> None:
        """Make the stream, with one open shard."""
        self.server = server
        self.clock = clock
        self.client = streams_client(server, read_timeout=5)
        made = self.order("create", table="locks")
        self.arn: str = made["arn"]
        self.root: str = made["shards"][0]

    def order(self, verb: str, **arguments: Any) -> Any:
        """Give a command, on `locks` unless it says otherwise."""
        place = {} if {"table", "arn"} & arguments.keys() else {"table": "locks"}
        return self.server.control({verb: {**place, **arguments}})

    def fail(self, operation: str, **fate: Any) -> None:
        """Let the next call of an operation go wrong."""
        self.server.control({"fail": {"operation": operation, **fate}})

    def listed(self, **more: Any) -> list[Any]:
        """List one page of shards."""
        return list(self.client.describe_stream(StreamArn=self.arn, **more)["StreamDescription"]["Shards"])

    def names(self, **more: Any) -> list[str]:
        """List one page of shards, by name."""
        return [shard["ShardId"] for shard in self.listed(**more)]

    def iterator(self, shard_id: str = "", kind: Any = "TRIM_HORIZON", **more: Any) -> str:
        """Ask for an iterator."""
        return self.client.get_shard_iterator(
            StreamArn=self.arn, ShardId=spelled(shard_id) if shard_id else self.root, ShardIteratorType=kind, **more
        )["ShardIterator"]

    def page(self, iterator: str, **more: Any) -> tuple[list[str], str | None]:
        """Read one page: its keys, and the next iterator."""
        page = self.client.get_records(ShardIterator=iterator, **more)
        return [each["dynamodb"]["Keys"]["id"]["S"] for each in page["Records"]], page.get("NextShardIterator")


@pytest.fixture
def site() -> Iterator[Site]:
    """Run one server for each test."""
    clock = FakeClock()
    with StreamServer(clock=clock) as server:
        made = Site(server, clock)
        yield made
        made.client.close()


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """Return an error answer's code and HTTP status."""
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


# -- the tree ----------------------------------------------------------------------------------------------------------


def test_a_roll_closes_a_shard_and_gives_it_one_child(site: Site) -> None:
    """The parent gets an ending number that none of its records exceeds, the child names its parent."""
    site.order("put", keys=["a", "b"])
    (child,) = site.order("roll")["shards"]
    parent, rolled = site.listed()
    numbers = [shard["SequenceNumberRange"] for shard in (parent, rolled)]
    assert (rolled["ShardId"], rolled["ParentShardId"]) == (child, site.root)
    assert int(numbers[0]["EndingSequenceNumber"]) >= int(numbers[0]["StartingSequenceNumber"])
    assert "EndingSequenceNumber" not in numbers[1]
    assert int(numbers[1]["StartingSequenceNumber"]) > int(numbers[0]["EndingSequenceNumber"])


def test_a_split_shares_the_items_out_and_keeps_each_in_one_line(site: Site) -> None:
    """Two children; every key always goes to the same one."""
    left, right = site.order("split")["shards"]
    keys = [f"key{number}" for number in range(40)]
    site.order("put", keys=[*keys, *keys])
    seen = [site.page(site.iterator(child))[0] for child in (left, right)]
    assert set(seen[0]).isdisjoint(seen[1])
    assert sorted([*seen[0], *seen[1]]) == sorted([*keys, *keys])
    assert all(seen)


def test_shard_ids_and_numbers_are_spelled_as_on_aws(site: Site) -> None:
    """`shardId-`, twenty digits of milliseconds, eight hex digits."""
    for _ in range(3):
        site.clock.advance(1)
        site.order("roll")
    names = site.names()
    for name in names:
        word, digits, salt = name.split("-")
        assert (word, len(digits), len(salt), int(salt, 16) >= 0) == ("shardId", 20, 8, True)
    assert names == sorted(names)


def test_numbers_gain_digits_within_a_shard_and_down_a_lineage(site: Site) -> None:
    """From 21 digits to 30 and more: rising as integers, out of order as text."""
    shard, numbers = site.root, []
    for _ in range(10):
        numbers += site.order("put", shard_id=shard, keys=[*"abcdefghij"])["numbers"]
        (shard,) = site.order("roll", shard_id=shard)["shards"]
    assert [int(number) for number in numbers] == sorted(int(number) for number in numbers)
    assert numbers != sorted(numbers)
    lengths = {len(number) for number in numbers}
    assert min(lengths) == 21
    assert max(lengths) >= 29


def test_hundreds_of_retained_shards_come_on_many_pages(site: Site) -> None:
    """A hundred at most on a page; the cursor leads through all of them once."""
    site.order("history", generations=350)
    names: list[str] = []
    more: Any = {}
    pages = 0
    while True:
        listing = site.client.describe_stream(StreamArn=site.arn, **more)["StreamDescription"]
        assert len(listing["Shards"]) <= 100
        names += [shard["ShardId"] for shard in listing["Shards"]]
        pages += 1
        if "LastEvaluatedShardId" not in listing:
            break
        more = {"ExclusiveStartShardId": listing["LastEvaluatedShardId"]}
    assert pages == 4
    assert len(names) == len(set(names)) == 351
    with pytest.raises(ClientError, match="Limit"):
        site.listed(Limit=101)


def test_a_cursor_may_be_repeated(site: Site) -> None:
    """For as many listings as it is told to."""
    site.order("history", generations=5)
    site.server.control({"set": {"shards_per_page": 2, "repeat_cursor": 1}})
    second = site.client.describe_stream(StreamArn=site.arn, ExclusiveStartShardId=site.root)["StreamDescription"]
    assert second.get("LastEvaluatedShardId") == site.root


def test_a_child_may_be_listed_late(site: Site) -> None:
    """It is left out of so many listings, filtered ones too, while it can be read already."""
    (child,) = site.order("roll", hidden_listings=2)["shards"]
    children: Any = {"Type": "CHILD_SHARDS", "ShardId": site.root}
    assert [child in site.names(), child in site.names(ShardFilter=children)] == [False, False]
    site.order("put", shard_id=child, keys=["a"])
    assert site.page(site.iterator(child))[0] == ["a"]
    assert child in site.names()


def test_a_listing_may_have_a_hole(site: Site) -> None:
    """A shard in the middle is missing from one listing and back in the next."""
    site.order("history", generations=2)
    root, middle, leaf = site.names()
    site.order("shard", shard_id=middle, hidden_listings=1)
    assert [site.names(), site.names()] == [[root, leaf], [root, middle, leaf]]


def test_a_listing_may_show_a_closed_parent_open(site: Site) -> None:
    """The child is there and the parent's end is not."""
    site.order("roll")
    site.order("shard", shard_id=site.root, open_listings=1)
    ends = ["EndingSequenceNumber" in site.listed()[0]["SequenceNumberRange"] for _ in range(2)]
    assert ends == [False, True]


@pytest.mark.parametrize(("filtering", "found"), [("honoured", 1), ("ignored", 4)])
def test_child_shards_are_filtered_or_not(site: Site, filtering: str, found: int) -> None:
    """AWS gives a shard's children; emulators give everything."""
    site.order("history", generations=3)
    site.server.control({"set": {"child_filter": filtering}})
    assert len(site.names(ShardFilter={"Type": "CHILD_SHARDS", "ShardId": site.root})) == found


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
def test_the_end_comes_with_the_last_records_or_after_them(site: Site, together: bool) -> None:  # noqa: FBT001
    """Both are allowed, and a null iterator is a member that is not there."""
    site.order("shard", null_with_records=together)
    site.order("put", keys=["a"])
    site.order("close")
    keys, following = site.page(site.iterator())
    assert keys == ["a"]
    assert (following is None) is together
    if following is not None:
        assert site.page(following) == ([], None)


def test_empty_pages_stand_before_data(site: Site) -> None:
    """The iterator goes on each time."""
    site.order("put", keys=["a"])
    site.order("shard", empty_pages=2)
    seen, following = [], site.iterator()
    for _ in range(3):
        keys, after = site.page(following)
        assert after is not None
        following = after
        seen.append(keys)
    assert seen == [[], [], ["a"]]


def test_a_page_ends_at_a_megabyte_or_a_thousand_records(site: Site) -> None:
    """Two images of 400 KB are a page of their own; a higher limit is refused."""
    large = {"x": {"S": "x" * 400_000}}
    records = [made_record(f"key{number}", number, new=large) for number in range(3)]
    for record in records:
        record["dynamodb"]["OldImage"] = record["dynamodb"]["NewImage"]
    site.order("put", records=records)
    keys, following = site.page(site.iterator())
    assert keys == ["key0"]
    assert following is not None
    site.order("put", keys=[f"small{number}" for number in range(1_500)])
    last = site.iterator(kind="AFTER_SEQUENCE_NUMBER", SequenceNumber=str(site_numbers(site)[2]))
    keys, following = site.page(last)
    assert len(keys) == 1_000
    assert following is not None
    assert len(site.page(following)[0]) == 500
    with pytest.raises(ClientError) as caught:
        site.page(last, Limit=1_001)
    assert refusal(caught) == ("LimitExceededException", 400)


def site_numbers(site: Site) -> list[int]:
    """Return the root's sequence numbers."""
    return site.server.service.model.streams[site.arn].shards[site.root].numbers


def test_creation_times_are_rounded_down_to_the_second(site: Site) -> None:
    """What was made at .999 is told as .000."""
    site.order("put", keys=["a"], created_ms=1_795_421_400_999)
    (record,) = site.client.get_records(ShardIterator=site.iterator())["Records"]
    assert record["dynamodb"]["ApproximateCreationDateTime"].timestamp() == 1_795_421_400


def test_a_record_may_lack_its_number(site: Site) -> None:
    """For so many readings."""
    site.order("put", keys=["a", "b"])
    site.order("spoil", shard_id=site.root, index=1, readings=1)
    read = [site.client.get_records(ShardIterator=site.iterator())["Records"] for _ in range(2)]
    assert [["SequenceNumber" in each["dynamodb"] for each in page] for page in read] == [[True, False], [True, True]]


# -- iterators and lost data -------------------------------------------------------------------------------------------


def test_an_iterator_lives_fifteen_minutes_from_its_issue(site: Site) -> None:
    """Use does not prolong it."""
    site.order("put", keys=["a"])
    iterator = site.iterator()
    site.clock.advance(FIFTEEN_MINUTES)
    assert site.page(iterator)[0] == ["a"]
    site.clock.advance(1)
    with pytest.raises(ClientError) as caught:
        site.page(iterator)
    assert refusal(caught) == ("ExpiredIteratorException", 400)


def test_iterators_expire_on_command(site: Site) -> None:
    """All that were given out, and none that is given out later."""
    old = site.iterator()
    site.server.control({"expire": {}})
    with pytest.raises(ClientError, match="ExpiredIterator"):
        site.page(old)
    assert site.page(site.iterator())[0] == []


def test_trimmed_data_is_refused_and_the_horizon_is_not(site: Site) -> None:
    """AT and AFTER a trimmed record, and an iterator from before the trim."""
    site.order("put", keys=[*"abc"])
    old = site.iterator()
    numbers = [str(number) for number in site_numbers(site)]
    site.order("trim", count=2)
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        with pytest.raises(ClientError) as caught:
            site.iterator(kind=kind, SequenceNumber=numbers[0])
        assert refusal(caught) == ("TrimmedDataAccessException", 400)
    with pytest.raises(ClientError, match="TrimmedDataAccess"):
        site.page(old)
    assert site.page(site.iterator())[0] == ["c"]
    assert site.page(site.iterator(kind="AT_SEQUENCE_NUMBER", SequenceNumber=numbers[2]))[0] == ["c"]


def test_a_shard_that_aged_out_is_unlisted_and_unknown(site: Site) -> None:
    """Iterators on it, old and new, are not found; the cursor still works."""
    site.order("history", generations=3)
    old = site.iterator()
    root, *others = site.names()
    site.order("age_out", shard_id=root)
    assert site.names() == others == site.names(ExclusiveStartShardId=root)
    for call in (lambda: site.page(old), lambda: site.iterator(root)):
        with pytest.raises(ClientError) as caught:
            call()
        assert refusal(caught) == ("ResourceNotFoundException", 400)


def test_an_unknown_iterator_type_is_refused(site: Site) -> None:
    """AT_TIMESTAMP is in botocore's model; the service behind it does not know it everywhere."""
    with pytest.raises(ClientError) as caught:
        site.iterator(kind="AT_TIMESTAMP", Timestamp=0)
    assert refusal(caught)[0] == "ValidationException"


# -- calls that fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["GetRecords", "DescribeStream", "GetShardIterator"])
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("LimitExceededException", 400),
        ("ProvisionedThroughputExceededException", 400),
        ("InternalServerError", 500),
        ("ServiceUnavailable", 503),
        ("AccessDeniedException", 400),
    ],
)
def test_a_call_may_be_refused(site: Site, operation: str, code: str, status: int) -> None:
    """With the service's code and HTTP's status, as often as asked for."""
    iterator = site.iterator()
    calls: dict[str, Callable[[], object]] = {
        "GetRecords": lambda: site.page(iterator),
        "DescribeStream": site.names,
        "GetShardIterator": site.iterator,
    }
    site.fail(operation, code=code, status=status, passes=1)
    calls[operation]()
    with pytest.raises(ClientError) as caught:
        calls[operation]()
    assert refusal(caught) == (code, status)
    calls[operation]()


def test_a_connection_may_be_dropped(site: Site) -> None:
    """The client gets no answer at all, and the next call is fine."""
    site.fail("DescribeStream", kind="dropped")
    with pytest.raises(aws.ConnectionClosedError):
        site.names()
    assert site.names() == [site.root]


@pytest.mark.parametrize("kind", ["truncated", "garbled"])
def test_a_body_that_is_no_json_is_an_answer_without_members(site: Site, kind: str) -> None:
    """Botocore neither checks a body's length nor complains: records and next iterator are simply not there.

    A consumer that takes a missing NextShardIterator for the shard's end loses everything that follows.
    """
    site.order("put", keys=["a"])
    iterator = site.iterator()
    site.fail("GetRecords", kind=kind)
    page = site.client.get_records(ShardIterator=iterator)
    assert page.keys() == {"ResponseMetadata"}
    assert site.page(iterator)[0] == ["a"]


def test_a_body_may_dribble(site: Site) -> None:
    """A client that waits gets it whole; one that does not gives up."""
    site.fail("DescribeStream", kind="slow", seconds=0.1)
    assert site.names() == [site.root]
    hasty = streams_client(site.server, read_timeout=0.1)
    site.fail("DescribeStream", kind="slow", seconds=10)
    with pytest.raises((aws.ReadTimeoutError, aws.ResponseStreamingError, aws.HTTPClientError)):
        hasty.describe_stream(StreamArn=site.arn)
    hasty.close()


def test_chaos_is_the_same_for_the_same_seed(site: Site) -> None:
    """What befalls a hundred calls is drawn from the seed alone."""

    def befallen(seed: int) -> list[str]:
        site.server.control({"chaos": {"throttled": 0.2, "server_error": 0.2, "dropped": 0.1, "seed": seed}})
        seen: list[str] = []
        for _ in range(40):
            try:
                site.names()
            except (ClientError, aws.BotoCoreError) as error:
                seen.append(type(error).__name__)
            else:
                seen.append("fine")
        return seen

    runs = [befallen(1), befallen(1), befallen(2)]
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) > 2


# -- streams that end --------------------------------------------------------------------------------------------------


def test_a_disabled_stream_is_closed_and_readable(site: Site) -> None:
    """Its leaves close, what they hold can be read to the end, and no write comes any more."""
    site.order("put", keys=["a"])
    site.order("disable")
    site.order("put", keys=["b"])
    listing = site.client.describe_stream(StreamArn=site.arn)["StreamDescription"]
    assert listing["StreamStatus"] == "DISABLED"
    assert all("EndingSequenceNumber" in shard["SequenceNumberRange"] for shard in listing["Shards"])
    assert site.page(site.iterator()) == (["a"], None)


def test_a_stream_that_is_switched_on_again_is_a_new_one(site: Site) -> None:
    """Another ARN and label, other shards, and numbers that begin anew; the old one stays readable."""
    site.order("put", keys=[*"ab"])
    site.order("roll")
    last = site.order("put", keys=[*"cdefghijkl"])["numbers"][-1]
    site.order("disable")
    made = site.order("enable")
    assert made["arn"] != site.arn
    assert set(made["shards"]).isdisjoint(site.names())
    (first,) = site.order("put", keys=["x"])["numbers"]
    assert int(first) < int(last)
    streams = site.client.list_streams(TableName="locks")["Streams"]
    assert [stream["StreamArn"] for stream in streams] == [site.arn, made["arn"]]
    assert site.page(site.iterator())[0] == ["a", "b"]


def test_a_deleted_table_has_no_stream(site: Site) -> None:
    """Listing, iterators and reads are not found."""
    iterator = site.iterator()
    site.order("delete")
    for call in (site.names, site.iterator, lambda: site.page(iterator)):
        with pytest.raises(ClientError) as caught:
            call()
        assert refusal(caught) == ("ResourceNotFoundException", 400)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_streams_live_by_themselves(site: Site) -> None:
    """Rolls every few seconds, retention: the tree grows at one end and ages out at the other."""
    site.server.control({"life": {"roll_seconds": 5, "split": 0.1, "retention_seconds": 60, "seed": 3}})
    for _ in range(40):
        site.clock.advance(5)
        site.order("put", keys=["a", "b"])
        site.names()
    told = site.server.control({"state": {}})["streams"][0]["shards"]
    assert sum(shard["aged_out"] for shard in told) > 5
    assert any(shard["trimmed"] for shard in told)
    leaves = [shard for shard in told if not shard["closed"]]
    assert 1 <= len(leaves) <= 8
    assert len(site.names()) < len(told)


def test_several_clients_may_call_at_once(site: Site) -> None:
    """Nothing is lost or doubled between writers and readers in threads."""

    def write(name: int) -> None:
        for number in range(30):
            site.order("put", keys=[f"{name}-{number}"])

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    following: str | None = site.iterator()
    seen: list[str] = []
    while following and (len(seen) < 120 or any(thread.is_alive() for thread in threads)):
        keys, following = site.page(following)
        seen += keys
    assert len(seen) == len(set(seen)) == 120
    for name in range(4):
        own = [int(key.split("-")[1]) for key in seen if key.startswith(f"{name}-")]
        assert all(first < second for first, second in pairwise(own))
