"""`python -m bench [--quick] [--json FILE] [PART ...]`: measure, print a table, keep the numbers."""

import argparse
import json
import multiprocessing
import platform
import sys
from pathlib import Path
from typing import Any, Final

import boto3
from rich.console import Console
from rich.table import Table

from bench.figures import Figure
from bench.parts import PARTS, apart
from bench.sizes import FULL, QUICK

GROUPED_FROM: Final = 1_000


def main() -> int:
    """Measure what is asked for. Exit code 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of: {', '.join(PARTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="small sizes: every number, none of them steady")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(PARTS)}")
    sizes = QUICK if chosen.quick else FULL
    figures: list[Figure] = []
    for part in chosen.parts or PARTS:
        sys.stderr.write(f"{part} ...\n")
        figures += apart(part, sizes)
    document = {
        "quick": chosen.quick,
        "python": platform.python_version(),
        "boto3": boto3.__version__,
        "cores": multiprocessing.cpu_count(),
        "figures": [figure.as_json() for figure in figures],
    }
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    show(figures)
    return 1 if not chosen.quick and any(figure.met is False for figure in figures) else 0


def show(figures: list[Figure]) -> None:
    """Print the table."""
    table = Table("", "measured", "unit", "bar", "")
    for figure in figures:
        bar = "" if figure.bar is None else f"{figure.sense} {_number(figure.bar)}"
        verdict: Any = {True: "met", False: "[bold red]missed[/]", None: ""}[figure.met]
        table.add_row(figure.name, _number(figure.value), figure.unit, bar, verdict)
    Console().print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= GROUPED_FROM else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
