"""Jars: what the lock names is what is used, and nothing else."""

import re
from pathlib import Path

import pytest

from lockside.emulators import jars
from lockside.emulators.jars import Fetched
from lockside.errors import SetupError
from tests.fakes.registry import Registry, jar, lock_line

ONE, TWO = jar("one", b"first archive"), jar("two", b"second archive")
HELD = {ONE.coordinate: b"first archive", TWO.coordinate: b"second archive"}


def files(folder: Path) -> list[Path]:
    """List every file under a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_missing_jars_are_fetched_once(tmp_path: Path) -> None:
    """What the cache lacks is fetched into its Maven place; what it has is not fetched again."""
    registry = Registry(HELD)
    first = jars.provide([ONE, TWO], cache=tmp_path, fetch=registry.fetch)
    again = jars.provide([ONE, TWO], cache=tmp_path, fetch=registry.fetch)
    assert first == again == (tmp_path / ONE.place, tmp_path / TWO.place)
    assert first[0].read_bytes() == b"first archive"
    assert sorted(registry.fetched) == [ONE.coordinate, TWO.coordinate]
    assert first[0].relative_to(tmp_path).as_posix() == "dev/example/one/1.0/one-1.0.jar"


def test_nothing_is_left_beside_the_jars(tmp_path: Path) -> None:
    """The folders that downloads go to first are gone afterwards."""
    jars.provide([ONE, TWO], cache=tmp_path, fetch=Registry(HELD).fetch)
    assert sorted(files(tmp_path)) == [tmp_path / ONE.place, tmp_path / TWO.place]
    assert [path.name for path in tmp_path.iterdir()] == ["dev"]


def test_progress_counts_what_is_fetched(tmp_path: Path) -> None:
    """Progress names each fetched jar and counts up to the number that was missing."""
    jars.provide([ONE], cache=tmp_path, fetch=Registry(HELD).fetch)
    steps: list[Fetched] = []
    jars.provide([ONE, TWO], cache=tmp_path, fetch=Registry(HELD).fetch, progress=steps.append)
    assert steps == [Fetched(TWO, 1, 1)]


@pytest.mark.parametrize("served", [b"first_archive", b"short", b"", b"first archive and more"])
def test_other_bytes_are_refused_and_deleted(tmp_path: Path, served: bytes) -> None:
    """A jar with other bytes than the lock names never reaches the cache, and the error names it."""
    registry = Registry({ONE.coordinate: served})
    with pytest.raises(SetupError, match=rf"{re.escape(ONE.coordinate)}.*refused and deleted"):
        jars.provide([ONE], cache=tmp_path, fetch=registry.fetch)
    assert files(tmp_path) == []
    assert registry.fetched == [ONE.coordinate]


@pytest.mark.parametrize("found", [b"first_archive", b"cut off"])
def test_a_damaged_cache_is_mended(tmp_path: Path, found: bytes) -> None:
    """A cached file with other bytes, even of the right size, is not used but replaced."""
    place = tmp_path / ONE.place
    place.parent.mkdir(parents=True)
    place.write_bytes(found)
    jars.provide([ONE], cache=tmp_path, fetch=Registry(HELD).fetch)
    assert place.read_bytes() == b"first archive"


def test_a_damaged_cache_offline_is_an_error(tmp_path: Path) -> None:
    """A damaged file is never handed out for want of a better one."""
    place = tmp_path / ONE.place
    place.parent.mkdir(parents=True)
    place.write_bytes(b"first_archive")
    with pytest.raises(SetupError, match="cannot be fetched"):
        jars.provide([ONE], cache=tmp_path, fetch=Registry().fetch)


def test_a_jar_not_to_be_had_names_the_way_out(tmp_path: Path) -> None:
    """Offline or unknown: the error names the coordinate, where the jar could be put, and the backend without jars."""
    with pytest.raises(SetupError) as caught:
        jars.provide([ONE, TWO], cache=tmp_path, fetch=Registry({TWO.coordinate: b"second archive"}).fetch)
    text = str(caught.value)
    assert ONE.coordinate in text
    assert str(tmp_path / ONE.place) in text
    assert "'moto'" in text


def test_a_broken_connection_is_tried_again(tmp_path: Path) -> None:
    """A download that breaks off is tried again, and its half is never seen."""
    registry = Registry(HELD, faults_left=jars.FETCH_ATTEMPTS - 1)
    assert jars.provide([ONE], cache=tmp_path, fetch=registry.fetch)[0].read_bytes() == b"first archive"
    assert len(registry.fetched) == jars.FETCH_ATTEMPTS


def test_what_was_fetched_before_a_failure_is_kept(tmp_path: Path) -> None:
    """A second try after a failure goes on where the first one stopped."""
    half = Registry({TWO.coordinate: b"second archive"})
    jars.provide([TWO], cache=tmp_path, fetch=half.fetch)
    with pytest.raises(SetupError):
        jars.provide([ONE, TWO], cache=tmp_path, fetch=half.fetch)
    whole = Registry(HELD)
    jars.provide([ONE, TWO], cache=tmp_path, fetch=whole.fetch)
    assert whole.fetched == [ONE.coordinate]


def test_a_cache_that_is_no_folder_is_named(tmp_path: Path) -> None:
    """A cache that cannot be written is an error that says which, and how to choose another."""
    blocked = tmp_path / "repository"
    blocked.write_text("in the way", encoding="utf-8")
    with pytest.raises(SetupError, match="M2_REPO"):
        jars.provide([ONE], cache=blocked / "below", fetch=Registry(HELD).fetch)


def test_the_cache_is_mavens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cache is what M2_REPO names, else the home folder's."""
    monkeypatch.setenv("M2_REPO", str(tmp_path))
    assert jars.maven_cache() == tmp_path
    monkeypatch.delenv("M2_REPO")
    assert jars.maven_cache().parts[-2:] == (".m2", "repository")


def test_a_lock_is_read() -> None:
    """A lock gives its jars in order, without blank lines and comments."""
    text = f"# two archives\n{lock_line(ONE)}\n\n{lock_line(TWO)}\n"
    assert jars.read_lock(text, "x.lock") == (ONE, TWO)


@pytest.mark.parametrize(
    "line",
    [
        "dev.example:one:1.0",
        f"dev.example:one {ONE.sha256} 1",
        f"dev.example:one:1.0 {ONE.sha256[:-1]} 1",
        f"dev.example:one:1.0 {ONE.sha256} many",
        f"dev.example:..:1.0 {ONE.sha256} 1",
        f"dev.example:../one:1.0 {ONE.sha256} 1",
    ],
)
def test_a_bad_line_is_named(line: str) -> None:
    """A line that is no jar, or that leads out of the cache, is an error with the lock's name and the line's number."""
    with pytest.raises(SetupError, match=r"x\.lock line 2"):
        jars.read_lock(f"{lock_line(TWO)}\n{line}\n", "x.lock")


def test_the_bundled_lock_is_whole() -> None:
    """The lock of DynamoDB Local ships with the package: 80 jars, none twice, the server itself among them."""
    bundled = jars.bundled(jars.DYNAMODB_LOCAL)
    assert len(bundled) == len({one.coordinate for one in bundled}) == 80
    assert "com.amazonaws:DynamoDBLocal:2.6.1" in {one.coordinate for one in bundled}
