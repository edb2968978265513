"""Locks where the program around them does what it should not: forks, exits in a callback, releases that hang."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from lockside.emulators.emulator import Emulator
from lockside.errors import ForkedError, LimitError, LockTakenError, ReentranceError, SetupError
from lockside.stores.lock_row import DATA_BYTES_MAX
from tests.fakes.dynamodb import service_error
from tests.fakes.faults import FaultyClient, lost_request
from tests.fakes.store_desk import BACKENDS, StoreDesk, make_desk

LEASE = 10.0
WAIT_SECONDS_MAX = 30.0


@pytest.fixture(params=BACKENDS)
def desk(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind."""
    return make_desk(request.param, emulator_of)


def test_a_fork_that_unwinds_a_block_frees_nothing(desk: StoreDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ends inside the block sends nothing: neither a release nor a heartbeat."""
    watched = FaultyClient(desk.client)
    client = desk.lock_client("parent", watched.client)
    pid = os.getpid()
    with client.lock("job") as held:
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        before = list(watched.calls)
        assert not held.release()
        desk.machine.advance(held.terms.heartbeat_ms / 1000)
        held.beat()
        assert watched.calls == before
        monkeypatch.undo()
        assert desk.row("job") is not None
        assert held.held
    assert desk.row("job") is None


def test_a_real_fork_that_exits_leaves_the_lock(emulator_of: Callable[[Any], Emulator]) -> None:
    """The child's own `with` unwinds, and tells through a pipe what it sent."""
    desk = make_desk("memory", emulator_of)
    ours, theirs = os.pipe()
    watched = FaultyClient(desk.client)
    client = desk.lock_client("parent", watched.client)
    child = -1
    try:
        with client.lock("job"):
            child = os.fork()
            watched.calls.clear()
            if child == 0:
                sys.exit()
            os.waitpid(child, 0)
    except SystemExit:
        pass
    finally:
        if child == 0:
            os.write(theirs, (",".join(watched.calls) or "nothing").encode())
            os._exit(0)
    assert os.read(ours, 100) == b"nothing"
    assert watched.calls == ["delete_item"]
    os.close(ours)
    os.close(theirs)


def test_a_fork_takes_no_lock_with_its_parents_client(desk: StoreDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread would renew it there; the error says to make a client in the child."""
    watched = FaultyClient(desk.client)
    client = desk.lock_client("parent", watched.client)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(ForkedError, match=f"made in process {pid}.*make a client here"):
        client.acquire("job")
    assert watched.calls == []


def test_a_block_may_be_left_in_another_thread(desk: StoreDesk) -> None:
    """As asyncio.to_thread does: the thread that entered it is then not thought to be inside still."""
    client = desk.lock_client("a")
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        block = client.lock("job")
        one.submit(block.__enter__).result()
        other.submit(block.__exit__, None, None, None).result()
        again = one.submit(client.acquire, "job").result()
    assert again.held
    assert again.release()


def test_a_session_is_told_that_it_holds_a_lock_already(desk: StoreDesk) -> None:
    """Rather than wait for itself."""
    with desk.lock_client("a").session() as session:
        session.acquire("job")
        with pytest.raises(ReentranceError, match='lock "job": this session holds it already'):
            session.acquire("job")


def test_an_exit_in_on_lost_ends_no_other_lock(desk: StoreDesk) -> None:
    """The turn that told of one loss goes on to the others."""
    lost: list[str] = []

    def leave(_lock: object) -> None:
        raise SystemExit(1)

    client = desk.lock_client("a", lease=LEASE)
    client.acquire("one", on_lost=leave)
    other = client.acquire("other", on_lost=lambda lock: lost.append(lock.name))
    desk.drop("one")
    desk.machine.advance(LEASE / 2)
    client.keeper.beat_turn()
    assert other.valid_for() > LEASE / 2
    assert [lock.name for lock in client.keeper.locks] == ["other"]


def test_a_release_that_hangs_holds_no_heartbeat_up(desk: StoreDesk) -> None:
    """The lock that is being released has no more heartbeats; those of others are sent meanwhile."""
    hanging, go_on = threading.Event(), threading.Event()

    def hang(_operation: str, call: Callable[[], Any]) -> Any:
        hanging.set()
        assert go_on.wait(WAIT_SECONDS_MAX)
        return call()

    watched = FaultyClient(desk.client)
    client = desk.lock_client("a", watched.client, lease=LEASE)
    one, other = client.acquire("one"), client.acquire("other")
    watched.fail("delete_item", hang)
    with ThreadPoolExecutor(2) as pool:
        released = pool.submit(one.release)
        assert hanging.wait(WAIT_SECONDS_MAX)
        try:
            # Past the end of what the lock that is being released was valid for.
            for _ in range(2):
                desk.machine.advance(0.6 * LEASE)
                assert pool.submit(client.keeper.beat_turn).result(WAIT_SECONDS_MAX) > 0
                assert client.keeper.watch_turn() > 0
                assert other.valid_for() > LEASE / 2
        finally:
            go_on.set()
        assert released.result(WAIT_SECONDS_MAX)


def test_attempts_at_a_release_are_apart(desk: StoreDesk) -> None:
    """Three at the same moment would meet the same fault."""
    watched = FaultyClient(desk.client)
    held = desk.lock_client("a", watched.client).acquire("job")
    watched.fail("delete_item", lost_request, lost_request)
    desk.machine.waits.clear()
    assert held.release()
    assert len(desk.machine.waits) == 2
    assert min(desk.machine.waits) > 0


def test_a_taken_lock_says_what_wait_finds_out_a_dead_holder(desk: StoreDesk) -> None:
    """A new client each time never takes over without it; waiting for as long as is said does."""
    desk.lock_client("dead", lease=LEASE).acquire("job")
    with pytest.raises(LockTakenError, match=r"its lease \(10 s\): wait for at least 12 s"):
        desk.lock_client("b").acquire("job", wait=0)
    with pytest.raises(LockTakenError, match="wait for at least 12 s"):
        desk.lock_client("c").acquire("job", wait=LEASE)
    assert desk.lock_client("d").acquire("job", wait=12).fence == 2


def test_the_wait_for_another_thread_counts(desk: StoreDesk) -> None:
    """What a thread waited for another of its client is not given to it a second time."""
    client, other = desk.lock_client("a", lease=LEASE), desk.lock_client("b", lease=LEASE)
    mine = client.acquire("job")
    entering = threading.Event()
    enter = client._gate.enter

    def entered(lock: str, seconds: float) -> object | None:
        entering.set()
        return enter(lock, seconds)

    client._gate.enter = entered  # type: ignore[method-assign]
    begun_ms = desk.machine.waiting_ms()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(client.acquire, "job", wait=5)
        assert entering.wait(WAIT_SECONDS_MAX)
        desk.machine.advance(4)
        # Another client comes in between: the thread that waited finds the lock taken.
        desk.drop("job")
        other.acquire("job")
        mine.release()
        with pytest.raises(LockTakenError, match="for all of the 5 s"):
            told.result(WAIT_SECONDS_MAX)
    assert desk.machine.waiting_ms() - begun_ms <= 6_000


@pytest.mark.parametrize("wait", [float("inf"), 1e12])
def test_a_wait_may_be_endless(desk: StoreDesk, wait: float) -> None:
    """It is cut to what a clock can hold."""
    assert desk.lock_client("a").acquire("job", wait=wait).held


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wait": float("nan")}, "wait = nan s"),
        ({"lease": float("nan")}, "lease = nan s"),
        ({"lease": float("inf")}, "lease = inf s"),
        ({"data": b"x" * (DATA_BYTES_MAX + 1)}, f"data of {DATA_BYTES_MAX + 1} bytes"),
        ({"data": {"a": 1}}, "data of type dict"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    desk: StoreDesk, options: dict[str, Any], message: str
) -> None:
    """The limit is named, the data not shown."""
    watched = FaultyClient(desk.client)
    with pytest.raises(LimitError, match=message):
        desk.lock_client("a", watched.client).acquire("job", **options)
    assert watched.calls == []


def test_the_largest_data_fit(desk: StoreDesk) -> None:
    """With the longest name."""
    assert desk.lock_client("a").acquire("n" * 2048, data=b"x" * DATA_BYTES_MAX).held


def test_what_boto_refuses_is_told_at_once(desk: StoreDesk) -> None:
    """Nothing was sent, so nothing is tried again and nothing unknown."""

    def unspelled(_operation: str, _call: Callable[[], Any]) -> Any:
        raise ParamValidationError(report="Invalid type for TableName, value: SECRET")

    watched = FaultyClient(desk.client)
    watched.always["transact_write_items"] = unspelled
    with pytest.raises(LimitError, match="boto3 refuses the request") as refused:
        desk.lock_client("a", watched.client).acquire("job")
    assert "SECRET" not in str(refused.value)
    assert desk.machine.waits == []


@pytest.mark.parametrize("at", [0, 1])
def test_another_key_schema_is_told_as_a_transaction_tells_it(desk: StoreDesk, at: int) -> None:
    """AWS says it as a reason of a cancelled transaction, for whichever table it is."""

    def cancelled(operation: str, _call: Callable[[], Any]) -> Any:
        why: list[dict[str, Any]] = [{"Code": "None"}, {"Code": "None"}]
        why[at] = {"Code": "ValidationError", "Message": "The provided key element does not match the schema"}
        raise service_error("TransactionCanceledException", operation, CancellationReasons=why)

    watched = FaultyClient(desk.client)
    watched.always["transact_write_items"] = cancelled
    with pytest.raises(SetupError, match="another key schema"):
        desk.lock_client("a", watched.client).acquire("job")


def test_no_text_of_a_lock_shows_its_data(desk: StoreDesk) -> None:
    """Neither of its terms."""
    held = desk.lock_client("a").acquire("job", data=b"SECRET")
    assert "SECRET" not in f"{held!r} {held.terms!r}"
