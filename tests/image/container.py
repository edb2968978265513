"""Containers of an image without an engine: its own command, user and environment, a read-only root, no capability.

Strategy: what an engine does, by the kernel's own tools. `unshare` gives mount, process and IPC namespaces, so that the
command is process 1; the root is bound to itself and made read-only; `setpriv` takes all rights away. The network is
the machine's, as an emulator listens there.
"""

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ENTER: Final = """
set -e
root=$1 user=$2 group=$3 name=$4; shift 4
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
echo "$name" > "$root/proc/sys/kernel/hostname"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o nosuid,nodev,size={tmp_mb}m tmpfs "$root/tmp"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done; shift
mount -o remount,ro,bind "$root"
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \\
  --bounding-set=-all --inh-caps=-all env --ignore-environment "$@"
"""

END_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image: its root, and what it says of itself. `binds` are folders and files put into it.

    `tmp_mb` is how large its /tmp is, in megabytes.
    """

    root: Path
    config: Mapping[str, Any]
    binds: Mapping[Path, str] = field(default_factory=dict)
    tmp_mb: int = 16

    def command(
        self, arguments: Sequence[str], entrypoint: Sequence[str] | None = None, **environment: str
    ) -> list[str]:
        """Return the command line that runs it; of `arguments` none means its own."""
        user, _, group = self.config["User"].partition(":")
        given = [*self.config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        inside = [*(self.config["Entrypoint"] if entrypoint is None else entrypoint)]
        inside += list(arguments) or self.config["Cmd"]
        binds = [text for source, target in self.binds.items() for text in (str(source), target)]
        # `env --chdir` is the working directory's, inside.
        change = [f"--chdir={self.config['WorkingDir']}"]
        namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--propagation", "private"]
        # Its own, as engines give each container one: a worker of a fleet is called by it.
        name = secrets.token_hex(6)
        enter = ENTER.replace("{tmp_mb}", str(self.tmp_mb))
        entering = ["sh", "-c", enter, "enter", str(self.root), user, group, name, *binds, "--"]
        return ["unshare", *namespaces, *entering, *change, *given, *inside]

    def run(
        self, *arguments: str, entrypoint: Sequence[str] | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        return subprocess.run(  # noqa: S603 - our own command
            self.command(arguments, entrypoint, **environment),
            check=False,
            capture_output=True,
            text=True,
            timeout=END_SECONDS_MAX,
        )

    @contextmanager
    def running(self, *arguments: str, **environment: str) -> Iterator["Container"]:
        """Run it for as long as the block does."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                self.command(arguments, **environment), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            container = Container(process, log)
            try:
                yield container
            finally:
                process.kill()
                process.wait(END_SECONDS_MAX)


@dataclass(frozen=True, slots=True)
class Container:
    """A running one. `process` is unshare's; it ends with the exit code of the process inside."""

    process: subprocess.Popen[bytes]
    log: Any

    @property
    def inner(self) -> int:
        """The id that the process inside has on this machine."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return int(children.split()[0])

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM to the process inside; return its exit code and the seconds it took."""
        began = time.monotonic()
        os.kill(self.inner, signal.SIGTERM)
        code = self.process.wait(END_SECONDS_MAX)
        return code, time.monotonic() - began

    def usage(self) -> tuple[float, float, float]:
        """Return its resident megabytes now and at most, and the CPU seconds it has used."""
        status = Path(f"/proc/{self.inner}/status").read_text(encoding="utf-8")
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        fields = Path(f"/proc/{self.inner}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        now_kb, most_kb = (int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))
        return now_kb / 1024, most_kb / 1024, ticks / os.sysconf("SC_CLK_TCK")

    def tmp_mb(self) -> float:
        """Return the megabytes that its /tmp holds now."""
        found = os.statvfs(f"/proc/{self.inner}/root/tmp")
        return (found.f_blocks - found.f_bfree) * found.f_frsize / 1024 / 1024

    def threads(self) -> int:
        """Return how many threads it has now."""
        return sum(1 for _ in Path(f"/proc/{self.inner}/task").iterdir())

    def said(self) -> str:
        """Return what it has printed so far."""
        self.log.seek(0)
        text: str = self.log.read().decode(errors="replace")
        return text
