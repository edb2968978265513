"""The packages of the foreign clients: exact versions, each checked by its hash, installed under .make/clients.

npm checks package-lock.json's own hashes, pip those of requirements.lock, and jars.lock is checked here. None of them
names a registry: whichever this machine uses will do. What is there and unchanged is left as it is.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockside.emulators import jars

HERE: Final = Path(__file__).parent
ROOT: Final = Path(__file__).parents[2]
PLACE: Final = ROOT / ".make" / "clients"
SETUP_SECONDS_MAX: Final = 600
NODE_FILES: Final = ("package.json", "package-lock.json", ".npmrc")


@dataclass(frozen=True, slots=True)
class Packages:
    """What one toolchain installs: the programs it takes, the files that say what, and how its programs are started."""

    name: str
    tools: tuple[str, ...]
    files: tuple[str, ...]
    install: Callable[[Path, Path], None]
    command: Callable[[Path, str], list[str]]

    @property
    def missing(self) -> tuple[str, ...]:
        """The programs that this machine lacks."""
        return tuple(tool for tool in self.tools if shutil.which(tool) is None)

    def start(self, program: str) -> list[str]:
        """Return the command that starts a program. Raises RuntimeError while its packages are not there."""
        if not self.is_ready():
            raise RuntimeError(f"the packages of tests/clients/{self.name} are not installed; run `make clients`")
        return self.command(PLACE / self.name, program)

    def is_ready(self) -> bool:
        """Whether exactly these packages and programs are installed."""
        stamp = PLACE / self.name / ".installed"
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == self._digest()

    def set_up(self) -> None:
        """Install, into an empty folder, so that nothing of another version stays."""
        if self.is_ready():
            return
        sys.stderr.write(f"Installing the packages of tests/clients/{self.name} ...\n")
        place = PLACE / self.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        self.install(HERE / self.name, place)
        (place / ".installed").write_text(self._digest(), encoding="utf-8")

    def _digest(self) -> str:
        files = [HERE / self.name / name for name in self.files]
        return "\n".join(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)


def _java(source: Path, place: Path) -> None:
    lock = source / "jars.lock"
    files = jars.provide(jars.read_lock(lock.read_text(encoding="utf-8"), lock.name))
    path = os.pathsep.join(map(str, files))
    (place / "classpath").write_text(path, encoding="utf-8")
    _run(["javac", "-Xlint:all", "-Werror", "--class-path", path, "-d", str(place), str(source / "Locks.java")], place)


def _java_command(place: Path, program: str) -> list[str]:
    path = os.pathsep.join([str(place), (place / "classpath").read_text(encoding="utf-8")])
    return ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "--class-path", path, program]


def _node(source: Path, place: Path) -> None:
    for name in NODE_FILES:
        shutil.copy(source / name, place)
    _run(["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"], place)


def _node_command(place: Path, program: str) -> list[str]:
    # A program finds packages in its own folder or above it.
    for source in (HERE / "node").glob("*.mjs"):
        shutil.copy(source, place)
    return ["node", str(place / program)]


def _flask(source: Path, place: Path) -> None:
    venv.create(place / "venv", with_pip=True, symlinks=True)
    pip = [str(_python(place)), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes"]
    _run([*pip, "--requirement", str(source / "requirements.lock")], place)


def _python(place: Path) -> Path:
    return place / "venv" / "bin" / "python"


def _flask_command(place: Path, program: str) -> list[str]:
    return [str(_python(place)), str(HERE / "flask" / program)]


def _run(command: list[str], place: Path) -> None:
    subprocess.run(command, cwd=place, check=True, timeout=SETUP_SECONDS_MAX, stdin=subprocess.DEVNULL)  # noqa: S603 - our own


PACKAGES: Final[Mapping[str, Packages]] = {
    each.name: each
    for each in (
        Packages("java", ("java", "javac"), ("jars.lock", "Locks.java"), _java, _java_command),
        Packages("node", ("node", "npm"), NODE_FILES, _node, _node_command),
        Packages("flask", (), ("requirements.lock",), _flask, _flask_command),
    )
}
