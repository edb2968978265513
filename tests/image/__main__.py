"""Build the image of deploy/Dockerfile and run it, without docker and without an image registry.

`make image [BASE=...] [ARGS="--changes 20000"]`. It needs root, buildah and mmdebstrap:
apt-get install buildah mmdebstrap. What it proves it says, one line each; the first thing that is not so ends it.
"""

import argparse
import itertools
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lockside.emulators.emulator import Emulator
from lockside.emulators.start import start
from tests.fakes.sources import lock_keys, pydynlock
from tests.fakes.state_table import dynamodb
from tests.image.buildah import Buildah, ImageError, driver_that_works, missing_programs, tell
from tests.image.compose import Service, services
from tests.image.container import Container, Image

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
TAG: Final = "localhost/lockside:made"
OWN_BASE: Final = "localhost/lockside-base:debian"
USER: Final = 10001
LOCKS_TABLE: Final = "demo-locks"
WATCHED: Final = (LOCKS_TABLE, "demo-sessions")
ALONE: Final = ("--engine", "embedded")
WAIT_SECONDS_MAX: Final = 300.0
POLL_SECONDS: Final = 0.2
BATCH: Final = 25
DAY_SECONDS: Final = 86_400
PORTS: Final = (19464, 19465)
JARS: Final = "/opt/jars"


