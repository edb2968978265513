"""How a trial of the stores looks while it goes on, and what came of it: to people, and to scripts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lockside.app.store_check import Plan, Report

PERCENTILES: Final = (50, 95, 99)
SHOWN_MAX: Final = 20


@contextmanager
def progress(seconds: float) -> Iterator[Callable[[float, int], None]]:
    """Show on stderr, where a terminal reads it, how far a trial is; what is yielded takes its seconds and calls."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("clients get ready", total=seconds)

        def show(elapsed: float, calls: int) -> None:
            rate = calls / elapsed if elapsed else 0
            bar.update(task, completed=elapsed, description=f"{calls} calls, {rate:.0f}/s")

        yield show


def percentile(times: Sequence[float], percent: int) -> float:
    """Return the time within which so many of the sorted times are."""
    return times[min(len(times) - 1, len(times) * percent // 100)]


def json_line(report: "Report", plan: "Plan") -> str:
    """Spell a report as one JSON object."""
    import orjson

    told = {
        "good": not report.verdict.findings and not report.verdict.open_questions,
        "findings": [asdict(finding) for finding in report.verdict.findings],
        "open_questions": report.verdict.open_questions,
        "shown": asdict(report.verdict.shown),
        "seed": plan.seed,
        "clients": plan.clients,
        "seconds": round(report.seconds, 3),
        "calls": report.calls,
        "calls_per_second": round(report.calls / report.seconds, 1),
        "unknown_outcomes": report.unknown,
        "pauses": report.pauses,
        "milliseconds": {
            name: {f"p{percent}": round(percentile(times, percent), 2) for percent in PERCENTILES}
            for name, times in report.milliseconds.items()
        },
    }
    return orjson.dumps(told).decode()


def lines(report: "Report", plan: "Plan") -> str:
    """Say what was found, then how it went."""
    return "\n".join(_lines(report, plan))


def _lines(report: "Report", plan: "Plan") -> Iterator[str]:
    from lockside.cli.rendering import columns, level

    verdict, shown = report.verdict, report.verdict.shown
    for finding in verdict.findings[:SHOWN_MAX]:
        yield f"{level('fault  ')}  {finding.law}: {finding.what}"
    if len(verdict.findings) > SHOWN_MAX:
        yield f"         … and {len(verdict.findings) - SHOWN_MAX} more; --json names all"
    for question in verdict.open_questions:
        yield f"{level('warning')}  {question}"
    rows = [("call", "number", *(f"p{percent} ms" for percent in PERCENTILES))]
    for name, times in report.milliseconds.items():
        rows.append((name, str(len(times)), *(f"{percentile(times, percent):.1f}" for percent in PERCENTILES)))
    yield from columns(rows)
    yield (
        f"{report.calls} calls of {plan.clients} clients in {report.seconds:.1f} s, "
        f"{report.calls / report.seconds:.0f} a second; the outcome of {report.unknown} is not known; seed {plan.seed}"
    )
    yield (
        f"{shown.registers} keys and {shown.scans} scans, {shown.holders} times under a lock, {report.pauses} holders "
        f"stopped; of {shown.stale_tried} writes of overtaken holders {shown.stale_refused} were refused"
    )
    word, law = (level("fault  "), "a law was broken") if verdict.findings else (level("good   "), "all laws held")
    if not verdict.findings and verdict.open_questions:
        word, law = level("warning"), "nothing wrong was found, and not everything was put to the test"
    yield f"{word}  {law}"
