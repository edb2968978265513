"""The keys file on a real file system."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from lockside.errors import ConfigError
from lockside.state import keys_file

CREATED = "2026-11-23T00:00:00Z"


def counted(size: int) -> bytes:
    """Return bytes that are easily told."""
    return bytes(range(size))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a keys file may be made."""
    return tmp_path / "keys.json"


def write(path: Path, document: Any) -> None:
    """Write a keys file as its owner would."""
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(0o600)


def key(size: int = 32, name: str = "k") -> dict[str, str]:
    """Build one key of a file."""
    return {"id": name, "secret": base64.b64encode(bytes(size)).decode(), "created": CREATED}


def test_a_new_file_is_its_owners_and_loads_alike(path: Path) -> None:
    """What was made is what is read, in mode 0600."""
    made = keys_file.create(path, CREATED, counted)
    assert keys_file.load(path) == made
    assert made.entity.secret == counted(32)
    assert made.entity.id == "entity-00010203"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["seal"][0]["created"] == CREATED


@pytest.mark.parametrize(
    ("mode", "owner", "is_open"),
    [(0o600, 7, False), (0o400, 7, False), (0o640, 7, True), (0o604, 7, True), (0o440, 0, False), (0o660, 0, True)],
)
def test_only_root_may_hand_a_file_to_a_group(mode: int, owner: int, *, is_open: bool) -> None:
    """Kubernetes and systemd do so with secrets: nobody else than that group's services can read them."""
    assert keys_file.is_open_to_others(mode, owner, user=7) is is_open


def test_root_itself_needs_no_group() -> None:
    """To root, its own file is an ordinary one."""
    assert keys_file.is_open_to_others(0o440, owner=0, user=0)


def test_real_keys_differ(path: Path) -> None:
    """By default each key is random."""
    made = keys_file.create(path, CREATED)
    assert len({made.entity.secret, made.image.secret, made.seal.secret}) == 3


def test_a_file_is_never_replaced(path: Path) -> None:
    """A second creation is refused and leaves the first."""
    made = keys_file.create(path, CREATED)
    with pytest.raises(ConfigError, match="never replaced"):
        keys_file.create(path, CREATED)
    assert keys_file.load(path) == made


def test_a_file_half_made_is_taken_away(path: Path) -> None:
    """If writing fails, no file is left that would stand in the way."""
    with pytest.raises(TypeError):
        keys_file.create(path, {1, 2}, counted)  # type: ignore[arg-type]
    assert not path.exists()


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    """A folder that is not there is told of."""
    with pytest.raises(ConfigError, match="cannot be made"):
        keys_file.create(tmp_path / "none" / "keys.json", CREATED)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    """The message holds the command that puts it right."""
    keys_file.create(path, CREATED)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        keys_file.load(path)


def test_a_missing_file_names_init(path: Path) -> None:
    """The way out is `lockside init`."""
    with pytest.raises(ConfigError, match="lockside init"):
        keys_file.load(path)


def test_the_last_key_of_each_is_in_use(path: Path) -> None:
    """Older keys stay in the file for what was made under them."""
    write(path, {purpose: [key(name="old"), key(name="new")] for purpose in keys_file.PURPOSES})
    assert keys_file.load(path).entity.id == "new"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is not JSON"),
        ([], "must be an object"),
        ({}, "entity must be a list"),
        ({"entity": []}, "entity must be a list"),
        ({"entity": [key()], "image": [key()], "seal": "x"}, "seal must be a list"),
        ({"entity": ["x"]}, r"entity\[0\].id"),
        ({"entity": [key(), {"id": ""}]}, r"entity\[1\].id"),
        ({"entity": [{"id": "k"}]}, r"entity\[0\].secret must be 32 bytes"),
        ({"entity": [{"id": "k", "secret": 5}]}, r"entity\[0\].secret"),
        ({"entity": [{"id": "k", "secret": "tell-nobody!"}]}, r"entity\[0\].secret"),
        ({"entity": [key()], "image": [key(16)]}, r"image\[0\].secret"),
    ],
)
def test_a_wrong_shape_names_path_and_field(path: Path, document: Any, said: str) -> None:
    """The message says which file and which field, and holds no secret."""
    write(path, document)
    with pytest.raises(ConfigError, match=said) as caught:
        keys_file.load(path)
    assert str(path) in str(caught.value)
    assert "tell-nobody" not in str(caught.value)
