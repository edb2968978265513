"""Key phrases: order, exact values, versions, and every write's fate known, on each backend."""

import itertools
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from lockside.emulators.emulator import Emulator
from lockside.errors import (
    LimitError,
    NotFoundOutError,
    OutcomeUnknownError,
    PartlyWrittenError,
    SetupError,
    StoppedError,
    VersionError,
)
from lockside.stores import KeyPhraseStore, tables
from lockside.stores.phrase_row import placement_item
from lockside.stores.placement import Placement
from tests.fakes.faults import FaultyClient, broken, lost_answer, lost_request, refused, throttled
from tests.fakes.store_desk import ATOMIC, BACKENDS, StoreDesk, make_desk

KEYS = ["a", "aa", "b", "z", "é", "\uffff", "\U0001f600", "\U0010ffff", "x" * 1_024]
"""Where UTF-16 would put them, the last two but one stand before U+FFFF."""


@pytest.fixture(params=ATOMIC)
def crowded(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind that many threads may use at once."""
    return make_desk(request.param, emulator_of, page_items=100)


@pytest.fixture(params=BACKENDS)
def desk(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind."""
    return make_desk(request.param, emulator_of)


def test_keys_come_in_code_point_order(desk: StoreDesk) -> None:
    """Over all shards, both ways, from any start to any end, and on from any cursor."""
    phrases = desk.phrase_store().prefix("p/")
    phrases.update({key: position for position, key in enumerate(KEYS)})
    want = sorted(KEYS)
    assert [each.key for each in phrases.phrases()] == want
    assert [each.key for each in phrases.phrases(reverse=True)] == want[::-1]
    assert phrases.count() == len(KEYS)
    for start, end in itertools.product([None, *want[::2]], [None, *want[1::2]]):
        inside = [key for key in want if (start is None or key >= start) and (end is None or key < end)]
        assert [each.key for each in phrases.phrases(start, end)] == inside
        assert [each.key for each in phrases.phrases(start, end, reverse=True)] == inside[::-1]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_goes_on_at_its_cursor(desk: StoreDesk, reverse: bool) -> None:  # noqa: FBT001
    """However it is cut, the pieces are the whole; a cursor is a key, and holds for any number of shards."""
    phrases = desk.phrase_store().prefix("p/")
    phrases.update({f"{number:02}": number for number in range(23)})
    cursor, pieces = None, []
    while True:
        with phrases.phrases(start="02", limit=5, after=cursor, reverse=reverse) as scan:
            piece = [each.key for each in scan]
        if not piece:
            break
        pieces.append(piece)
        cursor = scan.cursor
    assert [len(piece) for piece in pieces] == [5, 5, 5, 5, 1]
    keys = [f"{number:02}" for number in range(2, 23)]
    assert list(itertools.chain(*pieces)) == (keys[::-1] if reverse else keys)
    assert list(phrases.phrases(limit=0)) == []
    assert list(phrases.phrases(start="5", end="1")) == []


def test_prefixes_are_apart(desk: StoreDesk) -> None:
    """One that begins with another, or is empty, or looks like a shard's, holds its own."""
    store = desk.phrase_store()
    prefixes = ["", "p", "p/", "1#p", "#", "placement"]
    for prefix in prefixes:
        store.prefix(prefix).write("key", prefix)
    for prefix in prefixes:
        assert [each.value for each in store.prefix(prefix).phrases()] == [prefix]


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 10**37, 10**60, 1.5, -0.0, 1e300, "", "text", "\ud800 alone", "é" * 100, b"", b"\x00\xff",
        Decimal("1.25"), Decimal("-1E-100"), Decimal(99999999999999999999999999999999999999), [], {}, [1, [2.5, None]],
        {"a": {"b": [True, "c"]}, "": 10**40},
    ],
)  # fmt: skip
def test_a_value_comes_back_equal_and_of_its_type(desk: StoreDesk, value: Any) -> None:
    """JSON, bytes and numbers."""
    phrases = desk.phrase_store().prefix("p/")
    version = phrases.write("key", value)
    found = phrases.read("key")
    assert found is not None
    assert (found.value, type(found.value), found.version) == (value, type(value), version)
    assert str(found.value) == str(value)
    assert [each.value for each in phrases.phrases()] == [value]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((1, 2), "value of type tuple"),
        ([(1, 2)], "holds a tuple"),
        ({1: 2}, "key of type int"),
        ([b"x"], "holds a bytes"),
        (float("nan"), "NaN or an infinity"),
        (Decimal("NaN"), "no NaN or infinity"),
        (Decimal("1." + "1" * 38), "decimal of 39 digits"),
        (Decimal("1E126"), "from 1e-130"),
        ("x" * 410_000, "value of 410002 bytes: an item holds 409600"),
        (b"x" * 409_500, "store what is larger in S3"),
        ("é" * 204_800, "value of 409602 bytes"),
    ],
)
def test_a_value_that_would_not_come_back_is_refused(desk: StoreDesk, value: Any, message: str) -> None:
    """Before anything is sent, and an update of many as a whole."""
    watched = FaultyClient(desk.client)
    phrases = desk.phrase_store(watched.client).prefix("p/")
    watched.calls.clear()
    with pytest.raises(LimitError, match=message):
        phrases.write("key", value)
    with pytest.raises(LimitError, match=message):
        phrases.update({"good": 1, "key": value})
    assert watched.calls == []


