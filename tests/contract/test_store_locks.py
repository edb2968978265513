"""Locks: one holder at a time, by the protocol of the Java client, whatever the network and the clocks do."""

import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from lockside.emulators.emulator import Emulator
from lockside.errors import (
    LimitError,
    LockLostError,
    LockTakenError,
    OutcomeUnknownError,
    ReentranceError,
    SetupError,
    StoppedError,
)
from lockside.stores import LockClient
from tests.fakes.faults import (
    FaultyClient,
    broken,
    expired_credentials,
    lost_answer,
    lost_request,
    refused,
    throttled,
    unreachable,
)
from tests.fakes.machine import FakeMachine
from tests.fakes.store_desk import ATOMIC, BACKENDS, StoreDesk, make_desk

if TYPE_CHECKING:
    from lockside.stores.lock import Lock

LEASE = 10.0


@pytest.fixture(params=ATOMIC)
def crowded(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind that many threads may use at once."""
    return make_desk(request.param, emulator_of, page_items=100)


@pytest.fixture(params=BACKENDS)
def desk(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind."""
    return make_desk(request.param, emulator_of)


def fences(client: LockClient, lock: str, times: int) -> list[int]:
    """Take and release a lock so often."""
    seen = []
    for _ in range(times):
        with client.lock(lock) as held:
            seen.append(held.fence)
    return seen


def test_a_cycle_is_two_calls_once_the_lock_is_known(desk: StoreDesk) -> None:
    """Nothing is read: the attempt is made on what the last release left, and its refusal would say better."""
    watched = FaultyClient(desk.client)
    client = desk.lock_client("a", watched.client)
    assert fences(client, "job", 3) == [1, 2, 3]
    assert watched.calls == ["transact_write_items", "delete_item"] * 3


def test_what_is_released_leaves_memory(desk: StoreDesk) -> None:
    """Also where short locks come and go beside a long one, whose heartbeat is due before theirs would be."""
    client = desk.lock_client("a")
    with client.lock("long", lease=LEASE):
        seen: list[weakref.ref[Lock]] = []
        for _ in range(100):
            with client.lock("job", lease=10 * LEASE) as held:
                seen.append(weakref.ref(held))
        del held
        gc.collect()
        alive = sum(one() is not None for one in seen)
    assert alive < len(seen)


def test_the_row_is_the_java_clients(desk: StoreDesk) -> None:
    """Types and names are those of the awslabs layout; the fence is an attribute more, and a counter elsewhere."""
    with desk.lock_client("a").lock("job", lease=LEASE, data=b"hello") as held:
        row = desk.row("job")
        assert row is not None
        assert row.pop("recordVersionNumber")["S"]
        assert row == {
            "key": {"S": "job"},
            "ownerName": {"S": "a"},
            "leaseDuration": {"S": "10000"},
            "data": {"B": b"hello"},
            "fence": {"N": str(held.fence)},
        }
    assert desk.row("job") is None


def test_a_second_client_waits_until_the_first_releases(desk: StoreDesk) -> None:
    """A waiter looks again before the lease is over, and takes a released lock at once."""
    first, second = desk.lock_client("a"), desk.lock_client("b")
    held = first.acquire("job", lease=LEASE)
    desk.machine.on_wait = held.release
    with second.lock("job", wait=5) as taken:
        assert taken.fence == held.fence + 1
    assert sum(desk.machine.waits) <= 1.0


def test_a_renewed_lock_is_never_taken_over(desk: StoreDesk) -> None:
    """Each heartbeat shows another version, which gives the holder a whole lease again."""
    first, second = desk.lock_client("a"), desk.lock_client("b")
    held = first.acquire("job", lease=LEASE)
    desk.machine.on_wait = first.keeper.beat_turn
    with pytest.raises(LockTakenError, match='held by "a" for all of the 60 s'):
        second.acquire("job", wait=60)
    assert held.held
    assert held.release()


def test_a_lapsed_lock_is_taken_over_after_its_own_lease(desk: StoreDesk) -> None:
    """The waiter goes by the lease in the row, not by its own, from when it first saw the version."""
    first, second = desk.lock_client("a"), desk.lock_client("b")
    held = first.acquire("job", lease=LEASE)
    begun = desk.machine.ms
    taken = second.acquire("job", lease=2, wait=60)
    assert LEASE * 1000 < desk.machine.ms - begun < LEASE * 1000 + 100
    assert taken.fence == held.fence + 1
    assert not held.held
    first.keeper.watch_turn()
    assert held.lost == "its lease ran out before a heartbeat got through"
    assert not held.release()
    assert taken.held


def test_validity_ends_before_anybody_may_take_over(desk: StoreDesk) -> None:
    """It counts from before the request, a contender's wait from after its answer, with room for drift."""
    slow = FaultyClient(desk.client)

    def slowly(_operation: str, call: Callable[[], Any]) -> Any:
        answer = call()
        desk.machine.advance(3)
        return answer

    slow.fail("transact_write_items", slowly)
    held = desk.lock_client("a", slow.client).acquire("job", lease=LEASE)
    assert held.valid_for() < LEASE - 3


def test_an_acquisition_that_took_longer_than_its_lease_is_none(desk: StoreDesk) -> None:
    """Its row is given back, and the lock is taken anew."""
    slow = FaultyClient(desk.client)

    def too_slowly(_operation: str, call: Callable[[], Any]) -> Any:
        answer = call()
        desk.machine.advance(LEASE + 1)
        return answer

    slow.fail("transact_write_items", too_slowly)
    held = desk.lock_client("a", slow.client).acquire("job", lease=LEASE)
    assert held.fence == 2
    assert held.valid_for() > LEASE - 1


@pytest.mark.parametrize("keep", [False, True])
def test_a_lost_answer_to_an_acquisition_changes_nothing(desk: StoreDesk, keep: bool) -> None:  # noqa: FBT001
    """Asked again under the same token, or known by its own version, it is the same acquisition: one fence."""
    lossy = FaultyClient(desk.client)
    client = desk.lock_client("a", lossy.client, keep_released=keep)
    lossy.fail("transact_write_items", lost_answer, lost_request, lost_answer)
    with client.lock("job") as held:
        assert held.fence == 1
        row = desk.row("job")
        assert row is not None
        assert row["fence"] == {"N": "1"}
    assert held.lost is None


def test_an_acquisition_that_nobody_answers_is_reported_as_unknown(desk: StoreDesk) -> None:
    """It is asked about for a while, taken back as far as possible, and told; nobody holds the lock then."""
    lossy = FaultyClient(desk.client)
    lossy.always["transact_write_items"] = lost_request
    with pytest.raises(OutcomeUnknownError, match="lapses by itself after 10 s"):
        desk.lock_client("a", lossy.client).acquire("job", lease=LEASE, wait=0)
    assert desk.row("job") is None
    assert desk.lock_client("b").try_lock("job") is not None


@pytest.mark.parametrize("fault", [throttled, unreachable, broken, refused("TransactionInProgressException")])
def test_passing_faults_are_waited_out(desk: StoreDesk, fault: Any) -> None:
    """Throttling and short outages delay an acquisition and a release, no more."""
    faulty = FaultyClient(desk.client)
    client = desk.lock_client("a", faulty.client)
    faulty.fail("transact_write_items", fault, fault)
    faulty.fail("delete_item", fault)
    assert fences(client, "job", 1) == [1]
    assert desk.row("job") is None


def test_expired_credentials_are_told_and_take_nothing(desk: StoreDesk) -> None:
    """The message says what to do."""
    faulty = FaultyClient(desk.client)
    faulty.always["transact_write_items"] = expired_credentials
    with pytest.raises(SetupError, match="ExpiredTokenException; renew the credentials"):
        desk.lock_client("a", faulty.client).acquire("job", wait=0)


def test_credentials_that_expire_under_a_lock_lose_it_in_time(desk: StoreDesk) -> None:
    """Heartbeats are tried until validity ends; then the callback says why."""
    faulty = FaultyClient(desk.client)
    told: list[str | None] = []
    client = desk.lock_client("a", faulty.client)
    held = client.acquire("job", lease=LEASE, on_lost=lambda lock: told.append(lock.lost))
    faulty.always["update_item"] = expired_credentials
    for _ in range(12):
        desk.machine.advance(1)
        client.keeper.beat_turn()
        client.keeper.watch_turn()
    assert told == ["its lease ran out before a heartbeat got through (the last failed with ExpiredTokenException)"]
    with pytest.raises(LockLostError, match="stop, and take it again"):
        held.ensure()
    with pytest.raises(LockLostError):
        held.check()


def test_a_lock_may_be_released_as_it_is_told_to_be_lost(desk: StoreDesk) -> None:
    """From within the callback, by a heartbeat or by the clock."""
    client = desk.lock_client("a")
    held = client.acquire("job", lease=LEASE, on_lost=lambda lock: lock.release())
    desk.drop("job")
    desk.machine.advance(4)
    client.keeper.beat_turn()
    assert held.lost is not None
    held = client.acquire("job", lease=LEASE, on_lost=lambda lock: lock.release())
    desk.machine.advance(11)
    client.keeper.watch_turn()
    assert desk.row("job") is None


def test_the_answer_to_a_heartbeat_may_be_lost(desk: StoreDesk) -> None:
    """The next one finds its own version; validity counts from before the first."""
    lossy = FaultyClient(desk.client)
    client = desk.lock_client("a", lossy.client)
    held = client.acquire("job", lease=LEASE)
    lossy.fail("update_item", lost_answer)
    desk.machine.advance(4)
    client.keeper.beat_turn()
    assert held.valid_for() < 6
    desk.machine.advance(1)
    client.keeper.beat_turn()
    assert 8.9 < held.valid_for() < 9
    desk.machine.advance(4)
    client.keeper.beat_turn()
    assert held.valid_for() > 9
    assert held.release()


def test_a_release_after_a_heartbeat_without_answer_finds_either_version(desk: StoreDesk) -> None:
    """Whether the heartbeat was done or not, the row is ours."""
    for fault in (lost_answer, lost_request):
        lossy = FaultyClient(desk.client)
        client = desk.lock_client("a", lossy.client)
        held = client.acquire("job", lease=LEASE)
        lossy.fail("update_item", fault)
        desk.machine.advance(4)
        client.keeper.beat_turn()
        assert held.release()
        assert desk.row("job") is None


def test_the_answer_to_a_release_may_be_lost(desk: StoreDesk) -> None:
    """Deleted or marked, the second attempt sees that the first was done."""
    for keep in (False, True):
        lossy = FaultyClient(desk.client)
        client = desk.lock_client("a", lossy.client, keep_released=keep)
        held = client.acquire("job")
        lossy.fail("update_item" if keep else "delete_item", lost_answer)
        assert held.release()
        assert held.lost is None
        with client.lock("job"):
            pass


def test_a_kept_row_is_taken_by_its_version(desk: StoreDesk) -> None:
    """A row that is kept says that it is released, as Java's does, and its fence goes on."""
    keeping = desk.lock_client("a", keep_released=True)
    assert fences(keeping, "job", 2) == [1, 2]
    row = desk.row("job")
    assert row is not None
    assert row["isReleased"] == {"S": "1"}
    assert fences(desk.lock_client("b"), "job", 1) == [3]


def test_a_holder_that_was_overtaken_can_write_nothing(desk: StoreDesk) -> None:
    """`check` and the fence refuse it, its heartbeat and its release leave the new holder's row alone."""
    first, second = desk.lock_client("a"), desk.lock_client("b")
    held = first.acquire("job", lease=LEASE)
    stale = held.check()
    desk.client.transact_write_items(TransactItems=[stale])  # type: ignore[list-item]
    taken = second.acquire("job", lease=LEASE, wait=60)
    with pytest.raises(ClientError, match="TransactionCanceled"):
        desk.client.transact_write_items(TransactItems=[stale])  # type: ignore[list-item]
    held.beat()
    assert held.lost == "its lease ran out before a heartbeat got through"
    assert not held.release()
    desk.client.transact_write_items(TransactItems=[taken.check()])  # type: ignore[list-item]


def test_a_check_survives_one_heartbeat(desk: StoreDesk) -> None:
    """It names the next version too, so that a transaction that was built just before a heartbeat is not refused."""
    client = desk.lock_client("a")
    held = client.acquire("job", lease=LEASE)
    item: Any = held.check()
    desk.machine.advance(4)
    client.keeper.beat_turn()
    desk.client.transact_write_items(TransactItems=[item])
    desk.machine.advance(4)
    client.keeper.beat_turn()
    with pytest.raises(ClientError, match="TransactionCanceled"):
        desk.client.transact_write_items(TransactItems=[item])


def test_a_row_that_was_deleted_by_hand_is_lost_and_its_fence_goes_on(desk: StoreDesk) -> None:
    """The counter is no part of the row."""
    client = desk.lock_client("a")
    with pytest.raises(LockLostError, match="somebody removed or changed its row"), client.lock("job") as held:
        desk.drop("job")
    assert held.fence == 1
    assert fences(desk.lock_client("b"), "job", 1) == [2]


def test_a_jump_of_the_wall_clock_means_nothing(desk: StoreDesk) -> None:
    """No lock is decided by it."""
    first, second = desk.lock_client("a"), desk.lock_client("b")
    held = first.acquire("job", lease=LEASE)
    desk.machine.step_wall(86_400)
    assert second.try_lock("job") is None
    desk.machine.step_wall(-2 * 86_400)
    assert held.held
    assert second.try_lock("job") is None


def test_a_machine_that_slept_holds_nothing_and_takes_nothing(desk: StoreDesk) -> None:
    """The clock of holders goes on in sleep, that of waiters stands still: each errs on the safe side."""
    asleep = FakeMachine(seed=hash(desk.locks))
    holder = desk.lock_client("a", machine=asleep)
    held = holder.acquire("job", lease=LEASE)
    asleep.sleep(LEASE)
    assert not held.held
    waiter = desk.lock_client("b", machine=asleep)
    assert waiter.try_lock("job") is None
    asleep.sleep(LEASE)
    assert waiter.try_lock("job") is None


def test_calls_of_try_lock_add_up_to_a_takeover(desk: StoreDesk) -> None:
    """A client remembers since when a version stands, however long its callers wait between calls."""
    desk.lock_client("a").acquire("job", lease=LEASE)
    client = desk.lock_client("b")
    assert client.try_lock("job") is None
    desk.machine.advance(LEASE + 1)
    held = client.try_lock("job")
    assert held is not None
    assert held.fence == 2


def test_try_lock_sees_a_release_at_once(desk: StoreDesk) -> None:
    """What a client remembers of a held lock does not keep it from looking."""
    held = desk.lock_client("a").acquire("job", lease=LEASE)
    client = desk.lock_client("b")
    assert client.try_lock("job") is None
    held.release()
    assert client.try_lock("job") is not None


def test_a_thread_is_told_that_it_holds_the_lock_already(desk: StoreDesk) -> None:
    """It would wait for itself."""
    client = desk.lock_client("a")
    with client.lock("job"), pytest.raises(ReentranceError, match="hand the lock on"), client.lock("job"):
        pass
    with client.lock("job"), client.lock("other"):
        pass


def test_threads_of_one_client_take_turns(crowded: StoreDesk) -> None:
    """Thirty threads, three clients: never two inside, every fence once."""
    clients = [LockClient(crowded.client, crowded.locks, owner=f"client-{number}", lease=20) for number in range(3)]
    inside, most, seen = [0], [0], []

    def work(client: LockClient) -> None:
        with client.lock("job", wait=100) as held:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            seen.append(held.fence)
            inside[0] -= 1

    threads = [threading.Thread(target=work, args=(clients[number % 3],)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    assert most == [1]
    assert seen == list(range(1, 31))


def test_session_locks_are_released_together_and_lost_together(desk: StoreDesk) -> None:
    """One that is lost takes the others with it."""
    client = desk.lock_client("a")
    with client.session() as session:
        session.acquire("one")
        session.acquire("two")
        checks: Any = session.checks()
        desk.client.transact_write_items(TransactItems=checks)
        assert 19 < session.valid_for() < 20
    assert [desk.row("one"), desk.row("two")] == [None, None]

    def lose() -> None:
        with client.session() as session:
            session.acquire("one")
            session.acquire("two")
            desk.machine.advance(21)
            client.keeper.watch_turn()
            with pytest.raises(LockLostError):
                session.ensure()

    with pytest.raises(LockLostError, match="is lost with it"):
        lose()


def test_close_releases_and_ends_waits(desk: StoreDesk) -> None:
    """What is held is given back; who waits is told."""
    first, second = desk.lock_client("a"), desk.lock_client("b")
    first.acquire("job", lease=LEASE)
    desk.machine.on_wait = second.close
    with pytest.raises(StoppedError, match="was closed while it waited"):
        second.acquire("job", wait=60)
    first.close()
    assert desk.row("job") is None
    first.close()


def test_list_says_who_holds_what(desk: StoreDesk) -> None:
    """Java's rows, without a fence, are told like ours."""
    held = desk.lock_client("a").acquire("job", lease=LEASE)
    java = {"key": {"S": "java"}, "ownerName": {"S": "j"}, "leaseDuration": {"S": "20000"}}
    desk.client.put_item(
        TableName=desk.locks, Item={**java, "recordVersionNumber": {"S": "x"}, "isReleased": {"S": "1"}}
    )
    found = {each.name: each for each in desk.lock_client("b").list()}
    assert (found["job"].owner, found["job"].fence, found["job"].released) == ("a", held.fence, False)
    assert (found["java"].owner, found["java"].fence, found["java"].released) == ("j", None, True)


def test_a_row_of_another_layout_is_refused(desk: StoreDesk) -> None:
    """A Go client's lease cannot be read as milliseconds, and is not guessed at."""
    row = {"key": {"S": "job"}, "ownerName": {"S": "go"}, "recordVersionNumber": {"S": "x"}}
    for lease, message in ({"S": "20s"}, "is not a whole number of milliseconds"), ({"N": "20"}, "has no string lease"):
        desk.client.put_item(TableName=desk.locks, Item={**row, "leaseDuration": lease})
        with pytest.raises(SetupError, match=message):
            desk.lock_client("a").try_lock("job")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lease": 0.01}, "lease = 0.01 s: give 0.1 s"),
        ({"lease": 10, "heartbeat": 6}, "at most half of the lease"),
        ({"lease": 10, "heartbeat": 0}, "more than 0"),
    ],
)
def test_options_that_cannot_be_are_refused(desk: StoreDesk, options: dict[str, Any], message: str) -> None:
    """With the field, the value and the bounds."""
    with pytest.raises(LimitError, match=message):
        desk.lock_client("a", **options)


@pytest.mark.parametrize("name", ["", "x" * 2_049, "\ud800"])
def test_names_that_no_key_can_hold_are_refused(desk: StoreDesk, name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(LimitError, match="lock name"):
        desk.lock_client("a").try_lock(name)


def test_a_table_that_is_not_there_is_named(desk: StoreDesk) -> None:
    """The way out is in the message."""
    with pytest.raises(SetupError, match='table "no-such-table": there is no such table here; `lockside init`'):
        LockClient(desk.client, "no-such-table", machine=desk.machine, background=False).try_lock("job")


def test_a_release_repeats_its_first_answer(desk: StoreDesk) -> None:
    """A row that could not be reached was not given back, however often one asks."""
    lossy = FaultyClient(desk.client)
    held = desk.lock_client("a", lossy.client).acquire("job", lease=LEASE)
    lossy.fail("delete_item", lost_request, lost_request, lost_request)
    assert not held.release()
    assert not held.release()
    assert desk.row("job") is not None


def test_a_release_that_was_interrupted_is_tried_again(desk: StoreDesk) -> None:
    """As by SIGTERM in the middle of the call: the next one here is not barred, and closing gives the row back."""
    broken_client = FaultyClient(desk.client)
    client = desk.lock_client("a", broken_client.client)

    def interrupted(_operation: str, _call: Callable[[], Any]) -> Any:
        raise SystemExit(143)

    def interrupted_later(_operation: str, call: Callable[[], Any]) -> Any:
        call()
        raise SystemExit(143)

    held, other = client.acquire("job", lease=LEASE), client.acquire("other", lease=LEASE)
    broken_client.fail("delete_item", interrupted, interrupted_later)
    for lock in (held, other):
        with pytest.raises(SystemExit):
            lock.release()
        assert not lock.held
    assert other.release()
    client.close()
    assert desk.row("job") is None
    assert held.release()


def test_a_lost_lock_never_comes_back(desk: StoreDesk) -> None:
    """A heartbeat that is late, or whose answer is, does not make valid again what was said to be over."""
    slow = FaultyClient(desk.client)
    client = desk.lock_client("a", slow.client)
    late = client.acquire("late", lease=LEASE)
    desk.machine.advance(LEASE + 1)
    with pytest.raises(LockLostError):
        late.ensure()
    client.keeper.beat_turn()
    assert not late.held
    assert late.lost is not None

    def slowly(_operation: str, call: Callable[[], Any]) -> Any:
        answer = call()
        desk.machine.advance(LEASE)
        return answer

    held = client.acquire("slow", lease=LEASE)
    desk.machine.advance(LEASE / 2)
    slow.fail("update_item", slowly)
    client.keeper.beat_turn()
    assert not held.held
    assert held.lost is not None


def test_a_heartbeat_notices_a_row_that_somebody_removed(desk: StoreDesk) -> None:
    """While the lease is still running by our own clock."""
    held = desk.lock_client("a").acquire("job", lease=LEASE)
    desk.drop("job")
    held.beat()
    assert held.lost == "another client took it over, or somebody removed or changed its row"


def test_a_forked_child_leaves_the_locks_to_its_parent(desk: StoreDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ends runs the exit hooks it inherited."""
    client = desk.lock_client("a")
    held = client.acquire("job", lease=LEASE)
    child = os.getpid() + 1
    with monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: child)
        client.close()
    assert desk.row("job") is not None
    assert held.held
    client.close()
    assert desk.row("job") is None
