"""How `lockside status` looks: a few lines for people, one object for scripts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lockside.cli.rendering import columns, level, shown

if TYPE_CHECKING:
    from lockside.app.status import Report, ShardReport
    from lockside.core.ownership import OwnerRow
    from lockside.state.checkpoints import Checkpoint

HEADER = ("SHARD", "STATE", "LAG", "UNWRITTEN", "DEADLINES", "SAVED", "POSITION", "RECIPE SINCE")


def for_people(report: "Report") -> Iterator[str]:
    """Yield the lines of a report."""
    yield f"Application {report.application}: {_owner(report)}"
    tables = dict.fromkeys(each.status.shard.table for each in report.shards)
    for table in tables:
        of_table = [each for each in report.shards if each.status.shard.table == table]
        yield ""
        yield f"Table {table} ({', '.join(of_table[0].status.sources)})"
        yield from (f"  {line}" for line in columns([HEADER, *(_row(each, report.now_ms) for each in of_table)]))
    yield ""
    if report.problems:
        yield from (f"{level('fault')}  {shown(problem)}" for problem in report.problems)
    else:
        yield click.style("All is well.", fg="green")


def for_scripts(report: "Report") -> dict[str, Any]:
    """Return a report as one object; positions as text, as they are wider than JSON's numbers."""
    return {
        "application": report.application,
        "time": _instant(report.now_ms),
        "good": not report.problems,
        "problems": list(report.problems),
        "owner": None if report.owner is None else _owner_object(report.owner, live=report.owner_is_live),
        "members": None if report.members is None else list(report.members),
        "shards": [_shard_object(each) for each in report.shards],
    }


def _owner(report: "Report") -> str:
    row = report.owner
    if report.members is not None:
        number = len(report.members)
        return f"a fleet of {number} worker{'' if number == 1 else 's'}: {shown(', '.join(report.members) or 'none')}"
    if row is None:
        return "no owner yet"
    if row.owner is None:
        return f"no owner; the last one handed it back (epoch {row.epoch})"
    seen = _duration(report.now_ms - row.renewed_ms)
    life = "renewed" if report.owner_is_live else "not renewed since"
    return f"owned by {row.owner} on {shown(row.place)} (epoch {row.epoch}), {life} {seen} ago"


def _row(report: "ShardReport", now_ms: int) -> tuple[str, ...]:
    status, saved = report.status, report.checkpoint
    state = status.state.replace("_", " ")
    if report.is_stale:
        state = f"{state} (not refreshed for {_duration(now_ms - status.refreshed_ms)})"
    since = "-" if status.since_ms is None else _instant(status.since_ms)
    position = status.position if status.position is not None or saved is None else saved.position
    return (
        status.shard.shard_id,
        state,
        _duration(status.lag_ms),
        _duration(status.unwritten_ms),
        str(status.deadlines),
        "never" if saved is None else f"{_duration(now_ms - saved.updated_ms)} ago",
        _text(position) or "-",
        f"{status.recipe or '-'} {since}",
    )


def _owner_object(row: "OwnerRow", *, live: bool) -> dict[str, Any]:
    return {
        "worker": row.owner,
        "place": row.place,
        "epoch": row.epoch,
        "lease_ms": row.lease_ms,
        "renewed": _instant(row.renewed_ms),
        "live": live,
        "ended": row.ended,
    }


def _shard_object(report: "ShardReport") -> dict[str, Any]:
    status, saved = report.status, report.checkpoint
    return {
        "table": status.shard.table,
        "stream": status.shard.stream_arn,
        "shard": status.shard.shard_id,
        "sources": list(status.sources),
        "state": status.state,
        "halted": status.halted,
        "start": status.start,
        "position": _text(status.position),
        "lag_ms": status.lag_ms,
        "unwritten_ms": status.unwritten_ms,
        "live_deadlines": status.deadlines,
        "checkpoint": None if saved is None else _checkpoint_object(saved),
        "recipe": status.recipe,
        "recipe_since": None if status.since_ms is None else _instant(status.since_ms),
        "owner": status.owner,
        "epoch": status.epoch,
        "refreshed": _instant(status.refreshed_ms),
        "stale": report.is_stale,
        "problem": report.problem,
    }


def _checkpoint_object(saved: "Checkpoint") -> dict[str, Any]:
    return {"position": _text(saved.position), "time": _instant(saved.updated_ms), "epoch": saved.epoch}


def _text(position: int | None) -> str | None:
    return None if position is None else str(position)


def _instant(epoch_ms: int) -> str:
    from lockside.core.records import rfc3339

    return rfc3339(epoch_ms)


def _duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "-"
    seconds = max(0, milliseconds) / 1000
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