def test_the_largest_value_fits(crowded: StoreDesk) -> None:
    """What the message says is left, is left; moto draws the limit elsewhere."""
    phrases = crowded.phrase_store().prefix("p" * 1_024)
    with pytest.raises(LimitError, match="which leaves") as refusal:
        phrases.write("k" * 1_024, "x" * 409_600)
    left = int(str(refusal.value).partition("leaves ")[2].partition(";")[0])
    phrases.write("k" * 1_024, "x" * (left - len('""')))
    found = phrases.read("k" * 1_024)
    assert found is not None
    assert isinstance(found.value, str)
    assert len(found.value) == left - len('""')


@pytest.mark.parametrize("key", ["", "x" * 1_025, "é" * 513, "\udfff"])
def test_keys_that_cannot_be_are_refused(desk: StoreDesk, key: str) -> None:
    """Empty, over-long in UTF-8, or no text that UTF-8 can spell."""
    phrases = desk.phrase_store().prefix("p/")
    for call in (phrases.read, phrases.delete, lambda key: phrases.write(key, 1), lambda key: phrases.update({key: 1})):
        with pytest.raises(LimitError, match="key"):
            call(key)
    with pytest.raises(LimitError, match="prefix"):
        desk.phrase_store().prefix(key * 9 or "x" * 1_025)


@pytest.mark.parametrize("bound", ["x" * 1_025, "\udfff"])
@pytest.mark.parametrize("what", ["start", "end", "after"])
def test_bounds_that_cannot_be_are_refused(desk: StoreDesk, what: str, bound: str) -> None:
    """As soon as the scan is asked for, by the name of the bound."""
    bounds: dict[str, Any] = {what: bound}
    with pytest.raises(LimitError, match=f"{what} "):
        desk.phrase_store().prefix("p/").phrases(**bounds)


def test_versions_refuse_a_lost_update(desk: StoreDesk) -> None:
    """Over the version that was read, over nothing, over a version that is gone."""
    phrases = desk.phrase_store().prefix("p/")
    first = phrases.write("key", 1, if_version="")
    with pytest.raises(VersionError, match=f"has version {first}, and the write was for no row at all"):
        phrases.write("key", 2, if_version="")
    second = phrases.write("key", 2, if_version=first)
    with pytest.raises(VersionError, match=f"has version {second}"):
        phrases.write("key", 3, if_version=first)
    with pytest.raises(VersionError):
        phrases.delete("key", if_version=first)
    phrases.delete("key", if_version=second)
    with pytest.raises(VersionError, match="is not there"):
        phrases.write("key", 4, if_version=second)
    phrases.delete("key")
    third = phrases.write("key", 1, if_version="")
    assert third not in {first, second}
    with pytest.raises(LimitError, match="what is not there cannot be deleted"):
        phrases.delete("key", if_version="")


def test_a_phrase_is_gone_when_its_time_is_over(desk: StoreDesk) -> None:
    """To readers at once, whenever DynamoDB removes it; its old version then counts as not there."""
    phrases = desk.phrase_store().prefix("p/")
    version = phrases.write("key", 1, ttl=10)
    phrases.write("other", 1)
    assert phrases.count() == 2
    desk.machine.advance(11)
    assert phrases.read("key") is None
    assert [each.key for each in phrases.phrases()] == ["other"]
    assert phrases.count() == 1
    with pytest.raises(VersionError, match="is not there"):
        phrases.write("key", 2, if_version=version)
    phrases.write("key", 2, if_version="")
    for ttl in (0, float("inf"), float("nan"), 1e40):
        with pytest.raises(LimitError, match=f"ttl = {re.escape(str(ttl))}"):
            phrases.write("key", 2, ttl=ttl)


def test_an_update_of_many_is_sent_in_batches(desk: StoreDesk) -> None:
    """25 a call; each key's version is told."""
    watched = FaultyClient(desk.client)
    phrases = desk.phrase_store(watched.client).prefix("p/")
    watched.calls.clear()
    versions = phrases.update({f"{number}": number for number in range(60)})
    assert watched.calls == ["batch_write_item"] * 3
    assert {each.key: each.version for each in phrases.phrases()} == versions
    assert phrases.update({}) == {}


def test_an_update_goes_on_with_what_was_left_over(desk: StoreDesk) -> None:
    """Unprocessed items are sent again; throttled calls too."""
    faulty = FaultyClient(desk.client)
    phrases = desk.phrase_store(faulty.client).prefix("p/")

    def half(_operation: str, _call: Callable[[], Any]) -> Any:
        ((table, actions),) = faulty.requests[-1]["RequestItems"].items()
        desk.client.batch_write_item(RequestItems={table: actions[::2]})
        return {"UnprocessedItems": {table: actions[1::2]}}

    faulty.fail("batch_write_item", throttled, half, half)
    phrases.update({f"{number}": number for number in range(30)})
    assert phrases.count() == 30


def test_an_update_that_breaks_off_says_what_was_written(desk: StoreDesk) -> None:
    """Of each key it is known whether it was, or that it is not known."""
    faulty = FaultyClient(desk.client)
    phrases = desk.phrase_store(faulty.client).prefix("p/")
    values = {f"{number:02}": number for number in range(60)}

    def done(_operation: str, call: Callable[[], Any]) -> Any:
        return call()

    faulty.fail("batch_write_item", done, refused("ItemCollectionSizeLimitExceededException"))
    with pytest.raises(
        PartlyWrittenError, match="of 60 phrases 25 were written, 35 were not, of 0 it is not"
    ) as refusal:
        phrases.update(values)
    assert (refusal.value.written, refusal.value.unknown) == (tuple(list(values)[:25]), ())
    assert refusal.value.unwritten == tuple(list(values)[25:])
    assert phrases.count() == 25


def test_an_update_without_an_answer_looks_what_was_done(desk: StoreDesk) -> None:
    """What is there under our versions was written; of what is not, nothing can be said."""
    faulty = FaultyClient(desk.client)
    phrases = desk.phrase_store(faulty.client).prefix("p/")
    faulty.fail("batch_write_item", lost_answer)
    assert len(phrases.update({"a": 1, "b": 2})) == 2
    faulty.fail("batch_write_item", lost_request)
    with pytest.raises(PartlyWrittenError, match="of 2 it is not known") as refusal:
        phrases.update({"c": 1, "d": 2})
    assert (refusal.value.written, refusal.value.unwritten, refusal.value.unknown) == ((), (), ("c", "d"))


@pytest.mark.parametrize("fault", [lost_answer, broken])
def test_a_write_without_an_answer_is_found_out_about(desk: StoreDesk, fault: Any) -> None:
    """It is sent once. Its own version in the row tells that it was done; anything else is reported as unknown."""
    faulty = FaultyClient(desk.client)
    phrases = desk.phrase_store(faulty.client).prefix("p/")
    faulty.calls.clear()
    faulty.fail("put_item", fault)
    if fault is lost_answer:
        phrases.write("key", 1)
    else:
        with pytest.raises(OutcomeUnknownError, match="may have been written, or may yet be"):
            phrases.write("key", 1)
    assert faulty.calls == ["put_item", "get_item"]


