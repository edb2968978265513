"""`lockside query`."""

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockside.cli.options import config_option, json_option, read_settings
from lockside.errors import NotFoundOutError, StoppedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockside.app.lookup import Lookup
    from lockside.audit.pages import Pages
    from lockside.audit.stored import Stored
    from lockside.audit.window import Window

WAIT_SECONDS_MAX: Final = 30.0
DEFAULT_SINCE: Final = "-30d"
FROM_STDIN: Final = "-"
TYPE_PREFIX: Final = "dev.lockside."
TYPE_SUFFIX: Final = ".v1"


@click.command()
@config_option
@json_option
@click.option("--lock", metavar="NAME", help="The history of a lock, by its name, its pseudonym or its entity id.")
@click.option("--session", metavar="ID", help="The history of a session, by its id, key or pseudonym; - reads stdin.")
@click.option("--actor", metavar="A", help="What an owner or a user did.")
@click.option("--event", metavar="TYPE", help="All events of a type, such as lock.expired.")
@click.option("--since", metavar="TIME", help="RFC 3339, or relative: -15m. [default: all; by actor, event -30d]")
@click.option("--until", metavar="TIME", help="The first instant left out. [default: none]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print only the newest N.")
def query(  # noqa: PLR0913 - one argument for each flag
    *,
    config: Path | None,
    as_json: bool,
    lock: str | None,
    session: str | None,
    actor: str | None,
    event: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
) -> None:
    """Look up a lock, a session, an actor or a kind of event; oldest first.

    A session's id opens the session: hand it over on stdin, where neither the shell's history nor `ps` shows it. With
    --json each line is one CloudEvent, byte for byte as it is kept.

    \b
    lockside query --lock nightly-report
    lockside query --event lock.expired --since -2h --json
    lockside query --session - < session-id.txt
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    chosen = {"--lock": lock, "--session": session, "--actor": actor, "--event": event}
    asked = {option: text for option, text in chosen.items() if text is not None}
    if len(asked) != 1:
        given = " and ".join(asked) or "none of them"
        raise UsageError(f"give exactly one of {', '.join(chosen)}; you gave {given}")
    [(option, text)] = asked.items()
    settings = read_settings(config)
    from lockside.app.lookup import Lookup, reading
    from lockside.app.patience import Patience
    from lockside.audit.window import instant_ms, window
    from lockside.cli.record_line import print_record
    from lockside.ops.clock import SystemClock
    from lockside.state import keys_file

    now_ms = SystemClock().now().wall_ms
    open_start = 0 if option in {"--lock", "--session"} else instant_ms("--since", DEFAULT_SINCE, now_ms)
    asked_window = window(since, until, now_ms, open_start)
    subject = _subject(option, text)
    lookup = Lookup(settings, lambda: keys_file.load(settings.keys.file))
    pages = reading(settings, Patience(WAIT_SECONDS_MAX))
    found = 0
    try:
        for stored in _answer(pages, lookup, option, subject, asked_window, limit):
            print_record(stored, as_json=as_json)
            found += 1
    except StoppedError as error:
        raise NotFoundOutError(f"the audit table {settings.audit.table} did not answer in time; try again") from error
    if not found:
        click.echo("Nothing found.", err=True)


def _subject(option: str, text: str) -> str:
    if option == "--session" and text == FROM_STDIN:
        text = sys.stdin.readline().rstrip("\r\n")
    if option == "--event":
        return _event_type(text)
    if not text:
        raise UsageError(f"{option}: is empty; name what to look up")
    return text


def _event_type(text: str) -> str:
    from difflib import get_close_matches
    from typing import get_args

    from lockside.core.event import EventType, ObserverType

    known = sorted({*get_args(EventType), *get_args(ObserverType)})
    event_type = text.removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)
    if event_type not in known:
        near = get_close_matches(event_type, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise UsageError(f"--event {text!r}: there is no such event; {hint}")
    return event_type


def _answer(  # noqa: PLR0913, PLR0917 - the whole question
    pages: "Pages", lookup: "Lookup", option: str, subject: str, asked: "Window", limit: int | None
) -> "Iterator[Stored]":
    from lockside.audit.read import TrailReader

    reader = TrailReader(pages, newest_first=limit is not None)
    match option:
        case "--lock":
            answer = reader.by_entity(lookup.lock_pks(subject), asked)
        case "--session":
            answer = reader.by_entity(lookup.session_pks(subject), asked)
        case "--actor":
            answer = reader.by_actor(lookup.actors(subject), asked)
        case _:
            answer = reader.by_type(subject, asked)
    # The newest are read from the end and held only to be printed the other way round.
    return answer if limit is None else reversed(list(islice(answer, limit)))
