"""One thing that `lockside check` found."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["fault", "warning", "note", "good"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault keeps the worker from running, a warning does not, a note is good to know; `fix` is the way out."""

    level: Level
    table: str | None
    setting: str
    what: str
    fix: str = ""
