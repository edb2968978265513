"""A fault of our own in reading one change: told by type and line, never by its text, which may quote a row (law 7).

Such a change is undecodable like any other: kept, counted against the limit, and redriven once the fault is mended.
Stopping at it would hold back every change behind it until the stream forgets them.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

CODE: Final = "defect"
"""The reason code of a change that met a fault of our own."""


def spot(error: BaseException) -> str:
    """Name an exception's type and the line that raised it."""
    innermost: TracebackType | None = error.__traceback__
    if innermost is None:
        return type(error).__name__
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = innermost.tb_frame.f_globals.get("__name__", "?")
    return f"{type(error).__name__} at {module}:{innermost.tb_lineno}"
