"""Run worlds: `python -m tests.simulation --seed 1 --runs 1000`; a failing seed prints itself and how to see it again."""

import argparse
import sys
import time

from tests.simulation.world import World


def main() -> int:
    """Run worlds from a seed on; return 1 if a promise was broken in one."""
    parser = argparse.ArgumentParser(prog="make sim")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    chosen = parser.parse_args()
    began, failed, totals = time.monotonic(), 0, [0, 0, 0, 0, 0]
    for seed in range(chosen.seed, chosen.seed + chosen.runs):
        outcome = World(seed, verbose=chosen.verbose).run()
        counted = (outcome.steps, outcome.changes, outcome.records, outcome.lapses, outcome.crashes)
        totals = [total + number for total, number in zip(totals, counted, strict=True)]
        if outcome.violation is not None:
            failed += 1
            print(f"\nseed {seed}, step {outcome.steps}: {outcome.violation}")  # noqa: T201
            print(f"  again: make sim SEED={seed} ARGS=--verbose")  # noqa: T201
    names = ("steps", "changes", "records", "lapses", "crashes")
    told = ", ".join(f"{total} {name}" for name, total in zip(names, totals, strict=True))
    print(f"{chosen.runs} worlds, {failed} failed, {told}, {time.monotonic() - began:.1f} s")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
