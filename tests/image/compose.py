"""`deploy/compose.yaml` as the containers it asks for: its services are what is run here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ENDPOINT: Final = "http://dynamodb:8000"
"""Where the services look for their DynamoDB; here it is another."""


@dataclass(frozen=True, slots=True)
class Service:
    """What one service runs. `mounts` are what it puts into the container: sources, the named volumes by name.

    `tmp_mb` is the size of its /tmp.
    """

    command: tuple[str, ...]
    entrypoint: tuple[str, ...] | None
    environment: Mapping[str, str]
    mounts: Mapping[str, str]
    tmp_mb: int


def services(file: Path, endpoint_url: str) -> dict[str, Service]:
    """Read the services that run our image, with another DynamoDB in the place of theirs."""
    document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {
        name: Service(
            command=tuple(word.replace(ENDPOINT, endpoint_url) for word in service.get("command", ())),
            entrypoint=tuple(service["entrypoint"]) if "entrypoint" in service else None,
            environment={
                key: str(value).replace(ENDPOINT, endpoint_url) for key, value in service["environment"].items()
            },
            tmp_mb=int(service["tmpfs"][0].rpartition("=")[2].removesuffix("m")),
            mounts=dict(mount.split(":")[:2] for mount in service["volumes"]),
        )
        for name, service in document["services"].items()
        if "build" in service
    }
