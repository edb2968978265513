"""Logs: one form for all, and no contents of an exception."""

import io
import logging
import sys
import threading
import warnings

import orjson
import pytest
import structlog
from botocore.exceptions import ClientError

from lockside.errors import ConfigError
from lockside.ops import logs
from lockside.ops.trace import describe, trace

SECRET = "session:6f1c"  # noqa: S105 - made up


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """Read what was logged."""
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def fail_with_secret() -> None:
    """Raise as code does that looks up a session: the secret is in the text, in a local, and in the cause."""
    session_id = SECRET
    try:
        rows: dict[str, int] = {}
        rows[session_id] += 1
    except KeyError as error:
        raise ValueError(session_id) from error


def test_a_line_is_one_json_object() -> None:
    """Time, level, logger, event and keys; anything below the level is left out."""
    out = io.StringIO()
    logs.configure("info", "json", out)
    log = structlog.get_logger("lockside.x")
    log.debug("unseen")
    log.info("batch", table="locks", count=3)
    (line,) = lines(out)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "batch", "table": "locks", "count": 3, "level": "info", "logger": "lockside.x"}


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_no_exception_shows_its_contents(form: logs.Format) -> None:
    """Type and frames are shown; the text, the locals and the cause's text are not, in either form."""
    out = Terminal()
    logs.configure("info", form, out)
    try:
        fail_with_secret()
    except ValueError as error:
        structlog.get_logger().exception("failed")
        structlog.get_logger().error("failed", exc_info=error)
        structlog.get_logger().warning("failed", error=error)
        logging.getLogger("foreign").exception("failed")
    text = out.getvalue()
    assert text.count("ValueError") == 4
    assert "fail_with_secret" in text
    assert SECRET not in text


def test_uncaught_exceptions_come_out_the_same_way() -> None:
    """One that ends a thread, and one that would end the process, are shown without contents."""
    out = io.StringIO()
    logs.configure("info", "json", out)
    thread = threading.Thread(target=fail_with_secret, name="shard-1")
    thread.start()
    thread.join()
    try:
        fail_with_secret()
    except ValueError as error:
        sys.excepthook(ValueError, error, None)
    assert [line["event"] for line in lines(out)] == ["uncaught", "uncaught"]
    assert lines(out)[0]["thread"] == "shard-1"
    assert SECRET not in out.getvalue()


def test_warnings_and_foreign_loggers_join_in_and_libraries_are_quiet() -> None:
    """Python's warnings become lines; botocore says nothing below a warning, whatever the level."""
    out = io.StringIO()
    logs.configure("debug", "json", out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").warning("%s", "old")
    logging.getLogger("botocore.endpoint").debug("body")
    logging.getLogger("botocore.endpoint").warning("slow")
    assert [line["event"] for line in lines(out)] == ["old", "slow"]


def test_an_unforeseen_value_is_named_and_not_spelt() -> None:
    """What JSON cannot hold appears as its type."""
    out = io.StringIO()
    logs.configure("info", "json", out)
    structlog.get_logger().info("x", row={1, 2})
    assert lines(out)[0]["row"] == "<set>"


def test_pretty_is_for_terminals() -> None:
    """`auto` is pretty on a terminal and JSON elsewhere."""
    terminal, pipe = Terminal(), io.StringIO()
    logs.configure("info", "auto", terminal)
    structlog.get_logger().info("hello")
    logs.configure("info", "auto", pipe)
    structlog.get_logger().info("hello")
    assert not terminal.getvalue().startswith("{")
    assert pipe.getvalue().startswith("{")


def test_descriptions_keep_what_is_safe() -> None:
    """Our own text, a service's code and the system's words stay; a service's message may quote a row."""
    denied = ClientError({"Error": {"Code": "ValidationException", "Message": SECRET}}, "PutItem")
    assert describe(denied) == "ClientError: ValidationException on PutItem"
    assert describe(ConfigError("aws.region: …")) == "ConfigError: aws.region: …"
    assert describe(FileNotFoundError(2, "No such file", SECRET)) == "FileNotFoundError: No such file"


def test_a_circle_of_causes_ends() -> None:
    """A trace is bounded whatever the chain looks like."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert trace(first) == ["ValueError", "KeyError"]
