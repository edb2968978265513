"""Java's log comes out as ours: SLF4J writes to java.util.logging, whose handlers ask a filter, which is Python.

KCL logs whole records where a processor fails, and other parts quote what they were sent. A message is kept only of
packages that never see a record; of any other it is told which class spoke, and of an exception its class (law 7).
"""

import logging
from typing import Any, Final

from lockside.engines.kcl.java import class_of

KEPT: Final = (
    "software.amazon.kinesis.coordinator.",
    "software.amazon.kinesis.leases.",
    "software.amazon.kinesis.worker.",
    "software.amazon.kinesis.worker",
    "com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClient",
)
"""Packages that deal in shards, leases and workers, and in nothing that stands in a row."""

LEFT_OUT: Final = "(its words are left out: they may quote a record)"
SEVERE: Final = 1000
WARNING: Final = 900
MESSAGE_CHARACTERS_MAX: Final = 500
ROOT: Final = "kcl"
QUIET: Final = {
    # It warns once a second while an endpoint has no address of its own for HTTP/2 or sockets.
    "io.netty": "SEVERE",
    # It says which settings of KCL's the adapter changes, at each start.
    "com.amazonaws.services.dynamodbv2.streamsadapter.StreamsSchedulerFactory": "SEVERE",
    # What DynamoDB Local and moto cannot do (point-in-time recovery, tags) is said at each start.
    "software.amazon.awssdk": "SEVERE",
}

_kept_alive: list[Any] = []
"""java.util.logging holds its loggers weakly: one that nobody keeps forgets its level."""


def install() -> None:
    """Send Java's log to Python's logging. Once for a JVM; later calls change nothing."""
    if _kept_alive:
        return
    import jpype  # noqa: PLC0415 - an optional package

    loggers = class_of("java.util.logging.LogManager").getLogManager()
    root = loggers.getLogger("")
    levels = class_of("java.util.logging.Level")
    proxy = jpype.JProxy("java.util.logging.Filter", dict={"isLoggable": _tell})
    for handler in list(root.getHandlers()):
        handler.setFilter(proxy)
        handler.setLevel(levels.ALL)
    root.setLevel(levels.INFO if logging.getLogger(ROOT).isEnabledFor(logging.DEBUG) else levels.WARNING)
    # Java prints what ended a thread, words and all, on stderr as it is.
    ends = jpype.JProxy("java.lang.Thread$UncaughtExceptionHandler", dict={"uncaughtException": _ended})
    class_of("java.lang.Thread").setDefaultUncaughtExceptionHandler(ends)
    _kept_alive.extend((root, proxy, ends))
    for name, level in QUIET.items():
        logger = class_of("java.util.logging.Logger").getLogger(name)
        logger.setLevel(getattr(levels, level))
        _kept_alive.append(logger)


def _ended(thread: Any, thrown: Any) -> None:
    """Tell that a thread of Java's ended by what it did not catch."""
    name, error = str(thread.getName()), str(thrown.getClass().getName())
    logging.getLogger(ROOT).error("the thread %s ended by %s %s", name[:MESSAGE_CHARACTERS_MAX], error, LEFT_OUT)


def _tell(record: Any) -> bool:
    """Write one record of Java's; False, so that Java prints nothing."""
    name = str(record.getLoggerName() or "")
    thrown = record.getThrown()
    error = "" if thrown is None else str(thrown.getClass().getName())
    message = record.getMessage()
    tell(name, int(record.getLevel().intValue()), "" if message is None else str(message), error)
    return False


def tell(name: str, level: int, message: str, error: str) -> None:
    """Write one line of Java's: of a logger, at a level of java.util.logging, with the class of what was thrown."""
    kept = name.startswith(KEPT)
    words = message[:MESSAGE_CHARACTERS_MAX] if kept else LEFT_OUT
    # Without its words nobody can tell whether it is bad; what stops a shard is told by ourselves.
    ours = logging.ERROR if level >= SEVERE and kept else logging.WARNING if level >= WARNING else logging.DEBUG
    logging.getLogger(f"{ROOT}.{name.rpartition('.')[2]}").log(ours, "%s", f"{words} {error}".strip())
