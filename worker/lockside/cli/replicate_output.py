"""How a comparison of replicas looks: to people, and to scripts."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lockside.app.replica_comparison import ReplicaReport
    from lockside.core.entity import EntityKey
    from lockside.stores.comparison import Difference

SHOWN_MAX: Final = 20
DIGEST_DIGITS: Final = 16

KINDS: Final = {
    "missing": "is missing in the replica",
    "extra": "is only in the replica",
    "different": "differs in",
    "foreign": "is only in the replica, and no replication wrote it",
}


@contextmanager
def progress(name: str, rows_estimate: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr, where a terminal reads it, how far a comparison is; what is yielded is told of rows."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("comparing {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        # Both sides are read, each row once.
        task = bar.add_task(name, total=2 * rows_estimate or None)
        yield lambda rows: bar.advance(task, rows)


def json_line(report: "ReplicaReport", *, show_keys: bool) -> str:
    """Spell a report as one JSON object."""
    import orjson

    found = report.comparison
    told = {
        "replica": report.name,
        "table": report.table,
        "place": report.place,
        "alike": found.is_alike,
        "rows": found.rows,
        "replica_rows": found.replica_rows,
        "differences": [_difference(each, show_keys=show_keys) for each in found.differences],
        "cut_off": found.cut_off,
        "late": found.late,
        "lag_seconds": report.lag_seconds,
        "settled": report.is_settled,
        "incomplete": report.incomplete or None,
    }
    return orjson.dumps(told).decode()


def lines(report: "ReplicaReport", *, show_keys: bool) -> Iterator[str]:
    """Say what was found, the differences first."""
    from lockside.cli.rendering import level

    found = report.comparison
    for each in found.differences[:SHOWN_MAX]:
        attributes = f" {', '.join(each.attributes)}" if each.attributes else ""
        row = f"row {_named(each.key, show_keys=show_keys)} {KINDS[each.kind]}{attributes}"
        yield f"{level('fault'.ljust(7))}  {report.name}: {row}"
    if len(found.differences) > SHOWN_MAX:
        yield f"         … and {len(found.differences) - SHOWN_MAX} more; --json names all"
    number = f"over {len(found.differences)}" if found.cut_off else str(len(found.differences))
    verdict = level("good".ljust(7)) if found.is_alike else level("fault".ljust(7))
    yield (
        f"{verdict}  {report.name}: {found.rows} rows of {report.table}, {found.replica_rows} of {report.place}; "
        f"{number} differ, {found.late} late; {_lag(report.lag_seconds)}"
    )
    if not (found.is_alike or report.is_settled):
        lag = f"{report.lag_seconds:.0f} s behind"
        yield f"{level('warning'.ljust(7))}  {report.name}: not settled, its replicator is {lag}  → --settle for longer"
    if report.incomplete:
        yield f"{level('warning'.ljust(7))}  {report.name}: {report.incomplete}  → lockside replicate --bootstrap"


def _lag(seconds: float | None) -> str:
    return "no replicator runs" if seconds is None else f"lag {seconds:.1f} s"


def _difference(difference: "Difference", *, show_keys: bool) -> dict[str, Any]:
    key = _named(difference.key, show_keys=show_keys)
    return {"key": key, "kind": difference.kind, "attributes": list(difference.attributes)}


def _named(key: "EntityKey", *, show_keys: bool) -> str:
    """Name a row: by a digest, as the key of a session is a secret, unless it is asked for in clear."""
    from lockside.cli.rendering import shown

    if show_keys:
        return shown(key.canonical)
    return f"sha256:{hashlib.sha256(key.canonical.encode()).hexdigest()[:DIGEST_DIGITS]}"
