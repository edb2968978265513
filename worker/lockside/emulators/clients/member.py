"""One client process: started, listened to, killed or ended."""

import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lockside.emulators import tether

END_SECONDS_MAX: Final = 3.0
ERROR_LINES_MAX: Final = 5
_SECRET: Final = re.compile(r"[\w-]{40,}")
"""Session ids are 43 such characters; nothing a client complains of may carry one out."""

Hear = Callable[["Member", str], None]
Gone = Callable[["Member"], None]


@dataclass(slots=True)
class Member:
    """A client process and the two threads that read its pipes to the end."""

    name: str
    process: subprocess.Popen[str]
    killed: bool = False
    dismissed: bool = False
    _complaints: deque[str] = field(default_factory=lambda: deque(maxlen=ERROR_LINES_MAX))
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def problem(self) -> str | None:
        """What went wrong, once the process has ended otherwise than it should."""
        code = self.process.poll()
        if code in (None, 0) or self.dismissed or (self.killed and code == -signal.SIGKILL):
            return None
        said = " | ".join(_SECRET.sub("…", line) for line in self._complaints) or "nothing"
        return f"the client {self.name!r} ended with exit code {code}; it said: {said}"

    def listen(self, hear: Hear, gone: Gone) -> None:
        """Hand each line of output to `hear`; call `gone` after the last."""

        def complaints() -> None:
            for line in self.process.stderr or ():
                self._complaints.append(line.rstrip())

        complaining = threading.Thread(target=complaints, name=f"client-{self.name}-errors", daemon=True)

        def lines() -> None:
            for line in self.process.stdout or ():
                hear(self, line)
            complaining.join()
            self.process.wait()
            gone(self)

        self._threads += [complaining, threading.Thread(target=lines, name=f"client-{self.name}", daemon=True)]
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.killed = True
        self.process.kill()

    def end(self) -> None:
        """End the process and let go of its pipes."""
        self.dismissed = self.dismissed or self.process.poll() is None
        tether.end(self.process, END_SECONDS_MAX)
        for thread in self._threads:
            thread.join(END_SECONDS_MAX)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def start(name: str, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Member:
    """Start a client program of this package."""
    command = [sys.executable, "-m", module, "--tethered", *arguments]
    return Member(name, tether.launch(command, environment))
