"""Login sessions when answers are lost, a login waits, or the table is not as it must be."""

from collections.abc import Callable
from typing import Any

import pytest

from lockside.emulators.emulator import Emulator
from lockside.errors import NotFoundOutError, OutcomeUnknownError, SetupError
from lockside.stores import SessionStore
from tests.fakes.dynamodb import service_error
from tests.fakes.faults import FaultyClient, lost_answer, lost_request
from tests.fakes.machine import FakeMachine
from tests.fakes.store_desk import BACKENDS, KEY, StoreDesk, make_desk


@pytest.fixture(params=BACKENDS)
def desk(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind."""
    return make_desk(request.param, emulator_of, page_items=100)


def store_of(desk: StoreDesk, client: Any = None, **options: Any) -> SessionStore:
    """Return a store with a lock client of its own."""
    return desk.session_store(desk.lock_client(f"worker-{desk.machine.version()}"), client, **options)


def test_a_login_that_may_have_been_done_is_unknown_and_leaves_no_session(desk: StoreDesk) -> None:
    """Its answer is lost, then nobody answers: nobody has its token, so it is ended where that gets through."""
    watched = FaultyClient(desk.client)
    store = store_of(desk, watched.client, max_sessions_per_user=1)

    def once_then_an_outage(_operation: str, call: Callable[[], Any]) -> Any:
        watched.always |= {"transact_write_items": lost_request, "get_item": lost_request}
        return lost_answer(_operation, call)

    watched.fail("transact_write_items", once_then_an_outage)
    with pytest.raises(OutcomeUnknownError):
        store.login("alice")
    watched.always.clear()
    assert store.sessions_of("alice") == []
    assert store.login("alice")


def test_a_write_without_answer_is_not_repeated_over_a_later_one(desk: StoreDesk) -> None:
    """Whether it was done cannot be told then; the later one stands."""
    watched = FaultyClient(desk.client)
    one, two = store_of(desk, watched.client), store_of(desk)
    token = one.login("alice", attributes={"v": 0})
    later = iter([{"v": 2}])
    desk.machine.on_wait = lambda: [two.write(token, each) for each in later]
    watched.fail("update_item", lost_answer)
    with pytest.raises(OutcomeUnknownError):
        one.write(token, {"v": 1})
    session = two.read(token)
    assert session is not None
    assert session.attributes == {"v": 2}


@pytest.mark.parametrize("fault", [lost_answer, lost_request])
def test_a_write_without_answer_is_done_once(desk: StoreDesk, fault: Any) -> None:
    """Where nobody else writes it is sent again, and known by its version."""
    watched = FaultyClient(desk.client)
    store = store_of(desk, watched.client)
    token = store.login("alice")
    for number in range(2):
        watched.fail("update_item", fault)
        assert store.write(token, {"v": number})
        session = store.read(token)
        assert session is not None
        assert session.attributes == {"v": number}


def test_a_write_in_between_is_read_and_written_over(desk: StoreDesk) -> None:
    """The last writer wins, as long as it is known who that is."""
    watched = FaultyClient(desk.client)
    one, two = store_of(desk, watched.client), store_of(desk)
    token = one.login("alice")

    def after_another(_operation: str, call: Callable[[], Any]) -> Any:
        two.write(token, {"v": "between"})
        return call()

    watched.fail("update_item", after_another)
    assert one.write(token, {"v": "last"})
    session = two.read(token)
    assert session is not None
    assert session.attributes == {"v": "last"}


def test_a_touch_never_moves_a_deadline_back(desk: StoreDesk) -> None:
    """One that is sent again after a later one finds the deadline moved already, and says where it is."""
    watched = FaultyClient(desk.client)
    one, two = store_of(desk, watched.client), store_of(desk)
    token = one.login("alice", ttl=1_000, idle_ttl=100)
    desk.machine.advance(50)

    def later() -> None:
        desk.machine.on_wait = lambda: None
        desk.machine.advance(30)
        two.touch(token)

    desk.machine.on_wait = later
    watched.fail("update_item", lost_request)
    touched, stands = one.touch(token), two.read(token)
    assert touched is not None
    assert stands is not None
    assert touched.expires == stands.expires == stands.created + 50 + 30 + 100


@pytest.mark.parametrize("fault", [lost_answer, lost_request])
def test_a_touch_without_answer_is_done(desk: StoreDesk, fault: Any) -> None:
    """Sent again, it is the same touch."""
    watched = FaultyClient(desk.client)
    store = store_of(desk, watched.client)
    token = store.login("alice", ttl=1_000, idle_ttl=100)
    desk.machine.advance(50)
    watched.fail("update_item", fault)
    touched = store.touch(token)
    assert touched is not None
    assert touched == store.read(token)
    assert touched.expires - touched.created == 150


def test_a_session_begins_when_its_lock_was_had(desk: StoreDesk) -> None:
    """Waiting for another login takes nothing of its time."""
    desk.lock_client("other").acquire("session:alice", lease=20)
    store = store_of(desk)
    before_s = desk.machine.wall_ms() // 1000
    session = store.read(store.login("alice", idle_ttl=15, wait=60))
    assert session is not None
    assert session.created >= before_s + 20
    assert session.expires - session.created == 15


def test_another_key_schema_is_told_as_a_transaction_tells_it(desk: StoreDesk) -> None:
    """AWS says it as a reason of a cancelled transaction; a visitor's session and a login both name the table."""

    def cancelled(operation: str, _call: Callable[[], Any]) -> Any:
        why = [{"Code": "ValidationError", "Message": "The provided key element does not match the schema"}]
        raise service_error("TransactionCanceledException", operation, CancellationReasons=[*why, {"Code": "None"}])

    watched = FaultyClient(desk.client)
    watched.always["transact_write_items"] = cancelled
    store = store_of(desk, watched.client)
    told = f'table "{desk.sessions}".*another key schema'
    with pytest.raises(SetupError, match=told):
        store.start()
    with pytest.raises(SetupError, match=told):
        store.login("alice")


def test_reads_that_stay_undone_end(desk: StoreDesk) -> None:
    """A batch that hands back all its keys for ever is given up."""
    watched = FaultyClient(desk.client)
    store = SessionStore(watched.client, desk.sessions, desk.lock_client("a"), key=KEY, machine=FakeMachine())
    store.login("alice")

    def undone(_operation: str, _call: Callable[[], Any]) -> Any:
        assert watched.calls.count("batch_get_item") < 100
        return {"Responses": {}, "UnprocessedKeys": watched.requests[-1]["RequestItems"]}

    watched.always["batch_get_item"] = undone
    with pytest.raises(NotFoundOutError, match="throttled"):
        store.sessions_of("alice")
