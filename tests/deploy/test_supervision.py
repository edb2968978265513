"""systemd's unit and Kubernetes' objects hold to what the worker does: exit codes, bounds, pages, user, settings."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockside.app.pace import silence_max_ms
from lockside.settings import Settings, load
from tests.deploy import DEPLOY, parse

SHUTDOWN_SECONDS = Settings().ops.shutdown_seconds


def unit() -> configparser.SectionProxy:
    """Read the unit's [Service]; of a key that stands there twice the last."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(DEPLOY / "systemd" / "lockside.service", encoding="utf-8")
    return parser["Service"]


def objects() -> dict[str, Any]:
    """Read the objects of Kubernetes, by kind."""
    read = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in (DEPLOY / "kubernetes").glob("*.yaml")]
    return {each["kind"]: each for each in read}


def container() -> dict[str, Any]:
    """Return the worker's container."""
    (found,) = objects()["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_systemd_starts_it_again_after_every_failure() -> None:
    """For good: no limit of attempts."""
    service = unit()
    assert (service["Restart"], "RestartPreventExitStatus" in service) == ("on-failure", False)
    assert "StartLimitIntervalSec=0" in (DEPLOY / "systemd" / "lockside.service").read_text(encoding="utf-8")


def test_systemd_is_more_patient_than_the_worker() -> None:
    """A loop that waits for AWS is not silent, and a drain ends by its own bound."""
    service = unit()
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"]) * 1000 > silence_max_ms(Settings())
    assert int(service["TimeoutStopSec"]) > SHUTDOWN_SECONDS


def test_both_start_a_command_that_there_is() -> None:
    """With options that it knows."""
    program, *words = unit()["ExecStart"].split()
    assert program == "/opt/lockside/bin/lockside"
    parse(words)
    parse(container()["args"])


def test_kubernetes_settings_hold(tmp_path: Path) -> None:
    """The ConfigMap is a settings file, and the keys are where the Secret is mounted."""
    file = tmp_path / "lockside.toml"
    file.write_text(objects()["ConfigMap"]["data"]["lockside.toml"], encoding="utf-8")
    settings = load(file)
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert str(settings.keys.file.parent) == mounts["keys"]
    assert settings.source
    assert settings.engine.kind == "kcl"


def test_a_worker_of_the_fleet_is_called_by_its_pod() -> None:
    """A pod of a StatefulSet keeps its name over restarts, so that its shards are its own again at once."""
    (name,) = [each["valueFrom"] for each in container()["env"] if each["name"] == "LOCKSIDE_ENGINE__KCL__WORKER_ID"]
    assert name == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_memory_bears_javas_heap(tmp_path: Path) -> None:
    """And as much again, for Java besides its heap, for Python, and for /tmp, which is memory too."""
    file = tmp_path / "lockside.toml"
    file.write_text(objects()["ConfigMap"]["data"]["lockside.toml"], encoding="utf-8")
    limits = container()["resources"]["limits"]
    assert int(limits["memory"].removesuffix("Mi")) >= 2 * load(file).engine.kcl.java_heap_mb
    assert int(unit()["MemoryHigh"].removesuffix("M")) >= 2 * Settings().engine.kcl.java_heap_mb


def test_probes_ask_pages_that_there_are() -> None:
    """Alive is asked of the loops; ready is asked so that a standby does not hold an update up."""
    found = container()
    paths = {probe: found[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz?standby=ready"}
    (port,) = found["ports"]
    assert {found[probe]["httpGet"]["port"] for probe in paths} == {port["name"]}
    assert found["args"][found["args"].index("--listen") + 1].endswith(f":{port['containerPort']}")
    (served,) = objects()["Service"]["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (port["containerPort"], port["name"])


def test_a_pod_may_do_nothing_but_its_work() -> None:
    """The image's own user, no capability, a read-only root, no token, and time to drain."""
    pod = objects()["StatefulSet"]["spec"]["template"]["spec"]
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert user is not None
    security = pod["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (int(user[1]), int(user[2]))
    assert security["runAsNonRoot"]
    own = container()["securityContext"]
    assert own["readOnlyRootFilesystem"]
    assert not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]
    assert pod["terminationGracePeriodSeconds"] > SHUTDOWN_SECONDS


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "NetworkPolicy", "Service"])
def test_everything_is_about_the_same_pods(kind: str) -> None:
    """A selector that finds nobody is no fault to Kubernetes."""
    found = objects()
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    spec = found[kind]["spec"]
    selector = spec.get("selector", spec.get("podSelector"))
    assert selector.get("matchLabels", selector) == labels