def test_a_conditional_write_is_sent_again_and_done_once(desk: StoreDesk) -> None:
    """Its condition keeps it from being done twice; its version says that it was done before."""
    faulty = FaultyClient(desk.client)
    phrases = desk.phrase_store(faulty.client).prefix("p/")
    faulty.fail("put_item", lost_answer, lost_request)
    version = phrases.write("key", 1, if_version="")
    faulty.fail("put_item", lost_request, lost_answer)
    version = phrases.write("key", 2, if_version=version)

    def overwritten(_operation: str, call: Callable[[], Any]) -> Any:
        call()
        desk.phrase_store().prefix("p/").write("key", "another's")
        return lost_request("", call)

    faulty.fail("put_item", overwritten)
    with pytest.raises(OutcomeUnknownError):
        phrases.write("key", 3, if_version=version)
    found = phrases.read("key")
    assert found is not None
    assert found.value == "another's"


def test_throttling_is_waited_out_within_a_bound(desk: StoreDesk) -> None:
    """Longer each time; in the end it is told."""
    faulty = FaultyClient(desk.client)
    phrases = desk.phrase_store(faulty.client).prefix("p/")
    faulty.fail("put_item", throttled, throttled)
    phrases.write("key", 1)
    faulty.always["get_item"] = throttled
    with pytest.raises(NotFoundOutError, match="failed with ProvisionedThroughputExceededException; try again"):
        phrases.read("key")
    assert sum(desk.machine.waits) < 10


def test_a_table_without_a_store_is_told(desk: StoreDesk) -> None:
    """As is one that is not there, one with another key, and a store with another number of shards."""
    with pytest.raises(SetupError, match="holds no key phrase store"):
        KeyPhraseStore(desk.client, desk.phrases, machine=desk.machine).prefix("p/").read("key")
    with pytest.raises(SetupError, match='table "nowhere": there is no such table'):
        KeyPhraseStore(desk.client, "nowhere", machine=desk.machine).prefix("p/").read("key")
    with pytest.raises(SetupError, match="another key schema"):
        KeyPhraseStore(desk.client, desk.locks, machine=desk.machine).prefix("p/").read("key")
    desk.phrase_store(shards=4)
    with pytest.raises(SetupError, match="its store has 4 shards, not 8"):
        desk.phrase_store(shards=8)


def test_shards_are_raised_while_others_read_and_write(desk: StoreDesk) -> None:
    """At every step of the move all phrases are there, once, in order, and each write is the next reading."""
    phrases = desk.phrase_store(shards=2).prefix("p/")
    phrases.update({f"{number:03}": number for number in range(40)})
    want = [f"{number:03}" for number in range(40)]
    steps: list[str] = []

    def look(step: str, _moved: int) -> None:
        steps.append(step)
        other = desk.phrase_store_as_it_is().prefix("p/")
        assert [each.key for each in other.phrases()] == want
        assert [each.key for each in other.phrases(reverse=True)] == want[::-1]
        for number in range(len(steps) % 7, 40, 7):
            found = other.read(f"{number:03}")
            assert found is not None
            version = other.write(found.key, len(steps), if_version=found.version)
            assert other.write(found.key, found.value) != version
            with pytest.raises(VersionError):
                other.write(found.key, 0, if_version=version)
            with pytest.raises(VersionError):
                other.write(found.key, 0, if_version="")
        other.write("new", 1, if_version="")
        other.delete("new")
        assert other.read("new") is None
        other.update({"000": 0, "039": 39})

    store = desk.phrase_store_as_it_is()
    store.raise_shards(5, look)
    assert steps[:2] == ["announced", "moving"]
    assert store.placement == Placement(5, 5, raised=True)
    assert {each.key: each.value for each in phrases.phrases()} == {f"{number:03}": number for number in range(40)}
    desk.machine.advance(11)
    assert phrases.count() == 40
    store.raise_shards(5)
    with pytest.raises(LimitError, match="can only be raised"):
        store.raise_shards(4)


