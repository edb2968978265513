"""Ground truth as JSON Lines: what a client did, told by the client itself just after it was done.

A line is `{"t": epoch seconds, "step": …, "lock" or "session": …, "owner" or "user": …}`. `session` is the raw key
value: the people are made up, their ids live as long as the emulator, and no other output may carry them.
"""

import json
import threading
import time
from typing import IO, Any

Line = dict[str, Any]


class Teller:
    """Prints truth lines from any thread, each at once and whole."""

    def __init__(self, out: IO[str]) -> None:
        """Tell to `out`."""
        self._out = out
        self._lock = threading.Lock()

    def tell(self, step: str, *, at: float | None = None, **facts: object) -> None:
        """Print one line, stamped now unless `at` says when."""
        line = {"t": round(time.time() if at is None else at, 3), "step": step, **facts}
        with self._lock:
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()
