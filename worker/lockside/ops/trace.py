"""Where an exception came from, without what it carried.

A traceback's texts and locals may quote a row, and a row may hold a session id (law 7). So an exception is shown as
its type, its code where the service gave one, and its frames. Lockside's own errors keep their text, by contract
free of secrets.
"""

import traceback
from typing import Any, Final

from lockside.errors import LocksideError

FRAMES_MAX: Final = 30
CAUSES_MAX: Final = 5


def describe(error: BaseException) -> str:
    """Name an exception by its type and what of its text is safe."""
    name = type(error).__name__
    if isinstance(error, LocksideError):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    # botocore's ClientError; told by its shape, so that printing an error imports nothing.
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict) and isinstance(response.get("Error"), dict):
        return f"{name}: {response['Error'].get('Code')} on {getattr(error, 'operation_name', '?')}"
    return name


def trace(error: BaseException) -> list[str]:
    """Return one line for each exception of the chain, each followed by its frames, outermost first."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < CAUSES_MAX:
        seen.add(id(current))
        lines.append(describe(current))
        frames = traceback.extract_tb(current.__traceback__, limit=-FRAMES_MAX)
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines
