"""Run worlds: `make sim SEED=1 RUNS=1000`. One world alone prints its whole transcript."""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from lockside.ops import garbage
from tests.simulation.outcome import Outcome
from tests.simulation.world import World, outcome_of

PROGRESS_SECONDS = 10.0
TOLD_MAX = 10
"""Failing seeds told of in full; the others are only counted."""


def main() -> int:
    """Run worlds from a seed on; return 1 if a promise was broken in one."""
    parser = argparse.ArgumentParser(prog="make sim")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    garbage.calm()
    seeds = range(chosen.seed, chosen.seed + chosen.runs)
    if len(seeds) == 1:
        return _report((World(seed, verbose=True).run() for seed in seeds), 1)
    if chosen.processes == 1:
        return _report(map(outcome_of, seeds), len(seeds))
    # Forked: the worlds are the same in every process, and nothing was started yet.
    with multiprocessing.get_context("fork").Pool(chosen.processes) as pool:
        return _report(pool.imap_unordered(outcome_of, seeds, chunksize=5), len(seeds))


def _report(outcomes: Iterator[Outcome], runs: int) -> int:
    """Tell of broken promises as they come, of progress now and then, and of everything at the end."""
    began = told = time.monotonic()
    failed: list[int] = []
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for number, outcome in enumerate(outcomes, start=1):
        totals.update({name: getattr(outcome, name) for name in ("steps", "changes", "records", "lapses", "gaps")})
        faults.update(outcome.faults)
        if outcome.violation is not None:
            failed.append(outcome.seed)
            if len(failed) <= TOLD_MAX:
                _say(outcome.story)
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            _say(f"{number} of {runs} worlds, {len(failed)} failed, {number / (told - began):.1f} a second")
    seconds = time.monotonic() - began
    _say(f"{runs} worlds in {seconds:.1f} s ({runs / seconds:.1f} a second): {_listed(totals)}")
    _say(f"faults: {_listed(faults)}")
    _say(f"failed: {len(failed)}{': ' if failed else ''}{', '.join(map(str, sorted(failed)))}")
    return 1 if failed else 0


def _listed(counted: Counter[str]) -> str:
    items: Iterable[tuple[str, int]] = sorted(counted.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {number}" for name, number in items)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command's output


if __name__ == "__main__":
    sys.exit(main())
