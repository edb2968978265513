"""Java archives by exact coordinates, each checked against a committed list of SHA-256 and size before it is used.

Strategy: what the ordinary Maven cache holds is used if its bytes are the listed ones. Anything else is fetched into a
folder of its own, checked there, and moved into the cache in one step, so that no cut-off or concurrent download
is ever seen. Every jar is hashed at every start: 50 MB cost about a tenth of a second.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from lockside.errors import SetupError

THREADS: Final = 8
FETCH_ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 10
DYNAMODB_LOCAL: Final = "dynamodb-local.lock"

_LINE: Final = re.compile(
    r"(?P<group>\w[\w.-]*):(?P<artifact>\w[\w.-]*):(?P<version>\w[\w.-]*) (?P<sha256>[0-9a-f]{64}) (?P<size>\d{1,12})"
)


@dataclass(frozen=True, slots=True)
class Jar:
    """One archive, and what its bytes must be."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def coordinate(self) -> str:
        """Its Maven name, `group:artifact:version`."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def place(self) -> Path:
        """Its place in a Maven cache."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")


@dataclass(frozen=True, slots=True)
class Fetched:
    """One step of progress: the jar just fetched, and how many of how many that makes."""

    jar: Jar
    count: int
    total: int


Progress = Callable[[Fetched], None]
Fetch = Callable[[Jar, Path], Path]
"""Fetches a jar into a folder and returns the file; raises OSError or RuntimeError if it is not to be had."""


def silent(_step: Fetched) -> None:
    """Report no progress."""


def bundled(name: str) -> tuple[Jar, ...]:
    """Read a lock file that ships with this package."""
    return read_lock(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"), name)


def read_lock(text: str, name: str) -> tuple[Jar, ...]:
    """Read a lock: one `group:artifact:version sha256 size` a line.

    Raises:
        SetupError: a line is something else; names the lock and the line.
    """
    jars = []
    for at, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise SetupError(f"{name} line {at}: {line!r} is not 'group:artifact:version sha256 size'")
        jars.append(Jar(found["group"], found["artifact"], found["version"], found["sha256"], int(found["size"])))
    return tuple(jars)


def maven_cache() -> Path:
    """Return the ordinary Maven cache: `M2_REPO`, else `.m2/repository` in the home folder."""
    named = os.environ.get("M2_REPO")
    return Path(named) if named else Path.home() / ".m2" / "repository"


def from_central(jar: Jar, folder: Path) -> Path:
    """Fetch one jar, and nothing it depends on, from Maven Central with jgo."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - an optional package

    context = MavenContext(repo_cache=folder, local_repos=[], timeout=TIMEOUT_SECONDS)
    return context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()


def provide(
    jars: Sequence[Jar], *, cache: Path | None = None, fetch: Fetch = from_central, progress: Progress = silent
) -> tuple[Path, ...]:
    """Return the files of all jars, in order, each with the bytes its lock names; fetches what the cache lacks.

    Raises:
        SetupError: a jar is not to be had, has other bytes, or the cache cannot be written.
    """
    root = maven_cache() if cache is None else cache
    with ThreadPoolExecutor(THREADS, thread_name_prefix="jars") as pool:
        present = list(pool.map(lambda jar: _fits(jar, root / jar.place), jars))
        missing = [jar for jar, fits in zip(jars, present, strict=True) if not fits]
        waiting = {pool.submit(_obtain, jar, root, fetch): jar for jar in missing}
        try:
            for count, future in enumerate(as_completed(waiting), start=1):
                future.result()
                progress(Fetched(waiting[future], count, len(missing)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(root / jar.place for jar in jars)


def _fits(jar: Jar, file: Path) -> bool:
    try:
        if file.stat().st_size != jar.size_bytes:
            return False
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == jar.sha256
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise SetupError(
            f"{jar.coordinate}: {file} cannot be read ({error.strerror}); make it readable or delete it"
        ) from error


def _obtain(jar: Jar, root: Path, fetch: Fetch) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".lockside-") as scratch:
            file = _fetched(jar, root, Path(scratch), fetch)
            place = root / jar.place
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    except OSError as error:
        raise SetupError(
            f"{jar.coordinate}: the Maven cache {root} cannot be written ({error.strerror});"
            " make it writable, or name another in M2_REPO"
        ) from error


def _fetched(jar: Jar, root: Path, scratch: Path, fetch: Fetch) -> Path:
    """Fetch and check. The scratch folder goes with its contents, so refused bytes are deleted."""
    failure: Exception | None = None
    for attempt in range(FETCH_ATTEMPTS):
        folder = scratch / str(attempt)
        folder.mkdir()
        try:
            file = fetch(jar, folder)
        except (OSError, RuntimeError) as error:
            failure = error
            continue
        if _fits(jar, file):
            return file
        raise SetupError(
            f"{jar.coordinate}: what was fetched is not what the lock names"
            f" ({file.stat().st_size} bytes for {jar.size_bytes}, or another SHA-256); it was refused and deleted."
            " Find out what stands between this machine and Maven Central before you try again"
        )
    raise SetupError(
        f"{jar.coordinate}: cannot be fetched from Maven Central ({type(failure).__name__}); connect this machine,"
        f" or put the jar at {root / jar.place}, or use the backend 'moto', which needs no jars"
    ) from failure
