"""buildah, as far as it is needed: build an image, look at it, mount its file system."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROGRAMS: Final = ("buildah", "mmdebstrap", "unshare", "setpriv")
DEBIAN: Final = "bookworm"
BASE_PACKAGES: Final = "python3,python3-venv,ca-certificates"
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
"""What this machine trusts, which may be more than a base does: a company's own package mirror, for one."""


class ImageError(Exception):
    """The image cannot be built or does not do what it should; the text says what, and what to do."""


def missing_programs() -> list[str]:
    """Name the programs that are not installed here."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with a store of its own below a folder, so that nothing of the machine's is touched."""

    folder: Path
    driver: str

    def run(self, *arguments: str, show: bool = False) -> str:
        """Run a command of buildah's; return what it printed. With `show`, it prints to stderr as it goes."""
        store, state = self.folder / "store", self.folder / "state"
        command = [
            "buildah",
            "--storage-driver",
            self.driver,
            "--root",
            str(store),
            "--runroot",
            str(state),
            *arguments,
        ]
        done = subprocess.run(  # noqa: S603 - our own command
            command, check=False, text=True, stdout=None if show else subprocess.PIPE, stderr=None if show else -2
        )
        if done.returncode:
            raise ImageError(f"buildah {' '.join(arguments)} ended with {done.returncode}: {done.stdout or ''}")
        return (done.stdout or "").strip()

    def has(self, image: str) -> bool:
        """Whether an image is in the store."""
        return bool(self.run("images", "--quiet", "--filter", f"reference={image}"))

    def make_base(self, image: str) -> None:
        """Make a base of Debian packages, for where no image registry is to be reached; they are fetched once."""
        archive = self.folder / f"{DEBIAN}.tar"
        if not archive.exists():
            partial = archive.with_suffix(".part")
            command = ["mmdebstrap", "--variant=minbase", "--format=tar", f"--include={BASE_PACKAGES}", DEBIAN]
            with partial.open("wb") as output:
                done = subprocess.run(command, check=False, stdout=output)  # noqa: S603 - our own command
            if done.returncode:
                raise ImageError("mmdebstrap could not make a base; is a Debian mirror to be reached? Or give BASE=...")
            partial.rename(archive)
        container = self.run("from", "scratch").splitlines()[-1]
        self.run("add", "--quiet", container, str(archive), "/")
        self.run("commit", "--quiet", "--rm", container, image)

    def build(self, dockerfile: Path, ignore: Path, context: Path, *, base: str, tag: str) -> None:
        """Build an image. chroot isolation and the host's network need no daemon and no rights but root's."""
        trust: list[str] = []
        if CERTIFICATES.exists():
            # Python's requests trusts what it brings with it, unless it is told otherwise.
            argument = f"REQUESTS_CA_BUNDLE={CERTIFICATES}"
            trust = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--build-arg", argument]
        self.run(
            *("build", "--isolation", "chroot", "--network", "host", "--layers", "--format", "docker"),
            *("--build-arg", f"BASE={base}", "--ignorefile", str(ignore), "--file", str(dockerfile), "--tag", tag),
            *(*trust, str(context)),
            show=True,
        )

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what an image says of itself, as docker's format has it."""
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", image))["Docker"]
        return found

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Mount a file system of the image's for as long as the block runs."""
        container = self.run("from", "--pull-never", image).splitlines()[-1]
        try:
            yield Path(self.run("mount", container).splitlines()[-1])
        finally:
            self.run("umount", container)
            self.run("rm", container)


def driver_that_works(folder: Path) -> str:
    """Choose overlay, or vfs where the kernel or a sandbox does not let us: it copies, and always works."""
    trial = Buildah(folder / "trial", "overlay")
    try:
        container = trial.run("from", "scratch").splitlines()[-1]
        trial.run("mount", container)
        trial.run("umount", container)
        trial.run("rm", container)
    except ImageError:
        return "vfs"
    return "overlay"


def tell(line: str) -> None:
    """Print one line of progress at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
