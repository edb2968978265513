"""KCL's checkpointer of one shard, with Java's exceptions turned into what a shard can do about them."""

from enum import Enum
from typing import Any, Final, Protocol

from lockside.engines.discovery import spelled

KCL_ERRORS: Final = "software.amazon.kinesis.exceptions."


class Saved(Enum):
    """What became of a checkpoint."""

    DONE = "done"
    AGAIN = "again"  # the lease table did not take it now
    LOST = "lost"  # the lease is another worker's
    LATE = "late"  # the shard ended, or KCL stands elsewhere: nothing to mend


class Checkpointer(Protocol):
    """Saves a shard's position in its lease. Never without an argument but at the shard's end."""

    def save(self, position: int) -> Saved:
        """Save a position at or below what was handed over."""
        ...

    def finish(self) -> Saved:
        """Mark the shard as read to its end."""
        ...


ANSWERS: Final = {
    KCL_ERRORS + "ShutdownException": Saved.LOST,
    KCL_ERRORS + "ThrottlingException": Saved.AGAIN,
    KCL_ERRORS + "KinesisClientLibDependencyException": Saved.AGAIN,
    KCL_ERRORS + "KinesisClientLibRetryableException": Saved.AGAIN,
    "java.lang.IllegalArgumentException": Saved.LATE,
}


class JavaCheckpointer:
    """Speaks to KCL's own."""

    def __init__(self, theirs: Any) -> None:
        """Wrap it; one serves its shard for as long as the lease is ours."""
        self._theirs = theirs

    def save(self, position: int) -> Saved:
        """Save a position; any error that is not foreseen is raised as it came."""
        return _answered(lambda: self._theirs.checkpoint(spelled(position)))

    def finish(self) -> Saved:
        """Mark the end: the one checkpoint without an argument that is allowed."""
        return _answered(self._theirs.checkpoint)


def _answered(call: Any) -> Saved:
    try:
        call()
    except Exception as error:
        answer = ANSWERS.get(java_name(error))
        if answer is None:
            raise
        return answer
    return Saved.DONE


def java_name(error: BaseException) -> str:
    """Name the class of an exception, a Java one by its full Java name."""
    kind = getattr(error, "class_", None)
    return type(error).__name__ if kind is None else str(kind.getName())
