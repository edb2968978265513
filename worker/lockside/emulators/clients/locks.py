"""Programs that hold locks, through python_dynamodb_lock as it is published.

Three parts: `workers` (alpha and beta contend, hold, renew and release), `victim` (takes two locks and holds them until
it is killed), `heir` (waits for one of the victim's locks and takes it over once its lease has run out).
"""

import argparse
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from python_dynamodb_lock.python_dynamodb_lock import DynamoDBLockClient  # type: ignore[import-untyped]

from lockside.emulators.clients import cast, endpoint
from lockside.emulators.clients.truth import Teller
from lockside.emulators.clients.witness import Witness

LEASE_SECONDS: Final = 4.0
HEARTBEAT_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 60.0
"""How long a contender waits for a lock before it gives up."""


@dataclass(slots=True)
class Holder:
    """One owner with a lock client of its own."""

    owner: str
    client: Any
    witness: Witness
    teller: Teller
    beats: int
    heartbeat_seconds: float

    def acquire(self, lock: str, **attributes: str) -> Any:
        """Take a lock, waiting for it if need be."""
        return self.client.acquire_lock(
            lock,
            retry_period=timedelta(seconds=self.heartbeat_seconds / 2),
            retry_timeout=timedelta(seconds=PATIENCE_SECONDS),
            additional_attributes=attributes,
        )

    def hold(self, lock: str) -> None:
        """Keep a lock for the agreed number of heartbeats."""
        self.witness.wait_beats(lock, self.beats, PATIENCE_SECONDS)

    def wait(self, lock: str) -> Any:
        """Take a lock that another holds."""
        self.teller.tell("waiting", lock=lock, owner=self.owner)
        return self.acquire(lock)


Enlist = Callable[[str], Holder]


def workers(enlist: Enlist, rounds: int) -> None:
    """Alpha and beta share a lock in turn; then alpha holds another, with data of its own on it."""
    alpha, beta = enlist(cast.ALPHA), enlist(cast.BETA)

    def contend() -> None:
        held = beta.wait(cast.REPORT)
        beta.hold(cast.REPORT)
        held.release()

    for _round in range(rounds):
        held = alpha.acquire(cast.REPORT)
        contender = threading.Thread(target=contend, name="beta")
        contender.start()
        alpha.hold(cast.REPORT)
        held.release()
        contender.join()
        held = alpha.acquire(cast.BILLING, purpose="invoices", secret="made-up-token")  # noqa: S106 - must not be copied out
        alpha.hold(cast.BILLING)
        held.release()
    alpha.client.close()
    beta.client.close()


def victim(enlist: Enlist, _rounds: int) -> None:
    """Take two locks and keep them. Whoever started this process kills it; it releases nothing of its own accord."""
    crash = enlist(cast.CRASH)
    for lock in cast.VICTIM_LOCKS:
        crash.acquire(lock)
    threading.Event().wait()


def heir(enlist: Enlist, _rounds: int) -> None:
    """Take a dead holder's lock over, hold it, release it."""
    gamma = enlist(cast.GAMMA)
    held = gamma.wait(cast.IMPORT)
    gamma.hold(cast.IMPORT)
    held.release()
    gamma.client.close()


PARTS: Final[dict[str, Callable[[Enlist, int], None]]] = {"workers": workers, "victim": victim, "heir": heir}


def main(arguments: list[str] | None = None) -> None:
    """Play one part."""
    parser = endpoint.parser("locks")
    parser.add_argument("--part", choices=PARTS, default="workers")
    parser.add_argument("--lease", type=float, default=LEASE_SECONDS, help="seconds")
    parser.add_argument("--heartbeat", type=float, default=HEARTBEAT_SECONDS, help="seconds")
    parser.add_argument("--beats", type=int, default=2, help="heartbeats a lock is held for")
    options = parser.parse_args(arguments)
    endpoint.settle(options)
    teller = Teller(sys.stdout)
    teller.tell("start", client="python_dynamodb_lock", part=options.part, lease_s=options.lease)
    PARTS[options.part](lambda owner: _enlist(options, teller, owner), options.rounds)
    teller.tell("end", part=options.part)


def _enlist(options: argparse.Namespace, teller: Teller, owner: str) -> Holder:
    resource = endpoint.resource(options)
    witness = Witness(teller, owner, options.lease)
    witness.watch(resource.meta.client)
    client = DynamoDBLockClient(
        resource,
        table_name=options.table,
        owner_name=owner,
        lease_duration=timedelta(seconds=options.lease),
        heartbeat_period=timedelta(seconds=options.heartbeat),
        safe_period=timedelta(seconds=options.lease),
    )
    return Holder(owner, client, witness, teller, options.beats, options.heartbeat)


if __name__ == "__main__":
    main()
