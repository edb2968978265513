"""SIGTERM as an orderly end: it unwinds the main thread, so that `with` blocks release their locks on the way out."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

EXIT: Final = 128 + signal.SIGTERM


@contextmanager
def unwinding() -> Iterator[None]:
    """Turn SIGTERM into SystemExit(143) for as long as the block runs, then put back what was there. Main thread only.

    Python itself ends at SIGTERM without unwinding anything. Locks that other threads hold are released when the
    process exits, by the client's own exit hook.
    """

    def leave(_signal_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(EXIT)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