def test_raising_goes_on_where_it_broke_off(desk: StoreDesk) -> None:
    """At any step; another number in between is refused."""
    store = desk.phrase_store(shards=2)
    store.prefix("p/").update({f"{number:03}": number for number in range(40)})
    for broken_at in ("announced", "moving"):
        halted = desk.phrase_store_as_it_is()

        def halt(step: str, _moved: int, halted: KeyPhraseStore = halted, broken_at: str = broken_at) -> None:
            if step == broken_at:
                halted.close()

        with pytest.raises(StoppedError, match="run it again to go on"):
            halted.raise_shards(3, halt)
        with pytest.raises(LimitError, match="on its way from 2 to 3"):
            desk.phrase_store_as_it_is().raise_shards(4)
    desk.phrase_store_as_it_is().raise_shards(3)
    assert [each.value for each in store.prefix("p/").phrases()] == list(range(40))


@pytest.mark.parametrize("if_version", [None, "", "its own"])
def test_a_writer_that_slept_through_a_move_is_neither_lost_nor_seen_twice(
    desk: StoreDesk, if_version: str | None
) -> None:
    """It wrote where nobody looks any more; its own clock tells it so before it says that it wrote."""
    store = desk.phrase_store(shards=1)
    plain = store.prefix("p/")
    moved = next(key for key in map(str, range(99)) if Placement(1, 4).new("p/", key) != 0)
    version = plain.write(moved, "before") if if_version != "" else ""
    late = FaultyClient(desk.client)
    sleeper = desk.phrase_store_as_it_is(late.client).prefix("p/")
    sleeper.read(moved)

    def asleep(_operation: str, call: Callable[[], Any]) -> Any:
        desk.machine.advance(11)
        desk.phrase_store_as_it_is().raise_shards(4)
        return call()

    late.fail("put_item", asleep)
    if if_version == "its own":
        with pytest.raises(VersionError):
            sleeper.write(moved, "late", if_version=version)
        want = "before"
    else:
        sleeper.write(moved, "late", if_version=if_version)
        want = "late"
    desk.machine.advance(11)
    found = plain.read(moved)
    assert found is not None
    assert found.value == want
    assert [each.value for each in plain.phrases()] == [want]


def test_many_threads_share_a_store(crowded: StoreDesk) -> None:
    """A counter raised by versions loses nothing."""
    phrases = KeyPhraseStore(crowded.client, crowded.phrase_store().table).prefix("p/")
    phrases.write("counter", 0)

    def work() -> None:
        raised = 0
        while raised < 5:
            found = phrases.read("counter")
            assert found is not None
            assert isinstance(found.value, int)
            try:
                phrases.write("counter", found.value + 1, if_version=found.version)
            except VersionError:
                continue
            raised += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = phrases.read("counter")
    assert found is not None
    assert found.value == 40


