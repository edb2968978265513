"""compose.yaml by a schema of our own, as strict as what it uses: a misspelt key is a fault, and so is a loose end."""

from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from lockside.settings import Settings, load
from tests.deploy import DEPLOY, parse

PORT = r"^127\.0\.0\.1:\d+:\d+$"
MOUNT = r"^[^:]+:/[^:]+(:ro)?$"


class Strict(BaseModel):
    """A part of the file in which every key is known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Strict):
    """Where an image comes from."""

    context: str
    dockerfile: str


class Condition(Strict):
    """What a service waits for."""

    condition: Literal["service_started", "service_completed_successfully"]


class Copies(Strict):
    """How many containers a service has."""

    replicas: Annotated[int, Field(ge=1)]


class Service(Strict):
    """One service (compose-spec, "services")."""

    image: str
    build: Build | None = None
    user: str | None = None
    read_only: bool = False
    tmpfs: list[str] = []
    cap_drop: list[str] = []
    security_opt: list[str] = []
    environment: dict[str, str] = {}
    volumes: list[Annotated[str, Field(pattern=MOUNT)]] = []
    entrypoint: list[str] | None = None
    command: list[str] = []
    ports: list[Annotated[str, Field(pattern=PORT)]] = []
    depends_on: dict[str, Condition] = {}
    deploy: Copies | None = None
    restart: Annotated[str, Field(pattern=r"^(no|always|unless-stopped|on-failure(:\d+)?)$")] = "no"
    stop_grace_period: Annotated[str, Field(pattern=r"^\d+s$")] | None = None


class Compose(Strict):
    """The whole file. `anchors` are parts that services share."""

    name: str
    anchors: Any = Field(alias="x-lockside")
    services: dict[str, Service]
    volumes: dict[str, None]


def compose() -> Compose:
    """Read the file."""
    return Compose.model_validate(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def test_every_name_in_it_leads_somewhere() -> None:
    """Services that are waited for, volumes and files that are mounted, the Dockerfile."""
    found = compose()
    for service in found.services.values():
        assert set(service.depends_on) <= set(found.services)
        for mount in service.volumes:
            source = mount.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in found.volumes, mount
        if service.build is not None:
            assert (DEPLOY / service.build.context / service.build.dockerfile).is_file()


def test_our_containers_may_do_nothing_but_their_work() -> None:
    """Not root, no capability, no new privilege, a read-only root."""
    ours = [service for service in compose().services.values() if service.build is not None]
    assert len(ours) == 3
    for service in ours:
        assert service.user == "10001:10001"
        assert service.read_only
        assert service.cap_drop == ["ALL"]
        assert service.security_opt == ["no-new-privileges:true"]


def test_two_workers_run_with_settings_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are read as the workers read them, environment and all; the commands are Lockside's own."""
    found = compose()
    worker = found.services["worker"]
    assert worker.deploy is not None
    assert worker.deploy.replicas == 2
    for name, value in worker.environment.items():
        monkeypatch.setenv(name, value)
    settings = load(DEPLOY / "compose" / "lockside.toml")
    assert settings.aws.endpoint_url == "http://dynamodb:8000"
    assert settings.engine.kind == "kcl"
    assert {source.table for source in settings.source} == set(found.services["tables"].command[1:])
    for name in ("init", "worker"):
        parse(found.services[name].command)
    assert worker.stop_grace_period is not None
    assert int(worker.stop_grace_period.rstrip("s")) > Settings().ops.shutdown_seconds
