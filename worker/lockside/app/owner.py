"""Owning the application: standing by until it is ours, renewing the lease in a thread of its own, handing it back.

Losing it only ends this worker: what keeps a worker that was taken over from harm is the epoch of its checkpoints. So a
lease that cannot be renewed because nobody answers is no reason to stop: when the endpoint is back, the row tells.
"""

import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import PASSING, error_code, verdict
from lockside.core import telemetry
from lockside.core.ownership import OwnerRow, Standing, Term
from lockside.core.ports import Clock, Loops, Stop
from lockside.core.telemetry import Meter
from lockside.errors import FencedError, LocksideError, SetupError, StoppedError
from lockside.state.ownership import Candidate, Ownership, OwnerTable

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.settings import Settings

LOG = structlog.get_logger(__name__)

LOOK_SECONDS_MAX: Final = 1.0
"""A standby looks so often, so that a row which was handed back is taken at once."""

TELL_MS: Final = 600_000
"""How often a standby says that it still is one, and an owner that it cannot renew."""

JOIN_SECONDS_MAX: Final = 10.0
RENEWALS: Final = 3
"""Renewals in a lease: two may fail before anybody takes over."""


class Owner:
    """Holds one application for one worker."""

    def __init__(
        self, ownership: Ownership, clock: Clock, loops: Loops, meter: Meter, lost: Callable[[BaseException], None]
    ) -> None:
        """Hold nothing yet; `lost` is told, from the renewing thread, why the worker must end."""
        self._ownership = ownership
        self._clock = clock
        self._loops = loops
        self._meter = meter
        self._lost = lost
        self._lease_seconds = ownership.candidate.lease_ms / 1000
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: tuple[int, str | None] | None = None
        self._told_ms = 0
        self._outage_told_ms: int | None = None

    @property
    def term(self) -> Term:
        """The term held; its epoch is 0 while none is."""
        return self._ownership.term

    def unready(self, *, standby_is_ready: bool = False) -> list[str]:
        """Say why this worker does not own the application, or does not know that it still does.

        With `standby_is_ready`, standing by for an owner whom it sees is nothing to complain of.
        """
        if not self.term.epoch:
            holder = self._ownership.holder
            if standby_is_ready and holder is not None and self._outage_told_ms is None:
                return []
            return [f"standby: application {self._application} is owned by {named(holder) if holder else 'nobody yet'}"]
        seconds = (self._clock.now().mono_ms - self._ownership.renewed_ms) / 1000
        return [] if seconds <= self._lease_seconds else [f"ownership: not renewed for {seconds:.0f} s"]

    def acquire(self, stop: Stop, *, once: bool = False) -> Term:
        """Stand by until the application is ours, and keep it from then on.

        Raises StoppedError on shutdown, and with `once` SetupError where another worker shows that it lives.
        """
        self._meter.gauge("owner", 0.0)
        began_ms = self._clock.now().mono_ms
        while not stop.is_set():
            self._loops.beat_here()
            if self._look() is Standing.MINE:
                self._keep(began_ms)
                return self.term
            if once:
                self._refuse_to_wait(began_ms)
            stop.wait(self._look_seconds())
        raise StoppedError("standing by")

    def release(self, ended: str | None = None) -> None:
        """Hand the application back, if we have it: a standby takes it at its next look. Never raises.

        `ended` is left for `lockside status`: what ended this worker, None where it stops in good order.
        """
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join(JOIN_SECONDS_MAX)
        self._meter.gauge("owner", 0.0)
        if self._thread.is_alive():
            LOG.warning("ownership_not_released")
            return
        try:
            if self._ownership.release(ended):
                LOG.info("ownership_released", owner_epoch=self.term.epoch)
        except (ClientError, BotoCoreError) as error:
            LOG.warning("ownership_not_released", **{telemetry.ERROR: error_code(error)})

    @property
    def _application(self) -> str:
        return self._ownership.candidate.application

    def _look(self) -> Standing:
        try:
            standing = self._ownership.look()
        except (ClientError, BotoCoreError) as error:
            if verdict(error) not in PASSING:
                raise
            self._tell_outage(error)
            return Standing.WAIT
        self._tell_answer()
        holder = self._ownership.holder
        if standing is Standing.WAIT and holder is not None:
            self._tell_standby(holder)
        return standing

    def _look_seconds(self) -> float:
        holder = self._ownership.holder
        lease_ms = self._ownership.candidate.lease_ms if holder is None else holder.lease_ms
        return min(LOOK_SECONDS_MAX, lease_ms / 1000 / RENEWALS)

    def _tell_standby(self, holder: OwnerRow) -> None:
        who = (holder.epoch, holder.owner)
        now_ms = self._clock.now().mono_ms
        if who != self._told or now_ms - self._told_ms >= TELL_MS:
            self._told, self._told_ms = who, now_ms
            LOG.info(
                "standby",
                owner=named(holder),
                owner_epoch=holder.epoch,
                lease_seconds=holder.lease_ms / 1000,
                **{telemetry.APPLICATION: self._application},
            )

    def _tell_outage(self, error: Exception) -> None:
        self._meter.count("retries", operation="ownership")
        now_ms = self._clock.now().mono_ms
        if self._outage_told_ms is None or now_ms - self._outage_told_ms >= TELL_MS:
            self._outage_told_ms = now_ms
            LOG.warning("ownership_unknown", owner_epoch=self.term.epoch, **{telemetry.ERROR: error_code(error)})

    def _tell_answer(self) -> None:
        if self._outage_told_ms is not None:
            self._outage_told_ms = None
            LOG.info("ownership_known_again")

    def _refuse_to_wait(self, began_ms: int) -> None:
        holder = self._ownership.holder
        if holder is None or self._clock.now().mono_ms - began_ms < holder.lease_ms + 1_000 * LOOK_SECONDS_MAX:
            return
        raise SetupError(
            f'application = "{self._application}": is owned by {named(holder)} (epoch {holder.epoch}), which is '
            "alive and reads the same streams; stop it first, or leave the work to it"
        )

    def _keep(self, began_ms: int) -> None:
        waited_seconds = (self._clock.now().mono_ms - began_ms) / 1000
        LOG.info(
            "owner",
            owner_epoch=self.term.epoch,
            took_over=self._told is not None,
            **{telemetry.APPLICATION: self._application, telemetry.SECONDS: waited_seconds},
        )
        self._meter.gauge("owner", 1.0)
        self._thread = threading.Thread(target=self._renew, name="ownership", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        try:
            while not self._ended.wait(self._lease_seconds / RENEWALS):
                self._loops.beat_here()
                if self._renew_once() is Standing.LOST:
                    self._end(self._fenced())
                    return
        except Exception as error:  # noqa: BLE001 - told to the worker, which ends with it
            self._end(error)
        finally:
            self._loops.forget_here()

    def _end(self, error: BaseException) -> None:
        self._meter.gauge("owner", 0.0)
        self._lost(error)

    def _fenced(self) -> FencedError:
        return FencedError(
            f'application = "{self._application}": another worker has taken over (our epoch was {self.term.epoch}); '
            "this worker was held up, or could not reach the state table, for longer than its lease. It stops; what it "
            "had not saved is read again by the new owner"
        )

    def _renew_once(self) -> Standing:
        try:
            standing = self._ownership.renew()
        except (ClientError, BotoCoreError) as error:
            if verdict(error) not in PASSING:
                raise
            self._tell_outage(error)
            return Standing.WAIT
        self._tell_answer()
        return standing


def ownership_of(
    settings: "Settings", client: "DynamoDBClient", clock: Clock, run_id: str, epoch_floor: Callable[[], int]
) -> Ownership:
    """Make this process a candidate for the application of the settings; nothing is called yet."""
    candidate = Candidate(
        application=settings.application,
        run_id=run_id,
        place=f"{socket.gethostname()}, process {os.getpid()}",
        lease_ms=round(settings.engine.owner_lease_seconds * 1000),
    )
    return Ownership(OwnerTable(client, settings.state.table, clock), candidate, epoch_floor)


def last_words(error: BaseException) -> str:
    """Say what ended a worker, for its owner row: our own texts whole, of anything else only what names it."""
    if isinstance(error, LocksideError):
        return str(error)
    return f"{error_code(error)}, which is unexpected; look at the end of its log, start it again"


def named(row: OwnerRow) -> str:
    """Name an owner for people."""
    return f"worker {row.owner} on {row.place}"