def test_create_leaves_what_is_there(emulator_of: Callable[[Any], Emulator]) -> None:
    """Twice is once, TTL and stream are on, and a table with another key is refused."""
    desk = make_desk("moto", emulator_of)
    for _ in range(2):
        KeyPhraseStore.create(desk.client, desk.phrases, shards=3).prefix("p/").write("key", 1)
    table = desk.client.describe_table(TableName=desk.phrases)["Table"]
    assert table["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    ttl = desk.client.describe_time_to_live(TableName=desk.phrases)["TimeToLiveDescription"]
    assert ttl["AttributeName"] == tables.EXPIRES
    with pytest.raises(SetupError, match=r"its key is key \(S, HASH\), and phrases need pk \(S, HASH\), sk"):
        KeyPhraseStore.create(desk.client, desk.locks)


def test_an_update_reports_even_if_finding_out_fails(desk: StoreDesk) -> None:
    """What was written before is told, and of the call without an answer that nothing is known."""
    faulty = FaultyClient(desk.client)
    desk.phrase_store()
    phrases = desk.phrase_store_as_it_is(faulty.client).prefix("p/")
    first = {f"a{number:02}": number for number in range(25)}
    second = {f"b{number:02}": number for number in range(25)}
    third = {f"c{number:02}": number for number in range(5)}

    def passed(_operation: str, call: Callable[[], Any]) -> Any:
        return call()

    faulty.fail("batch_write_item", passed, lost_request)
    faulty.always["batch_get_item"] = throttled
    with pytest.raises(PartlyWrittenError) as partly:
        phrases.update({**first, **second, **third})
    assert set(partly.value.written) == set(first)
    assert set(partly.value.unknown) == set(second)
    assert set(partly.value.unwritten) == set(third)


def test_an_update_reports_even_if_the_placement_cannot_be_read(desk: StoreDesk) -> None:
    """What was written by then may lie where nobody looks: of that nothing is known either."""
    faulty = FaultyClient(desk.client)
    desk.phrase_store()
    phrases = desk.phrase_store_as_it_is(faulty.client).prefix("p/")

    def slowly(_operation: str, call: Callable[[], Any]) -> Any:
        answer = call()
        desk.machine.advance(11)
        faulty.always["get_item"] = throttled
        return answer

    faulty.fail("batch_write_item", slowly)
    with pytest.raises(PartlyWrittenError) as partly:
        phrases.update({"a": 1, "b": 2})
    assert partly.value.written == ()
    assert set(partly.value.unknown) | set(partly.value.unwritten) == {"a", "b"}
    assert partly.value.unknown


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("way", ["write", "create", "update", "delete"])
def test_a_write_that_landed_is_not_repeated_over_a_later_one(
    desk: StoreDesk,
    way: str,
    raised: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Its process stands still once it is done; meanwhile shards are raised, and somebody else writes."""
    faulty = FaultyClient(desk.client)
    seed = desk.phrase_store(shards=2).prefix("p/")
    keys = [f"k{number}" for number in range(12)]
    if way != "create":
        seed.update(dict.fromkeys(keys, "seed"))
    mine = desk.phrase_store_as_it_is(faulty.client).prefix("p/")
    for key in keys:

        def later(_operation: str, call: Callable[[], Any], key: str = key) -> Any:
            answer = call()
            desk.machine.advance(11)
            other = desk.phrase_store_as_it_is()
            if raised:
                other.raise_shards(other.placement.shards + 3)
            else:
                announced = Placement(2, 8, "announced", raised=True)
                desk.client.put_item(TableName=desk.phrases, Item=placement_item(announced))
            there = other.prefix("p/").read(key)
            assert (there and there.value) == (None if way == "delete" else "mine")
            other.prefix("p/").write(key, "theirs", if_version=there.version if there else "")
            return answer

        operation = {"delete": "delete_item", "update": "batch_write_item"}.get(way, "put_item")
        if not raised:
            desk.client.put_item(TableName=desk.phrases, Item=placement_item(Placement.settled(2)))
            desk.machine.advance(11)
        faulty.fail(operation, later)
        with suppress(OutcomeUnknownError, PartlyWrittenError):
            match way:
                case "write":
                    mine.write(key, "mine")
                case "create":
                    mine.write(key, "mine", if_version="")
                case "update":
                    mine.update({key: "mine"})
                case _:
                    mine.delete(key)
        found = desk.phrase_store_as_it_is().prefix("p/").read(key)
        assert found is not None
        assert found.value == "theirs"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_over_a_raise_of_shards_loses_nothing(desk: StoreDesk, reverse: bool) -> None:  # noqa: FBT001
    """However far it was when the phrases went elsewhere."""
    store = desk.phrase_store(shards=2)
    phrases = store.prefix("p/")
    keys = sorted((f"k{number:02}" for number in range(40)), reverse=reverse)
    phrases.update(dict.fromkeys(keys, 1))
    scan, unbegun = phrases.phrases(reverse=reverse), phrases.phrases(reverse=reverse)
    seen = [next(scan).key for _ in range(3)]
    desk.phrase_store_as_it_is().raise_shards(5)
    seen += [next(scan).key for _ in range(20)]
    desk.phrase_store_as_it_is().raise_shards(8)
    assert seen + [each.key for each in scan] == keys
    assert [each.key for each in unbegun] == keys


def test_a_count_over_a_raise_of_shards_loses_nothing(desk: StoreDesk) -> None:
    """What one shard's page told before is not added to what another tells after."""
    faulty = FaultyClient(desk.client)
    desk.phrase_store(shards=2).prefix("p/").update({f"k{number:02}": number for number in range(40)})

    def raised(_operation: str, call: Callable[[], Any]) -> Any:
        answer = call()
        desk.phrase_store_as_it_is().raise_shards(8)
        return answer

    faulty.fail("query", raised)
    assert desk.phrase_store_as_it_is(faulty.client).prefix("p/").count() == 40
