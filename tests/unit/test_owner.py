"""Standing by, renewing and handing back, as a worker does it."""

import threading
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from structlog.testing import capture_logs

from lockside.app.owner import TELL_MS, Owner
from lockside.aws.tables import state_table
from lockside.core.ownership import Standing
from lockside.core.ports import NoLoops
from lockside.core.telemetry import NoMeter
from lockside.errors import FencedError, SetupError, StoppedError
from lockside.state.ownership import Candidate, Ownership, OwnerTable
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB, service_error

LEASE_MS = 9_000
WAIT_SECONDS = 20.0


class Line:
    """A client that fails while it is told to."""

    def __init__(self, client: Any) -> None:
        """Let everything through."""
        self.error: Exception | None = None
        self.failed = threading.Event()
        self._client = client

    def __getattr__(self, name: str) -> Any:
        """Fail, or call the client."""
        if self.error is not None:
            self.failed.set()
            raise self.error
        return getattr(self._client, name)


class Desk:
    """A state table in memory, a clock, and the workers that reach for it."""

    def __init__(self) -> None:
        """Start without any."""
        self.clock = FakeClock()
        self.database = FakeDynamoDB(state_table("state").create)
        self.line = Line(self.database)
        self.lost: list[BaseException] = []
        self.ended = threading.Event()

    def ownership(self, name: str, lease_ms: int = LEASE_MS, line: Line | None = None) -> Ownership:
        """Return a worker's part in it, over a line of its own if it has one."""
        candidate = Candidate("app", name, f"host of {name}", lease_ms)
        owners = OwnerTable(line or self.line, "state", self.clock)  # type: ignore[arg-type]
        return Ownership(owners, candidate, lambda: 0)

    def owner(self, name: str, lease_ms: int = LEASE_MS, line: Line | None = None) -> Owner:
        """Return a worker that will stand by."""
        return Owner(self.ownership(name, lease_ms, line), self.clock, NoLoops(), NoMeter(), self._lose)

    def rival(self, lease_ms: int = LEASE_MS) -> Ownership:
        """Return another worker, which owns it."""
        rival = self.ownership("rival", lease_ms)
        assert rival.look() is Standing.MINE
        return rival

    def _lose(self, error: BaseException) -> None:
        self.lost.append(error)
        self.ended.set()


@pytest.fixture
def desk() -> Desk:
    """Return an empty desk."""
    return Desk()


def test_a_free_application_is_taken_without_a_wait(desk: Desk) -> None:
    """A single worker starts at once, and is ready as far as this goes."""
    owner, stop = desk.owner("first"), FakeStop(desk.clock)
    assert owner.unready() == ["standby: application app is owned by nobody yet"]
    assert owner.acquire(stop).epoch == 1
    assert (stop.waits, owner.unready()) == ([], [])
    owner.release()


def test_a_standby_says_so_once_and_then_seldom(desk: Desk) -> None:
    """One line at first, one each ten minutes, and who it is that owns."""
    rival, owner, stop = desk.rival(), desk.owner("second"), FakeStop(desk.clock, waits_max=1_500)
    stop.on_wait = rival.renew
    with capture_logs() as logs, pytest.raises(StoppedError):
        owner.acquire(stop)
    told = [line for line in logs if line["event"] == "standby"]
    assert len(told) == 1 + round(sum(stop.waits) * 1000) // TELL_MS
    assert told[0]["owner"] == "worker rival on host of rival"
    assert owner.unready() == ["standby: application app is owned by worker rival on host of rival"]


def test_a_standby_is_fit_while_it_sees_its_owner(desk: Desk) -> None:
    """A rolling update waits for a new worker until it could take over, not until it does; a blind one could not."""
    rival, owner = desk.rival(), desk.owner("second")
    assert owner.unready(standby_is_ready=True) == ["standby: application app is owned by nobody yet"]

    def wait() -> None:
        desk.line.error = None
        rival.renew()
        fit.append(owner.unready(standby_is_ready=True))
        desk.line.error = EndpointConnectionError(endpoint_url="http://x") if len(fit) == 2 else None

    fit: list[list[str]] = []
    stop = FakeStop(desk.clock, waits_max=4)
    stop.on_wait = wait
    with pytest.raises(StoppedError):
        owner.acquire(stop)
    blind = ["standby: application app is owned by worker rival on host of rival"]
    assert fit == [[], [], blind, []]


def test_a_standby_takes_over_within_a_lease_and_a_look(desk: Desk) -> None:
    """It says that it took over, and from then on it is ready."""
    desk.rival()
    owner, stop = desk.owner("second"), FakeStop(desk.clock)
    with capture_logs() as logs:
        assert owner.acquire(stop).epoch == 2
    assert LEASE_MS <= round(sum(stop.waits) * 1000) <= LEASE_MS + 1_000
    assert [(line["event"], line.get("took_over")) for line in logs] == [("standby", None), ("owner", True)]
    assert owner.unready() == []
    owner.release()


