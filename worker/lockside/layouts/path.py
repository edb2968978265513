"""Paths into a decoded payload: `cookie.expires`, `warden.user.user.key.0.0`, `login_*`.

A segment names a map's member, or a list's by number; `*` within it stands for any text. Where it matches several
members the first in sorted order counts, so that a path finds the same value whatever order the writer chose.
"""

import fnmatch
import re
from collections.abc import Sequence
from typing import Any, Final

Segment = str | re.Pattern[str]
Path = tuple[Segment, ...]

MISSING: Final = object()
"""What `find` returns where nothing stands at a path; None may stand there."""


def compile_path(spelled: str | Sequence[str]) -> Path:
    """Compile a dotted path, or its segments where a name itself holds a dot."""
    segments = spelled.split(".") if isinstance(spelled, str) else spelled
    return tuple(re.compile(fnmatch.translate(part)) if "*" in part else part for part in segments)


def find(value: Any, path: Path) -> Any:
    """Return what stands at a path, or MISSING."""
    for segment in path:
        if isinstance(value, dict):
            names = _members(value, segment)
            if not names:
                return MISSING
            value = value[names[0]]
        elif isinstance(value, list) and isinstance(segment, str) and segment.isdecimal() and int(segment) < len(value):
            value = value[int(segment)]
        else:
            return MISSING
    return value


def drop(value: Any, path: Path) -> None:
    """Remove every member that a path matches; `value` is changed in place."""
    if not isinstance(value, dict) or not path:
        return
    head, rest = path[0], path[1:]
    for name in _members(value, head):
        if rest:
            drop(value[name], rest)
        else:
            del value[name]


def _members(value: dict[Any, Any], segment: Segment) -> list[Any]:
    if isinstance(segment, str):
        return [segment] if segment in value else []
    return sorted(name for name in value if isinstance(name, str) and segment.match(name))