@dataclass(frozen=True, slots=True)
class Stage:
    """The image, the services of compose.yaml, and the DynamoDB they are to use."""

    image: Image
    services: Mapping[str, Service]
    emulator: Emulator

    def run(self, name: str, *arguments: str) -> str:
        """Run a service to its end, with its own command or another one; return what it printed."""
        service = self.services[name]
        done = self.image.run(
            *(arguments or service.command), entrypoint=service.entrypoint, **dict(service.environment)
        )
        _require(done.returncode == 0, f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def running(self, port: int, *more: str) -> Any:
        """Run a worker that listens on a port of its own: here all containers share the machine's network."""
        service = self.services["worker"]
        command = [word.replace(":9464", f":{port}") for word in service.command]
        return self.image.running(*command, *more, **dict(service.environment))


def _require(fact: object, what: str) -> None:
    if not fact:
        raise ImageError(what)


def proved(what: str) -> None:
    """Say what was just shown to be so."""
    tell(f"proved  {what}")


def until(what: str, ask: Callable[[], object], container: Container | None = None) -> float:
    """Ask until the answer is yes; return the seconds it took."""
    began = time.monotonic()
    while not ask():
        said = container.said()[-2000:] if container else ""
        ended = container is not None and container.process.poll() is not None
        _require(not ended and time.monotonic() - began < WAIT_SECONDS_MAX, f"{what}: not so. {said}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def page(port: int, path: str) -> tuple[int, str]:
    """Ask a worker's health server; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def made(buildah: Buildah, base: str) -> None:
    """Build the image, on a base of our own where none is named."""
    if not base:
        base = OWN_BASE
        if not buildah.has(base):
            tell("base    made of Debian packages; name another with BASE=...")
            buildah.make_base(base)
    began = time.monotonic()
    dockerfile = DEPLOY / "Dockerfile"
    buildah.build(dockerfile, DEPLOY / "Dockerfile.dockerignore", ROOT, base=base, tag=TAG)
    tell(f"built   on {base} in {time.monotonic() - began:.0f} s")


def look(buildah: Buildah) -> Mapping[str, Any]:
    """Look at what the image says of itself."""
    inspected = buildah.inspect(TAG)
    config: Mapping[str, Any] = inspected["config"]
    steps = [step["created_by"] for step in inspected["history"] if not step.get("empty_layer")]
    _require(config["User"] == f"{USER}:{USER}", f"it runs as {config['User']}")
    _require(config["Entrypoint"] == ["lockside"], f"its entry point is {config['Entrypoint']}")
    _require(any(JARS in step for step in steps), f"no layer of its own for {JARS}: {steps}")
    proved(f"it runs as {config['User']}, starts {config['Entrypoint']} {config['Cmd']} without a shell")
    proved(f"jars are a layer of their own, among {len(steps)}")
    return config


def alone(image: Image) -> None:
    """Run it without anything around it."""
    version = image.run("version")
    _require(version.returncode == 0, f"version: {version.stderr}")
    proved(f"it runs: {version.stdout.strip()}")
    places = ("/opt/lockside/x", "/etc/lockside/x", "/usr/x", "/var/lib/lockside/x")
    tried = image.run("-c", f"touch {' '.join(places)}; touch /tmp/x && id -u", entrypoint=["sh"])
    _require(tried.stderr.count("Read-only file system") == len(places), f"it could write: {tried.stderr}")
    _require(tried.stdout.split() == [str(USER)], f"no place for temporary files: {tried.stderr}")
    proved(f"its file system is read-only to the last place but /tmp, and it has no right of root's (uid {USER})")
    count = "cd /opt/lockside; find lib -name '*.py' | wc -l; find lib -name '*.pyc' | wc -l; ls bin"
    sources, compiled, *programs = image.run("-c", count, entrypoint=["sh"]).stdout.split()
    _require(int(compiled) >= int(sources) * 0.99, f"{compiled} of {sources} modules are compiled")
    _require("pip" not in programs, f"there is an installer in it: {programs}")
    proved(f"{compiled} of {sources} modules are compiled; no installer is left in it")


@contextmanager
def staged(image: Image, emulator: Emulator) -> Iterator[Stage]:
    """Put what compose.yaml mounts into the image."""
    found = services(DEPLOY / "compose.yaml", emulator.endpoint_url)
    with tempfile.TemporaryDirectory(prefix="lockside-image-") as folder:
        binds: dict[Path, str] = {}
        for source, target in found["worker"].mounts.items():
            if source.startswith("."):
                place = DEPLOY / source
                (image.root / target.lstrip("/")).touch()
            else:
                place = Path(folder) / source
                place.mkdir(mode=0o700)
                os.chown(place, USER, USER)
            binds[place] = target
        yield Stage(replace(image, binds=binds, tmp_mb=found["worker"].tmp_mb), found, emulator)


def stood_by(stage: Stage, changes: int) -> None:
    """Live through an owner and its standby, made so by a flag: a take-over, an end in good order."""
    flooded(stage, changes)
    with ExitStack() as stack:
        first = stack.enter_context(stage.running(PORTS[0], *ALONE))
        seconds = until("the first worker is ready", lambda: page(PORTS[0], "/readyz")[0] == 200, first)
        proved(f"a worker is ready {seconds:.1f} s after its start")
        measured(first, changes)
        second = stack.enter_context(stage.running(PORTS[1], *ALONE))
        until("the second stands by", lambda: page(PORTS[1], "/readyz?standby=ready")[0] == 200, second)
        code, why = page(PORTS[1], "/readyz")
        _require(code == 503 and "standby" in why, f"/readyz of the standby: {code} {why}")
        proved("a second one stands by: alive, fit, not ready")
        healthy(stage, first)
        recorded(stage, "image")
        code, seconds = first.terminate()
        _require(code == 0, f"SIGTERM ended it with {code}: {first.said()[-2000:]}")
        proved(f"SIGTERM to process 1 ends it with 0 after {seconds:.1f} s")
        seconds = until("the standby took over", lambda: page(PORTS[1], "/readyz")[0] == 200, second)
        proved(f"the standby has taken over {seconds:.1f} s later")
        code, seconds = second.terminate()
        _require(code == 0, f"SIGTERM ended it with {code}: {second.said()[-2000:]}")
    proved("and it ends with 0 too")


def shared_out(stage: Stage, changes: int) -> None:
    """Live through the fleet that compose.yaml starts: KCL inside each worker, a hand-over, an end in good order."""
    flooded(stage, changes)
    with ExitStack() as stack:
        first = stack.enter_context(stage.running(PORTS[0]))
        seconds = until("a worker of the fleet is ready", lambda: page(PORTS[0], "/readyz")[0] == 200, first)
        _require("lockside_fleet 1.0" in page(PORTS[0], "/metrics")[1], "the worker is none of a fleet")
        proved(f"a worker of the fleet, with Java and KCL inside, is ready {seconds:.1f} s after its start")
        measured(first, changes)
        recorded(stage, "fleet-first")
        second = stack.enter_context(stage.running(PORTS[1]))
        until("a second one is ready", lambda: page(PORTS[1], "/readyz")[0] == 200, second)
        until("the second works", lambda: second.said().count('"state":"started"') >= len(WATCHED), second)
        code, seconds = first.terminate()
        _require(code == 0, f"SIGTERM ended it with {code}: {first.said()[-2000:]}")
        proved(f"SIGTERM to process 1, Python and Java in one, ends it with 0 after {seconds:.1f} s")
        recorded(stage, "fleet-second")
        tell(stage.run("worker", "kcl", "leases").strip().replace("\n", "\n        "))
        code, seconds = second.terminate()
        _require(code == 0, f"SIGTERM ended it with {code}: {second.said()[-2000:]}")
        proved(f"the second one has gone on with its shards, and ends with 0 after {seconds:.1f} s too")


def healthy(stage: Stage, container: Container) -> None:
    """Run the image's own health check, where it has something to find and where it has not."""
    kind, *command = stage.image.config["Healthcheck"]["Test"]
    _require(kind == "CMD", f"the health check is a {kind}")
    port = [f"http://127.0.0.1:{PORTS[0]}/livez"]
    good = stage.image.run(*port, entrypoint=command)
    _require(good.returncode == 0, f"health check: {good.stderr} {container.said()[-1000:]}")
    bad = stage.image.run("http://127.0.0.1:9/livez", entrypoint=command)
    _require(bad.returncode == 1, "the health check finds a dead worker well")
    proved("its health check is content with /livez, and not with nobody's")


def recorded(stage: Stage, name: str) -> None:
    """Take a lock, and find it in the trail."""
    client = dynamodb(stage.emulator)
    client.put_item(TableName=LOCKS_TABLE, Item={**lock_keys(name), **pydynlock("ann", "v1", "3600")})
    until("the lock is in the trail", lambda: "lock.acquired" in stage.run("worker", "query", "--lock", name))
    proved(f"the lock {name!r} that was taken stands in the trail")


def flooded(stage: Stage, changes: int) -> None:
    """Take and renew locks before any worker runs: what it then finds is a backlog, the most it ever has in memory."""
    client, mark = dynamodb(stage.emulator), secrets.token_hex(4)
    # Its TTL must not be over: DynamoDB Local would remove the rows.
    expiry = {"expiry_time": {"N": str(round(time.time()) + DAY_SECONDS)}}
    holders = itertools.cycle(range(max(1, changes // 10)))
    for start_at in range(0, changes, BATCH):
        rows = [
            {**lock_keys(f"l{next(holders)}"), **pydynlock("ann", f"v{mark}{start_at + n}", "3600"), **expiry}
            for n in range(min(BATCH, changes - start_at))
        ]
        requests: Any = {LOCKS_TABLE: [{"PutRequest": {"Item": row}} for row in rows]}
        client.batch_write_item(RequestItems=requests)


def measured(container: Container, changes: int) -> None:
    """Measure what a worker takes to get through a backlog, and what it keeps."""
    seconds = until("the backlog is consumed", lambda: _records() >= changes, container)
    now_mb, most_mb, cpu = container.usage()
    inside = f"{container.threads()} threads, {container.tmp_mb():.2f} MB in /tmp"
    tell(
        f"measured a backlog of {changes} changes, a tenth of them new locks, consumed {seconds:.1f} s after it was "
        f"ready: {cpu:.1f} CPU s since its start, {most_mb:.0f} MB at most, {now_mb:.0f} MB after; {inside}"
    )


def _records() -> float:
    _, text = page(PORTS[0], "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("lockside_records_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def main() -> int:
    """Do it all; return the exit code."""
    parser = argparse.ArgumentParser(prog="make image", description=__doc__)
    parser.add_argument("--base", default="", help="the image to build on; without one, a base is made with mmdebstrap")
    parser.add_argument("--changes", type=int, default=20_000, help="how many changes a worker is measured with")
    parser.add_argument("--folder", type=Path, default=ROOT / ".make" / "image", help="where base and layers are kept")
    given = parser.parse_args()
    missing = missing_programs()
    if missing or os.geteuid() != 0:
        lacking = (
            f"install {', '.join(missing)} (Debian: apt-get install buildah mmdebstrap)" if missing else "run as root"
        )
        sys.stderr.write(f"make image: {lacking}; docker builds deploy/Dockerfile without either\n")
        return 2
    given.folder.mkdir(parents=True, exist_ok=True)
    buildah = Buildah(given.folder, driver_that_works(given.folder))
    try:
        made(buildah, given.base)
        config = look(buildah)
        with buildah.mounted(TAG) as root, start("dynamodb-local") as emulator:
            image = Image(root, config)
            alone(image)
            with staged(image, emulator) as stage:
                tell(stage.run("tables").strip().replace("\n", ", "))
                stage.run("init")
                stage.run("worker", "check")
                proved("the services tables and init of compose.yaml ran, and `lockside check` finds nothing to mend")
                stood_by(stage, given.changes)
                shared_out(stage, given.changes)
    except (ImageError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"make image: {error}\n")
        return 1
    tell(f"The image is {TAG} in {given.folder}/store ({json.dumps(buildah.driver)}).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
