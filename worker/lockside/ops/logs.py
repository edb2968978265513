"""Structured logs on stderr: one JSON object a line, or readable lines on a terminal.

Set up once, at the start of a command. Python's own logging, warnings and uncaught exceptions come out in one form,
and no exception is ever shown with its locals or a foreign text (`ops/trace.py`).
"""

import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import orjson
import structlog

from lockside.ops.trace import trace

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "pretty"]

TRACE: Final = "trace"
QUIET: Final = ("boto3", "botocore", "urllib3", "s3transfer", "werkzeug")
"""Libraries that log requests, and botocore at debug level whole bodies: never below a warning."""

EventDict = MutableMapping[str, Any]


def configure(level: Level = "info", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (stderr unless given)."""
    out = sys.stderr if stream is None else stream
    pretty = form == "pretty" or (form == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _pretty(out.isatty()) if pretty else structlog.processors.JSONRenderer(serializer=_json),
            ],
            foreign_pre_chain=_shared(),
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    _catch_uncaught()


def safe_exceptions(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Turn `exc_info`, and any exception given as a value, into its type and frames; nothing else is touched."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else None
    if isinstance(given, tuple):
        error = given[1]
    elif given and error is None:
        error = sys.exc_info()[1]
    if error is not None:
        event[TRACE] = trace(error)
    for key, value in event.items():
        if isinstance(value, BaseException):
            event[key] = trace(value)[0]
    return event


def _shared() -> list[structlog.types.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        safe_exceptions,
    ]


def _json(event: EventDict, **_: Any) -> str:
    # An unforeseen type is named, not spelt: its text might be a row.
    return orjson.dumps(event, default=lambda value: f"<{type(value).__name__}>").decode()


def _pretty(colours: bool) -> structlog.types.Processor:  # noqa: FBT001 - a terminal or not
    console = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=32)

    def render(logger: Any, method: str, event: EventDict) -> str:
        frames = event.pop(TRACE, [])
        return "\n    ".join([str(console(logger, method, event)), *frames])

    return render


def _catch_uncaught() -> None:
    log = structlog.get_logger(__name__)

    def uncaught(_kind: type[BaseException], error: BaseException, _at: TracebackType | None) -> None:
        log.critical("uncaught", exc_info=error)

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        log.critical("uncaught", exc_info=args.exc_value, thread=args.thread.name if args.thread else None)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
