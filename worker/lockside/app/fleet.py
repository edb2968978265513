"""What a worker of a fleet is made of, from its settings: KCL's jars and Java, its knobs, its place among others."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockside.aws.clients import Clients
from lockside.core.ownership import Term
from lockside.core.status import shows_life
from lockside.emulators import jars
from lockside.engines.kcl.engine import Machine
from lockside.engines.kcl.knobs import PROFILES, Knobs
from lockside.engines.kcl.services import Member
from lockside.errors import SetupError
from lockside.state.ownership import OwnerTable

if TYPE_CHECKING:
    from lockside.core.ports import Clock
    from lockside.settings import KclSettings, Settings

LOCK: Final = "kcl.lock"
WAY_OUT: Final = "or take the jars from a folder with `lockside kcl jars --offline DIR`"


def knobs_of(settings: "KclSettings") -> Knobs:
    """Return the profile's knobs, with those that the settings set. Raises SetupError for two that do not fit."""
    given = {field.name: getattr(settings, field.name) for field in fields(Knobs)}
    knobs = replace(PROFILES[settings.profile], **{name: value for name, value in given.items() if value is not None})
    if knobs.leader_lease_ms < 2 * knobs.leader_heartbeat_ms:
        raise SetupError(
            f"engine.kcl.leader_heartbeat_ms = {knobs.leader_heartbeat_ms}: at most half of leader_lease_ms = "
            f"{knobs.leader_lease_ms} is allowed (what is not set of the two is the profile's)"
        )
    return knobs


def fetch_jars(progress: jars.Progress = jars.silent, offline: Path | None = None) -> tuple[Path, ...]:
    """Bring KCL's jars into the Maven cache, from a folder where one is given. Raises SetupError."""
    fetch = jars.from_central if offline is None else jars.from_folder(offline)
    source = "Maven Central" if offline is None else str(offline)
    return jars.provide(jars.bundled(LOCK), fetch=fetch, progress=progress, source=source, way_out=WAY_OUT)


def machine_of(settings: "KclSettings") -> Machine:
    """Return the Java to run KCL on. Raises SetupError where a jar is missing: a worker fetches nothing by itself."""
    listed = jars.bundled(LOCK)
    missing = jars.missing(listed)
    if missing:
        raise SetupError(
            f"{len(missing)} of KCL's {len(listed)} jars are not in the Maven cache {jars.maven_cache()}, for example "
            f"{missing[0].coordinate}; run `lockside kcl jars` once"
        )
    home = Path(settings.java_home) if settings.java_home else None
    return Machine(jars.places(listed), home, settings.java_heap_mb)


def member_of(settings: "Settings", worker_id: str) -> Member:
    """Return this worker's place among those of its application."""
    engine, knobs = settings.engine, knobs_of(settings.engine.kcl)
    return Member(settings.application, worker_id, knobs, engine.page_limit, engine.shard_listing_seconds)


def term_of(settings: "Settings", clients: Clients, clock: "Clock", highest_epoch: Callable[[], int]) -> Term:
    """Return the term that a fleet's checkpoints are written under: that of the last owner there was.

    Whoever runs the embedded engine after that takes a later one, and the fleet is refused. Raises SetupError where
    an embedded worker lives.
    """
    owner = OwnerTable(clients.prompt, settings.state.table, clock).read(settings.application)
    if (
        owner is not None
        and owner.owner is not None
        and shows_life(owner.renewed_ms, owner.lease_ms, clock.now().wall_ms)
    ):
        raise SetupError(
            f'application = "{settings.application}": is owned by a worker on {owner.place} that runs engine.kind = '
            '"embedded"; stop it first, or give this fleet another application name and state table'
        )
    return Term("", max(highest_epoch(), 0 if owner is None else owner.epoch))


def refuse_once(settings: "Settings", *, once: bool) -> None:
    """Refuse to drain what is there with a fleet: no worker of it can tell that nothing is left. Raises SetupError."""
    if once and settings.engine.kind == "kcl":
        raise SetupError(
            '--once: needs engine.kind = "embedded"; in a fleet no worker can tell that nothing is left to read'
        )
