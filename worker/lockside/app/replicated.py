"""What `lockside check` finds out of replicas: whether they could be fed, and what they lack."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final

from lockside.app import readable
from lockside.app.finding import Finding
from lockside.app.patience import Patience
from lockside.app.provision import describe
from lockside.app.replica_targets import PLACE, Joined, source_table, target, tombstones_stay
from lockside.aws.clients import connect
from lockside.aws.retrying import Retrier
from lockside.core.telemetry import NoMeter
from lockside.errors import NotFoundOutError, SetupError, StoppedError
from lockside.ops.clock import SystemClock
from lockside.state.replicas import Replicas, ReplicaState

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.settings import ReplicaSettings, Settings

WAIT_SECONDS_MAX: Final = 10.0


def findings(settings: "Settings", clients: "Clients") -> Iterator[Finding]:
    """Look at each replica's table, its stream, its target and how complete it is; nothing is changed."""
    watched = {source.table for source in settings.source}
    for number, replica in enumerate(settings.replica):
        place = f"replica[{number}]"
        if replica.table not in watched:
            watched.add(replica.table)
            yield from _stream(place, replica.table, settings, clients)
        yield from _replica(place, replica, settings, clients)


def _stream(place: str, table: str, settings: "Settings", clients: "Clients") -> Iterator[Finding]:
    described = describe(clients.dynamodb, table)
    if described is None:
        what = f"the table does not exist at {clients.endpoint}"
        yield Finding("fault", table, f"{place}.table", what, "correct the name, aws.region or aws.endpoint_url")
        return
    names = sorted({f'reader "{each.reader_name}"' for each in settings.replica if each.table == table})
    yield from readable.stream(place, table, described, clients.streams, names)


def _replica(place: str, replica: "ReplicaSettings", settings: "Settings", clients: "Clients") -> Iterator[Finding]:
    stop = Patience(WAIT_SECONDS_MAX)
    retrier = Retrier(stop, NoMeter())
    joined = Joined(settings.aws, retrier, SystemClock(), threading.Event())
    try:
        source = source_table(clients, replica.table, f"{place}.table")
        with closing(target(replica, place, source, joined, create=False)) as found:
            where = found.place
            state = Replicas(clients.dynamodb, settings.state.table, retrier).read(replica.id)
    except (SetupError, NotFoundOutError) as error:
        setting, _, what = str(error).partition(": ")
        setting, _, _ = setting.partition(" = ")
        what, _, fix = what.partition("; ")
        yield Finding("fault", replica.table, setting, what, fix)
        return
    except StoppedError:
        what = "the state table or the target did not answer in time"
        yield Finding("warning", replica.table, f"{place}.id", what, "run the check again")
        return
    yield _complete(place, replica, state, where)
    if replica.to == "dynamodb":
        theirs = connect(settings.aws.model_copy(update={n: v for n in PLACE if (v := getattr(replica, n))}))
        if tombstones_stay(theirs, str(replica.target_table)):
            what = "TTL is not on for lockside_expires in the target, so what was deleted leaves its tombstone for ever"
            command = f"aws dynamodb update-time-to-live --table-name {replica.target_table}"
            fix = f"{command} --time-to-live-specification Enabled=true,AttributeName=lockside_expires"
            yield Finding("warning", replica.table, f"{place}.target_table", what, fix)


def _complete(place: str, replica: "ReplicaSettings", state: ReplicaState | None, where: str) -> Finding:
    if state is not None and state.place == where and state.is_complete:
        return Finding("good", replica.table, f"{place}.id", f"{where} holds a whole copy, and is fed from the stream")
    what = f"{where} may lack rows: no copy of the table was finished since it was made, or since something was lost"
    return Finding("warning", replica.table, f"{place}.id", what, "lockside replicate --bootstrap")
