"""A Maven registry made of a dict: what it holds it hands over, the rest it does not have."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from lockside.emulators.jars import Jar


def jar(artifact: str, content: bytes) -> Jar:
    """Describe an archive with this content as a lock would."""
    return Jar("dev.example", artifact, "1.0", hashlib.sha256(content).hexdigest(), len(content))


def lock_line(of: Jar) -> str:
    """Spell a jar as a line of a lock."""
    return f"{of.coordinate} {of.sha256} {of.size_bytes}"


@dataclass
class Registry:
    """Serves contents by coordinate; `faults_left` connections break off first, each leaving half a file."""

    contents: dict[str, bytes] = field(default_factory=dict)
    faults_left: int = 0
    fetched: list[str] = field(default_factory=list)

    def fetch(self, wanted: Jar, folder: Path) -> Path:
        """Fetch as jgo does: into the folder's Maven layout, straight to the file's last name."""
        self.fetched.append(wanted.coordinate)
        if wanted.coordinate not in self.contents:
            raise RuntimeError(f"Artifact {wanted.coordinate} not found")
        content = self.contents[wanted.coordinate]
        file = folder / wanted.place
        file.parent.mkdir(parents=True)
        if self.faults_left > 0:
            self.faults_left -= 1
            file.write_bytes(content[: len(content) // 2])
            raise ConnectionError("cut off")
        file.write_bytes(content)
        return file
