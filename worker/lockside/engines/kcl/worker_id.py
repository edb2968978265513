"""A worker's id in its fleet: stable over restarts, so that its shards are its own again at once.

A new id would wait for the old one's leases to run out (docs/decisions). The host's name with an ordinal tells two
processes of one host apart: each holds a file lock on the lowest ordinal that is free, for as long as it lives.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lockside.errors import SetupError

ORDINALS_MAX: Final = 256
"""Workers of one application on one host."""


@contextmanager
def held_id(application: str, given: str = "", folder: Path | None = None) -> Iterator[str]:
    """Hold an id for as long as the block runs: the one that is given, else `host/ordinal`.

    Raises SetupError where no lock can be had; the kernel gives a dead process's lock back.
    """
    if given:
        yield given
        return
    place = Path(tempfile.gettempdir()) if folder is None else folder
    for ordinal in range(ORDINALS_MAX):
        file = place / f"lockside-{application}-{ordinal}.lock"
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:
            # Another user's: taken, as far as we can tell.
            continue
        except OSError as error:
            raise SetupError(
                f"{file}: cannot be made ({error.strerror}); name a folder that can be written in TMPDIR, or give each "
                "worker an id of its own in engine.kcl.worker_id"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            yield f"{socket.gethostname()}/{ordinal}"
        finally:
            os.close(descriptor)
        return
    raise SetupError(
        f"{place}: all of lockside-{application}-*.lock are held or another user's; give each worker an id of its own "
        "in engine.kcl.worker_id"
    )
