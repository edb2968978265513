"""The keys file: the secrets behind pseudonyms, image hashes and sealed values.

JSON, `{"entity": [...], "image": [...], "seal": [...]}`, each a list of `{"id", "secret" (base64), "created"}`, oldest
first; the last of each is in use. Whoever can read it can undo the pseudonyms, so it belongs to its owner alone. One
that root hands to a service's group, as Kubernetes and systemd do with secrets, may be read by that group.
"""

import base64
import binascii
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from lockside.core.entity import Key, Keys
from lockside.errors import ConfigError

MODE: Final = 0o600
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
ROOT: Final = 0
SECRET_BYTES: Final = 32
ID_BYTES: Final = 4
SIZE_BYTES_MAX: Final = 1_048_576
PURPOSES: Final = ("entity", "image", "seal")


def create(path: Path, created: str, random_bytes: Callable[[int], bytes] = os.urandom) -> Keys:
    """Make a new keys file, readable by its owner only; it never replaces one.

    `created` is the time to note beside the keys. Raises ConfigError if there is a file already, or none can be made.
    """
    document = {
        purpose: [
            {
                "id": f"{purpose}-{random_bytes(ID_BYTES).hex()}",
                "secret": base64.b64encode(random_bytes(SECRET_BYTES)).decode(),
                "created": created,
            }
        ]
        for purpose in PURPOSES
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except FileExistsError:
        raise ConfigError(f"keys file {path}: exists already and is never replaced; use it, or name another") from None
    except OSError as error:
        raise ConfigError(f"keys file {path}: cannot be made ({error.strerror}); name a writable place") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return _keys(path, document)


def load(path: Path) -> Keys:
    """Read the keys in use. Raises ConfigError that names the file, the field and the way out, never a secret."""
    try:
        document = orjson.loads(_read(path))
    except orjson.JSONDecodeError:
        raise ConfigError(f"keys file {path}: is not JSON; restore it from a backup") from None
    return _keys(path, document)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Judged on the open file, so that it cannot be exchanged between the look and the reading.
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            if is_open_to_others(mode, status.st_uid, os.geteuid()):
                raise ConfigError(f"keys file {path}: others may read or write it (mode {mode:04o}); chmod 600 {path}")
            return file.read(SIZE_BYTES_MAX)
    except FileNotFoundError:
        raise ConfigError(f"keys file {path}: does not exist; `lockside init` makes one") from None
    except OSError as error:
        raise ConfigError(f"keys file {path}: cannot be read ({error.strerror})") from None


def is_open_to_others(mode: int, owner: int, user: int) -> bool:
    """Whether others than `user` may touch a file of this mode and owner (user ids), as PostgreSQL judges its TLS key.

    A user that root's file was handed to by its group can read it in no other way, and cannot change the mode.
    """
    handed_over = owner == ROOT != user
    return bool(mode & (OTHERS & ~stat.S_IRGRP if handed_over else OTHERS))


def _keys(path: Path, document: object) -> Keys:
    if not isinstance(document, Mapping):
        raise ConfigError(f"keys file {path}: must be an object with the fields {', '.join(PURPOSES)}")
    return Keys(**{purpose: _in_use(path, document, purpose) for purpose in PURPOSES})


def _in_use(path: Path, document: Mapping[str, Any], purpose: str) -> Key:
    listed = document.get(purpose)
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"keys file {path}: {purpose} must be a list of at least one key")
    field = f"{purpose}[{len(listed) - 1}]"
    key = listed[-1]
    if not isinstance(key, Mapping) or not isinstance(key.get("id"), str) or not key["id"]:
        raise ConfigError(f"keys file {path}: {field}.id must be a text that is not empty")
    try:
        secret = base64.b64decode(key.get("secret", ""), validate=True)
    except (binascii.Error, ValueError, TypeError):
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigError(f"keys file {path}: {field}.secret must be {SECRET_BYTES} bytes in base64")
    return Key(key["id"], secret)
