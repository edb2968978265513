"""Java archives by exact coordinates, each checked against a committed list of SHA-256 and size before it is used.

Strategy: what the ordinary Maven cache holds is used if its bytes are the listed ones. Anything else is fetched into a
folder of its own, checked there, and moved into the cache in one step, so that no cut-off or concurrent download
is ever seen. Every jar is hashed at every start: 50 MB cost about a tenth of a second.
"""

import errno
import hashlib
import os
import re
import shutil
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


def from_folder(source: Path) -> Fetch:
    """Return what takes jars from a folder: a Maven cache's copy, or all jars side by side."""

    def fetch(jar: Jar, folder: Path) -> Path:
        found = next((file for file in (source / jar.place, source / jar.place.name) if file.is_file()), None)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such jar", str(source / jar.place.name))
        return Path(shutil.copy(found, folder))

    return fetch


def missing(jars: Sequence[Jar], cache: Path | None = None) -> tuple[Jar, ...]:
    """Return the jars that the cache lacks, or has with other bytes."""
    root = maven_cache() if cache is None else cache
    with ThreadPoolExecutor(THREADS, thread_name_prefix="jars") as pool:
        present = list(pool.map(lambda jar: _fits(jar, root / jar.place), jars))
    return tuple(jar for jar, fits in zip(jars, present, strict=True) if not fits)


def places(jars: Sequence[Jar], cache: Path | None = None) -> tuple[Path, ...]:
    """Return where the cache keeps the jars, in order."""
    root = maven_cache() if cache is None else cache
    return tuple(root / jar.place for jar in jars)


def provide(  # noqa: PLR0913 - each but the first has a default
    jars: Sequence[Jar],
    *,
    cache: Path | None = None,
    fetch: Fetch = from_central,
    progress: Progress = silent,
    source: str = "Maven Central",
    way_out: str = "or use the backend 'moto', which needs no jars",
) -> tuple[Path, ...]:
    """Return the files of all jars, in order, each with the bytes its lock names; fetches what the cache lacks.

    `source` and `way_out` are for people: where the jars come from, and what else there is to do.

    Raises:
        SetupError: a jar is not to be had, has other bytes, or the cache cannot be written.
    """
    root = maven_cache() if cache is None else cache
    wanted = missing(jars, root)
    place = _Place(root, fetch, source, way_out)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="jars") as pool:
        waiting = {pool.submit(_obtain, jar, place): jar for jar in wanted}
        try:
            for count, future in enumerate(as_completed(waiting), start=1):
                future.result()
                progress(Fetched(waiting[future], count, len(wanted)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return places(jars, root)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where jars go, where they come from, and how that is told."""

    root: Path
    fetch: Fetch
    source: str
    way_out: str


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


def _obtain(jar: Jar, place: _Place) -> None:
    root = place.root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".lockside-") as scratch:
            file = _fetched(jar, place, Path(scratch))
            target = root / jar.place
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    except OSError as error:
        raise SetupError(
            f"{jar.coordinate}: the Maven cache {root} cannot be written ({error.strerror});"
            " make it writable, or name another in M2_REPO"
        ) from error


def _fetched(jar: Jar, place: _Place, scratch: Path) -> Path:
    """Fetch and check. The scratch folder goes with its contents, so refused bytes are deleted."""
    failure: Exception | None = None
    for attempt in range(FETCH_ATTEMPTS):
        folder = scratch / str(attempt)
        folder.mkdir()
        try:
            file = place.fetch(jar, folder)
        except (OSError, RuntimeError) as error:
            failure = error
            continue
        if _fits(jar, file):
            return file
        raise SetupError(
            f"{jar.coordinate}: what was fetched is not what the lock names"
            f" ({file.stat().st_size} bytes for {jar.size_bytes}, or another SHA-256); it was refused and deleted."
            f" Find out what stands between this machine and {place.source} before you try again"
        )
    raise SetupError(
        f"{jar.coordinate}: cannot be fetched from {place.source} ({type(failure).__name__}); connect this machine,"
        f" or put the jar at {place.root / jar.place}, {place.way_out}"
    ) from failure