def test_a_row_handed_back_is_found_at_the_next_look(desk: Desk) -> None:
    """A standby looks each second, whatever the lease."""
    rival = desk.rival(lease_ms=60_000)
    owner, stop = desk.owner("second", lease_ms=60_000), FakeStop(desk.clock)
    stop.on_wait = lambda: rival.release() if len(stop.waits) == 3 else None
    assert owner.acquire(stop).epoch == 2
    assert stop.waits == [1.0] * 3
    owner.release()


def test_once_does_not_wait_for_a_living_owner(desk: Desk) -> None:
    """After one lease it is clear that the owner lives: wrong use, with its name and the way out."""
    rival, owner, stop = desk.rival(), desk.owner("second"), FakeStop(desk.clock)
    stop.on_wait = rival.renew
    with pytest.raises(SetupError, match=r"worker rival on host of rival \(epoch 1\), which is alive .*stop it first"):
        owner.acquire(stop, once=True)
    assert LEASE_MS <= round(sum(stop.waits) * 1000) <= LEASE_MS + 2_000


def test_once_takes_over_from_a_dead_owner(desk: Desk) -> None:
    """A worker that was killed keeps nobody off for longer than its lease."""
    desk.rival()
    owner = desk.owner("second")
    assert owner.acquire(FakeStop(desk.clock), once=True).epoch == 2
    owner.release()


def test_a_table_that_does_not_answer_is_waited_for(desk: Desk) -> None:
    """A standby goes on looking, and gives the owner a whole lease when the table is back."""
    desk.rival()
    owner, stop = desk.owner("second"), FakeStop(desk.clock)

    def outage() -> None:
        down = 3 <= len(stop.waits) < 40
        desk.line.error = EndpointConnectionError(endpoint_url="http://localhost") if down else None

    stop.on_wait = outage
    with capture_logs() as logs:
        assert owner.acquire(stop).epoch == 2
    assert [line["event"] for line in logs] == ["standby", "ownership_unknown", "ownership_known_again", "owner"]
    assert len(stop.waits) >= 40 + LEASE_MS // 1000
    owner.release()


def test_what_nobody_can_wait_for_is_raised(desk: Desk) -> None:
    """A deleted table ends the worker."""
    desk.line.error = service_error("ResourceNotFoundException", "GetItem")
    with pytest.raises(Exception, match="ResourceNotFoundException"):
        desk.owner("first").acquire(FakeStop(desk.clock))


def test_an_owner_that_was_taken_over_hears_so_at_its_next_renewal(desk: Desk) -> None:
    """The renewing thread tells the worker, whatever its shards are doing."""
    line = Line(desk.database)
    owner = desk.owner("zombie", lease_ms=30, line=line)
    owner.acquire(FakeStop(desk.clock))
    line.error = EndpointConnectionError(endpoint_url="http://localhost")
    assert line.failed.wait(WAIT_SECONDS)
    standby = desk.owner("second")
    standby.acquire(FakeStop(desk.clock))
    assert desk.lost == []
    line.error = None
    assert desk.ended.wait(WAIT_SECONDS)
    (error,) = desk.lost
    assert isinstance(error, FencedError)
    assert "another worker has taken over (our epoch was 1)" in str(error)
    owner.release()
    assert desk.ownership("third").look() is Standing.WAIT, "a zombie must not hand back what is not its own"
    standby.release()


def test_an_owner_that_cannot_renew_goes_on(desk: Desk) -> None:
    """Nobody may have taken over: the table tells when it answers again, and until then nothing is lost by going on."""
    owner = desk.owner("first", lease_ms=30)
    owner.acquire(FakeStop(desk.clock))
    desk.line.error = service_error("ProvisionedThroughputExceededException", "UpdateItem")
    assert desk.line.failed.wait(WAIT_SECONDS)
    desk.clock.advance(60)
    assert owner.unready() == ["ownership: not renewed for 60 s"]
    desk.line.error = None
    owner.release()
    assert desk.lost == []
    assert desk.owner("second").acquire(FakeStop(desk.clock)).epoch == 2


def test_release_never_raises(desk: Desk) -> None:
    """A table that does not answer at the end costs the standby a lease, and the stopping worker nothing."""
    owner = desk.owner("first")
    owner.release()
    owner.acquire(FakeStop(desk.clock))
    desk.line.error = EndpointConnectionError(endpoint_url="http://localhost")
    with capture_logs() as logs:
        owner.release()
    assert [line["event"] for line in logs] == ["ownership_not_released"]
